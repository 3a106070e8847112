"""kindnet: the chain KIND-MASQ-AGENT, the tables kindnet-*, and its routes to other nodes' pods."""

from __future__ import annotations

import re

from netviz.core.sim.kubernetes.seen import Seen
from netviz.core.sim.steps import RouteLookup
from netviz.core.state.node import NetnsState

CHAIN = "KIND-MASQ-AGENT"
MASQ_TABLE, POLICY_TABLE = "kindnet-ipmasq", "kindnet-network-policies"

_MASQUERADES = re.compile(r"-j MASQUERADE|^(?:\w+ )*masquerade")


def rules(seen: Seen) -> str:
    """Say what kindnet's rules that matched mean, or ""."""
    last = seen.rules[-1] if seen.rules else None
    if last is None:
        return ""
    if last.chain == CHAIN or seen.table[1] == MASQ_TABLE:
        if _MASQUERADES.search(last.text) and last is seen.deciding:
            return "kindnet's masquerading of what leaves the cluster"
        return "kindnet's rule that leaves the cluster's own traffic as it is"
    if seen.table[1] == POLICY_TABLE and "queue" in last.text:
        return "kindnet's network policies, which its agent decides outside the kernel"
    return ""


def route(seen: Seen) -> str:
    """Say what a route of kindnet is, or ""."""
    what = seen.step.what
    assert isinstance(what, RouteLookup)
    if what.nexthop is None or not what.nexthop.gateway or what.route is None:
        return ""
    if not what.route.dst_len or not _is_here(seen.ns):
        return ""
    owner = seen.owner(what.nexthop.gateway)
    return f"kindnet's route to the pods of {owner}" if owner.startswith("node ") else ""


def _is_here(ns: NetnsState) -> bool:
    """Tell whether kindnet runs on this node: it has left its rules."""
    if any(name in (MASQ_TABLE, POLICY_TABLE) for _, name in ns.nft_tables):
        return True
    return any(
        (family, "nat", CHAIN) in chains for chains in (ns.nft_chains, ns.xt_chains) for family in (2, 10)
    )
