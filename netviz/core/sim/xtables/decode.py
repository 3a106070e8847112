"""The payloads of xtables extensions: raw bytes to values, by name and revision.

A payload is a C structure in the kernel's memory layout (little-endian here; ports that the kernel
keeps in network order are read so). A name or revision without a row, and a payload that is too short,
give None: the caller says that it isn't modelled. Tails that only the kernel uses are not looked at.

Source: include/uapi/linux/netfilter/xt_*.h, include/uapi/linux/netfilter_ipv4/ipt_*.h,
include/uapi/linux/netfilter_ipv6/ip6t_*.h (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec


class Conntrack(msgspec.Struct, frozen=True, gc=False):
    """xt_conntrack_mtinfo1 to 3. `addrs` are four (address, mask), `ports` four (low, high); both in the order
    original source and destination, reply source and destination."""

    addrs: tuple[tuple[bytes, bytes], ...]
    ports: tuple[tuple[int, int], ...]
    expires: tuple[int, int]
    proto: int
    flags: int
    invert: int
    state: int
    status: int


class Multiport(msgspec.Struct, frozen=True, gc=False):
    """xt_multiport_v1. `side` is 0 source, 1 destination, 2 either; `ports` are inclusive ranges."""

    side: int
    ports: tuple[tuple[int, int], ...]
    invert: bool


class Transport(msgspec.Struct, frozen=True, gc=False):
    """xt_tcp and xt_udp. `invert` has a bit each for source, destination, flags, option."""

    sports: tuple[int, int]
    dports: tuple[int, int]
    option: int = 0
    flag_mask: int = 0
    flag_value: int = 0
    invert: int = 0


class Icmp(msgspec.Struct, frozen=True, gc=False):
    """ipt_icmp and ip6t_icmp."""

    type: int
    code_min: int
    code_max: int
    invert: bool


class Addrtype(msgspec.Struct, frozen=True, gc=False):
    """xt_addrtype_info_v1: masks of 1 << RTN_*."""

    source: int
    dest: int
    flags: int


class Mark(msgspec.Struct, frozen=True, gc=False):
    """xt_mark_mtinfo1, xt_connmark_mtinfo1, and others that compare under a mask."""

    value: int
    mask: int
    invert: bool


class Statistic(msgspec.Struct, frozen=True, gc=False):
    """xt_statistic_info: `nth` every so many, or `probability`."""

    nth: bool
    invert: bool
    probability: float = 0.0
    every: int = 1
    packet: int = 0


class Physdev(msgspec.Struct, frozen=True, gc=False):
    """xt_physdev_info. A name and how many bytes of it count (the NUL included: no wildcard)."""

    indev: tuple[bytes, int]
    outdev: tuple[bytes, int]
    invert: int
    flags: int


class Iprange(msgspec.Struct, frozen=True, gc=False):
    """xt_iprange_mtinfo: unions of which IPv4 uses the first 4 bytes."""

    src: tuple[bytes, bytes]
    dst: tuple[bytes, bytes]
    flags: int


class Between(msgspec.Struct, frozen=True, gc=False):
    """A range of numbers (xt_length_info, xt_tcpmss_match_info)."""

    low: int
    high: int
    invert: bool


class Compare(msgspec.Struct, frozen=True, gc=False):
    """ipt_ttl_info and ip6t_hl_info: `mode` is 0 equal, 1 not equal, 2 less, 3 greater (Hop limits: the same)."""

    mode: int
    value: int


class Mac(msgspec.Struct, frozen=True, gc=False):
    """xt_mac_info."""

    mac: bytes
    invert: bool


class Owner(msgspec.Struct, frozen=True, gc=False):
    """xt_owner_match_info."""

    uid: tuple[int, int]
    gid: tuple[int, int]
    match: int
    invert: int


class Recent(msgspec.Struct, frozen=True, gc=False):
    """xt_recent_mtinfo. `check` has 1 check, 2 set, 4 update, 8 remove."""

    seconds: int
    hits: int
    check: int
    invert: bool
    name: str
    side: int
    mask: bytes = b""


class Limit(msgspec.Struct, frozen=True, gc=False):
    """xt_rateinfo: `avg` is the time between packets in 1/10000 s."""

    avg: int
    burst: int


class SetRef(msgspec.Struct, frozen=True, gc=False):
    """xt_set_info: the set's index, how many dimensions are compared, and flags (1 invert, 2 << i: source).

    `counted` says that packet or byte counters decide too.
    """

    index: int
    dim: int
    flags: int
    counted: bool = False
    options: int = 0


class U32Test(msgspec.Struct, frozen=True, gc=False):
    """One test of xt_u32: a first offset, then (operator, number) pairs, and inclusive ranges of values.

    Operators are 0 and, 1 shift left, 2 shift right, 3 at.
    """

    first: int
    steps: tuple[tuple[int, int], ...]
    values: tuple[tuple[int, int], ...]


class U32(msgspec.Struct, frozen=True, gc=False):
    """xt_u32."""

    tests: tuple[U32Test, ...]
    invert: bool


class Named(msgspec.Struct, frozen=True, gc=False):
    """A match by a name or number (helper, nfacct, cpu, pkttype, cgroup)."""

    name: str = ""
    number: int = 0
    invert: bool = False


class MarkSet(msgspec.Struct, frozen=True, gc=False):
    """xt_mark_tginfo2: (mark & ~mask) ^ value."""

    value: int
    mask: int


class ConnmarkSet(msgspec.Struct, frozen=True, gc=False):
    """xt_connmark_tginfo1 and 2: `mode` is 0 set, 1 save, 2 restore; a shift to the left or right."""

    ctmark: int
    ctmask: int
    nfmask: int
    mode: int
    right: bool = False
    bits: int = 0


class CtSet(msgspec.Struct, frozen=True, gc=False):
    """xt_ct_target_info. `flags` 1 is no tracking."""

    flags: int
    zone: int
    helper: str = ""


class Range(msgspec.Struct, frozen=True, gc=False):
    """nf_nat_range and its IPv4 form. `flags` are NF_NAT_RANGE_*."""

    flags: int
    low: bytes
    high: bytes
    port_low: int
    port_high: int


class Number(msgspec.Struct, frozen=True, gc=False):
    """A target with one number, and a mask or mode where it has one."""

    value: int
    mask: int = 0


class Tproxy(msgspec.Struct, frozen=True, gc=False):
    """xt_tproxy_target_info."""

    mark_mask: int
    mark_value: int
    addr: bytes
    port: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """xt_log_info and xt_nflog_info."""

    prefix: str
    level: int = 0
    flags: int = 0
    group: int = 0


class SetChange(msgspec.Struct, frozen=True, gc=False):
    """xt_set_info_target: sets to add to, delete from, and map by (an index of 65535 is none)."""

    add: SetRef
    delete: SetRef
    map: SetRef | None = None
    map_flags: int = 0


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _unpack(form: str, info: bytes, at: int = 0) -> tuple[Any, ...]:
    return struct.unpack_from("<" + form, info, at)


def _conntrack(rev: int) -> Callable[[bytes], Conntrack]:
    def decode(info: bytes) -> Conntrack:
        raw = [info[i : i + 16] for i in range(0, 128, 16)]
        low, high, proto = _unpack("IIH", info, 128)
        masks = "HHHH" if rev >= 2 else "HHBB"
        flags, invert, state, status = _unpack(masks, info, 146)
        lows = struct.unpack_from("<HHHH" if rev == 3 else ">HHHH", info, 138)
        highs = _unpack("HHHH", info, 154) if rev == 3 else lows
        addrs = tuple((raw[i], raw[i + 1]) for i in range(0, 8, 2))
        return Conntrack(
            addrs, tuple(zip(lows, highs, strict=True)), (low, high), proto, flags, invert, state, status
        )

    return decode


def _state(info: bytes) -> Conntrack:
    """xt_state_info: conntrack's states alone; "untracked" has another bit there."""
    (mask,) = _unpack("I", info)
    mask = (mask & ~0x40) | (0x100 if mask & 0x40 else 0)
    none = ((bytes(16), bytes(16)),) * 4
    return Conntrack(none, ((0, 0),) * 4, (0, 0), 0, 1, 0, mask, 0)


