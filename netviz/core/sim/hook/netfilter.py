"""Netfilter's hooks of IPv4 and IPv6, and what each chain does to a packet.

`hooks.py` says what is called at a hook, in order; `frame_hooks.py` has the hooks of frames. Legacy tables whose
rules aren't known, expressions that aren't modelled, and rules that were not read end the walk as UNKNOWN or fork it:
nothing falls through to accept.

Source: net/netfilter/core.c, nf_hook_slow; net/netfilter/nf_tables_core.c, nft_do_chain (Linux 6.18).
"""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.conntrack import IPS_DST_NAT, IPS_SRC_NAT
from netviz.core.model.link import BridgeInfo, Link
from netviz.core.model.netfilter import (
    NF_ACCEPT,
    NF_DROP,
    NF_LOCAL_OUT,
    NF_PRE_ROUTING,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NftChain,
    XtTable,
)
from netviz.core.sim.actions import Ended
from netviz.core.sim.conntrack import nat
from netviz.core.sim.conntrack.ct_index import is_plain, portless
from netviz.core.sim.conntrack.nat_unique import NatMapping
from netviz.core.sim.conntrack.track import TIME_WAIT, choose_tunnels, confirm, find, track
from netviz.core.sim.hook.hooks import (
    HOOK_CHAINS,
    base_chains,
    families,
    goes_first,
    hook_entries,
    nothing_hooked,
    ordered,
)
from netviz.core.sim.hook.ipvs import pass_ipvs
from netviz.core.sim.hook.reject import reject
from netviz.core.sim.nft.chain import Outcome, run_chain
from netviz.core.sim.nft.context import Context
from netviz.core.sim.nft.text import HOOK_NAMES
from netviz.core.sim.packet import Packet, invert
from netviz.core.sim.run import Run
from netviz.core.sim.steps import HookVerdict, Nat
from netviz.core.sim.steps.hook import NF_ACTIONS, NfAction
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import CERTAIN, UNCERTAIN, Disposition
from netviz.core.state.node import NetnsState


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
    return _pass(run, ns, packet, hook, iif, oif, nexthop)[0]


def prerouting_hook(run: Run, ns: NetnsState, packet: Packet, iif: Link) -> tuple[Packet, bool]:
    """Pass a packet through the prerouting hook. Also tells whether a route that it has already is forgotten there.

    Source: net/netfilter/nf_nat_proto.c, nf_nat_ipv4_pre_routing, nf_nat_ipv6_in (Linux 6.18).
    """
    packet, rerouted = _pass(run, ns, packet, NF_PRE_ROUTING, iif, None, b"")
    return packet, rerouted is not None


def output_hook(
    run: Run, ns: NetnsState, packet: Packet, oif: Link, nexthop: bytes
) -> tuple[Packet, Packet | None]:
    """Pass the host's own packet through the output hook.

    Also returns the packet as it was when its route was looked up again, None where it wasn't: only chains of
    type route, the legacy mangle table and a translated destination make the kernel do so.

    Source: net/netfilter/nft_chain_route.c; net/ipv4/netfilter/iptable_mangle.c, ipt_mangle_out;
    net/netfilter/nf_nat_proto.c, nf_nat_ipv4_local_fn (Linux 6.18).
    """
    return _pass(run, ns, packet, NF_LOCAL_OUT, None, oif, nexthop)


def _pass(
    run: Run,
    ns: NetnsState,
    packet: Packet,
    hook: int,
    iif: Link | None,
    oif: Link | None,
    nexthop: bytes,
) -> tuple[Packet, Packet | None]:
    """Call what is hooked; also returns the packet as it was when its route was forgotten there, None where it wasn't."""
    dev = oif if oif is not None else iif
    for section in ("nft_chains", "xt_tables"):
        run.check_gap(ns, section, HookVerdict, dev, packet)
    if nothing_hooked(ns):
        return packet, None
    family = NFPROTO_IPV6 if packet.ipv6 else NFPROTO_IPV4
    ctx = Context(run, ns, packet, family, hook, iif, oif, nexthop)
    for entry in hook_entries(run, ns, hook, packet, dev):
        if entry.what == "conntrack":
            ctx.packet = track(run, ns, ctx.packet, dev)
        elif entry.what == "nat":
            _nat(ctx, dev, nexthop)
        elif entry.what == "ipvs":
            ctx.packet = pass_ipvs(run, ns, ctx.packet, hook, dev)
        elif entry.what == "confirm":
            _confirm(ctx, dev)
        elif entry.xt is not None:
            _legacy(ctx, entry.xt, dev)
        elif entry.chain is not None:
            _ip_chain(ctx, entry.chain, dev)
    return ctx.packet, ctx.rerouted


