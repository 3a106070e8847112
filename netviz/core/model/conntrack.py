"""Connection tracking entries.

Source: include/uapi/linux/netfilter/nf_conntrack_common.h, nfnetlink_conntrack.h (Linux 6.18).
"""

from __future__ import annotations

from typing import ClassVar

from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import U8, U16, U32, Check, Ip, IpOrNone, Port, ShortName, one_family

IPS_EXPECTED = 0x1
IPS_SEEN_REPLY = 0x2
IPS_ASSURED = 0x4
IPS_CONFIRMED = 0x8
IPS_SRC_NAT = 0x10
IPS_DST_NAT = 0x20
IPS_DYING = 0x200
IPS_TEMPLATE = 0x800


class CtTuple(Part, frozen=True, gc=False):
    """One direction of a connection. For ICMP, `sport` is the id and `dport` is type << 8 | code."""

    src: IpOrNone
    dst: IpOrNone
    proto: U8
    sport: Port = 0
    dport: Port = 0


class CtEntry(Record, frozen=True, gc=False, array_like=True):
    """One conntrack entry, flat because there may be 100,000 of them.

    `o*` is the original direction's tuple and `r*` the reply's; ports as in CtTuple. `tcp_state` is
    TCP_CONNTRACK_* (0 for other protocols). Timeouts are left out: they change all the time.
    """

    proto: U8
    osrc: Ip
    odst: Ip
    osport: Port
    odport: Port
    rsrc: Ip
    rdst: Ip
    rsport: Port
    rdport: Port
    zone: U16 = 0
    mark: U32 = 0
    status: U32 = 0
    tcp_state: U8 = 0
    helper: ShortName = ""

    checks: ClassVar[tuple[Check, ...]] = (one_family("osrc", "odst", "rsrc", "rdst"),)

    @property
    def key(self) -> tuple[int, bytes, bytes, int, int, int]:
        """(proto, osrc, odst, osport, odport, zone)."""
        return (self.proto, self.osrc, self.odst, self.osport, self.odport, self.zone)

    @property
    def orig(self) -> CtTuple:
        """The tuple of packets in the original direction."""
        return CtTuple(self.osrc, self.odst, self.proto, self.osport, self.odport)

    @property
    def reply(self) -> CtTuple:
        """The tuple that packets of the reply direction carry."""
        return CtTuple(self.rsrc, self.rdst, self.proto, self.rsport, self.rdport)
