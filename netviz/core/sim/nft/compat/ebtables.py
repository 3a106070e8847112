"""Matches and targets of ebtables, which iptables-nft keeps as extensions in chains of the bridge family.

The frame here carries an IP packet or an ARP message, without a VLAN tag.

Source: net/bridge/netfilter/ebt_*.c; net/netfilter/nft_compat.c, nft_target_eval_bridge; each function names its
own (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from netviz.core.model.link import Link
from netviz.core.model.netfilter import NF_ACCEPT, NF_DROP, NFT_CONTINUE, NFT_RETURN
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.compat.answers import inverted, tri
from netviz.core.sim.nft.context import Context, Result, Stop, Tri
from netviz.core.sim.nft.headers import ARP_REQUEST, ARPHRD_ETHER, ETH_P_IP
from netviz.core.sim.nft.meta import (
    PACKET_BROADCAST,
    PACKET_HOST,
    PACKET_MULTICAST,
    PACKET_OTHERHOST,
    packet_type,
)
from netviz.core.sim.packet import BROADCAST_MAC, IPPROTO_ICMP, IPPROTO_ICMPV6, Packet
from netviz.core.sim.xtables.payloads import unpack

SOURCE, DEST, TOS, PROTO, SPORT, DPORT, ICMP, IGMP = (1 << bit for bit in range(8))
MARK_SET, MARK_OR, MARK_AND, MARK_XOR = 0xFFFFFFF0, 0xFFFFFFE0, 0xFFFFFFD0, 0xFFFFFFC0
VERDICT_BITS = 0xF
NF_BR_PRE_ROUTING = 0
ARP_OPCODE, ARP_HTYPE, ARP_PTYPE, ARP_SRC_IP, ARP_DST_IP, ARP_SRC_MAC, ARP_DST_MAC, ARP_GRAT = (
    1 << bit for bit in range(8)
)
# EBT_ACCEPT, EBT_DROP, EBT_CONTINUE, EBT_RETURN by their lowest four bits.
VERDICTS = {0xF: NF_ACCEPT, 0xE: NF_DROP, 0xD: NFT_CONTINUE, 0xC: NFT_RETURN}


def _ip(width: int) -> Callable[[Context, bytes], Tri]:
    """Compare the IP header. Source: net/bridge/netfilter/ebt_ip.c, ebt_ip_mt; ebt_ip6.c, ebt_ip6_mt."""

    def match(ctx: Context, info: bytes) -> Tri:
        packet, at = ctx.packet, 4 * width
        if len(packet.src) != width or packet.arp:
            return Tri.UNKNOWN
        addrs = [info[i : i + width] for i in range(0, at, width)]
        tos, proto, wanted, invert = unpack("4B", info, at)
        for addr, want, mask, bit in (
            (packet.src, addrs[0], addrs[2], SOURCE),
            (packet.dst, addrs[1], addrs[3], DEST),
        ):
            same = all(a & m == w for a, m, w in zip(addr, mask, want, strict=True))
            if wanted & bit and same == bool(invert & bit):
                return Tri.FALSE
        if wanted & TOS and (packet.tos == tos) == bool(invert & TOS):
            return Tri.FALSE
        if not wanted & PROTO:
            return Tri.TRUE
        if (packet.proto == proto) == bool(invert & PROTO):
            return Tri.FALSE
        return _transport(packet, wanted, invert, info[at + 4 : at + 12])

    return match


def _transport(packet: Packet, wanted: int, invert: int, info: bytes) -> Tri:
    """Compare ports, or ICMP's type and code, which share the place of ports."""
    s0, s1, d0, d1 = unpack("4H", info)
    result = Tri.TRUE
    for port, unsure, low, high, bit in (
        (packet.dport, packet.dport_unsure, d0, d1, DPORT),
        (packet.sport, packet.sport_unsure, s0, s1, SPORT),
    ):
        if wanted & bit and unsure:
            result = Tri.UNKNOWN
        elif wanted & bit and (low <= port <= high) == bool(invert & bit):
            return Tri.FALSE
    if wanted & ICMP and packet.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        t0, t1 = info[0], info[1]
        c0, c1 = info[4], info[5]
        fits = t0 <= packet.icmp_type <= t1 and c0 <= packet.icmp_code <= c1
        if fits == bool(invert & ICMP):
            return Tri.FALSE
    return Tri.UNKNOWN if wanted & IGMP else result


