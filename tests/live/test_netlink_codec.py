"""Our netlink codec against pyroute2's decoding of the same namespace, field by field.

Kinds of devices that this kernel lacks are in tests/agents/test_netlink_constructed.py.
"""

from __future__ import annotations

import os
import socket
import subprocess
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.collectors import rtnl
from agents.enter import NetnsThread
from netviz.core.model.addr import format_ip, format_mac, pack_ip
from netviz.core.model.base import Record
from netviz.core.model.l2 import normal_nud
from netviz.core.model.l3 import Addr, NexthopObject, Route, Rule
from netviz.core.model.link import Link

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyroute2 import NetNS

pytestmark = pytest.mark.live

BASE = f"nv-codec{os.getpid()}"
IP_BATCH = """
link set lo up
link add br0 type bridge stp_state 0 ageing_time 12345 group_fwd_mask 8 nf_call_iptables 1
link add veth0 type veth peer name veth1
link add veth2 type veth peer name veth3
link property add dev veth0 altname a-much-longer-name-than-fifteen
link property add dev veth0 altname second
link set veth0 alias words group 7 mtu 1400
link set veth0 master br0
link set dev veth0 type bridge_slave hairpin on isolated on neigh_suppress on learning off
link add vx0 type vxlan id 42 dev veth2 remote 192.0.2.1 local 10.1.0.1 dstport 4789 ttl 9 srcport 1000 2000
link add vx1 type vxlan id 43 local 2001:db8::1 remote 2001:db8::2 dstport 8472 nolearning proxy l3miss ttl inherit
link add vx2 type vxlan external dstport 4790
link add mv0 link veth2 type macvlan mode bridge
link add mv1 link veth2 type macvlan mode private
tuntap add tap0 mode tap user 1000
tuntap add tun0 mode tun group 5
link set br0 up
link set veth0 up
link set veth1 up
link set veth2 up
link set veth3 up
link set vx0 up
link set mv0 up
addr add 10.1.0.1/24 brd + dev veth2
addr add 10.1.0.9/24 dev veth2 label veth2:x
addr add 10.5.0.1 peer 10.5.0.2/32 dev veth3
addr add 2001:db8:1::1/64 dev veth2 nodad
addr add 2001:db8:5::1 peer 2001:db8:5::2 dev veth3 nodad
addr add 10.9.0.1/16 dev br0 scope link
route add 10.20.0.0/16 via 10.1.0.2
route append 10.20.0.0/16 via 10.1.0.3
route add 10.20.0.0/16 via 10.1.0.3 metric 5 mtu lock 1300 proto static
route add 10.21.0.0/16 nexthop via 10.1.0.2 weight 3 nexthop via 10.1.0.3 weight 5 nexthop dev br0
route add 10.22.0.0/16 tos 0x10 via 10.1.0.4
route add 10.23.0.0/16 via 10.99.0.1 dev veth2 onlink
route add 10.24.0.0/16 via inet6 2001:db8:1::9 dev veth2
route add 10.25.0.0/16 dev veth2 src 10.1.0.9 scope link table 100
route add blackhole 10.30.0.0/16
route add unreachable 10.31.0.0/16 metric 9
route add prohibit 10.32.0.0/16 table 1000
route add throw 10.33.0.0/16 table 200
route add local 10.34.0.1 dev lo
route add multicast 239.1.0.0/16 dev veth2
route add default via 10.1.0.254
route add 2001:db8:20::/48 via 2001:db8:1::2 pref high
route add 2001:db8:21::/48 nexthop via 2001:db8:1::2 weight 2 nexthop via 2001:db8:1::3
route add 2001:db8:22::/48 via 2001:db8:1::2 mtu 1280
route add 2001:db8:23::/48 from 2001:db8:9::/64 via 2001:db8:1::2
route add unreachable 2001:db8:30::/48
route add blackhole 2001:db8:31::/48 table 77
route add default via 2001:db8:1::fe metric 50
nexthop add id 10 via 10.1.0.2 dev veth2
nexthop add id 11 via 10.1.0.3 dev veth2 proto static
nexthop add id 12 blackhole
nexthop add id 13 via 2001:db8:1::2 dev veth2
nexthop add id 14 dev veth2 via 10.99.0.9 onlink
nexthop add id 20 group 10,3/11,7
nexthop add id 21 group 10/11 type resilient buckets 32
nexthop add id 30 via 192.0.2.9 fdb
nexthop add id 31 group 30 fdb
route add 10.40.0.0/16 nhid 20
route add 10.41.0.0/16 nhid 10
route add 2001:db8:40::/48 nhid 13
rule add priority 10 from 10.1.0.0/24 lookup 100
rule add priority 10 to 10.2.0.0/24 fwmark 0x10/0xf0 lookup 1000
rule add priority 11 iif veth2 oif veth3 lookup main
rule add priority 12 not ipproto tcp sport 100-200 dport 80 lookup 100
rule add priority 13 uidrange 10-20 lookup 100
rule add priority 14 tos 0x10 lookup 100
rule add priority 15 goto 100
rule add priority 100 lookup main suppress_prefixlength 0
rule add priority 101 lookup main suppress_ifgroup 7
rule add priority 102 prohibit
rule add priority 103 blackhole
rule add priority 104 unreachable
rule add priority 105 tun_id 77 lookup 100 protocol 33
neigh add 10.1.0.2 lladdr 02:00:00:00:00:01 dev veth2
neigh add 10.1.0.3 lladdr 02:00:00:00:00:02 nud reachable dev veth2
neigh add 10.1.0.4 nud failed dev veth2
neigh add 10.1.0.5 lladdr 02:00:00:00:00:03 nud noarp dev veth2
neigh add 2001:db8:1::2 lladdr 02:00:00:00:00:04 dev veth2 router
neigh add 2001:db8:1::3 lladdr 02:00:00:00:00:05 nud stale dev veth2
neigh add proxy 10.1.0.77 dev veth2
neigh add proxy 2001:db8:1::77 dev veth2
"""
RULES_V6 = """
rule add priority 20 from 2001:db8::/32 lookup 77
rule add priority 21 to 2001:db8:1::/48 iif veth2 lookup main
"""
FDB_BATCH = """
fdb add 02:00:00:00:01:01 dev veth0 master static
fdb add 02:00:00:00:01:02 dev veth0 master
fdb add 02:00:00:00:01:03 dev veth0 master dynamic
fdb add 02:00:00:00:01:04 dev veth0 master static sticky
fdb add 02:00:00:00:02:01 dev vx0 dst 192.0.2.7
fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.8
fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.9 port 9999 vni 77
fdb add 02:00:00:00:02:02 dev vx1 dst 2001:db8::9 via veth2
fdb add 02:00:00:00:02:03 dev vx0 nhid 31
"""


