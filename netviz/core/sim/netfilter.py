"""Netfilter: the hooks of a namespace in order, and what each chain does to a packet.

At each hook the kernel calls, by priority, the base chains of nftables, the legacy xtables tables,
and its own connection tracking and translation. Legacy tables whose rules aren't known, expressions
that aren't modelled, and rules that were not read end the walk as UNKNOWN or fork it: nothing falls
through to accept.

Source: net/netfilter/core.c, nf_hook_slow, nf_hook_entries_grow; include/uapi/linux/netfilter_ipv4.h,
enum nf_ip_hook_priorities; net/netfilter/nf_tables_core.c, nft_do_chain (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from netviz.core.model.link import BridgeInfo, Link
from netviz.core.model.netfilter import (
    NF_ACCEPT,
    NF_DROP,
    NF_LOCAL_IN,
    NF_LOCAL_OUT,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_ARP,
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NFPROTO_NETDEV,
    XT_HOOKS,
    ChainBody,
    NftChain,
    NftTable,
    XtTable,
)
from netviz.core.sim import nat
from netviz.core.sim.conntrack import confirm, portless, track, unsure_tunnel
from netviz.core.sim.index import ByIdentity
from netviz.core.sim.ipvs import IPVS_HOOKS, check_ipvs
from netviz.core.sim.nat_unique import NatMapping
from netviz.core.sim.nft_chain import Outcome, run_chain
from netviz.core.sim.nft_context import Context
from netviz.core.sim.nft_text import HOOK_NAMES, chain_text, list_command
from netviz.core.sim.packet import Packet, invert
from netviz.core.sim.reject import reject
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import UNCERTAIN, Disposition
from netviz.core.state.node import NetnsState

PRI_CONNTRACK, PRI_NAT_DST, PRI_NAT_SRC, PRI_CONFIRM = -200, -100, 100, 1 << 31
NFT_TABLE_F_DORMANT = 1
HOOK_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
LAST = 1 << 62
CT_EXPRS = frozenset(
    ("ct", "nat", "masq", "redir", "notrack", "synproxy", "flow_offload", "connlimit", "objref")
)
CT_MATCHES = frozenset(
    ("conntrack", "state", "connmark", "connlimit", "connbytes", "connlabel", "helper", "cluster")
)
CT_TARGETS = frozenset(("CT", "NOTRACK", "CONNMARK", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP"))


class Entry(msgspec.Struct, frozen=True):
    """What is called at a hook: a chain, a legacy table, or the kernel's own ("conntrack", "nat", "confirm")."""

    priority: int
    what: str
    chain: NftChain | None = None
    xt: XtTable | None = None


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


base_chains: ByIdentity[Mapping[Any, NftChain], dict[tuple[int, int], list[NftChain]]] = ByIdentity(
    build_base_chains
)


def body_uses_conntrack(body: ChainBody) -> bool:
    """Tell whether a chain's rules make the kernel track connections."""
    for rule in body.rules:
        for expr in rule.exprs:
            if expr.name in CT_EXPRS:
                return True
            name = expr.attrs.get("name")
            if (expr.name == "match" and name in CT_MATCHES) or (
                expr.name == "target" and name in CT_TARGETS
            ):
                return True
    return False


_body_uses: ByIdentity[ChainBody, bool] = ByIdentity(body_uses_conntrack)
_chains_use: ByIdentity[Mapping[Any, NftChain], dict[str, bool]] = ByIdentity(lambda _chains: {})


def tracks_connections(run: Run, ns: NetnsState) -> bool:
    """Tell whether a namespace tracks connections: something in it has asked the kernel to.

    Source: net/netfilter/nf_conntrack_proto.c, nf_ct_netns_get (Linux 6.18).
    """
    if ns.conntrack or any(table.name == "nat" for table in ns.xt_tables.values()):
        return True
    return any(_chains_track(run, chains) for chains in (ns.nft_chains, ns.xt_chains) if chains)


def _chains_track(run: Run, chains: Mapping[Any, NftChain]) -> bool:
    memo = _chains_use(chains)
    if "uses" not in memo:
        memo["uses"] = _any_chain_tracks(run, chains)
    return memo["uses"]


def _any_chain_tracks(run: Run, chains: Mapping[Any, NftChain]) -> bool:
    if any(chain.type == "nat" for chain in chains.values()):
        return True
    for chain in chains.values():
        body = run.cluster.bodies.get(chain.body) if chain.body else None
        if isinstance(body, ChainBody) and _body_uses(body):
            return True
    return False


def _families(ipv6: bool) -> tuple[int, int]:
    return (NFPROTO_INET, NFPROTO_IPV6 if ipv6 else NFPROTO_IPV4)


