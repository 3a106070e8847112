"""What xtables targets are asked to do: the C structures of their payloads as values.

Source: include/uapi/linux/netfilter/xt_*.h, include/uapi/linux/netfilter_ipv4/ipt_*.h,
include/uapi/linux/netfilter_ipv6/ip6t_*.h (Linux 6.18).
"""

from __future__ import annotations

import msgspec

from netviz.core.sim.xtables.payloads import SetRef


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
    """xt_ct_target_info. `flags` 1 is no tracking; `events` and `expect_events` mask what is announced."""

    flags: int
    zone: int
    helper: str = ""
    timeout: str = ""
    events: int = 0
    expect_events: int = 0


class Range(msgspec.Struct, frozen=True, gc=False):
    """nf_nat_range and its IPv4 form. `flags` are NF_NAT_RANGE_*."""

    flags: int
    low: bytes
    high: bytes
    port_low: int
    port_high: int


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


class Hmark(msgspec.Struct, frozen=True, gc=False):
    """xt_hmark_info. Ports are masks and values as they are in the packet."""

    src_mask: bytes
    dst_mask: bytes
    port_mask: bytes
    port_set: bytes
    flags: int
    proto_mask: int
    seed: int
    modulus: int
    offset: int


class Prefixes(msgspec.Struct, frozen=True, gc=False):
    """ip6t_npt_tginfo: the prefix that goes, the one that comes, and the checksum's difference."""

    src: bytes
    dst: bytes
    src_len: int
    dst_len: int
    adjustment: int


class EcnSet(msgspec.Struct, frozen=True, gc=False):
    """ipt_ECN_info: 1 the IP header's bits, 0x10 ECE, 0x20 CWR."""

    operation: int
    ect: int
    tcp: int


class Queue(msgspec.Struct, frozen=True, gc=False):
    """xt_NFQ_info_v3. Flags: 1 bypass, 2 by CPU."""

    number: int
    total: int = 1
    flags: int = 0


class Gateway(msgspec.Struct, frozen=True, gc=False):
    """xt_tee_tginfo."""

    addr: bytes
    oif: str


class Options(msgspec.Struct, frozen=True):
    """xt_tcpoptstrip_target_info: kinds of TCP options."""

    kinds: frozenset[int]


class Timer(msgspec.Struct, frozen=True, gc=False):
    """idletimer_tg_info."""

    label: str
    timeout_s: int


class Estimator(msgspec.Struct, frozen=True, gc=False):
    """xt_rateest_target_info."""

    name: str
    interval: int
    ewma_log: int
