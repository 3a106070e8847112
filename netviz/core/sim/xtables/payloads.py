"""What xtables matches are asked for: the C structures of their payloads as values.

Source: include/uapi/linux/netfilter/xt_*.h, include/uapi/linux/netfilter_ipv4/ipt_*.h,
include/uapi/linux/netfilter_ipv6/ip6t_*.h (Linux 6.18).
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec


def unpack(form: str, info: bytes, at: int = 0) -> tuple[Any, ...]:
    """Unpack little-endian fields at an offset. Raises: struct.error."""
    return struct.unpack_from("<" + form, info, at)


def text(raw: bytes) -> str:
    """Read a NUL-terminated name."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


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
    """xt_recent_mtinfo. `check` has 1 check, 2 set, 4 update, 8 remove, 16 TTL, 32 reap. `side` 1 is destination."""

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

    `packets` and `bytes` are conditions on the element's counters (operator, value; operators: 0 none, 1 equal,
    2 not equal, 3 less, 4 greater).
    """

    index: int
    dim: int
    flags: int
    options: int = 0
    packets: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)

    @property
    def counted(self) -> bool:
        """Whether counters decide too."""
        return bool(self.packets[0] or self.bytes[0])


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


class Number(msgspec.Struct, frozen=True, gc=False):
    """A target with one number, and a mask or mode where it has one."""

    value: int
    mask: int = 0


class HashLimit(msgspec.Struct, frozen=True, gc=False):
    """xt_hashlimit_mtinfo1 to 3. `avg` is in units of 1/`scale` seconds between packets (bytes: in 16s of them).

    `mode`: 1 destination, 2 its port, 4 source, 8 its port, 16 invert, 32 bytes, 64 rate match.
    """

    name: str
    mode: int
    avg: int
    burst: int
    size: int
    max: int
    gc_interval_ms: int
    expire_ms: int
    srcmask: int
    dstmask: int
    interval_s: int
    scale: int


class Ecn(msgspec.Struct, frozen=True, gc=False):
    """xt_ecn_info: 1 the IP header's bits, 0x10 ECE, 0x20 CWR."""

    operation: int
    invert: int
    ect: int


class TextSearch(msgspec.Struct, frozen=True, gc=False):
    """xt_string_info. Offsets count from the network header; flags: 1 invert, 2 ignore case."""

    low: int
    high: int
    algo: str
    pattern: bytes
    flags: int


class Time(msgspec.Struct, frozen=True, gc=False):
    """xt_time_info. Dates are Unix seconds, day times seconds; flags: 1 kernel time zone, 2 contiguous."""

    date: tuple[int, int]
    daytime: tuple[int, int]
    monthdays: int
    weekdays: int
    flags: int


class ConnBytes(msgspec.Struct, frozen=True, gc=False):
    """xt_connbytes_info. `what`: 0 packets, 1 bytes, 2 average; `direction`: 0 original, 1 reply, 2 both."""

    low: int
    high: int
    what: int
    direction: int


class ConnLimit(msgspec.Struct, frozen=True, gc=False):
    """xt_connlimit_info; flags: 1 invert, 2 destination address."""

    mask: bytes
    limit: int
    flags: int


class ConnLabel(msgspec.Struct, frozen=True, gc=False):
    """xt_connlabel_mtinfo; options: 1 invert, 2 set."""

    bit: int
    options: int


class Cluster(msgspec.Struct, frozen=True, gc=False):
    """xt_cluster_match_info."""

    total: int
    mask: int
    seed: int
    invert: bool


class DevGroup(msgspec.Struct, frozen=True, gc=False):
    """xt_devgroup_info; flags: 1 source, 2 inverted, 4 destination, 8 inverted. Groups are (value, mask)."""

    flags: int
    src: tuple[int, int]
    dst: tuple[int, int]


class Quota(msgspec.Struct, frozen=True, gc=False):
    """xt_quota_info."""

    invert: bool
    quota: int


class Cgroup(msgspec.Struct, frozen=True, gc=False):
    """xt_cgroup_info: a net_cls class or a path of the unified hierarchy."""

    path: str = ""
    classid: int | None = None
    invert: bool = False


class Policy(msgspec.Struct, frozen=True, gc=False):
    """xt_policy_info: 1 incoming, 2 outgoing, 4 none, 8 strict."""

    flags: int
    length: int


class Spis(msgspec.Struct, frozen=True, gc=False):
    """xt_esp, ipt_ah, ip6t_ah, xt_ipcomp: a range of security parameter indexes."""

    low: int
    high: int
    invert: bool


class Ports(msgspec.Struct, frozen=True, gc=False):
    """xt_sctp_info and xt_dccp_info: port ranges that count where their flag (1 source, 2 destination) is set.

    `more` says that something inside the protocol is asked for too.
    """

    sports: tuple[int, int]
    dports: tuple[int, int]
    flags: int
    invert: int
    more: bool


class Ipv6Header(msgspec.Struct, frozen=True, gc=False):
    """ip6t_ipv6header_info: masks of headers (1 is the payload's protocol); `soft` lets others be there."""

    match: int
    invert: int
    soft: bool


class OsfGenre(msgspec.Struct, frozen=True, gc=False):
    """nf_osf_info. Flags: 1 genre, 2 TTL, 4 log, 8 invert."""

    genre: str
    flags: int
    loglevel: int
    ttl: int


class RateEst(msgspec.Struct, frozen=True, gc=False):
    """xt_rateest_match_info: which estimators are compared, and how."""

    names: tuple[str, str]
    flags: int
    mode: int
    bps: tuple[int, int]
    pps: tuple[int, int]


class Program(msgspec.Struct, frozen=True, gc=False):
    """xt_bpf_info: instructions, or the path of a pinned program, as text."""

    text: str
