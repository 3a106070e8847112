"""IPVS: virtual services and their real servers.

Source: net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show (Linux 6.18).
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