def _batch(program: str, *options: str, text: str) -> None:
    argv = [program, *options, "-batch", "-"]
    done = subprocess.run(argv, input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def netns() -> Iterator[str]:
    subprocess.run(["ip", "netns", "add", BASE], check=True)
    try:
        _batch("ip", "-n", BASE, text=IP_BATCH)
        _batch("ip", "-6", "-n", BASE, text=RULES_V6)
        _batch("bridge", "-n", BASE, text=FDB_BATCH)
        for qdisc in ("clsact", "ingress"):
            device = {"clsact": "veth2", "ingress": "veth3"}[qdisc]
            subprocess.run(["tc", "-n", BASE, "qdisc", "add", "dev", device, qdisc], check=True)
        yield BASE
    finally:
        subprocess.run(["ip", "netns", "del", BASE], check=True)


@pytest.fixture(scope="module")
def ours(netns: str) -> Iterator[socket.socket]:
    """A request socket inside, as the collector has it."""
    thread = NetnsThread()
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    sock = thread.run(fd, lambda: thread.kernel.open_netlink(socket.NETLINK_ROUTE))
    yield sock
    sock.close()
    os.close(fd)
    thread.close()


@pytest.fixture(scope="module")
def theirs(netns: str) -> Iterator[Any]:
    with NetNS(netns) as ipr:
        yield ipr


def _ip(text: str | None) -> bytes:
    return pack_ip(text) if text else b""


def _by_key(records: Iterable[Record]) -> dict[Any, Record]:
    return {rec.key: rec for rec in records}  # type: ignore[attr-defined]


def _same(ours: Iterable[Record], theirs: Iterable[Record], at_least: int) -> None:
    """Compare as sets of plain values, so that a failure names the fields that differ."""
    mine = sorted(repr(r) for r in ours)
    other = sorted(repr(r) for r in theirs)
    assert len(mine) >= at_least
    assert mine == other


def test_addresses(ours: socket.socket, theirs: Any) -> None:
    expected = []
    for msg in theirs.get_addr():
        local, address = msg.get_attr("IFA_LOCAL"), msg.get_attr("IFA_ADDRESS")
        expected.append(
            Addr(
                ifindex=msg["index"],
                addr=_ip(local or address),
                prefixlen=msg["prefixlen"],
                peer=_ip(address) if local and local != address else b"",
                scope=msg["scope"],
                flags=msg.get_attr("IFA_FLAGS"),
                label=msg.get_attr("IFA_LABEL") or "",
                broadcast=_ip(msg.get_attr("IFA_BROADCAST")),
            )
        )
    _same(rtnl.read_addrs(ours), expected, at_least=8)


def _their_nexthops(msg: Any) -> list[tuple[int, bytes, int, int]]:
    def gateway(part: Any) -> bytes:
        via = part.get_attr("RTA_VIA")
        return _ip(via["addr"]) if via else _ip(part.get_attr("RTA_GATEWAY"))

    paths = msg.get_attr("RTA_MULTIPATH")
    if paths:
        return [(p["oif"], gateway(p), p["hops"] + 1, p["flags"] & 0x17) for p in paths]
    oif, via = msg.get_attr("RTA_OIF") or 0, gateway(msg)
    return [(oif, via, 1, msg["flags"] & 0x17)] if oif or via else []


def _their_route(msg: Any, seen: dict[Any, int]) -> Route:
    metrics = msg.get_attr("RTA_METRICS")
    lock = (metrics.get_attr("RTAX_LOCK") if metrics else 0) or 0
    zero = b"\0" * (4 if msg["family"] == socket.AF_INET else 16)
    route = Route(
        table_id=msg.get_attr("RTA_TABLE"),
        dst=_ip(msg.get_attr("RTA_DST")) or zero,
        dst_len=msg["dst_len"],
        type=msg["type"],
        tos=msg["tos"],
        metric=msg.get_attr("RTA_PRIORITY") or 0,
        scope=msg["scope"],
        protocol=msg["proto"],
        src=_ip(msg.get_attr("RTA_SRC")),
        src_len=msg["src_len"],
        prefsrc=_ip(msg.get_attr("RTA_PREFSRC")),
        flags=msg["flags"] & ~0x1FF,
        mtu=(metrics.get_attr("RTAX_MTU") if metrics else 0) or 0,
        mtu_lock=bool(lock & 4),
        pref=int(msg.get_attr("RTA_PREF") or 0),
    )
    pos = seen.setdefault(route.key, 0)
    seen[route.key] += 1
    return msgspec.structs.replace(route, pos=pos)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_routes(ours: socket.socket, theirs: Any, family: int) -> None:
    width = 4 if family == socket.AF_INET else 16
    mine = [route for route in rtnl.read_routes(ours) if len(route.dst) == width]
    seen: dict[Any, int] = {}
    messages = [m for m in theirs.get_routes(family=family) if not m["flags"] & 0x200]
    expected = [_their_route(msg, seen) for msg in messages]
    _same([msgspec.structs.replace(r, nexthops=(), nhid=0) for r in mine], expected, at_least=15)
    hops = [[(n.oif, n.gateway, n.weight, n.flags) for n in r.nexthops] for r in mine]
    assert hops == [_their_nexthops(msg) for msg in messages]


def test_routes_name_their_nexthop_object(ours: socket.socket) -> None:
    """pyroute2 0.9 doesn't decode RTA_NH_ID; the fixture says what it is."""
    named = {format_ip(r.dst): r.nhid for r in rtnl.read_routes(ours) if r.nhid}
    assert named == {"10.40.0.0": 20, "10.41.0.0": 10, "2001:db8:40::": 13}


def test_the_kernels_order_of_equal_routes(ours: socket.socket) -> None:
    twins = [r for r in rtnl.read_routes(ours) if format_ip(r.dst) == "10.20.0.0" and r.metric == 0]
    assert [(r.pos, format_ip(r.nexthops[0].gateway)) for r in twins] == [(0, "10.1.0.2"), (1, "10.1.0.3")]


def _their_rule(msg: Any, seen: dict[Any, int]) -> Rule:
    def span(name: str) -> tuple[int, int]:
        low, _, high = (msg.get_attr(name) or "0:0").partition(":")
        return int(low), int(high)

    uids = (msg.get_attr("FRA_UID_RANGE") or "").split(":")
    ifgroup = msg.get_attr("FRA_SUPPRESS_IFGROUP")
    prefixlen = msg.get_attr("FRA_SUPPRESS_PREFIXLEN")
    dscp = msg.get_attr("FRA_DSCP") if "FRA_DSCP" in dict(msg["attrs"]) else None
    rule = Rule(
        family=msg["family"],
        priority=msg.get_attr("FRA_PRIORITY") or 0,
        action=msg["action"],
        table_id=msg.get_attr("FRA_TABLE"),
        src=_ip(msg.get_attr("FRA_SRC")),
        src_len=msg["src_len"],
        dst=_ip(msg.get_attr("FRA_DST")),
        dst_len=msg["dst_len"],
        tos=msg["tos"],
        dscp=dscp,
        iifname=msg.get_attr("FRA_IIFNAME") or "",
        oifname=msg.get_attr("FRA_OIFNAME") or "",
        fwmark=msg.get_attr("FRA_FWMARK") or 0,
        fwmask=msg.get_attr("FRA_FWMASK") or 0,
        ip_proto=msg.get_attr("FRA_IP_PROTO") or 0,
        sport=span("FRA_SPORT_RANGE"),
        dport=span("FRA_DPORT_RANGE"),
        uid_range=(int(uids[0]), int(uids[1])) if len(uids) == 2 else None,
        invert=bool(msg["flags"] & 2),
        goto=msg.get_attr("FRA_GOTO") or 0,
        suppress_prefixlen=-1 if prefixlen in (None, 0xFFFFFFFF) else prefixlen,
        suppress_ifgroup=-1 if ifgroup is None else ifgroup,
        tun_id=msg.get_attr("FRA_TUN_ID") or 0,
        protocol=int(msg.get_attr("FRA_PROTOCOL") or 0),
    )
    pos = seen.setdefault((rule.family, rule.priority), 0)
    seen[rule.family, rule.priority] += 1
    return msgspec.structs.replace(rule, pos=pos)


def test_rules(ours: socket.socket, theirs: Any) -> None:
    seen: dict[Any, int] = {}
    expected = [_their_rule(m, seen) for f in (socket.AF_INET, socket.AF_INET6) for m in theirs.get_rules(f)]
    _same(rtnl.read_rules(ours), expected, at_least=20)


def test_nexthop_objects(ours: socket.socket, netns: str) -> None:
    """pyroute2 0.9 decodes nexthop objects only in part, so `ip -j` stands in."""
    out = subprocess.run(
        ["ip", "-n", netns, "-j", "-d", "nexthop", "show"], check=True, capture_output=True, text=True
    )
    names = {link.ifname: link.ifindex for link in rtnl.read_links(ours)}
    protocols = {"static": 4, "kernel": 2, "unspec": 0, "boot": 3}
    expected = []
    for nh in msgspec.json.decode(out.stdout):
        gateway = _ip(nh.get("gateway"))
        flags = nh.get("flags", [])
        expected.append(
            {
                "id": nh["id"],
                "group": tuple((g["id"], g.get("weight", 1)) for g in nh.get("group", [])),
                "resilient": nh.get("type") == "resilient",
                "blackhole": "blackhole" in nh,
                "oif": names.get(nh.get("dev", ""), 0),
                "gateway": gateway,
                "protocol": protocols[nh.get("protocol", "unspec")],
                "onlink": "onlink" in flags,
                "fdb": "fdb" in nh,
            }
        )
    mine = [
        {
            "id": nh.id,
            "group": nh.group,
            "resilient": nh.resilient,
            "blackhole": nh.blackhole,
            "oif": nh.oif,
            "gateway": nh.gateway,
            "protocol": nh.protocol,
            "onlink": bool(nh.flags & 4),
            "fdb": nh.fdb,
        }
        for nh in rtnl.read_nexthops(ours)
    ]
    assert len(mine) == 9
    assert mine == expected
    families = {nh.id: nh.family for nh in rtnl.read_nexthops(ours)}
    assert (families[10], families[13], families[20]) == (socket.AF_INET, socket.AF_INET6, socket.AF_UNSPEC)
    assert NexthopObject(12, family=families[12], blackhole=True) in [
        msgspec.structs.replace(nh, protocol=0, scope=0, oif=0) for nh in rtnl.read_nexthops(ours)
    ]


def test_neighbours_and_proxies(ours: socket.socket, theirs: Any) -> None:
    expected = set()
    for msg in theirs.get_neighbours():
        implied = msg["state"] == 0x40 and msg["ndm_type"] in (2, 3, 5)
        nud = normal_nud(msg["state"])
        if msg["family"] in (socket.AF_INET, socket.AF_INET6) and nud and not implied:
            mac = (msg.get_attr("NDA_LLADDR") or "").replace(":", "")
            expected.add(
                (msg["ifindex"], _ip(msg.get_attr("NDA_DST")), bytes.fromhex(mac), nud, msg["flags"])
            )
    mine = rtnl.read_neighs(ours)
    assert {(n.ifindex, n.dst, n.mac, n.state, n.flags) for n in mine if not n.flags & 8} == expected
    assert len(expected) >= 6
    proxies = {format_ip(n.dst) for n in mine if n.flags & 8}
    assert proxies == {"10.1.0.77", "2001:db8:1::77"}


def test_forwarding_entries(ours: socket.socket, theirs: Any) -> None:
    expected = set()
    for msg in theirs.get_neighbours(family=socket.AF_BRIDGE):
        names = dict(msg["attrs"]).keys()
        master = msg.get_attr("NDA_MASTER") or 0
        marks = {"NDA_DST", "NDA_PORT", "NDA_VNI", "NDA_IFINDEX", "NDA_NH_ID", "NDA_SRC_VNI"}
        if not master and msg["flags"] & 2 and not names & marks:
            continue
        dst = msg.get_attr("NDA_DST")
        expected.add(
            (
                msg["ifindex"],
                msg.get_attr("NDA_LLADDR"),
                master,
                normal_nud(msg["state"]),
                msg["flags"],
                dst if isinstance(dst, str) else "",
                msg.get_attr("NDA_VNI") or 0,
                msg.get_attr("NDA_PORT") or 0,
                msg.get_attr("NDA_IFINDEX") or 0,
            )
        )
    mine = rtnl.read_fdb(ours)
    got = {
        (f.ifindex, format_mac(f.mac), f.master, f.state, f.flags, format_ip(f.dst), f.vni, f.port, f.oif)
        for f in mine
    }
    assert got == expected
    assert len(mine) >= 10
    assert [f.nhid for f in mine if format_mac(f.mac) == "02:00:00:00:02:03"] == [31]


PORT_FIELDS = {
    "state": "STATE",
    "learning": "LEARNING",
    "unicast_flood": "UNICAST_FLOOD",
    "mcast_flood": "MCAST_FLOOD",
    "bcast_flood": "BCAST_FLOOD",
    "hairpin": "MODE",
    "guard": "GUARD",
    "protect": "PROTECT",
    "isolated": "ISOLATED",
    "proxy_arp": "PROXYARP",
    "neigh_suppress": "NEIGH_SUPPRESS",
}
INFO_FIELDS = {
    "bridge": {
        "stp_state": "IFLA_BR_STP_STATE",
        "ageing_time_cs": "IFLA_BR_AGEING_TIME",
        "forward_delay_cs": "IFLA_BR_FORWARD_DELAY",
        "vlan_filtering": "IFLA_BR_VLAN_FILTERING",
        "group_fwd_mask": "IFLA_BR_GROUP_FWD_MASK",
        "mcast_snooping": "IFLA_BR_MCAST_SNOOPING",
        "nf_call_iptables": "IFLA_BR_NF_CALL_IPTABLES",
        "nf_call_ip6tables": "IFLA_BR_NF_CALL_IP6TABLES",
        "nf_call_arptables": "IFLA_BR_NF_CALL_ARPTABLES",
    },
    "vxlan": {
        "vni": "IFLA_VXLAN_ID",
        "link": "IFLA_VXLAN_LINK",
        "ttl": "IFLA_VXLAN_TTL",
        "tos": "IFLA_VXLAN_TOS",
        "port": "IFLA_VXLAN_PORT",
        "learning": "IFLA_VXLAN_LEARNING",
        "proxy": "IFLA_VXLAN_PROXY",
        "rsc": "IFLA_VXLAN_RSC",
        "l2miss": "IFLA_VXLAN_L2MISS",
        "l3miss": "IFLA_VXLAN_L3MISS",
        "collect_metadata": "IFLA_VXLAN_COLLECT_METADATA",
        "ageing_s": "IFLA_VXLAN_AGEING",
        "udp_csum": "IFLA_VXLAN_UDP_CSUM",
    },
    "macvlan": {"mode": "IFLA_MACVLAN_MODE", "flags": "IFLA_MACVLAN_FLAGS"},
    "tun": {"type": "IFLA_TUN_TYPE", "owner": "IFLA_TUN_OWNER", "group": "IFLA_TUN_GROUP"},
}
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "none": 0}


