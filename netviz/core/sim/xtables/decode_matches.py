"""The payloads of matches: raw bytes to values, by name and revision.

A payload is a C structure in the kernel's memory layout (little-endian here; ports that the kernel
keeps in network order are read so). A name or revision without a row, and a payload that is too short,
give None: the caller says that it isn't modelled. Tails that only the kernel uses are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from netviz.core.sim.xtables import payloads
from netviz.core.sim.xtables.decode_state import STATE_MATCHES
from netviz.core.sim.xtables.payloads import text, unpack


def _multiport(info: bytes) -> payloads.Multiport:
    side, count = info[0], info[1]
    ports = unpack("15H", info, 2)
    paired = info[32:47]
    ranges, at = [], 0
    while at < min(count, 15):
        last = ports[at + 1] if paired[at] and at < 14 else ports[at]
        ranges.append((ports[at], last))
        at += 2 if paired[at] else 1
    return payloads.Multiport(side, tuple(ranges), bool(info[47]))


def _multiport0(info: bytes) -> payloads.Multiport:
    ports = unpack("15H", info, 2)[: info[1]]
    return payloads.Multiport(info[0], tuple((port, port) for port in ports), False)


def _tcp(info: bytes) -> payloads.Transport:
    s0, s1, d0, d1, option, mask, value, invert = unpack("HHHHBBBB", info)
    return payloads.Transport((s0, s1), (d0, d1), option, mask, value, invert)


def _udp(info: bytes) -> payloads.Transport:
    s0, s1, d0, d1, invert = unpack("HHHHB", info)
    return payloads.Transport((s0, s1), (d0, d1), invert=invert)


def _icmp(info: bytes) -> payloads.Icmp:
    kind, low, high, invert = unpack("BBBB", info)
    return payloads.Icmp(kind, low, high, bool(invert & 1))


def _addrtype1(info: bytes) -> payloads.Addrtype:
    return payloads.Addrtype(*unpack("HHI", info))


def _addrtype0(info: bytes) -> payloads.Addrtype:
    source, dest, not_source, not_dest = unpack("HHII", info)
    return payloads.Addrtype(source, dest, (1 if not_source else 0) | (2 if not_dest else 0))


def _mark(info: bytes) -> payloads.Mark:
    value, mask, invert = unpack("IIB", info)
    return payloads.Mark(value, mask, bool(invert))


def _counted(name: bytes, mask: bytes) -> tuple[bytes, int]:
    return name.split(b"\0", 1)[0], sum(1 for byte in mask if byte)


def _physdev(info: bytes) -> payloads.Physdev:
    if len(info) < 66:
        raise struct.error("too short")
    return payloads.Physdev(
        _counted(info[:16], info[16:32]), _counted(info[32:48], info[48:64]), info[64], info[65]
    )


def _iprange(info: bytes) -> payloads.Iprange:
    (flags,) = unpack("B", info, 64)
    return payloads.Iprange((info[:16], info[16:32]), (info[32:48], info[48:64]), flags)


def _between(info: bytes) -> payloads.Between:
    low, high, invert = unpack("HHB", info)
    return payloads.Between(low, high, bool(invert))


def _compare(info: bytes) -> payloads.Compare:
    return payloads.Compare(*unpack("BB", info))


def _mac(info: bytes) -> payloads.Mac:
    return payloads.Mac(info[:6], bool(unpack("i", info, 8)[0]))


def _owner(info: bytes) -> payloads.Owner:
    u0, u1, g0, g1, match, invert = unpack("IIIIBB", info)
    return payloads.Owner((u0, u1), (g0, g1), match, invert)


def set_ref(info: bytes, at: int = 0) -> payloads.SetRef:
    """Read xt_set_info at an offset."""
    return payloads.SetRef(*unpack("HBB", info, at))


def _set_match1(info: bytes) -> payloads.SetRef:
    return set_ref(info)


def _set_match3(info: bytes) -> payloads.SetRef:
    """Read xt_set_info_match_v3: two counter conditions follow, each an operator and a value."""
    ref = set_ref(info)
    packets, packet_value = unpack("B7xQ", info, 8)
    bytes_, byte_value = unpack("B7xQ", info, 24)
    (options,) = unpack("I", info, 40)
    return payloads.SetRef(
        ref.index, ref.dim, ref.flags, options, (packets, packet_value), (bytes_, byte_value)
    )


def _set_match4(info: bytes) -> payloads.SetRef:
    """Read xt_set_info_match_v4: as revision 3, but the values come before the operators."""
    ref = set_ref(info)
    packet_value, packets = unpack("QB", info, 8)
    byte_value, bytes_ = unpack("QB", info, 24)
    (options,) = unpack("I", info, 40)
    return payloads.SetRef(
        ref.index, ref.dim, ref.flags, options, (packets, packet_value), (bytes_, byte_value)
    )


def _ecn(info: bytes) -> payloads.Ecn:
    return payloads.Ecn(*unpack("BBB", info))


def _string(info: bytes) -> payloads.TextSearch:
    low, high = unpack("HH", info)
    length, flags = unpack("BB", info, 148)
    return payloads.TextSearch(low, high, text(info[4:20]), info[20 : 20 + min(length, 128)], flags)


def _devgroup(info: bytes) -> payloads.DevGroup:
    flags, src, src_mask, dst, dst_mask = unpack("5I", info)
    return payloads.DevGroup(flags, (src, src_mask), (dst, dst_mask))


def _cgroup0(info: bytes) -> payloads.Cgroup:
    classid, invert = unpack("II", info)
    return payloads.Cgroup(classid=classid, invert=bool(invert))


def _cgroup(where: int) -> Callable[[bytes], payloads.Cgroup]:
    """Read revision 1 or 2: a path of up to 4096 bytes or 512; `where` is the class."""

    def decode(info: bytes) -> payloads.Cgroup:
        has_path, has_class, no_path, no_class = unpack("4B", info)
        classid = unpack("I", info, where)[0] if has_class else None
        path = text(info[4 : 4 + 4096]) if has_path else ""
        return payloads.Cgroup(path, classid, bool(no_path or no_class))

    return decode


def _realm(info: bytes) -> payloads.Mark:
    value, mask, invert = unpack("IIB", info)
    return payloads.Mark(value, mask, bool(invert))


def _policy(info: bytes) -> payloads.Policy:
    return payloads.Policy(*unpack("HH", info, 304))


def _spis(info: bytes) -> payloads.Spis:
    low, high, invert = unpack("IIB", info)
    return payloads.Spis(low, high, bool(invert & 1))


def _sctp(info: bytes) -> payloads.Ports:
    d0, d1, s0, s1 = unpack("4H", info)
    flags, invert = unpack("II", info, 284)
    return payloads.Ports((s0, s1), (d0, d1), flags, invert, bool(flags & 4))


def _dccp(info: bytes) -> payloads.Ports:
    d0, d1, s0, s1, flags, invert = unpack("6H", info)
    return payloads.Ports((s0, s1), (d0, d1), flags, invert, bool(flags & 12))


def _ipv6header(info: bytes) -> payloads.Ipv6Header:
    match, invert, soft = unpack("BBB", info)
    return payloads.Ipv6Header(match, invert, bool(soft))


def _osf(info: bytes) -> payloads.OsfGenre:
    return payloads.OsfGenre(text(info[:32]), *unpack("III", info, 36))


def _u32(info: bytes) -> payloads.U32:
    count, invert = unpack("BB", info, 1980)
    return payloads.U32(tuple(_u32_test(info, i * 180) for i in range(min(count, 11))), bool(invert))


def _u32_test(info: bytes, at: int) -> payloads.U32Test:
    numbers, values = unpack("BB", info, at + 176)
    steps = [unpack("IB", info, at + 8 * i) for i in range(min(max(numbers, 1), 11))]
    ranges = tuple(unpack("II", info, at + 88 + 8 * i) for i in range(min(values, 11)))
    return payloads.U32Test(steps[0][0], tuple((op, number) for number, op in steps[1:]), ranges)


def _number_invert(info: bytes) -> payloads.Named:
    number, invert = unpack("II", info)
    return payloads.Named(number=number, invert=bool(invert))


def _tos(info: bytes) -> payloads.Mark:
    mask, value, invert = unpack("BBB", info)
    return payloads.Mark(value, mask, bool(invert))


def _dscp(info: bytes) -> payloads.Mark:
    value, invert = unpack("BB", info)
    return payloads.Mark(value << 2, 0xFC, bool(invert))


def flags_byte(info: bytes) -> payloads.Number:
    """Read a payload of one byte."""
    return payloads.Number(unpack("B", info)[0])


def _socket0(_info: bytes) -> payloads.Number:
    return payloads.Number(0)


def _comment(info: bytes) -> payloads.Named:
    return payloads.Named(text(info))


def _present(info: bytes) -> payloads.Named:
    """Keep nothing of a payload whose presence alone is looked at."""
    return payloads.Named()


def _frag(info: bytes) -> payloads.Spis:
    low, high, _length, _flags, invert = unpack("IIIBB", info)
    return payloads.Spis(low, high, bool(invert & 1))


def _options(info: bytes) -> payloads.Number:
    length, flags = unpack("IB", info)
    return payloads.Number(length, flags)


def _rt(info: bytes) -> payloads.Number:
    kind, _s0, _s1, _length, flags = unpack("IIIIB", info)
    return payloads.Number(kind, flags)


def _srh(info: bytes) -> payloads.Number:
    return payloads.Number(info[0], 1)


MATCHES: dict[tuple[str, int], Callable[[bytes], Any]] = {
    **STATE_MATCHES,
    ("comment", 0): _comment,
    ("multiport", 0): _multiport0,
    ("multiport", 1): _multiport,
    ("tcp", 0): _tcp,
    ("udp", 0): _udp,
    ("icmp", 0): _icmp,
    ("icmp6", 0): _icmp,
    ("addrtype", 0): _addrtype0,
    ("addrtype", 1): _addrtype1,
    ("mark", 1): _mark,
    ("connmark", 1): _mark,
    ("physdev", 0): _physdev,
    ("iprange", 1): _iprange,
    ("mac", 0): _mac,
    ("owner", 1): _owner,
    ("set", 1): _set_match1,
    ("set", 2): _set_match1,
    ("set", 3): _set_match3,
    ("set", 4): _set_match4,
    ("u32", 0): _u32,
    ("length", 0): _between,
    ("pkttype", 0): _number_invert,
    ("tos", 1): _tos,
    ("dscp", 0): _dscp,
    ("ttl", 0): _compare,
    ("hl", 0): _compare,
    ("cpu", 0): _number_invert,
    ("rpfilter", 0): flags_byte,
    ("socket", 0): _socket0,
    ("socket", 1): flags_byte,
    ("socket", 2): flags_byte,
    ("socket", 3): flags_byte,
    ("ecn", 0): _ecn,
    ("string", 1): _string,
    ("devgroup", 0): _devgroup,
    ("cgroup", 0): _cgroup0,
    ("cgroup", 1): _cgroup(4 + 4096),
    ("cgroup", 2): _cgroup(4),
    ("realm", 0): _realm,
    ("policy", 0): _policy,
    ("esp", 0): _spis,
    ("ah", 0): _spis,
    ("ipcomp", 0): _spis,
    ("sctp", 0): _sctp,
    ("dccp", 0): _dccp,
    ("tcpmss", 0): _between,
    ("ipv6header", 0): _ipv6header,
    ("osf", 0): _osf,
    ("frag", 0): _frag,
    ("hbh", 0): _options,
    ("dst", 0): _options,
    ("rt", 0): _rt,
    ("srh", 0): _srh,
    ("srh", 1): _srh,
    **{(name, 0): _present for name in ("eui64", "mh", "l2tp")},
}
