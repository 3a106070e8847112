"""Layer 3: addresses, routes, nexthop objects, policy rules.

Source: include/uapi/linux/rtnetlink.h, if_addr.h, nexthop.h, fib_rules.h (Linux 6.18).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from netviz.core.model.addr import AF_BRIDGE, AF_INET, AF_INET6
from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import (
    S32,
    U8,
    U16,
    U32,
    U64,
    Check,
    IfindexRef,
    IfName,
    Ip,
    IpOrNone,
    Port,
    PrefixLen,
    ShortName,
    Weight,
    one_family,
    one_of,
    prefix,
)

RT_TABLE_DEFAULT = 253
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255

ROUTE_TYPES = (
    "unspec",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
)
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST = 1, 2, 3, 4, 5
RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW = 6, 7, 8, 9

RT_SCOPE_UNIVERSE, RT_SCOPE_SITE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 200, 253, 254, 255

RTNH_F_DEAD = 0x01
RTNH_F_PERVASIVE = 0x02
RTNH_F_ONLINK = 0x04
RTNH_F_OFFLOAD = 0x08
RTNH_F_LINKDOWN = 0x10
RTM_F_CLONED = 0x200

# fib rule actions (FR_ACT_*)
FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP = 1, 2, 3
FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, FR_ACT_PROHIBIT = 6, 7, 8


RouteType = Annotated[int, Meta(ge=0, le=len(ROUTE_TYPES) - 1)]
NexthopFamily = Annotated[int, one_of(0, AF_INET, AF_BRIDGE, AF_INET6)]
RuleFamily = Annotated[int, one_of(AF_INET, AF_INET6)]


class Addr(Record, frozen=True, gc=False):
    """An address of a link. `addr` is IFA_LOCAL; `peer` is IFA_ADDRESS where it differs (point to point)."""

    ifindex: IfindexRef
    addr: Ip
    prefixlen: PrefixLen
    peer: IpOrNone = b""
    scope: U8 = 0
    flags: U32 = 0
    label: IfName = ""
    broadcast: IpOrNone = b""

    checks: ClassVar[tuple[Check, ...]] = (
        prefix("addr", "prefixlen"),
        one_family("addr", "peer", "broadcast"),
    )

    @property
    def key(self) -> tuple[int, bytes, int, bytes]:
        """(ifindex, addr, prefixlen, peer)."""
        return (self.ifindex, self.addr, self.prefixlen, self.peer)


class Encap(Part, frozen=True, gc=False):
    """A lightweight tunnel on a nexthop: its type by name ("mpls", "ip", "seg6", "bpf", ...)."""

    type: ShortName


class Nexthop(Part, frozen=True, gc=False):
    """One nexthop of a route. `gateway` may be of another family than the route (RTA_VIA).

    `flags` keeps RTNH_F_DEAD, RTNH_F_ONLINK, RTNH_F_LINKDOWN, RTNH_F_PERVASIVE only. `weight` starts at 1.
    """

    oif: IfindexRef = 0
    gateway: IpOrNone = b""
    weight: Weight = 1
    flags: U32 = 0
    encap: Encap | None = None


class Route(Record, frozen=True, gc=False):
    """One route of any table.

    `dst`/`dst_len` is the prefix (all zero bytes, 0 for a default route), so `len(dst)` tells the
    family. `metric` is RTA_PRIORITY. `mtu` is the route's own MTU metric, 0 for none; `mtu_lock`
    its lock. `nhid` names a nexthop object; `nexthops` is then what the kernel expands it to.
    `pos` counts from 0 among routes with the same table, prefix, tos and metric, in the kernel's
    order: the first usable one wins.
    """

    table_id: U32
    dst: Ip
    dst_len: PrefixLen
    type: RouteType = RTN_UNICAST
    tos: U8 = 0
    metric: U32 = 0
    pos: U32 = 0
    scope: U8 = 0
    protocol: U8 = 0
    src: IpOrNone = b""
    src_len: PrefixLen = 0
    prefsrc: IpOrNone = b""
    nexthops: tuple[Nexthop, ...] = ()
    nhid: U32 = 0
    flags: U32 = 0
    mtu: U32 = 0
    mtu_lock: bool = False
    pref: U8 = 0

    checks: ClassVar[tuple[Check, ...]] = (
        prefix("dst", "dst_len"),
        prefix("src", "src_len"),
        one_family("dst", "src", "prefsrc"),
    )

    @property
    def key(self) -> tuple[int, bytes, int, bytes, int, int, int, int]:
        """(table_id, dst, dst_len, src, src_len, tos, metric, pos)."""
        return (
            self.table_id,
            self.dst,
            self.dst_len,
            self.src,
            self.src_len,
            self.tos,
            self.metric,
            self.pos,
        )


class NexthopObject(Record, frozen=True, gc=False):
    """A nexthop object (`ip nexthop`). `group` holds (id, weight); `family` is AF_*; `resilient` groups hash by buckets."""

    id: U32
    family: NexthopFamily = 0
    group: tuple[tuple[U32, Weight], ...] = ()
    resilient: bool = False
    blackhole: bool = False
    oif: IfindexRef = 0
    gateway: IpOrNone = b""
    scope: U8 = 0
    protocol: U8 = 0
    flags: U32 = 0
    fdb: bool = False
    encap: Encap | None = None

    @property
    def key(self) -> int:
        """The id."""
        return self.id


class Rule(Record, frozen=True, gc=False):
    """A policy routing rule. Absent selectors keep their defaults; `pos` orders rules of equal priority.

    `action` is FR_ACT_*; `goto` the priority to jump to; `suppress_prefixlen` and
    `suppress_ifgroup` are -1 when unset; ranges are inclusive (0, 0) when unset; `uid_range` is
    None when unset. A mask says which bits of a port's first value, DSCP or flow label count: 0 for a port
    or DSCP is all of them, 0 for a flow label none.
    """

    family: RuleFamily
    priority: U32
    pos: U32 = 0
    action: U8 = FR_ACT_TO_TBL
    table_id: U32 = 0
    src: IpOrNone = b""
    src_len: PrefixLen = 0
    dst: IpOrNone = b""
    dst_len: PrefixLen = 0
    tos: U8 = 0
    dscp: U8 | None = None
    iifname: IfName = ""
    oifname: IfName = ""
    fwmark: U32 = 0
    fwmask: U32 = 0
    ip_proto: U8 = 0
    sport: tuple[Port, Port] = (0, 0)
    dport: tuple[Port, Port] = (0, 0)
    uid_range: tuple[U32, U32] | None = None
    invert: bool = False
    goto: U32 = 0
    suppress_prefixlen: S32 = -1
    suppress_ifgroup: S32 = -1
    l3mdev: bool = False
    tun_id: U64 = 0
    protocol: U8 = 0
    sport_mask: U16 = 0
    dport_mask: U16 = 0
    dscp_mask: U8 = 0
    flowlabel: U32 = 0
    flowlabel_mask: U32 = 0

    checks: ClassVar[tuple[Check, ...]] = (
        prefix("src", "src_len"),
        prefix("dst", "dst_len"),
        one_family("src", "dst"),
    )

    @property
    def key(self) -> tuple[int, int, int]:
        """(family, priority, pos)."""
        return (self.family, self.priority, self.pos)