def _plain(value: Any) -> Any:
    return MACVLAN_MODES.get(value, value) if isinstance(value, str) else value


def _check_link(link: Link, msg: Any) -> None:
    assert (link.ifname, link.flags, link.arptype) == (
        msg.get_attr("IFLA_IFNAME"),
        msg["flags"],
        msg["ifi_type"],
    )
    assert (link.mtu, link.group) == (msg.get_attr("IFLA_MTU"), msg.get_attr("IFLA_GROUP"))
    assert format_mac(link.mac) == (msg.get_attr("IFLA_ADDRESS") or "")
    assert link.master == (msg.get_attr("IFLA_MASTER") or 0)
    lower = msg.get_attr("IFLA_LINK") or 0
    assert link.link == (0 if lower == link.ifindex else lower)
    assert link.link_nsid == msg.get_attr("IFLA_LINK_NETNSID")
    assert link.alias == (msg.get_attr("IFLA_IFALIAS") or "")
    operstate = {"UNKNOWN": 0, "DOWN": 2, "LOWERLAYERDOWN": 3, "UP": 6}[msg.get_attr("IFLA_OPERSTATE")]
    assert link.operstate == operstate
    info = msg.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    assert link.kind == (kind or "")
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    for field, name in INFO_FIELDS.get(link.kind, {}).items():
        value = _plain(data.get_attr(name))
        if value is not None:
            assert getattr(link.info, field) == value, (link.ifname, field)
    if link.port is not None:
        slave = info.get_attr("IFLA_INFO_SLAVE_DATA")
        for field, name in PORT_FIELDS.items():
            assert getattr(link.port, field) == slave.get_attr(f"IFLA_BRPORT_{name}"), field


