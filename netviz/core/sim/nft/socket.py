"""Expressions that look for the packet's socket: socket and tproxy.

Source: net/netfilter/nft_socket.c; net/ipv4/netfilter/nf_socket_ipv4.c, nf_sk_lookup_slow_v4;
net/netfilter/nft_tproxy.c; net/ipv4/netfilter/nf_tproxy_ipv4.c, nf_tproxy_laddr4 (Linux 6.18).

Unmodelled: control groups; what the sender of the traced flow has set on its socket beside the mark.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netviz.core.model.conntrack import IPS_SRC_NAT, CtTuple
from netviz.core.model.netfilter import NF_LOCAL_OUT
from netviz.core.model.socket import Socket
from netviz.core.sim.listeners import connected, lookup_socket
from netviz.core.sim.nft.context import Context, Result, Tri
from netviz.core.sim.nft.meta import u32
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, TH_ACK, TH_RST, TH_SYN, Packet, invert
from netviz.core.sim.route.saddr import IFA_F_DEPRECATED, IFA_F_SECONDARY, IFA_F_TENTATIVE, link_addrs

TRANSPARENT, MARK, WILDCARD, CGROUPV2 = range(4)


class Client(msgspec.Struct, frozen=True):
    """The socket that sent the traced flow, of which only the flow is known."""

    mark: int
    bound: bool


Owner = Socket | Client


def eval_socket(ctx: Context, a: dict[str, Any]) -> Result:
    """Load what the packet's socket says; a packet without one doesn't match."""
    found = _owner(ctx)
    if isinstance(found, Tri):
        if found is Tri.UNKNOWN:
            ctx.store(a["dreg"], None, 8)
            return Tri.TRUE
        return Tri.FALSE
    key = a.get("key", 0)
    value: bytes | None = None
    if key == MARK:
        value = u32(found.mark)
    elif key == WILDCARD:
        bound = found.bound if isinstance(found, Client) else any(found.src)
        value = bytes([not bound])
    elif key == TRANSPARENT and isinstance(found, Socket):
        value = bytes([found.transparent])
    ctx.store(a["dreg"], value, 8 if key == CGROUPV2 else 4)
    return Tri.TRUE


def _owner(ctx: Context) -> Owner | Tri:
    """Find the packet's socket: FALSE for none, UNKNOWN where that isn't known."""
    packet, ns = ctx.packet, ctx.ns
    if packet.sk:
        return ns.sockets.get(packet.sk) or Tri.UNKNOWN
    if ctx.hook == NF_LOCAL_OUT:
        return _sender(ctx)
    if ctx.iif is None or ctx.run.missing(ns, "sockets"):
        return Tri.FALSE if ctx.iif is None else Tri.UNKNOWN
    wanted = _tuple(ctx)
    if wanted is None:
        return Tri.FALSE
    if wanted.sport == 0 or packet.dport_unsure or packet.sport_unsure:
        return Tri.UNKNOWN
    client = ctx.run.client
    if client is not None and client[0] == ns.key and wanted == invert(client[1]):
        return Client(ctx.run.flow.mark, True) if wanted.proto == IPPROTO_TCP else Tri.UNKNOWN
    found = connected(ns.sockets).get(wanted) if wanted.proto == IPPROTO_TCP else None
    if found is None and packet.tcp_flags & TH_ACK and not packet.tcp_flags & (TH_SYN | TH_RST):
        return Tri.UNKNOWN
    asked = packet.but(
        src=wanted.src, dst=wanted.dst, proto=wanted.proto, sport=wanted.sport, dport=wanted.dport
    )
    return found or lookup_socket(ns, asked, ctx.iif.ifindex) or Tri.FALSE


def _sender(ctx: Context) -> Owner | Tri:
    client = ctx.run.client
    if client is not None and client == (ctx.ns.key, ctx.packet.tuple()):
        return Client(ctx.run.flow.mark, True) if ctx.packet.proto == IPPROTO_TCP else Tri.UNKNOWN
    return Tri.UNKNOWN


def _tuple(ctx: Context) -> CtTuple | None:
    """Say which tuple is looked for: the quoted packet's for an ICMP error, the untranslated one for an answer."""
    packet = ctx.packet
    if packet.inner is not None:
        return invert(packet.inner) if packet.inner.proto in (IPPROTO_TCP, IPPROTO_UDP) else None
    if packet.proto not in (IPPROTO_TCP, IPPROTO_UDP):
        return None
    wanted = packet.tuple()
    conn = ctx.conn
    if conn is not None and packet.ct_reply and conn.status & IPS_SRC_NAT:
        wanted = msgspec.structs.replace(wanted, dst=conn.orig.src, dport=conn.orig.sport)
    return wanted


def eval_tproxy(ctx: Context, a: dict[str, Any]) -> Result:
    """Give the packet to a transparent socket here; without one the rule doesn't match.

    Source: net/netfilter/nft_tproxy.c, nft_tproxy_eval_v4, nft_tproxy_eval_v6 (Linux 6.18).
    """
    packet = ctx.packet
    if packet.arp or packet.proto not in (IPPROTO_TCP, IPPROTO_UDP) or ctx.iif is None:
        return Tri.FALSE
    wanted_family = a.get("family", 0)
    if wanted_family not in (0, 1) and (wanted_family == 10) != packet.ipv6:
        return Tri.FALSE
    width = len(packet.dst)
    addr: bytes | None = b""
    if a.get("reg_addr"):
        addr = ctx.load(a["reg_addr"], width)
    port = ctx.load(a["reg_port"], 2) if a.get("reg_port") else packet.dport.to_bytes(2, "big")
    if addr is None or port is None or ctx.run.missing(ctx.ns, "sockets"):
        return Tri.UNKNOWN
    sock = transparent_socket(ctx, addr, int.from_bytes(port, "big"))
    if sock is None:
        return Tri.FALSE
    ctx.packet = packet.but(sk=sock.cookie)
    return Tri.TRUE


def transparent_socket(ctx: Context, addr: bytes, port: int) -> Socket | None:
    """Find the transparent socket that a packet is given to: its connection's, or a listener's at an address and port.

    No address (b"" or zero) is the first of the device, port 0 the packet's own.

    Source: net/ipv4/netfilter/nf_tproxy_ipv4.c, nf_tproxy_get_sock_v4; net/netfilter/xt_TPROXY.c, tproxy_tg4
    (Linux 6.18).
    """
    packet = ctx.packet
    assert ctx.iif is not None
    sock = connected(ctx.ns.sockets).get(packet.tuple()) if packet.proto == IPPROTO_TCP else None
    if sock is None:
        local = addr if any(addr) else _local_addr(ctx, packet)
        sock = lookup_socket(ctx.ns, packet.but(dst=local, dport=port or packet.dport), ctx.iif.ifindex)
        if sock is not None and packet.proto == IPPROTO_UDP and sock.dport:
            sock = None
    return sock if sock is not None and sock.transparent else None


def _local_addr(ctx: Context, packet: Packet) -> bytes:
    """Choose the address that is redirected to where the rule names none: the device's first."""
    assert ctx.iif is not None
    bad = IFA_F_TENTATIVE | IFA_F_DEPRECATED if packet.ipv6 else IFA_F_SECONDARY
    for addr in link_addrs(ctx.ns, ctx.iif.ifindex):
        if len(addr.addr) == len(packet.dst) and not addr.flags & bad:
            return addr.addr
    return packet.dst
