"""Layer 3: addresses, routes, nexthop objects, policy rules.

Source: include/uapi/linux/rtnetlink.h, if_addr.h, nexthop.h, fib_rules.h (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.base import Part, Record

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


class Addr(Record, frozen=True, gc=False):
    """An address of a link. `addr` is IFA_LOCAL; `peer` is IFA_ADDRESS where it differs (point to point)."""

    ifindex: int
    addr: bytes
    prefixlen: int
    peer: bytes = b""
    scope: int = 0
    flags: int = 0
    label: str = ""
    broadcast: bytes = b""

    @property
    def key(self) -> tuple[int, bytes, int, bytes]:
        """(ifindex, addr, prefixlen, peer)."""
        return (self.ifindex, self.addr, self.prefixlen, self.peer)


class Encap(Part, frozen=True, gc=False):
    """A lightweight tunnel on a nexthop: its type by name ("mpls", "ip", "seg6", "bpf", ...)."""

    type: str


class Nexthop(Part, frozen=True, gc=False):
    """One nexthop of a route. `gateway` may be of another family than the route (RTA_VIA).

    `flags` keeps RTNH_F_DEAD, RTNH_F_ONLINK, RTNH_F_LINKDOWN, RTNH_F_PERVASIVE only. `weight` starts at 1.
    """

    oif: int = 0
    gateway: bytes = b""
    weight: int = 1
    flags: int = 0
    encap: Encap | None = None


class Route(Record, frozen=True, gc=False):
    """One route of any table.

    `dst`/`dst_len` is the prefix (all zero bytes, 0 for a default route), so `len(dst)` tells the
    family. `metric` is RTA_PRIORITY. `mtu` is the route's own MTU metric, 0 for none; `mtu_lock`
    its lock. `nhid` names a nexthop object; `nexthops` is then what the kernel expands it to.
    `pos` counts from 0 among routes with the same table, prefix, tos and metric, in the kernel's
    order: the first usable one wins.
    """

    table_id: int
    dst: bytes
    dst_len: int
    type: int = RTN_UNICAST
    tos: int = 0
    metric: int = 0
    pos: int = 0
    scope: int = 0
    protocol: int = 0
    src: bytes = b""
    src_len: int = 0
    prefsrc: bytes = b""
    nexthops: tuple[Nexthop, ...] = ()
    nhid: int = 0
    flags: int = 0
    mtu: int = 0
    mtu_lock: bool = False
    pref: int = 0

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

    id: int
    family: int = 0
    group: tuple[tuple[int, int], ...] = ()
    resilient: bool = False
    blackhole: bool = False
    oif: int = 0
    gateway: bytes = b""
    scope: int = 0
    protocol: int = 0
    flags: int = 0
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

    family: int
    priority: int
    pos: int = 0
    action: int = FR_ACT_TO_TBL
    table_id: int = 0
    src: bytes = b""
    src_len: int = 0
    dst: bytes = b""
    dst_len: int = 0
    tos: int = 0
    dscp: int | None = None
    iifname: str = ""
    oifname: str = ""
    fwmark: int = 0
    fwmask: int = 0
    ip_proto: int = 0
    sport: tuple[int, int] = (0, 0)
    dport: tuple[int, int] = (0, 0)
    uid_range: tuple[int, int] | None = None
    invert: bool = False
    goto: int = 0
    suppress_prefixlen: int = -1
    suppress_ifgroup: int = -1
    l3mdev: bool = False
    tun_id: int = 0
    protocol: int = 0
    sport_mask: int = 0
    dport_mask: int = 0
    dscp_mask: int = 0
    flowlabel: int = 0
    flowlabel_mask: int = 0

    @property
    def key(self) -> tuple[int, int, int]:
        """(family, priority, pos)."""
        return (self.family, self.priority, self.pos)
