"""Whether iptables' legacy tables decide on packets beside nftables, where nobody looks for them."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, joined, place
from netviz.core.model.netfilter import (
    NF_DROP,
    NF_FORWARD,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NftChain,
)
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

TOOLS = {NFPROTO_IPV4: "iptables", NFPROTO_IPV6: "ip6tables"}


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    look.judged = len(root.xt_tables) + len(root.nft_tables)
    for family, tool in TOOLS.items():
        legacy = [chain for chain in root.xt_chains.values() if chain.family == family and _decides(chain)]
        newer = any(
            chain.hook is not None and chain.family in (family, NFPROTO_INET) and _decides(chain)
            for chain in root.nft_chains.values()
        )
        if legacy and newer:
            yield _problem(look, root, tool, legacy)


def _decides(chain: NftChain) -> bool:
    """Tell whether a chain has rules, or drops by its policy."""
    return bool(chain.body) or (chain.hook is not None and chain.policy == NF_DROP)


def _problem(look: Look, root: NetnsState, tool: str, legacy: list[NftChain]) -> Problem:
    node = root.key.node
    dropping = sorted(c.name for c in legacy if c.hook is not None and c.policy == NF_DROP)
    blocks = any(c.hook == NF_FORWARD and c.policy == NF_DROP for c in legacy)
    what = f", whose {joined(dropping)} drops by policy" if dropping else ""
    tables = dict.fromkeys(chain.table for chain in legacy)
    return Problem(
        kind="both-backends",
        cause=f"{node}:{tool}",
        severity="error" if blocks else "warning",
        harm="breaks traffic" if blocks else "at risk",
        headline=f"{node} has rules in nftables and in {tool}-legacy{what}",
        consequence="Both decide on every packet: what nftables accepts may still be dropped by the other one's rules.",
        where=place(root.netns),
        certainty="likely" if blocks else "certain",
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods) if blocks else affects(()),
        check=tuple(command(root.netns, f"{tool}-legacy -t {table} -S") for table in tables),
        fix=tuple(command(root.netns, f"{tool}-legacy -P {name} ACCEPT") for name in dropping),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="rule backends",
    demands="Each node's rules are in one of iptables' backends.",
    unit="tables",
    kinds=("both-backends",),
    needs=("xt_tables", "xt_chains", "nft_tables", "nft_chains"),
    find=_find,
)