def test_links(ours: socket.socket, theirs: Any) -> None:
    links = _by_key(rtnl.read_links(ours))
    messages = {msg["index"]: msg for msg in theirs.get_links()}
    assert links.keys() == messages.keys()
    for ifindex, link in links.items():
        _check_link(link, messages[ifindex])
    named = {link.ifname: link for link in links.values()}
    assert named["veth0"].altnames == ("a-much-longer-name-than-fifteen", "second")
    assert (named["veth2"].tc, named["veth3"].tc, named["br0"].tc) == (("clsact",), ("ingress",), ())
    assert {link.kind for link in links.values()} >= {"bridge", "veth", "vxlan", "macvlan", "tun"}
    vx0, vx1 = named["vx0"].info, named["vx1"].info
    assert (vx0.remote, vx0.local) == (pack_ip("192.0.2.1"), pack_ip("10.1.0.1"))
    assert (vx0.port_low, vx0.port_high) == (1000, 2000)
    assert (vx1.remote, vx1.local) == (pack_ip("2001:db8::2"), pack_ip("2001:db8::1"))
    assert (vx0.ttl_inherit, vx1.ttl_inherit) == (False, True)


SYSCTL_V4 = {
    name: name
    for name in [
        "mc_forwarding",
        "forwarding",
        "proxy_arp",
        "send_redirects",
        "rp_filter",
        "arp_filter",
        "arp_announce",
        "arp_ignore",
        "arp_accept",
        "accept_local",
        "src_valid_mark",
        "proxy_arp_pvlan",
        "route_localnet",
        "ignore_routes_with_linkdown",
        "drop_unicast_in_l2_multicast",
    ]
}
SYSCTL_V6 = {
    "hop_limit": "hop_limit",
    "mtu": "mtu6",
    "accept_ra": "accept_ra",
    "forwarding": "forwarding",
    "proxy_ndp": "proxy_ndp",
    "accept_source_route": "accept_source_route",
    "disable_ipv6": "disable_ipv6",
    "ignore_routes_with_linkdown": "ignore_routes_with_linkdown",
    "drop_unicast_in_l2_multicast": "drop_unicast_in_l2_multicast",
    "ndisc_evict_nocarrier": "ndisc_evict_nocarrier",
}
READ_ONLY = {"mc_forwarding", "mtu"}


