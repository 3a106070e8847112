"""TPROXY: give a packet to a transparent socket, whatever its destination.

The packet keeps its addresses and carries the socket; a policy rule that looks at the mark must make
it local. A packet that carries a socket is never forwarded.

Source: net/netfilter/xt_TPROXY.c, tproxy_tg4, tproxy_tg6_v1; net/ipv4/netfilter/nf_tproxy_ipv4.c,
nf_tproxy_get_sock_v4, nf_tproxy_laddr4 (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.netfilter import NF_ACCEPT, NF_DROP
from netviz.core.model.socket import TCP_ESTABLISHED, Socket
from netviz.core.sim.nft_context import Context, Result, Stop, Verdict
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, Packet
from netviz.core.sim.saddr import link_addrs
from netviz.core.sim.socket_lookup import lookup_socket, mapped
from netviz.core.sim.xtables import payloads


def redirect_to_socket(ctx: Context, a: payloads.Tproxy) -> Result:
    """Find the socket and hand the packet to it; without one that is transparent, drop the packet."""
    packet = ctx.packet
    if packet.proto not in (IPPROTO_TCP, IPPROTO_UDP) or ctx.iif is None:
        return Verdict(NF_DROP)
    if packet.sport_unsure or packet.dport_unsure or ctx.run.missing(ctx.ns, "sockets"):
        return Stop("target TPROXY where ports or sockets aren't known")
    found = _connected(ctx, packet)
    if found is None:
        listeners = {_listener(ctx, packet, addr, a.port or packet.dport) for addr in _own_addrs(ctx, a)}
        if len(listeners) > 1:
            return Stop("target TPROXY on a device with several addresses")
        found = listeners.pop()
    if found is None or not found.transparent:
        return Verdict(NF_DROP)
    mark = (packet.mark & ~a.mark_mask & 0xFFFFFFFF) ^ a.mark_value
    ctx.packet = packet.but(mark=mark, sk=found.cookie)
    return Verdict(NF_ACCEPT)


def _connected(ctx: Context, packet: Packet) -> Socket | None:
    for one in ctx.ns.sockets.values():
        if one.state != TCP_ESTABLISHED or one.proto != packet.proto or not any(one.src):
            continue
        if (one.sport, one.dport) != (packet.dport, packet.sport):
            continue
        if one.src in (packet.dst, mapped(packet.dst)) and one.dst in (packet.src, mapped(packet.src)):
            return one
    return None


def _own_addrs(ctx: Context, a: payloads.Tproxy) -> list[bytes]:
    """List the addresses that the listener may be asked at: the rule's, one of the device's, or the packet's."""
    width = len(ctx.packet.dst)
    if any(a.addr[:width]):
        return [a.addr[:width]]
    assert ctx.iif is not None
    own = [one.addr for one in link_addrs(ctx.ns, ctx.iif.ifindex) if len(one.addr) == width]
    return own or [ctx.packet.dst]


def _listener(ctx: Context, packet: Packet, addr: bytes, port: int) -> Socket | None:
    assert ctx.iif is not None
    asked = Packet(packet.src, addr, packet.proto, packet.sport, port)
    found = lookup_socket(ctx.ns, asked, ctx.iif.ifindex)
    return None if found is not None and found.state == TCP_ESTABLISHED else found
