"""The `reject` statement: a RST or an ICMP error back to the sender.

Source: net/netfilter/nft_reject_inet.c, nft_reject.c; net/ipv4/netfilter/nf_reject_ipv4.c,
nf_send_reset, nf_send_unreach (Linux 6.18).
"""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.ids import LinkKey
from netviz.core.model.netfilter import NF_LOCAL_IN, NF_PRE_ROUTING, NftExpr
from netviz.core.sim.actions import Ended, Send, Tx
from netviz.core.sim.nft.context import NF_INET_INGRESS, Context
from netviz.core.sim.nft.meta import PACKET_HOST, packet_type
from netviz.core.sim.nft.payload import is_piece
from netviz.core.sim.packet import (
    ICMP_UNREACH_NAMES,
    ICMPV6_UNREACH_NAMES,
    IPPROTO_TCP,
    TH_ACK,
    TH_RST,
    Packet,
    icmp_error,
)
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.route.icmp import error_source
from netviz.core.sim.route.redirect import silences
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route.saddr import may_send_from
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.steps import Forward
from netviz.core.sim.trace import Disposition

TCP_RST, ICMPX = 1, 2
BEFORE_ROUTING = (NF_PRE_ROUTING, NF_INET_INGRESS)
# nft's family-independent codes: no-route, port, host, admin-prohibited (nft_reject_icmp_code).
ICMPX_V4 = {0: 0, 1: 3, 2: 1, 3: 13}
ICMPX_V6 = {0: 0, 1: 4, 2: 3, 3: 1}


def reject(ctx: Context, expr: NftExpr) -> NoReturn:
    """End the walk with the answer that the statement sends. The chain has recorded the decision."""
    kind = expr.attrs.get("type", 0)
    if kind == TCP_RST:
        _reset(ctx)
    code = int(expr.attrs.get("icmp_code", 0))
    if kind == ICMPX:
        code = (ICMPX_V6 if ctx.packet.ipv6 else ICMPX_V4).get(code, code)
    names = ICMPV6_UNREACH_NAMES if ctx.packet.ipv6 else ICMP_UNREACH_NAMES
    _unreachable(ctx, code, names.get(code, f"icmp code {code}"))


def _reset(ctx: Context) -> NoReturn:
    packet = ctx.packet
    if packet.proto != IPPROTO_TCP or packet.tcp_flags & TH_RST:
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    back = Packet(
        packet.dst,
        packet.src,
        packet.proto,
        packet.dport,
        packet.sport,
        length=60 if packet.ipv6 else 40,
        tcp_flags=TH_RST | TH_ACK,
        df=True,
        sport_unsure=packet.dport_unsure,
        dport_unsure=packet.sport_unsure,
    )
    if _as_frame(ctx):
        _send_back(ctx, "tcp-reset", back)
    if packet.physin:
        _send_past_the_bridge(ctx, back)
    # nf_send_reset attaches the packet's own connection, confirmed or not
    tracked = packet.ct is not None
    back = back.but(ct=packet.ct, ct_reply=tracked and not packet.ct_reply, ct_related=tracked)
    nobodys = Send(ctx.ns.key, back, own=False)
    raise Ended(Disposition.REJECTED, "tcp-reset", back, ctx.ns.key, back=nobodys)


def _unreachable(ctx: Context, code: int, name: str) -> NoReturn:
    packet = ctx.packet
    if is_piece(ctx):
        # nf_send_unreach: a piece's checksum can't be right
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    if _as_frame(ctx):
        error = icmp_error(packet.but(pkttype=None), "port", packet.dst)
        if error is None:
            raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
        _send_back(ctx, name, error.but(icmp_code=code, tos=0, df=not packet.ipv6, ct=None))
    if ctx.hook == NF_INET_INGRESS and packet_type(ctx)[0] != PACKET_HOST:
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")  # no errors about what is for another host
    bridged = bool(packet.physin and packet.physout)  # routed by nobody
    local = not bridged and ctx.hook not in BEFORE_ROUTING
    # before its own route is known, the packet gets the one that leads to its source (nf_reject_fill_skb_dst)
    own = not packet.ipv6 and ctx.hook in BEFORE_ROUTING and lookup_route(ctx.ns, RouteFlow(packet.src)).local
    # br_validate_ipv6 forgets by which device a bridged packet came in
    forgotten = bridged or (packet.physin and ctx.hook == NF_PRE_ROUTING)
    iif = None if packet.ipv6 and forgotten else ctx.iif
    source, sourceless = error_source(ctx.ns, iif, packet, local or own)
    if (own or ctx.hook == NF_LOCAL_IN) and not may_send_from(ctx.ns, packet.dst):
        source = b""  # answered as who was asked, which is not a local address: the error has no route
    error = icmp_error(packet, "port", source)
    if error is not None:
        error = error.but(icmp_code=code)
        if packet.redirects and silences(ctx.ns, error.icmp_type, code):
            what = Forward("drop", "redirect sent", icmp=name)
            ctx.run.end_dropped(ctx.ns, ctx.oif, packet, "NETFILTER_DROP", what)
    raise Ended(Disposition.REJECTED, name, error, ctx.ns.key, sourceless)


def _as_frame(ctx: Context) -> bool:
    """Tell whether the answer is a frame of its own: in the bridge and netdev families."""
    return ctx.bridged


def _send_past_the_bridge(ctx: Context, back: Packet) -> NoReturn:
    """Send a reset about a packet that came in by a bridge's port straight out of that port, if it has a route.

    Source: net/ipv4/netfilter/nf_reject_ipv4.c, nf_send_reset; net/ipv6/netfilter/nf_reject_ipv6.c,
    nf_send_reset6 (nf_bridge_info_exists) (Linux 6.18).
    """
    packet = ctx.packet
    if lookup_route(ctx.ns, route_flow(back)).error or packet.physin not in ctx.ns.links:
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    back = back.but(smac=packet.dmac, dmac=packet.smac)
    raise Ended(
        Disposition.REJECTED,
        "tcp-reset",
        back,
        ctx.ns.key,
        back=Tx(LinkKey(ctx.ns.key, packet.physin), back, back.dst),
    )


def _send_back(ctx: Context, name: str, answer: Packet) -> NoReturn:
    """Send an answer out of the device that the packet came in by, to the MAC that it came from.

    Source: net/netfilter/nft_reject_netdev.c, nft_reject_queue_xmit; net/bridge/netfilter/nft_reject_bridge.c
    (Linux 6.18).
    """
    packet = ctx.packet
    if ctx.iif is None or (packet.dmac and packet.dmac[0] & 1):
        raise Ended(Disposition.DROPPED, "NETFILTER_DROP")
    answer = answer.but(smac=packet.dmac, dmac=packet.smac, ct=None, ct_reply=False, ct_related=False)
    via = LinkKey(ctx.ns.key, ctx.iif.ifindex)
    raise Ended(Disposition.REJECTED, name, answer, ctx.ns.key, back=Tx(via, answer, answer.dst))
