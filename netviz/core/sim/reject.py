"""The `reject` statement: a RST or an ICMP error back to the sender.

Source: net/netfilter/nft_reject_inet.c, nft_reject.c; net/ipv4/netfilter/nf_reject_ipv4.c,
nf_send_reset, nf_send_unreach (Linux 6.18).
"""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.netfilter import NftExpr
from netviz.core.sim.icmp import error_source
from netviz.core.sim.nft_context import Context
from netviz.core.sim.packet import (
    ICMP_UNREACH_NAMES,
    ICMPV6_UNREACH_NAMES,
    IPPROTO_TCP,
    TH_ACK,
    TH_RST,
    Packet,
    icmp_error,
)
from netviz.core.sim.run import Ended
from netviz.core.sim.trace import Disposition

TCP_RST, ICMPX = 1, 2
# nft's family-independent codes: no-route, port, host, admin-prohibited (nft_reject_icmp_code).
ICMPX_V4 = {0: 0, 1: 3, 2: 1, 3: 13}
ICMPX_V6 = {0: 0, 1: 4, 2: 3, 3: 1}


def reject(ctx: Context, expr: NftExpr, dev: str) -> NoReturn:
    """End the walk with the answer that the statement sends. The chain has recorded the decision."""
    packet = ctx.packet
    kind = expr.attrs.get("type", 0)
    if kind == TCP_RST:
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
            ct=packet.ct,  # nf_send_reset attaches the packet's own connection, confirmed or not
            ct_reply=packet.ct is not None and not packet.ct_reply,
            sport_unsure=packet.dport_unsure,
            dport_unsure=packet.sport_unsure,
        )
        raise Ended(Disposition.REJECTED, "tcp-reset", back, ctx.ns.key)
    code = int(expr.attrs.get("icmp_code", 0))
    if kind == ICMPX:
        code = (ICMPX_V6 if packet.ipv6 else ICMPX_V4).get(code, code)
    names = ICMPV6_UNREACH_NAMES if packet.ipv6 else ICMP_UNREACH_NAMES
    name = names.get(code, f"icmp code {code}")
    source, sourceless = error_source(ctx.ns, ctx.iif, packet)
    error = icmp_error(packet, "port", source)
    if error is not None:
        error = error.but(icmp_code=code)
    raise Ended(Disposition.REJECTED, name, error, ctx.ns.key, sourceless)
