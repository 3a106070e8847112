"""/proc/net/ip_vs, from text as ip_vs_ctl.c writes it: the kernel of the tests has no IPVS."""

from __future__ import annotations

from agents.collectors.ipvs import parse_ipvs
from netviz.core.model.addr import pack_ip
from netviz.core.model.ipvs import IpvsServer, IpvsService

TEXT = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:0050 rr persistent 10800 FFFFFFFF
  -> 0AF40003:1F90      Masq    1      0          0
  -> 0AF40002:1F90      Masq    2      7          1
UDP  [fd96:0000:0000:0000:0000:0000:0000:000a]:0035 wrr
  -> [fd44:0000:0000:0000:0000:0000:0000:0002]:0035      Route   1      0          0
FWM  00000010 sh
"""


def test_services_and_servers() -> None:
    assert list(parse_ipvs(TEXT.splitlines())) == [
        IpvsService(
            6,
            pack_ip("10.96.0.1"),
            80,
            scheduler="rr",
            persistent=True,
            servers=(
                IpvsServer(pack_ip("10.244.0.3"), 8080),
                IpvsServer(pack_ip("10.244.0.2"), 8080, weight=2),
            ),
        ),
        IpvsService(
            17,
            pack_ip("fd96::a"),
            53,
            scheduler="wrr",
            servers=(IpvsServer(pack_ip("fd44::2"), 53, "route"),),
        ),
        IpvsService(fwmark=16, scheduler="sh"),
    ]


def test_nothing() -> None:
    assert list(parse_ipvs([])) == []
