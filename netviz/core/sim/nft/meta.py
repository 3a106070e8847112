"""Meta data of a packet: its device, mark, kind, sender, the time; and rt, what its route says.

Source: net/netfilter/nft_meta.c, nft_meta_get_eval, nft_meta_set_eval; net/bridge/netfilter/nft_meta_bridge.c;
net/netfilter/nft_rt.c (Linux 6.18).

Unmodelled: priorities, classes and realms, security marks, the clock, which processor: each may match or not.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from netviz.core.model.link import IFF_LOOPBACK, BridgeInfo, Link
from netviz.core.model.netfilter import (
    NF_FORWARD,
    NF_LOCAL_IN,
    NF_LOCAL_OUT,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_BRIDGE,
)
from netviz.core.sim.nft import headers
from netviz.core.sim.nft.context import NF_INET_INGRESS, NF_NETDEV_EGRESS, Context, Result, Stop, Tri, Uniform
from netviz.core.sim.nft.payload import is_piece
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_TCP,
    IPPROTO_UDP,
    TH_ACK,
    TH_RST,
    Packet,
)

PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST = range(4)
ETH_HLEN = 14
U32_VALUES = 1 << 32
Value = bytes | Tri | Uniform | None


class Key(IntEnum):
    """NFT_META_*."""

    LEN = 0
    PROTOCOL = 1
    PRIORITY = 2
    MARK = 3
    IIF = 4
    OIF = 5
    IIFNAME = 6
    OIFNAME = 7
    IIFTYPE = 8
    OIFTYPE = 9
    SKUID = 10
    SKGID = 11
    NFTRACE = 12
    RTCLASSID = 13
    SECMARK = 14
    NFPROTO = 15
    L4PROTO = 16
    BRI_IIFNAME = 17
    BRI_OIFNAME = 18
    PKTTYPE = 19
    CPU = 20
    IIFGROUP = 21
    OIFGROUP = 22
    CGROUP = 23
    PRANDOM = 24
    SECPATH = 25
    IIFKIND = 26
    OIFKIND = 27
    BRI_IIFPVID = 28
    BRI_IIFVPROTO = 29
    TIME_NS = 30
    TIME_DAY = 31
    TIME_HOUR = 32
    SDIF = 33
    SDIFNAME = 34
    BRI_BROUTE = 35
    BRI_IIFHWADDR = 36


def u32(value: int) -> bytes:
    """Write a number as a register holds it."""
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def ifname(link: Link | None) -> bytes:
    """Write a device's name as a register holds it."""
    return text(link.ifname if link is not None else "")


def text(name: str) -> bytes:
    """Write a name as a register holds it (IFNAMSIZ)."""
    return name.encode().ljust(16, b"\0")[:16]


def _length(ctx: Context) -> Value:
    if is_piece(ctx):
        return None
    return u32(ctx.packet.length + (ETH_HLEN if ctx.hook == NF_NETDEV_EGRESS else 0))


def _l4proto(ctx: Context) -> Value:
    return Tri.FALSE if ctx.packet.arp else bytes([ctx.packet.proto])


def _kind(link: Link | None) -> Value:
    return text(link.kind) if link is not None and link.kind else Tri.FALSE


def _type(link: Link | None) -> Value:
    return link.arptype.to_bytes(2, "little") if link is not None else Tri.FALSE


def _group(link: Link | None) -> Value:
    return u32(link.group) if link is not None else Tri.FALSE


def by_kernel(packet: Packet) -> bool:
    """Tell whether a packet is sent by a socket of the kernel's own, which belongs to no program.

    Source: net/ipv4/tcp_ipv4.c, tcp_v4_send_reset; net/ipv4/icmp.c, icmp_reply, __icmp_send; net/ipv6/ndisc.c,
    ndisc_send_skb (Linux 6.18).
    """
    asked = packet.is_icmp and packet.icmp_type not in (ICMP_ECHO, ICMPV6_ECHO_REQUEST)
    return asked or packet.inner is not None or bool(packet.tcp_flags & TH_RST)