def _not_this_frame(_ctx: Context, _info: bytes) -> Tri:
    """Look into a frame of another protocol than are followed. Source: net/bridge/netfilter/ebt_stp.c, ebt_802_3.c."""
    return Tri.FALSE


def _arp(ctx: Context, info: bytes) -> Tri:
    """Compare an ARP message. Source: net/bridge/netfilter/ebt_arp.c, ebt_arp_mt."""
    packet = ctx.packet
    if not packet.arp:
        return Tri.FALSE
    htype, ptype, opcode = struct.unpack_from(">3H", info)
    wanted, invert = unpack("BB", info, 48)
    tha = bytes(6) if packet.arp == ARP_REQUEST else packet.dmac
    equal = (
        (ARP_OPCODE, opcode == packet.arp),
        (ARP_HTYPE, htype == ARPHRD_ETHER),
        (ARP_PTYPE, ptype == ETH_P_IP),
        (ARP_SRC_IP, _same(packet.src, info[8:12], info[12:16])),
        (ARP_DST_IP, _same(packet.dst, info[16:20], info[20:24])),
        (ARP_GRAT, packet.src == packet.dst),
        (ARP_SRC_MAC, _same(packet.smac, info[24:30], info[30:36])),
        (ARP_DST_MAC, _same(tha, info[36:42], info[42:48])),
    )
    return tri(all(same != bool(invert & bit) for bit, same in equal if wanted & bit))


def _same(have: bytes, want: bytes, mask: bytes) -> bool:
    return all((h ^ w) & m == 0 for h, w, m in zip(have, want, mask, strict=True))


def _vlan(ctx: Context, _info: bytes) -> Tri:
    """Compare a VLAN tag; the frame has none, and the rule asks for frames that have. Source: ebt_vlan.c."""
    return Tri.UNKNOWN if ctx.packet.vlan else Tri.FALSE


def _mark(ctx: Context, info: bytes) -> Tri:
    """Source: net/bridge/netfilter/ebt_mark_m.c, ebt_mark_mt."""
    value, mask, invert, how = unpack("QQBB", info)
    if how & 2:  # EBT_MARK_OR: any of these bits
        return inverted(bool(ctx.packet.mark & mask), bool(invert))
    return inverted(ctx.packet.mark & mask == value, bool(invert))


def _pkttype(ctx: Context, info: bytes) -> Tri:
    """Ask whom a frame is for. Source: net/bridge/netfilter/ebt_pkttype.c, ebt_pkttype_mt."""
    wanted, invert = unpack("BB", info)
    kind = packet_type(ctx)[0]
    return inverted(wanted == kind, bool(invert))


def _limit(_ctx: Context, _info: bytes) -> Tri:
    """Depend on a rate. Source: net/bridge/netfilter/ebt_limit.c."""
    return Tri.UNKNOWN


def _among(ctx: Context, info: bytes) -> Tri:
    """Look MACs, or pairs of MAC and IPv4 address, up. Source: net/bridge/netfilter/ebt_among.c, ebt_among_mt."""
    dst_at, src_at, negated = unpack("iii", info)
    packet = ctx.packet
    for at, mac, addr, bit in ((src_at, packet.smac, packet.src, 2), (dst_at, packet.dmac, packet.dst, 1)):
        if not at:
            continue
        if not mac:
            return Tri.UNKNOWN
        if _holds(info, at, mac, addr) == bool(negated & bit):
            return Tri.FALSE
    return Tri.TRUE


def _holds(info: bytes, at: int, mac: bytes, addr: bytes) -> bool:
    """Look in a table of (two bytes of nothing, MAC, address or zeros). Source: ebt_mac_wormhash_contains."""
    (count,) = unpack("i", info, at + 257 * 4)
    pool = at + 258 * 4
    for number in range(count):
        entry = info[pool + 12 * number : pool + 12 * number + 12]
        if entry[2:8] == mac and (not any(entry[8:]) or (len(addr) == 4 and entry[8:] == addr)):
            return True
    return False


