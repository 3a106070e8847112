"""TPROXY: give a packet to a transparent socket, whatever its destination.

The packet keeps its addresses and carries the socket; a policy rule that looks at the mark must make
it local. A packet that carries a socket is never forwarded.

Source: net/netfilter/xt_TPROXY.c, tproxy_tg4, tproxy_tg6_v1 (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.netfilter import NF_ACCEPT, NF_DROP
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.context import Context, Result, Stop
from netviz.core.sim.nft.socket import transparent_socket
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.xtables import target_payloads


def redirect_to_socket(ctx: Context, a: target_payloads.Tproxy) -> Result:
    """Find the socket and hand the packet to it; without one that is transparent, drop the packet."""
    packet = ctx.packet
    if packet.proto not in (IPPROTO_TCP, IPPROTO_UDP) or ctx.iif is None:
        return Verdict(NF_DROP)
    if packet.sport_unsure or packet.dport_unsure or ctx.run.missing(ctx.ns, "sockets"):
        return Stop("target TPROXY where ports or sockets aren't known")
    found = transparent_socket(ctx, a.addr[: len(packet.dst)], a.port)
    if found is None:
        return Verdict(NF_DROP)
    mark = (packet.mark & ~a.mark_mask & 0xFFFFFFFF) ^ a.mark_value
    ctx.packet = packet.but(mark=mark, sk=found.cookie)
    return Verdict(NF_ACCEPT)