def _ip_chain(ctx: Context, chain: NftChain, dev: Link | None) -> None:
    before = ctx.packet
    filter_chain(ctx, chain, dev)
    reroutes = chain.type == "route" or (ctx.legacy and chain.table == "mangle")
    if reroutes and ctx.hook == NF_LOCAL_OUT and _route_key(before) != _route_key(ctx.packet):
        ctx.rerouted = ctx.packet


def _route_key(packet: Packet) -> tuple[object, ...]:
    """Return what makes the kernel look for a route again when it changes."""
    return packet.src, packet.dst, packet.mark, packet.tos, packet.ttl if packet.ipv6 else 0


def _legacy(ctx: Context, xt: XtTable, dev: Link | None) -> NoReturn:
    ctx.run.end_unknown(
        ctx.ns,
        dev,
        ctx.packet,
        HookVerdict(
            "unknown",
            "legacy table",
            hook=HOOK_NAMES[ctx.hook],
            table=xt.name,
            ipv6=xt.family == NFPROTO_IPV6,
        ),
    )


def filter_chain(ctx: Context, chain: NftChain, dev: Link | None) -> None:
    """Run a base chain; ends the walk unless it accepts."""
    conclude(ctx, chain, run_chain(ctx, chain, dev), dev)


def conclude(ctx: Context, chain: NftChain, outcome: Outcome, dev: Link | None) -> None:
    """Record what a base chain came to, and do it."""
    record(ctx, chain, outcome, dev)
    if outcome.action is not None:
        _act(ctx, outcome, dev)
    if outcome.code == NF_DROP:
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    if outcome.code != NF_ACCEPT:
        _strange(ctx, chain, outcome, dev)


def _strange(ctx: Context, chain: NftChain, outcome: Outcome, dev: Link | None) -> NoReturn:
    ctx.run.end_unknown(
        ctx.ns,
        dev,
        ctx.packet,
        HookVerdict("unknown", "verdict", chain=ctx.chain_ref(chain), what=outcome.name),
    )


def _act(ctx: Context, outcome: Outcome, dev: Link | None) -> None:
    """Carry out a statement that ended a chain."""
    assert outcome.action is not None
    if outcome.action.name == "reject":
        reject(ctx, outcome.action)
    ctx.run.end_unknown(
        ctx.ns, dev, ctx.packet, HookVerdict("unknown", "statement", what=outcome.action.name)
    )


def record(
    ctx: Context, chain: NftChain, outcome: Outcome, dev: Link | None, translates: bool = False
) -> None:
    """Record what a base chain decided."""
    ctx.run.record(
        ctx.ns,
        dev,
        ctx.packet,
        HookVerdict(
            _action(outcome),
            chain=ctx.chain_ref(chain),
            hook=HOOK_NAMES[ctx.hook] if ctx.hook < len(HOOK_NAMES) else str(ctx.hook),
            hit=outcome.hit,
            matched=outcome.matched,
            translates=translates,
            called_by=_caller(ctx.ns, ctx.packet.ipv6) if _is_bridged(ctx) else "",
        ),
        reason="NETFILTER_DROP" if outcome.code == NF_DROP and outcome.action is None else "",
        certainty=UNCERTAIN if outcome.forked else CERTAIN,
        copies=tuple(ctx.copies),
    )


def _action(outcome: Outcome) -> NfAction:
    """Return what a chain came to, from the closed list; "unknown" where it isn't in that."""
    name = outcome.name
    return NF_ACTIONS.get(name, "unknown")


def _nat(ctx: Context, dev: Link | None, nexthop: bytes) -> None:
    """Consult nat chains if the connection is new, then translate the packet."""
    packet, run, ns = ctx.packet, ctx.run, ctx.ns
    number = packet.ct
    if number is None:
        return
    source = nat.manip_is_source(ctx.hook)
    if nat.wants_rules(run, packet, ctx.hook):
        index = base_chains(ns.nft_chains)
        chains = [chain for family in families(packet.ipv6) for chain in index.get((family, ctx.hook), ())]
        for chain in _nat_order(ctx, chains):
            if chain.type == "nat" and not nat.initialized(run.memory.conns[number], source):
                _nat_chain(ctx, chain, dev, nexthop, source)
        if not nat.initialized(run.memory.conns[number], source):
            apply_mapping(ctx, None, source, dev)
    ctx.packet = nat.translate(run, ns, ctx.packet, ctx.hook, dev)
    if ctx.hook == NF_PRE_ROUTING and ctx.packet.dst != packet.dst:
        ctx.rerouted = ctx.packet
    conn, reply = run.memory.conns[number], ctx.packet.ct_reply
    if ctx.hook == NF_LOCAL_OUT and conn.tuple_of(reply).dst != conn.tuple_of(not reply).src:
        ctx.rerouted = ctx.packet