def _multiport(info: bytes) -> Multiport:
    side, count = info[0], info[1]
    ports = _unpack("15H", info, 2)
    paired = info[32:47]
    ranges, at = [], 0
    while at < min(count, 15):
        last = ports[at + 1] if paired[at] and at < 14 else ports[at]
        ranges.append((ports[at], last))
        at += 2 if paired[at] else 1
    return Multiport(side, tuple(ranges), bool(info[47]))


def _multiport0(info: bytes) -> Multiport:
    ports = _unpack("15H", info, 2)[: info[1]]
    return Multiport(info[0], tuple((port, port) for port in ports), False)


def _tcp(info: bytes) -> Transport:
    s0, s1, d0, d1, option, mask, value, invert = _unpack("HHHHBBBB", info)
    return Transport((s0, s1), (d0, d1), option, mask, value, invert)


def _udp(info: bytes) -> Transport:
    s0, s1, d0, d1, invert = _unpack("HHHHB", info)
    return Transport((s0, s1), (d0, d1), invert=invert)


def _icmp(info: bytes) -> Icmp:
    kind, low, high, invert = _unpack("BBBB", info)
    return Icmp(kind, low, high, bool(invert & 1))


def _addrtype1(info: bytes) -> Addrtype:
    return Addrtype(*_unpack("HHI", info))


