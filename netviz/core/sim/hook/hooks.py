"""What the kernel calls at each hook of a namespace, in order, and whether it tracks connections there.

At a hook come, by priority, the base chains of nftables, the legacy xtables tables, and the kernel's own
connection tracking and translation.

Source: net/netfilter/core.c, nf_hook_entries_grow; include/uapi/linux/netfilter_ipv4.h,
enum nf_ip_hook_priorities; net/netfilter/nf_conntrack_proto.c, nf_ct_netns_get (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.model.link import Link
from netviz.core.model.netfilter import (
    NF_LOCAL_IN,
    NF_LOCAL_OUT,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    XT_HOOKS,
    NftChain,
    NftTable,
    XtTable,
)
from netviz.core.sim.hook.ipvs import IPVS_HOOKS
from netviz.core.sim.index import Index
from netviz.core.sim.nft.text import HOOK_NAMES
from netviz.core.sim.nft.tracking import tracks_connections
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import UNCERTAIN
from netviz.core.state.node import NetnsState

PRI_CONNTRACK, PRI_NAT_DST, PRI_NAT_SRC, PRI_CONFIRM = -200, -100, 100, 1 << 31
NFT_TABLE_F_DORMANT = 1
HOOK_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
LAST = 1 << 62


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is called at a hook: a chain, a legacy table, or the kernel's own ("conntrack", "nat", "confirm")."""

    priority: int
    what: str
    chain: NftChain | None = None
    xt: XtTable | None = None


Ranked = tuple[int, int, int, Entry]  # by priority, then by what was registered later


def _own(priority: int, what: str) -> Ranked:
    return priority, 1, 0, Entry(priority, what)


# What the kernel itself calls where it tracks connections.
_COMING = (_own(PRI_CONNTRACK, "conntrack"), _own(PRI_NAT_DST, "nat"))
_GOING = (_own(PRI_NAT_SRC, "nat"), _own(PRI_CONFIRM, "confirm"))
TRACKED = {NF_PRE_ROUTING: _COMING, NF_LOCAL_OUT: _COMING, NF_POST_ROUTING: _GOING, NF_LOCAL_IN: _GOING}


def build_base_chains(chains: Mapping[Any, NftChain]) -> dict[tuple[int, int], list[NftChain]]:
    """Map (family, hook) to base chains by priority; at equal priority the one registered later is first.

    Source: net/netfilter/core.c, nf_hook_entries_grow (Linux 6.18).
    """
    index: dict[tuple[int, int], list[NftChain]] = {}
    for chain in chains.values():
        if chain.hook is not None:
            index.setdefault((chain.family, chain.hook), []).append(chain)
    for found in index.values():
        found.sort(key=lambda chain: (chain.priority, -chain.handle))
    return index


base_chains: Index[Mapping[Any, NftChain], dict[tuple[int, int], list[NftChain]]] = Index(build_base_chains)


def families(ipv6: bool) -> tuple[int, int]:
    return (NFPROTO_INET, NFPROTO_IPV6 if ipv6 else NFPROTO_IPV4)


def hook_entries(run: Run, ns: NetnsState, hook: int, packet: Packet, dev: Link | None) -> list[Entry]:
    """List what is called for a packet at a hook, in order."""
    ipv6 = packet.ipv6
    entries: list[Ranked] = []
    index = base_chains(ns.nft_chains)
    for family in families(ipv6):
        for chain in index.get((family, hook), ()):
            table = ns.nft_tables.get((chain.family, chain.table))
            if chain.type == "nat" or is_dormant(table):
                continue
            handle = _handle(table)
            entries.append((chain.priority, -handle, -chain.handle, Entry(chain.priority, "chain", chain)))
    own = NFPROTO_IPV6 if ipv6 else NFPROTO_IPV4
    for xt in ns.xt_tables.values():
        priority = XT_HOOKS.get(xt.name, {}).get(hook)
        if xt.family != own or priority is None or (xt.read and xt.name == "nat"):
            continue
        legacy = ns.xt_chains.get((own, xt.name, HOOK_CHAINS[hook])) if xt.read else None
        made = Entry(priority, "chain" if legacy is not None else "xt", legacy, None if legacy else xt)
        rivals = [other[3].chain for other in entries if other[0] == priority]
        first = legacy is not None and goes_first(run, ns, packet, dev, legacy, rivals)
        entries.append((priority, -LAST if first else LAST, 0, made))
    if tracks_connections(run, ns, ipv6):
        entries += TRACKED.get(hook, ())
    if ns.ipvs and hook in IPVS_HOOKS:
        entries.append(_own(IPVS_HOOKS[hook], "ipvs"))
    entries.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in entries]


def goes_first(
    run: Run,
    ns: NetnsState,
    packet: Packet,
    dev: Link | None,
    legacy: NftChain,
    rivals: list[NftChain | None],
) -> bool:
    """Ask whether a legacy chain comes before nftables' chains of the same priority: the later registered does.

    Nothing tells which was, so the run forks where both have something to say, and records that when it first does.

    Source: net/netfilter/core.c, nf_hook_entries_grow (Linux 6.18).
    """
    rival = next((chain for chain in rivals if chain is not None and chain.body), None)
    if not legacy.body or rival is None:
        return False
    chosen = len(run.choices)
    first = run.choose(("hook order", ns.key, legacy.family, legacy.table), 2, None) == 1
    if len(run.choices) > chosen:
        what = HookVerdict(
            "assume legacy first" if first else "assume legacy last",
            "hook order",
            hook=HOOK_NAMES[rival.hook or 0],
            table=legacy.table,
            what=f"{rival.table} {rival.name}",
            ipv6=packet.ipv6,
        )
        run.record(ns, dev, packet, what, certainty=UNCERTAIN)
    return first


def _handle(table: NftTable | None) -> int:
    return table.handle if table is not None else 0


def nothing_hooked(ns: NetnsState) -> bool:
    """Tell whether no netfilter rules and no connection tracking are here."""
    return not (ns.nft_chains or ns.xt_tables or ns.conntrack or ns.ipvs)


def ordered(ns: NetnsState, chains: Iterable[NftChain]) -> list[NftChain]:
    """Order base chains of tables that are switched on: by priority, the later registered first."""
    ranked = []
    for chain in chains:
        table = ns.nft_tables.get((chain.family, chain.table))
        if not is_dormant(table):
            ranked.append((chain.priority, -_handle(table), -chain.handle, chain))
    return [entry[3] for entry in sorted(ranked, key=lambda entry: entry[:3])]


def is_dormant(table: NftTable | None) -> bool:
    """Tell whether a table is switched off."""
    return table is not None and bool(table.flags & NFT_TABLE_F_DORMANT)