def _hook_entries(run: Run, ns: NetnsState, hook: int, ipv6: bool) -> list[Entry]:
    """List what is called at a hook, in order."""
    entries: list[tuple[int, int, int, Entry]] = []
    index = base_chains(ns.nft_chains)
    for family in _families(ipv6):
        for chain in index.get((family, hook), ()):
            table = ns.nft_tables.get((chain.family, chain.table))
            if chain.type == "nat" or (table is not None and table.flags & NFT_TABLE_F_DORMANT):
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
        first = legacy is not None and _goes_first(run, ns, legacy, rivals)
        entries.append((priority, -LAST if first else LAST, 0, made))
    if tracks_connections(run, ns):
        if hook in (NF_PRE_ROUTING, NF_LOCAL_OUT):
            entries.append((PRI_CONNTRACK, 1, 0, Entry(PRI_CONNTRACK, "conntrack")))
            entries.append((PRI_NAT_DST, 1, 0, Entry(PRI_NAT_DST, "nat")))
        if hook in (NF_POST_ROUTING, NF_LOCAL_IN):
            entries.append((PRI_NAT_SRC, 1, 0, Entry(PRI_NAT_SRC, "nat")))
            entries.append((PRI_CONFIRM, 1, 0, Entry(PRI_CONFIRM, "confirm")))
    if ns.ipvs and hook in IPVS_HOOKS:
        entries.append((IPVS_HOOKS[hook], 1, 0, Entry(IPVS_HOOKS[hook], "ipvs")))
    entries.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in entries]


def _goes_first(run: Run, ns: NetnsState, legacy: NftChain, rivals: list[NftChain | None]) -> bool:
    """Ask whether a legacy chain comes before nftables' chains of the same priority: the later registered does.

    Nothing tells which was, so the run forks where both have something to say.
    """
    if not legacy.body or not any(chain is not None and chain.body for chain in rivals):
        return False
    key = ("hook order", ns.key, legacy.family, legacy.table)
    return run.choose(key, 2, None) == 1


def _handle(table: NftTable | None) -> int:
    return table.handle if table is not None else 0


def nothing_hooked(ns: NetnsState) -> bool:
    """Tell whether no netfilter rules and no connection tracking are here."""
    return not (ns.nft_chains or ns.xt_tables or ns.conntrack or ns.ipvs)


def inet_hook(
    run: Run,
    ns: NetnsState,
    packet: Packet,
    hook: int,
    iif: Link | None,
    oif: Link | None,
    nexthop: bytes = b"",
) -> Packet:
    """Pass a packet through a hook of IPv4 or IPv6; ends the walk when it is dropped or rejected there."""
    dev = _dev(iif, oif)
    for section in ("nft_chains", "xt_tables"):
        run.check_gap(ns, section, "netfilter", dev, packet)
    if nothing_hooked(ns):
        return packet
    ctx = Context(run, ns, packet, NFPROTO_IPV6 if packet.ipv6 else NFPROTO_IPV4, hook, iif, oif)
    for entry in _hook_entries(run, ns, hook, packet.ipv6):
        if entry.what == "conntrack":
            ctx.packet = track(run, ns, ctx.packet, dev)
        elif entry.what == "nat":
            _nat(ctx, dev, nexthop)
        elif entry.what == "ipvs":
            check_ipvs(run, ns, ctx.packet, hook, dev)
        elif entry.what == "confirm":
            confirm(run, ns, ctx.packet)
        elif entry.xt is not None:
            _legacy(ctx, entry.xt, dev)
        elif entry.chain is not None:
            _filter_chain(ctx, entry.chain, dev)
    return ctx.packet


def _dev(iif: Link | None, oif: Link | None) -> str:
    link = oif if oif is not None else iif
    return link.ifname if link is not None else ""


def _legacy(ctx: Context, xt: XtTable, dev: str) -> NoReturn:
    program = "ip6tables-legacy" if xt.family == NFPROTO_IPV6 else "iptables-legacy"
    ctx.run.unknown(
        ctx.ns,
        "netfilter",
        dev,
        ctx.packet,
        f"legacy xtables table {xt.name} not read",
        f"The legacy {xt.name} table is loaded here and its rules could not be read.",
        command=f"{program} -t {xt.name} -L -v -n",
        hook=HOOK_NAMES[ctx.hook],
    )


def _filter_chain(ctx: Context, chain: NftChain, dev: str) -> None:
    outcome = run_chain(ctx, chain, dev)
    record(ctx, chain, outcome, dev, "netfilter", outcome.name)
    if outcome.action is not None:
        _act(ctx, outcome, dev)
    if outcome.code == NF_DROP:
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    if outcome.code != NF_ACCEPT:
        _strange(ctx, chain, outcome, dev)