def _addrtype0(info: bytes) -> Addrtype:
    source, dest, not_source, not_dest = _unpack("HHII", info)
    return Addrtype(source, dest, (1 if not_source else 0) | (2 if not_dest else 0))


def _mark(info: bytes) -> Mark:
    value, mask, invert = _unpack("IIB", info)
    return Mark(value, mask, bool(invert))


def _statistic(info: bytes) -> Statistic:
    mode, flags = _unpack("HH", info)
    if mode == 1:
        every, packet, _count = _unpack("III", info, 4)
        return Statistic(True, bool(flags & 1), every=every + 1, packet=packet)
    (probability,) = _unpack("I", info, 4)
    return Statistic(False, bool(flags & 1), probability=probability / 0x80000000)


def _counted(name: bytes, mask: bytes) -> tuple[bytes, int]:
    return name.split(b"\0", 1)[0], sum(1 for byte in mask if byte)


def _physdev(info: bytes) -> Physdev:
    if len(info) < 66:
        raise struct.error("too short")
    return Physdev(_counted(info[:16], info[16:32]), _counted(info[32:48], info[48:64]), info[64], info[65])


def _iprange(info: bytes) -> Iprange:
    (flags,) = _unpack("B", info, 64)
    return Iprange((info[:16], info[16:32]), (info[32:48], info[48:64]), flags)


def _between(info: bytes) -> Between:
    low, high, invert = _unpack("HHB", info)
    return Between(low, high, bool(invert))


def _compare(info: bytes) -> Compare:
    return Compare(*_unpack("BB", info))


def _mac(info: bytes) -> Mac:
    return Mac(info[:6], bool(_unpack("i", info, 8)[0]))


def _owner(info: bytes) -> Owner:
    u0, u1, g0, g1, match, invert = _unpack("IIIIBB", info)
    return Owner((u0, u1), (g0, g1), match, invert)


def _recent(info: bytes) -> Recent:
    seconds, hits, check, invert = _unpack("IIBB", info)
    (side,) = _unpack("B", info, 210)
    mask = info[212:228] if len(info) >= 228 else b""
    return Recent(seconds, hits, check, bool(invert), _text(info[10:210]), side, mask)


def _limit(info: bytes) -> Limit:
    return Limit(*_unpack("II", info))


def _set_ref(info: bytes, at: int = 0) -> SetRef:
    return SetRef(*_unpack("HBB", info, at))


def _set_match1(info: bytes) -> SetRef:
    return _set_ref(info)


def _set_match3(info: bytes) -> SetRef:
    """Read xt_set_info_match_v3 and v4: two counter conditions follow, each an operator and a value."""
    ref = _set_ref(info)
    packets, bytes_ = _unpack("B", info, 8)[0], _unpack("B", info, 24)[0]
    (options,) = _unpack("I", info, 40)
    return SetRef(ref.index, ref.dim, ref.flags, bool(packets or bytes_), options)


def _u32(info: bytes) -> U32:
    count, invert = _unpack("BB", info, 1980)
    return U32(tuple(_u32_test(info, i * 180) for i in range(min(count, 11))), bool(invert))


def _u32_test(info: bytes, at: int) -> U32Test:
    numbers, values = _unpack("BB", info, at + 176)
    steps = [_unpack("IB", info, at + 8 * i) for i in range(min(max(numbers, 1), 11))]
    ranges = tuple(_unpack("II", info, at + 88 + 8 * i) for i in range(min(values, 11)))
    return U32Test(steps[0][0], tuple((op, number) for number, op in steps[1:]), ranges)


def _helper(info: bytes) -> Named:
    return Named(_text(info[4:34]), invert=bool(_unpack("i", info)[0]))


def _nfacct(info: bytes) -> Named:
    return Named(_text(info[:32]))


def _number_invert(info: bytes) -> Named:
    number, invert = _unpack("II", info)
    return Named(number=number, invert=bool(invert))


def _tos(info: bytes) -> Mark:
    mask, value, invert = _unpack("BBB", info)
    return Mark(value, mask, bool(invert))


def _dscp(info: bytes) -> Mark:
    value, invert = _unpack("BB", info)
    return Mark(value << 2, 0xFC, bool(invert))


def _flags(info: bytes) -> Number:
    return Number(_unpack("B", info)[0])


def _socket0(_info: bytes) -> Number:
    return Number(0)


def _comment(info: bytes) -> Named:
    return Named(_text(info))


def _mark_set(info: bytes) -> MarkSet:
    return MarkSet(*_unpack("II", info))


def _connmark_set(info: bytes) -> ConnmarkSet:
    return ConnmarkSet(*_unpack("IIIB", info))