@pytest.mark.parametrize(("tree", "names"), [("ipv4", SYSCTL_V4), ("ipv6", SYSCTL_V6)])
def test_every_device_setting_is_the_sysctl_of_that_name(
    netns: str, ours: socket.socket, tree: str, names: dict[str, str]
) -> None:
    """Turn one setting after the other: the field of that name follows, and no other does."""
    folder = f"/proc/sys/net/{tree}/conf/mv1"

    def read() -> dict[str, int]:
        conf = getattr(next(link for link in rtnl.read_links(ours) if link.ifname == "mv1"), tree)
        return msgspec.structs.asdict(conf)

    def inside(*argv: str) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", netns, *argv], check=True, capture_output=True, text=True
        )
        return done.stdout

    assert {*names.values()} | {"mc_forwarding"} >= set(read())
    for sysctl, field in names.items():
        path = f"{folder}/{sysctl}"
        before = read()
        assert before[field] == int(inside("cat", path)), sysctl
        if sysctl in READ_ONLY:
            continue
        other = before[field] ^ 1
        inside("sh", "-c", f"echo {other} > {path}")
        assert read() == {**before, field: other}, sysctl
        inside("sh", "-c", f"echo {before[field]} > {path}")


def test_counters(ours: socket.socket, netns: str) -> None:
    folder = Path("/sys/class/net")
    counters = {c.ifindex: c for c in rtnl.read_counters(ours)}
    links = {link.ifindex: link.ifname for link in rtnl.read_links(ours)}
    assert counters.keys() == links.keys()
    for ifindex, name in links.items():
        for field in ("rx_packets", "tx_packets", "rx_bytes", "tx_dropped"):
            done = subprocess.run(
                ["ip", "netns", "exec", netns, "cat", str(folder / name / "statistics" / field)],
                check=True,
                capture_output=True,
                text=True,
            )
            assert getattr(counters[ifindex], field) <= int(done.stdout), (name, field)