def _strange(ctx: Context, chain: NftChain, outcome: Outcome, dev: str) -> NoReturn:
    ctx.run.unknown(
        ctx.ns,
        "netfilter",
        dev,
        ctx.packet,
        f"verdict {outcome.name}",
        f"Chain {chain_text(chain)} gives the packet to something that is not modelled ({outcome.name}).",
    )


def _act(ctx: Context, outcome: Outcome, dev: str) -> None:
    """Carry out a statement that ended a chain."""
    assert outcome.action is not None
    if outcome.action.name == "reject":
        reject(ctx, outcome.action, dev)
    ctx.run.unknown(
        ctx.ns,
        "netfilter",
        dev,
        ctx.packet,
        f"{outcome.action.name} outside a nat chain",
        f"{outcome.action.name} stands in a chain where it cannot work.",
    )


def record(ctx: Context, chain: NftChain, outcome: Outcome, dev: str, kind: str, decision: str) -> None:
    """Record what a base chain decided."""
    hook = HOOK_NAMES[ctx.hook] if ctx.hook < len(HOOK_NAMES) else str(ctx.hook)
    name = chain_text(chain)
    if outcome.rule:
        why = f"Chain {name} ({hook}, priority {chain.priority}): {outcome.rule}."
    else:
        policy = "accept" if chain.policy == NF_ACCEPT else "drop"
        why = f"Chain {name} ({hook}, priority {chain.priority}): no rule decides; its policy is {policy}."
    evidence: dict[str, Any] = {
        "chain": name,
        "hook": hook,
        "priority": chain.priority,
        "rule": outcome.rule,
        "within": outcome.chain,
        "handle": outcome.handle,
        "matched": outcome.matched,
    }
    ctx.run.step(
        ctx.ns,
        kind,
        dev,
        ctx.packet,
        decision,
        why,
        reason="NETFILTER_DROP" if outcome.code == NF_DROP and outcome.action is None else "",
        certainty=UNCERTAIN if outcome.forked else "certain",
        command=list_command(chain, legacy=ctx.legacy),
        **evidence,
    )


def _nat(ctx: Context, dev: str, nexthop: bytes) -> None:
    """Consult nat chains if the connection is new, then translate the packet."""
    packet, run, ns = ctx.packet, ctx.run, ctx.ns
    conn = packet.ct
    if conn is None:
        return
    source = nat.manip_is_source(ctx.hook)
    if nat.wants_rules(packet, ctx.hook):
        index = base_chains(ns.nft_chains)
        chains = [chain for family in _families(packet.ipv6) for chain in index.get((family, ctx.hook), ())]
        for chain in _nat_order(ctx, chains):
            if chain.type == "nat" and not nat.initialized(conn, source):
                _nat_chain(ctx, chain, dev, nexthop, source)
        if not nat.initialized(conn, source):
            apply_mapping(ctx, None, source, dev)
    ctx.packet = nat.translate(run, ns, ctx.packet, ctx.hook, dev)


def _nat_order(ctx: Context, chains: list[NftChain]) -> list[NftChain]:
    """Order nat chains by priority, those of a legacy table among them."""
    own = NFPROTO_IPV6 if ctx.packet.ipv6 else NFPROTO_IPV4
    ranked = [(chain.priority, 0, chain) for chain in chains if chain.type == "nat"]
    legacy = ctx.ns.xt_chains.get((own, "nat", HOOK_CHAINS[ctx.hook]))
    if legacy is not None:
        rivals = [chain for priority, _, chain in ranked if priority == legacy.priority]
        first = _goes_first(ctx.run, ctx.ns, legacy, list(rivals))
        ranked.append((legacy.priority, -1 if first else 1, legacy))
    return [chain for _, _, chain in sorted(ranked, key=lambda entry: entry[:2])]


def apply_mapping(ctx: Context, mapping: NatMapping | None, source: bool, dev: str) -> None:
    """Decide the connection's translation; ends the walk where every tuple that the rule allows is taken."""
    conn = ctx.packet.ct
    assert conn is not None
    if not nat.set_up(ctx.run, ctx.ns, conn, mapping, source):
        why = "Every port that the rule allows is taken by other connections: the packet is dropped when it is confirmed."
        ctx.run.unknown(ctx.ns, "nat", dev, ctx.packet, "no free port", why)
    packet = ctx.packet
    tunnel = (packet.proto, packet.src, packet.dst, packet.dport) if packet.payload is not None else None
    if tunnel in portless(ctx.ns.conntrack) and conn.reply != invert(conn.orig):
        unsure_tunnel(ctx.run, ctx.ns, packet, dev)


