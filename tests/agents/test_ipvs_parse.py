"""/proc/net/ip_vs, from text as ip_vs_ctl.c writes it: the kernel of the tests has no IPVS."""

from __future__ import annotations

from agents.collectors.ipvs import parse_conns, parse_ipvs
from netviz.core.model.addr import pack_ip
from netviz.core.model.ipvs import IpvsConn, IpvsServer, IpvsService

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


CONNS = """Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0AF40105 9C40 0A600001 0050 0AF40202 1F90 ESTABLISHED     899
TCP 0AF40105 0000 0A600001 0050 0AF40202 1F90 NONE            899
UDP fd44:0000:0000:0000:0000:0000:0000:0005 9C41 fd96:0000:0000:0000:0000:0000:0000:000a 0035 fd44:0000:0000:0000:0000:0000:0000:0002 0035 UDP             299
"""


def test_connections_without_templates() -> None:
    """A persistent service's template has the client's port 0 (ip_vs_conn_seq_show)."""
    client, vip, server = (pack_ip(addr) for addr in ("10.244.1.5", "10.96.0.1", "10.244.2.2"))
    six = [pack_ip(addr) for addr in ("fd44::5", "fd96::a", "fd44::2")]
    assert list(parse_conns(CONNS.splitlines())) == [
        IpvsConn(6, client, 40000, vip, 80, server, 8080),
        IpvsConn(17, six[0], 40001, six[1], 53, six[2], 53),
    ]