MATCHES: dict[str, Callable[[Context, bytes], Tri]] = {
    "ip": _ip(4),
    "ip6": _ip(16),
    "arp": _arp,
    "stp": _not_this_frame,
    "802_3": _not_this_frame,
    "vlan": _vlan,
    "mark_m": _mark,
    "pkttype": _pkttype,
    "limit": _limit,
    "among": _among,
}


def evaluate(ctx: Context, name: str, info: bytes) -> Tri:
    """Evaluate a match of ebtables; a payload that is too short isn't known."""
    try:
        return MATCHES[name](ctx, info)
    except (struct.error, IndexError, ValueError):
        return Tri.UNKNOWN


def _verdict(target: int) -> Result:
    code = VERDICTS.get(target & VERDICT_BITS)
    return Verdict(code) if code is not None else Stop("ebtables verdict")


def _set_mark(ctx: Context, info: bytes) -> Result:
    """Source: net/bridge/netfilter/ebt_mark.c, ebt_mark_tg."""
    value, target = unpack("QI", info)
    how = target & ~VERDICT_BITS & 0xFFFFFFFF
    mark = ctx.packet.mark
    new = {MARK_SET: value, MARK_OR: mark | value, MARK_AND: mark & value, MARK_XOR: mark ^ value}.get(how)
    if new is None:
        return Stop("target mark with an unknown action")
    ctx.packet = ctx.packet.but(mark=new & 0xFFFFFFFF)
    return _verdict(target)


def _dnat(ctx: Context, info: bytes) -> Result:
    """Give the frame a new destination; where it comes in, that says anew whom it is for.

    Source: net/bridge/netfilter/ebt_dnat.c, ebt_dnat_tg (Linux 6.18).
    """
    (target,) = unpack("I", info, 8)
    mac = info[:6]
    ctx.packet = ctx.packet.but(dmac=mac)
    if mac[0] & 1:
        ctx.packet = ctx.packet.but(pkttype=PACKET_BROADCAST if mac == BROADCAST_MAC else PACKET_MULTICAST)
    elif ctx.hook == NF_BR_PRE_ROUTING and (bridge := _bridge_of(ctx)) is not None:
        ctx.packet = ctx.packet.but(pkttype=PACKET_HOST if mac == bridge.mac else PACKET_OTHERHOST)
    return _verdict(target)


def _snat(ctx: Context, info: bytes) -> Result:
    """Source: net/bridge/netfilter/ebt_snat.c, ebt_snat_tg."""
    (target,) = unpack("I", info, 8)
    ctx.packet = ctx.packet.but(smac=info[:6])
    return _verdict(target)


def _redirect(ctx: Context, info: bytes) -> Result:
    """Address the frame to the bridge itself. Source: net/bridge/netfilter/ebt_redirect.c, ebt_redirect_tg."""
    (target,) = unpack("I", info)
    bridge = _bridge_of(ctx)
    if bridge is None:
        return Stop("target redirect without a bridge")
    ctx.packet = ctx.packet.but(dmac=bridge.mac, pkttype=PACKET_HOST)
    return _verdict(target)


def _bridge_of(ctx: Context) -> Link | None:
    return ctx.ns.links.get(ctx.iif.master) if ctx.iif is not None else None


def _nothing(_ctx: Context, _info: bytes) -> Result:
    return Tri.TRUE


def _arpreply(ctx: Context, _info: bytes) -> Result:
    """Answer an ARP request, which isn't followed; other frames go on. Source: net/bridge/netfilter/ebt_arpreply.c."""
    return Stop("target arpreply") if ctx.packet.arp == ARP_REQUEST else Verdict(NFT_CONTINUE)


TARGETS: dict[str, Callable[[Context, bytes], Result]] = {
    "mark": _set_mark,
    "dnat": _dnat,
    "snat": _snat,
    "redirect": _redirect,
    "arpreply": _arpreply,
    "log": _nothing,
    "nflog": _nothing,
}


def evaluate_target(ctx: Context, name: str, info: bytes) -> Result:
    """Evaluate a target of ebtables; a payload that is too short isn't known."""
    try:
        return TARGETS[name](ctx, info)
    except (struct.error, IndexError, ValueError):
        return Stop(f"target {name}")