def _connmark_set2(info: bytes) -> ConnmarkSet:
    ctmark, ctmask, nfmask, direction, bits, mode = _unpack("IIIBBB", info)
    return ConnmarkSet(ctmark, ctmask, nfmask, mode, bool(direction), bits)


def _ct_set(info: bytes) -> CtSet:
    flags, zone = _unpack("HH", info)
    return CtSet(flags, zone, _text(info[12:28]))


def _notrack(_info: bytes) -> CtSet:
    return CtSet(1, 0)


def _range(info: bytes) -> Range:
    (flags,) = _unpack("I", info)
    low, high = struct.unpack_from(">HH", info, 36)
    return Range(flags, info[4:20], info[20:36], low, high)


def _range4(info: bytes) -> Range:
    """Read nf_nat_ipv4_multi_range_compat: one range behind a count."""
    _count, flags = _unpack("II", info)
    low, high = struct.unpack_from(">HH", info, 16)
    return Range(flags, info[8:12], info[12:16], low, high)


def _u32_number(info: bytes) -> Number:
    return Number(_unpack("I", info)[0])


def _u16_number(info: bytes) -> Number:
    return Number(_unpack("H", info)[0])


def _two_bytes(info: bytes) -> Number:
    return Number(*_unpack("BB", info))


def _ttl_set(info: bytes) -> Number:
    mode, value = _unpack("BB", info)
    return Number(value, mode)


def _tproxy(info: bytes) -> Tproxy:
    mask, value = _unpack("II", info)
    return Tproxy(mask, value, info[8:24], struct.unpack_from(">H", info, 24)[0])


def _log(info: bytes) -> Log:
    level, flags = _unpack("BB", info)
    return Log(_text(info[2:32]), level, flags)


def _nflog(info: bytes) -> Log:
    _len, group, _threshold, _flags = _unpack("IHHH", info)
    return Log(_text(info[12:76]), group=group)


def _set_change(info: bytes) -> SetChange:
    return SetChange(_set_ref(info), _set_ref(info, 4))


def _set_change3(info: bytes) -> SetChange:
    return SetChange(_set_ref(info), _set_ref(info, 4), _set_ref(info, 8), _unpack("I", info, 12)[0])


Decoder = Callable[[bytes], Any]

MATCHES: dict[tuple[str, int], Decoder] = {
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
    ("set", 4): _set_match3,
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
    ("cgroup", 0): _number_invert,
    ("helper", 0): _helper,
    ("rpfilter", 0): _flags,
    ("socket", 0): _socket0,
    ("socket", 1): _flags,
    ("socket", 2): _flags,
    ("socket", 3): _flags,
}

TARGETS: dict[tuple[str, int], Decoder] = {
    ("MARK", 2): _mark_set,
    ("CONNMARK", 1): _connmark_set,
    ("CONNMARK", 2): _connmark_set2,
    **{("CT", rev): _ct_set for rev in (0, 1, 2)},
    ("NOTRACK", 0): _notrack,
    ("DNAT", 0): _range4,
    ("DNAT", 1): _range,
    ("DNAT", 2): _range,
    ("SNAT", 0): _range4,
    ("SNAT", 1): _range,
    ("SNAT", 2): _range,
    ("REJECT", 0): _u32_number,
    ("TPROXY", 1): _tproxy,
    ("TCPMSS", 0): _u16_number,
    ("LOG", 0): _log,
    ("NFLOG", 0): _nflog,
    ("AUDIT", 0): _flags,
    ("CHECKSUM", 0): _flags,
    ("CLASSIFY", 0): _u32_number,
    ("SET", 1): _set_change,
    ("SET", 2): _set_change,
    ("SET", 3): _set_change3,
    ("TOS", 1): _two_bytes,
    ("DSCP", 0): _flags,
    ("TTL", 0): _ttl_set,
    ("HL", 0): _ttl_set,
    **{("NFQUEUE", rev): _u16_number for rev in (0, 1, 2, 3)},
}
# Targets of one name and revision that IPv4 and IPv6 lay out differently.
_BY_FAMILY = ("MASQUERADE", "REDIRECT", "NETMAP")


def _decode(decoder: Decoder | None, info: bytes) -> Any:
    if decoder is None:
        return None
    try:
        return decoder(info)
    except (struct.error, IndexError, ValueError):
        return None


def decode_match(name: str, rev: int, info: bytes) -> Any:
    """Decode a match's payload; None where it isn't known."""
    return _decode(MATCHES.get((name, rev)), info)


def decode_target(name: str, rev: int, info: bytes, ipv6: bool) -> Any:
    """Decode a target's payload; None where it isn't known."""
    if name in _BY_FAMILY and rev == 0:
        return _decode(_range if ipv6 else _range4, info)
    return _decode(TARGETS.get((name, rev)), info)