def _sender(ctx: Context) -> Value:
    """Answer whose socket sent the packet: nobody's here for what is forwarded or what the kernel itself sends.

    A tunnel's outer packet belongs to whom the inner one does.

    Source: net/netfilter/nft_meta.c, nft_meta_get_eval_skugid; net/ipv4/tcp_ipv4.c, tcp_v4_early_demux (Linux 6.18).
    """
    packet = ctx.packet
    if packet.innermost.own:
        return Tri.FALSE if by_kernel(packet.innermost) else None
    if packet.sk:
        return None
    demuxed = packet.proto == IPPROTO_UDP or (packet.proto == IPPROTO_TCP and packet.tcp_flags & TH_ACK)
    return None if ctx.hook == NF_LOCAL_IN and demuxed and not ctx.bridged else Tri.FALSE


def _has_route(ctx: Context) -> bool:
    if ctx.bridged or ctx.hook == NF_INET_INGRESS:
        return False
    return ctx.hook != NF_PRE_ROUTING or (ctx.iif is not None and bool(ctx.iif.flags & IFF_LOOPBACK))


def packet_type(ctx: Context) -> bytes:
    """Tell whom a frame is for.

    Source: net/ethernet/eth.c, eth_type_trans; net/bridge/br_input.c, br_handle_frame (Linux 6.18).
    """
    packet = ctx.packet
    if packet.pkttype is not None:
        return bytes([packet.pkttype])
    framed = ctx.bridged or ctx.hook == NF_INET_INGRESS
    arriving = framed or ctx.hook in (NF_PRE_ROUTING, NF_LOCAL_IN)
    if not arriving or not packet.dmac or ctx.iif is None:
        return bytes([PACKET_HOST])
    bridge = ctx.ns.links.get(ctx.iif.master) if ctx.family == NFPROTO_BRIDGE else None
    found = received_as(packet.dmac, ctx.iif, bridge)
    return bytes([PACKET_HOST if found == PACKET_OTHERHOST and not framed else found])


def received_as(dmac: bytes, link: Link, bridge: Link | None = None) -> int:
    """Return whom a frame is for that comes in by a link, which may be a bridge's port: PACKET_*."""
    if dmac[0] & 1:
        return PACKET_BROADCAST if dmac == b"\xff" * 6 else PACKET_MULTICAST
    return PACKET_HOST if dmac in (link.mac, bridge.mac if bridge is not None else b"") else PACKET_OTHERHOST


def _bridge_of(ctx: Context, link: Link | None) -> Value:
    """Name the bridge of a port. Source: net/bridge/netfilter/nft_meta_bridge.c, nft_meta_get_bridge (Linux 6.18)."""
    if link is None:
        return Tri.FALSE
    bridge = link if link.kind == "bridge" else ctx.ns.links.get(link.master)
    return ifname(bridge) if bridge is not None and bridge.kind == "bridge" else Tri.FALSE


def _bridge_vlans(ctx: Context) -> Value:
    bridge = ctx.ns.links.get(ctx.iif.master) if ctx.iif is not None else None
    info = bridge.info if bridge is not None and isinstance(bridge.info, BridgeInfo) else None
    return Tri.FALSE if info is None or not info.vlan_filtering else None


def _spread(ctx: Context) -> Value:
    return Uniform(U32_VALUES, 0, ("random", ctx.ns.key, ctx.rule_id, ctx.packet.tuple()))


