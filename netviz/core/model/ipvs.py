"""IPVS: virtual services, their real servers, and connections.

Source: net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show; ip_vs_conn.c, ip_vs_conn_seq_show (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.base import Part, Record


class IpvsServer(Part, frozen=True, gc=False):
    """A real server of a service; `forward` is "masq", "route", "tunnel" or "local"."""

    addr: bytes
    port: int
    forward: str = "masq"
    weight: int = 1


class IpvsService(Record, frozen=True, gc=False):
    """A virtual service: by protocol, address and port (0: any), or by `fwmark`."""

    proto: int = 0
    addr: bytes = b""
    port: int = 0
    fwmark: int = 0
    scheduler: str = ""
    persistent: bool = False
    servers: tuple[IpvsServer, ...] = ()

    @property
    def key(self) -> tuple[int, bytes, int, int]:
        """(proto, addr, port, fwmark)."""
        return (self.proto, self.addr, self.port, self.fwmark)


class IpvsConn(Record, frozen=True, gc=False):
    """A connection of a client to a virtual address, and the real server that it was given to."""

    proto: int
    caddr: bytes
    cport: int
    vaddr: bytes
    vport: int
    daddr: bytes
    dport: int

    @property
    def key(self) -> tuple[int, bytes, int, bytes, int]:
        """(proto, caddr, cport, vaddr, vport)."""
        return (self.proto, self.caddr, self.cport, self.vaddr, self.vport)
