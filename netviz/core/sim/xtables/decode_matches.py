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
from netviz.core.sim.xtables.payloads import text, unpack


def _conntrack(rev: int) -> Callable[[bytes], payloads.Conntrack]:
    def decode(info: bytes) -> payloads.Conntrack:
        raw = [info[i : i + 16] for i in range(0, 128, 16)]
        low, high, proto = unpack("IIH", info, 128)
        masks = "HHHH" if rev >= 2 else "HHBB"
        flags, invert, state, status = unpack(masks, info, 146)
        lows = struct.unpack_from("<HHHH" if rev == 3 else ">HHHH", info, 138)
        highs = unpack("HHHH", info, 154) if rev == 3 else lows
        addrs = tuple((raw[i], raw[i + 1]) for i in range(0, 8, 2))
        return payloads.Conntrack(
            addrs, tuple(zip(lows, highs, strict=True)), (low, high), proto, flags, invert, state, status
        )

    return decode


def _state(info: bytes) -> payloads.Conntrack:
    """xt_state_info: conntrack's states alone; "untracked" has another bit there."""
    (mask,) = unpack("I", info)
    mask = (mask & ~0x40) | (0x100 if mask & 0x40 else 0)
    none = ((bytes(16), bytes(16)),) * 4
    return payloads.Conntrack(none, ((0, 0),) * 4, (0, 0), 0, 1, 0, mask, 0)


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


def _statistic(info: bytes) -> payloads.Statistic:
    mode, flags = unpack("HH", info)
    if mode == 1:
        every, packet, _count = unpack("III", info, 4)
        return payloads.Statistic(True, bool(flags & 1), every=every + 1, packet=packet)
    (probability,) = unpack("I", info, 4)
    return payloads.Statistic(False, bool(flags & 1), probability=probability / 0x80000000)


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


def _recent(info: bytes) -> payloads.Recent:
    seconds, hits, check, invert = unpack("IIBB", info)
    (side,) = unpack("B", info, 210)
    mask = info[212:228] if len(info) >= 228 else b""
    return payloads.Recent(seconds, hits, check, bool(invert), text(info[10:210]), side, mask)


def _limit(info: bytes) -> payloads.Limit:
    return payloads.Limit(*unpack("II", info))


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


def _hashlimit1(info: bytes) -> payloads.HashLimit:
    mode, avg, burst, size, most, gc, expire, src, dst = unpack("7I2B", info, 16)
    return payloads.HashLimit(text(info[:16]), mode, avg, burst, size, most, gc, expire, src, dst, 0, 10_000)


def _hashlimit2(info: bytes) -> payloads.HashLimit:
    avg, burst, mode, size, most, gc, expire, src, dst = unpack("2Q5I2B", info, 256)
    name = text(info[:255])
    return payloads.HashLimit(name, mode, avg, burst, size, most, gc, expire, src, dst, 0, 1_000_000)


def _hashlimit3(info: bytes) -> payloads.HashLimit:
    avg, burst, mode, size, most, gc, expire, interval, src, dst = unpack("2Q6I2B", info, 256)
    name = text(info[:255])
    return payloads.HashLimit(name, mode, avg, burst, size, most, gc, expire, src, dst, interval, 1_000_000)


def _ecn(info: bytes) -> payloads.Ecn:
    return payloads.Ecn(*unpack("BBB", info))


def _string(info: bytes) -> payloads.TextSearch:
    low, high = unpack("HH", info)
    length, flags = unpack("BB", info, 148)
    return payloads.TextSearch(low, high, text(info[4:20]), info[20 : 20 + min(length, 128)], flags)


def _time(info: bytes) -> payloads.Time:
    d0, d1, t0, t1, month, week, flags = unpack("5I2B", info)
    return payloads.Time((d0, d1), (t0, t1), month, week, flags)


def _connbytes(info: bytes) -> payloads.ConnBytes:
    return payloads.ConnBytes(*unpack("QQBB", info))


def _connlimit(info: bytes) -> payloads.ConnLimit:
    return payloads.ConnLimit(info[:16], *unpack("II", info, 16))


def _connlabel(info: bytes) -> payloads.ConnLabel:
    return payloads.ConnLabel(*unpack("HH", info))


