"""IPVS: virtual services, their real servers, and connections.

Source: net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show; ip_vs_conn.c, ip_vs_conn_seq_show (Linux 6.18).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import S32, U8, U32, Check, Ip, IpOrNone, Port, ShortName, one_family, one_of

Forward = Annotated[str, one_of("masq", "local", "tunnel", "route", "bypass")]


class IpvsServer(Part, frozen=True, gc=False):
    """A real server of a service; `forward` is "masq", "route", "tunnel" or "local"."""

    addr: Ip
    port: Port
    forward: Forward = "masq"
    weight: S32 = 1


class IpvsService(Record, frozen=True, gc=False):
    """A virtual service: by protocol, address and port (0: any), or by `fwmark`."""

    proto: U8 = 0
    addr: IpOrNone = b""
    port: Port = 0
    fwmark: U32 = 0
    scheduler: ShortName = ""
    persistent: bool = False
    servers: tuple[IpvsServer, ...] = ()

    @property
    def key(self) -> tuple[int, bytes, int, int]:
        """(proto, addr, port, fwmark)."""
        return (self.proto, self.addr, self.port, self.fwmark)


class IpvsConn(Record, frozen=True, gc=False):
    """A connection of a client to a virtual address, and the real server that it was given to."""

    proto: U8
    caddr: Ip
    cport: Port
    vaddr: Ip
    vport: Port
    daddr: Ip
    dport: Port

    checks: ClassVar[tuple[Check, ...]] = (one_family("caddr", "vaddr"),)

    @property
    def key(self) -> tuple[int, bytes, int, bytes, int]:
        """(proto, caddr, cport, vaddr, vport)."""
        return (self.proto, self.caddr, self.cport, self.vaddr, self.vport)