def _nat_chain(ctx: Context, chain: NftChain, dev: str, nexthop: bytes, source: bool) -> None:
    table = ctx.ns.nft_tables.get((chain.family, chain.table))
    if table is not None and table.flags & NFT_TABLE_F_DORMANT:
        return
    outcome = run_chain(ctx, chain, dev)
    if outcome.action is None:
        record(ctx, chain, outcome, dev, "nat" if outcome.rule else "netfilter", outcome.name)
        if outcome.code == NF_DROP:
            raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
        if outcome.code != NF_ACCEPT:
            _strange(ctx, chain, outcome, dev)
        return
    if outcome.action.name not in ("nat", "masq", "redir"):
        _act(ctx, outcome, dev)
    mapping = nat.mapping_of(ctx, outcome.action, nexthop)
    if mapping.error or mapping.source != source:
        what = mapping.error or "translation at the wrong hook"
        ctx.run.unknown(
            ctx.ns,
            "nat",
            dev,
            ctx.packet,
            what,
            f"A nat rule asks for what is not modelled: {what}.",
            rule=outcome.rule,
        )
    record(ctx, chain, outcome, dev, "nat", outcome.action.name)
    if mapping.drop:
        ctx.run.drop(
            ctx.ns,
            "nat",
            dev,
            ctx.packet,
            "NETFILTER_DROP",
            "There is no address to translate to: the packet is dropped.",
        )
    apply_mapping(ctx, mapping, source, dev)


def check_netdev(run: Run, ns: NetnsState, link: Link, packet: Packet, egress: bool) -> None:
    """Pass a frame through the netdev chains (and inet ingress chains) of a device.

    Unmodelled: what such a chain does to the packet; one that may not plainly accept ends the walk.
    """
    index = base_chains(ns.nft_chains)
    found = list(index.get((NFPROTO_NETDEV, 1 if egress else 0), ()))
    if not egress:
        found += index.get((NFPROTO_INET, 5), ())
    for chain in found:
        if link.ifname not in chain.devs:
            continue
        if packet.vlan:
            why = f"Chain {chain_text(chain)} sees a tagged frame, which is not modelled."
            run.unknown(ns, "netfilter", link.ifname, packet, "tagged frame in a netdev chain", why)
        ctx = Context(run, ns, packet, NFPROTO_NETDEV, 5, None if egress else link, link if egress else None)
        _filter_chain(ctx, chain, link.ifname)
        if ctx.packet is not packet:
            run.unknown(
                ns,
                "netfilter",
                link.ifname,
                packet,
                f"chain {chain_text(chain)}",
                f"Chain {chain_text(chain)} changes the packet, which is not modelled there.",
            )


BRIDGE_HOOKS = {"pre": 0, "in": 1, "forward": 2, "out": 3, "post": 4}


def bridge_hook(
    run: Run,
    ns: NetnsState,
    packet: Packet,
    hook: str,
    port: Link | None,
    bridge: Link,
    out: Link | None = None,
) -> Packet:
    """Pass a frame through a bridge's hook: its bridge chains (`br_netfilter` calls the IP hooks).

    Source: net/bridge/br_input.c, br_forward.c (Linux 6.18).
    """
    number = BRIDGE_HOOKS[hook]
    for chain in base_chains(ns.nft_chains).get((NFPROTO_BRIDGE, number), ()):
        ctx = Context(run, ns, packet, NFPROTO_BRIDGE, number, port, out)
        _filter_chain(ctx, chain, bridge.ifname)
        framed = packet.but(smac=ctx.packet.smac, dmac=ctx.packet.dmac, mark=ctx.packet.mark)
        if ctx.packet != framed:
            run.unknown(
                ns,
                "netfilter",
                bridge.ifname,
                packet,
                "bridge chain",
                "A bridge chain changes the packet beyond its MACs and its mark, which is not modelled.",
            )
        packet = ctx.packet
    return packet


def arp_hook(run: Run, ns: NetnsState, packet: Packet, hook: int, iif: Link | None, oif: Link | None) -> None:
    """Pass an ARP message through a hook's chains.

    Source: net/ipv4/arp.c, arp_xmit, arp_rcv; net/bridge/br_netfilter_hooks.c, br_nf_forward_arp (Linux 6.18).
    """
    dev = _dev(iif, oif)
    for chain in base_chains(ns.nft_chains).get((NFPROTO_ARP, hook), ()):
        ctx = Context(run, ns, packet, NFPROTO_ARP, hook, iif, oif)
        _filter_chain(ctx, chain, dev)
        if ctx.packet != packet:
            run.unknown(ns, "netfilter", dev, packet, "ARP chain", "An ARP chain changes the message.")


def calls_ip_hooks(ns: NetnsState, bridge: Link, ipv6: bool) -> bool:
    info = bridge.info if isinstance(bridge.info, BridgeInfo) else None
    own = info is not None and (info.nf_call_ip6tables if ipv6 else info.nf_call_iptables)
    name = "net.bridge.bridge-nf-call-ip6tables" if ipv6 else "net.bridge.bridge-nf-call-iptables"
    return bool(own or value(ns, name))