READERS: dict[int, Callable[[Context], Value]] = {
    Key.LEN: _length,
    Key.PROTOCOL: lambda ctx: headers.protocol(ctx.packet).to_bytes(2, "big"),
    Key.MARK: lambda ctx: u32(ctx.packet.mark),
    Key.IIF: lambda ctx: u32(ctx.iif.ifindex if ctx.iif is not None else 0),
    Key.OIF: lambda ctx: u32(ctx.oif.ifindex if ctx.oif is not None else 0),
    Key.IIFNAME: lambda ctx: ifname(ctx.iif),
    Key.OIFNAME: lambda ctx: ifname(ctx.oif),
    Key.IIFTYPE: lambda ctx: _type(ctx.oif if ctx.hook == NF_NETDEV_EGRESS else ctx.iif),
    Key.OIFTYPE: lambda ctx: _type(ctx.oif),
    Key.SKUID: _sender,
    Key.SKGID: _sender,
    Key.CGROUP: lambda ctx: None if ctx.packet.innermost.own else _sender(ctx),
    Key.RTCLASSID: lambda ctx: None if _has_route(ctx) else Tri.FALSE,
    Key.NFPROTO: lambda ctx: bytes([ctx.family]),
    Key.L4PROTO: _l4proto,
    Key.BRI_IIFNAME: lambda ctx: _bridge_of(ctx, ctx.iif),
    Key.BRI_OIFNAME: lambda ctx: _bridge_of(ctx, ctx.oif),
    Key.BRI_IIFPVID: _bridge_vlans,
    Key.BRI_IIFVPROTO: _bridge_vlans,
    Key.BRI_IIFHWADDR: lambda ctx: _bridge_mac(ctx),
    Key.PKTTYPE: packet_type,
    Key.IIFGROUP: lambda ctx: _group(ctx.iif),
    Key.OIFGROUP: lambda ctx: _group(ctx.oif),
    Key.IIFKIND: lambda ctx: _kind(ctx.iif),
    Key.OIFKIND: lambda ctx: _kind(ctx.oif),
    Key.PRANDOM: _spread,
    Key.SECPATH: lambda ctx: b"\0",
    Key.SDIF: lambda ctx: _slave(ctx, lambda link: u32(link.ifindex), u32(0)),
    Key.SDIFNAME: lambda ctx: _slave(ctx, ifname, Tri.FALSE),
}


def _bridge_mac(ctx: Context) -> Value:
    bridge = ctx.ns.links.get(ctx.iif.master) if ctx.iif is not None else None
    return bridge.mac if bridge is not None else Tri.FALSE


def _slave(ctx: Context, value: Callable[[Link], bytes], otherwise: Value) -> Value:
    """Answer about the slave device behind an l3 master. Source: net/netfilter/nft_meta.c, nft_meta_get_eval_sdif."""
    master = ctx.iif is not None and ctx.iif.kind == "vrf"
    return None if master else otherwise


def eval_meta(ctx: Context, a: dict[str, Any]) -> Result:
    """Load or set meta data."""
    key = a.get("key", 0)
    if "sreg" in a and "dreg" not in a:
        return _set(ctx, key, a["sreg"])
    reader = READERS.get(key)
    value = reader(ctx) if reader is not None else None
    if isinstance(value, Tri):
        return value
    if isinstance(value, Uniform):
        ctx.store_spread(a["dreg"], value)
    else:
        ctx.store(a["dreg"], value, 16)
    return Tri.TRUE


def _set(ctx: Context, key: int, reg: int) -> Result:
    if key in (Key.NFTRACE, Key.PRIORITY, Key.SECMARK):
        return Tri.TRUE
    have = ctx.load(reg, 4)
    if key == Key.MARK and have is not None:
        ctx.packet = ctx.packet.but(mark=int.from_bytes(have, "little"))
        return Tri.TRUE
    if key == Key.PKTTYPE and have is not None:
        if have[0] <= PACKET_OTHERHOST:
            ctx.packet = ctx.packet.but(pkttype=have[0])
        return Tri.TRUE
    return Stop(f"meta set {Key(key).name.lower() if key in set(Key) else key}")


def eval_rt(ctx: Context, a: dict[str, Any]) -> Result:
    """Load what the packet's route says: its next hop. Source: net/netfilter/nft_rt.c, nft_rt_get_eval (Linux 6.18)."""
    classid, nexthop4, nexthop6, _tcpmss, xfrm = range(5)
    key = a.get("key", 0)
    if not _has_route(ctx):
        return Tri.FALSE
    packet = ctx.packet
    value: bytes | None = None
    if key in (nexthop4, nexthop6):
        if packet.ipv6 != (key == nexthop6):
            return Tri.FALSE
        routed = ctx.hook in (NF_FORWARD, NF_LOCAL_OUT, NF_POST_ROUTING)
        value = ctx.nexthop or None if routed else packet.dst
    elif key == xfrm:
        value = b"\0"
    assert key != classid or value is None
    ctx.store(a["dreg"], value, 16)
    return Tri.TRUE