def _cluster(info: bytes) -> payloads.Cluster:
    total, mask, seed, flags = unpack("4I", info)
    return payloads.Cluster(total, mask, seed, bool(flags & 1))


def _devgroup(info: bytes) -> payloads.DevGroup:
    flags, src, src_mask, dst, dst_mask = unpack("5I", info)
    return payloads.DevGroup(flags, (src, src_mask), (dst, dst_mask))


def _quota(info: bytes) -> payloads.Quota:
    flags, quota = unpack("I4xQ", info)
    return payloads.Quota(bool(flags & 1), quota)


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


def _rateest(info: bytes) -> payloads.RateEst:
    flags, mode, bps1, pps1, bps2, pps2 = unpack("HH4I", info, 32)
    names = text(info[:16]), text(info[16:32])
    return payloads.RateEst(names, flags, mode, (bps1, bps2), (pps1, pps2))


def _u32(info: bytes) -> payloads.U32:
    count, invert = unpack("BB", info, 1980)
    return payloads.U32(tuple(_u32_test(info, i * 180) for i in range(min(count, 11))), bool(invert))


def _u32_test(info: bytes, at: int) -> payloads.U32Test:
    numbers, values = unpack("BB", info, at + 176)
    steps = [unpack("IB", info, at + 8 * i) for i in range(min(max(numbers, 1), 11))]
    ranges = tuple(unpack("II", info, at + 88 + 8 * i) for i in range(min(values, 11)))
    return payloads.U32Test(steps[0][0], tuple((op, number) for number, op in steps[1:]), ranges)


def _helper(info: bytes) -> payloads.Named:
    return payloads.Named(text(info[4:34]), invert=bool(unpack("i", info)[0]))


def _nfacct(info: bytes) -> payloads.Named:
    return payloads.Named(text(info[:32]))


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


def _bpf0(info: bytes) -> payloads.Program:
    (count,) = unpack("H", info)
    return payloads.Program(_bytecode(info[4:], count))


def _bpf1(info: bytes) -> payloads.Program:
    mode, count = unpack("HH", info)
    return payloads.Program(_bytecode(info[8:], count) if mode == 0 else text(info[8:520]))


def _bytecode(code: bytes, count: int) -> str:
    words = [str(count)]
    for at in range(0, 8 * min(count, 64), 8):
        op, true, false, value = unpack("HBBI", code, at)
        words.append(f"{op} {true} {false} {value}")
    return ",".join(words)


MATCHES: dict[tuple[str, int], Callable[[bytes], Any]] = {
    ("comment", 0): _comment,
    **{("conntrack", rev): _conntrack(rev) for rev in (1, 2, 3)},
    ("state", 0): _state,
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
    ("statistic", 0): _statistic,
    ("physdev", 0): _physdev,
    ("iprange", 1): _iprange,
    ("mac", 0): _mac,
    ("owner", 1): _owner,
    ("recent", 0): _recent,
    ("recent", 1): _recent,
    ("limit", 0): _limit,
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
    ("nfacct", 0): _nfacct,
    ("nfacct", 1): _nfacct,
    ("helper", 0): _helper,
    ("rpfilter", 0): flags_byte,
    ("socket", 0): _socket0,
    ("socket", 1): flags_byte,
    ("socket", 2): flags_byte,
    ("socket", 3): flags_byte,
    ("hashlimit", 1): _hashlimit1,
    ("hashlimit", 2): _hashlimit2,
    ("hashlimit", 3): _hashlimit3,
    ("ecn", 0): _ecn,
    ("string", 1): _string,
    ("time", 0): _time,
    ("connbytes", 0): _connbytes,
    ("connlimit", 1): _connlimit,
    ("connlabel", 0): _connlabel,
    ("cluster", 0): _cluster,
    ("devgroup", 0): _devgroup,
    ("quota", 0): _quota,
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
    ("rateest", 0): _rateest,
    ("frag", 0): _frag,
    ("hbh", 0): _options,
    ("dst", 0): _options,
    ("rt", 0): _rt,
    ("srh", 0): _srh,
    ("srh", 1): _srh,
    ("bpf", 0): _bpf0,
    ("bpf", 1): _bpf1,
    **{(name, 0): _present for name in ("eui64", "mh", "l2tp")},
}