def _nat_order(ctx: Context, chains: list[NftChain]) -> list[NftChain]:
    """Order nat chains by priority, those of a legacy table among them."""
    own = NFPROTO_IPV6 if ctx.packet.ipv6 else NFPROTO_IPV4
    ranked = [(chain.priority, 0, chain) for chain in ordered(ctx.ns, chains) if chain.type == "nat"]
    legacy = ctx.ns.xt_chains.get((own, "nat", HOOK_CHAINS[ctx.hook]))
    if legacy is not None:
        rivals = [chain for priority, _, chain in ranked if priority == legacy.priority]
        first = goes_first(ctx.run, ctx.ns, ctx.packet, ctx.oif or ctx.iif, legacy, list(rivals))
        ranked.append((legacy.priority, -1 if first else 1, legacy))
    return [chain for _, _, chain in sorted(ranked, key=lambda entry: entry[:2])]


def apply_mapping(ctx: Context, mapping: NatMapping | None, source: bool, dev: Link | None) -> None:
    """Decide the connection's translation."""
    number = ctx.packet.ct
    assert number is not None
    nat.set_up(ctx.run, ctx.ns, number, mapping, source)
    packet = ctx.packet
    tunnel = (packet.proto, packet.src, packet.dst, packet.dport) if packet.payload is not None else None
    known = portless(ctx.ns.conntrack).get(tunnel, {}) if tunnel is not None else {}
    plain = any(is_plain(*one) for one in known.values())
    conn = ctx.run.memory.conns[number]
    if plain and conn.reply != invert(conn.orig) and choose_tunnels(ctx.run, ctx.ns, packet, dev, 2):
        status = conn.status & ~(IPS_SRC_NAT | IPS_DST_NAT)
        ctx.run.change_conn(number, reply=invert(conn.orig), unsure="", status=status)


def _confirm(ctx: Context, dev: Link | None) -> None:
    """Make a packet's new connection known, or drop it where another one has the tuple of its answers.

    Unmodelled: whether TCP may take the tuple of a connection in TIME_WAIT, which its sequence numbers decide.

    Source: net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm, nf_ct_resolve_clash, nf_ct_resolve_clash_harder; nf_nat_core.c,
    nf_nat_used_tuple_harder (Linux 6.18).
    """
    run, packet = ctx.run, ctx.packet
    number, conn = packet.ct, run.conn(packet.ct)
    if number is None or conn is None or conn.confirmed or conn.unsure:
        confirm(run, ctx.ns, packet)
        return
    rival = find(run, ctx.ns, conn.reply, conn.zone)
    if rival is None or rival[0] == number:
        confirm(run, ctx.ns, packet)
        return
    if run.memory.conns[rival[0]].tcp_state == TIME_WAIT:
        run.end_unknown(ctx.ns, dev, packet, Nat("unknown", "no free port"))
    run.end_dropped(ctx.ns, dev, packet, "NETFILTER_DROP", Nat("drop", "no free port"))


def _nat_chain(ctx: Context, chain: NftChain, dev: Link | None, nexthop: bytes, source: bool) -> None:
    outcome = run_chain(ctx, chain, dev)
    if outcome.action is None:
        record(ctx, chain, outcome, dev, translates=outcome.hit is not None)
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
        ctx.run.end_unknown(
            ctx.ns,
            dev,
            ctx.packet,
            Nat("unknown", "statement", hit=outcome.hit, within=ctx.chain_ref(chain), what=what),
        )
    record(ctx, chain, outcome, dev, translates=True)
    if mapping.drop:
        ctx.run.end_dropped(ctx.ns, dev, ctx.packet, "NETFILTER_DROP", Nat("drop", "no address"))
    apply_mapping(ctx, mapping, source, dev)


def calls_ip_hooks(ns: NetnsState, bridge: Link, ipv6: bool) -> bool:
    """Tell whether a bridge passes its packets through the hooks of IPv4 or IPv6."""
    info = bridge.info if isinstance(bridge.info, BridgeInfo) else None
    own = info is not None and (info.nf_call_ip6tables if ipv6 else info.nf_call_iptables)
    return bool(own or value(ns, _call_setting(ipv6)))


def _call_setting(ipv6: bool) -> str:
    return "net.bridge.bridge-nf-call-ip6tables" if ipv6 else "net.bridge.bridge-nf-call-iptables"


def _is_bridged(ctx: Context) -> bool:
    """Tell whether a chain sees a packet that a bridge passes through the IP hooks."""
    coming = ctx.hook == NF_PRE_ROUTING and ctx.packet.physin != 0
    return ctx.family in (NFPROTO_IPV4, NFPROTO_IPV6) and (coming or ctx.packet.physout != 0)


def _caller(ns: NetnsState, ipv6: bool) -> str:
    """Name what makes a bridge pass its packets through the IP hooks: the namespace's setting, or its own."""
    name = _call_setting(ipv6)
    return name if value(ns, name) else "the bridge's own setting"
