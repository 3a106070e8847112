"""What matches say whose answer lies in TCP's options, counters of connections, lists, routes of IPv6 and sockets."""

from __future__ import annotations

from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NfAcct, NftExpr
from netviz.core.model.socket import TCP_LISTEN, Socket
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.packet import Packet
from tests.core.sim.xtables.recorded import Tracked, context, echo, matches, tcp, tracked, udp

T, F, U = Tri.TRUE, Tri.FALSE, Tri.UNKNOWN
SYN60 = tcp(length=60)
RST = tcp(tcp_flags=4, length=40)
CASES: list[tuple[str, Packet | Tracked, Tri, dict[str, Any]]] = [
    ("-p tcp -m tcp --tcp-option 2 -j ACCEPT", SYN60, T, {}),
    ("-p tcp -m tcp --tcp-option 2 -j ACCEPT", RST, F, {}),
    ("-p tcp -m tcp --tcp-option 2 -j ACCEPT", tcp(length=44), U, {}),
    ("-p tcp -m tcp ! --tcp-option 3 -j DROP", SYN60, F, {}),
    ("-p tcp -m tcp ! --tcp-option 3 -j DROP", RST, T, {}),
    ("-p tcp -m tcp --tcp-option 30 -j DROP", SYN60, F, {}),
    ("-m ecn --ecn-ip-ect 0 -j DROP", tcp(tos=0x10), T, {}),
    ("-m ecn --ecn-ip-ect 0 -j DROP", tcp(tos=0x12), F, {}),
    ("-m ecn ! --ecn-ip-ect 2 -j DROP", tcp(tos=0x12), F, {}),
    ("-p tcp -m ecn --ecn-tcp-cwr -j DROP", tcp(tcp_flags=0xC2), T, {}),
    ("-p tcp -m ecn --ecn-tcp-cwr -j DROP", tcp(), F, {}),
    ('-m string --hex-string "|0050|" --algo bm --from 20 --to 40 -j DROP', SYN60, T, {}),
    ('-m string --hex-string "|0050|" --algo bm --from 20 --to 40 -j DROP', tcp(dport=81, length=60), U, {}),
    ('-m string --string "zz" --algo bm --from 2000 -j DROP', SYN60, F, {}),
    ("-m time --datestop 2038-01-19T03:14:07 -j DROP", tcp(), T, {}),
    (
        "-m time --timestart 08:00:00 --timestop 17:30:00 --weekdays Mon,Fri --datestart 2024-02-29T01:02:03 "
        "--datestop 2038-01-19T03:14:07 -j ACCEPT",
        tcp(),
        U,
        {},
    ),
    ("-m connbytes --connbytes 1:1 --connbytes-mode packets --connbytes-dir original -j DROP", tcp(), F, {}),
    (
        "-m connbytes --connbytes 1:1 --connbytes-mode packets --connbytes-dir original -j DROP",
        tracked(tcp()),
        T,
        {},
    ),
    (
        "-m connbytes --connbytes 1:1 --connbytes-mode packets --connbytes-dir original -j DROP",
        tracked(tcp(), confirmed=True),
        U,
        {},
    ),
    ("-m connlimit --connlimit-above 0 --connlimit-mask 32 --connlimit-saddr -j DROP", tracked(tcp()), T, {}),
    ("-m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr -j DROP", tracked(tcp()), F, {}),
    ('-m connlabel ! --label "4" -j DROP', tracked(tcp()), T, {}),
    ('-m connlabel ! --label "4" -j DROP', tracked(tcp(), confirmed=True), U, {}),
    ('-m connlabel --label "3" --set -j DROP', tracked(tcp()), T, {}),
    ("-m devgroup ! --src-group default -j DROP", tcp(), F, {}),
    ("-m devgroup --src-group default ! --dst-group 0x5 -j ACCEPT", tcp(), T, {"oif": "br0", "hook": 2}),
    ("-m policy --dir in --pol none -j ACCEPT", tcp(), T, {}),
    ("-m policy --dir out --pol ipsec -j ACCEPT", tcp(), F, {}),
    ("-p sctp -m sctp --dport 80 -j ACCEPT", tcp(), F, {}),
    ("-p sctp -m sctp --dport 80 -j ACCEPT", tcp(proto=132), T, {}),
    ("-p dccp -m dccp --dport 80 -j ACCEPT", tcp(proto=33, dport=81), F, {}),
    ("-p esp -m esp --espspi 80 -j ACCEPT", tcp(), F, {}),
    ("-p esp -m esp --espspi 80 -j ACCEPT", tcp(proto=50), U, {}),
    ("-m owner --socket-exists -j DROP", tcp(smac=b"123456"), F, {"hook": 4, "iif": "", "oif": "eth0"}),
    ("-m owner ! --socket-exists -j DROP", tcp(smac=b"123456"), T, {"hook": 4, "iif": "", "oif": "eth0"}),
    ("-m owner --socket-exists -j DROP", tcp(own=True), T, {"hook": 3, "iif": "", "oif": "eth0"}),
    (
        "-m owner --socket-exists -j DROP",
        tcp(payload=tcp(smac=b"123456")),
        F,
        {"hook": 3, "iif": "", "oif": "eth0"},
    ),
    (
        "-m owner --socket-exists -j DROP",
        tcp(payload=tcp(own=True)),
        T,
        {"hook": 3, "iif": "", "oif": "eth0"},
    ),
    ("-m cgroup ! --cgroup 7 -j DROP", tcp(smac=b"123456"), F, {"hook": 4, "iif": "", "oif": "eth0"}),
    ("-m cgroup ! --cgroup 7 -j DROP", tcp(own=True), U, {"hook": 3, "iif": "", "oif": "eth0"}),
    ("-m realm --realm 0x1 -j ACCEPT", tcp(), U, {}),
    ("-m quota --quota 1000000 -j ACCEPT", tcp(), U, {}),
    ("-p tcp -m osf --genre Linux -j ACCEPT", RST, F, {}),
    ("-m ipv6header --header protocol --soft -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {}),
    ("-m ipv6header --header protocol -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {}),
    ("-m ipv6header ! --header ipv6-frag --soft -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {}),
    ("-m frag --fragid 1 -j ACCEPT", tcp("fd00::1", "fd00::9"), F, {}),
    ("-m frag --fragid 1 -j ACCEPT", tcp("fd00::1", "fd00::9", fragment=1280), U, {}),
    (
        "-m eui64 -j ACCEPT",
        tcp("fe80::5054:ff:fe12:3456", "fd00::9", smac=bytes.fromhex("525400123456")),
        T,
        {},
    ),
    ("-m eui64 -j ACCEPT", tcp("fd00::1", "fd00::9", smac=bytes.fromhex("525400123456")), F, {}),
    ("-m addrtype --dst-type LOCAL -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {}),
    ("-m addrtype --dst-type LOCAL -j ACCEPT", tcp("fd00::1", "fd00::8"), F, {}),
    ("-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {}),
    (
        "-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT",
        tcp("fd00::1", "fd00::9"),
        F,
        {"iif": "br0"},
    ),
    ("-m addrtype --dst-type UNREACHABLE -j ACCEPT", tcp("fd00::1", "2001:db8::1"), T, {}),
    ("-m addrtype --dst-type UNREACHABLE -j ACCEPT", tcp("fd00::1", "fd00::9"), F, {}),
    ("-m addrtype ! --src-type ANYCAST -j ACCEPT", tcp("fd00::", "fd00::9"), F, {}),
    ("-m rpfilter -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {}),
    ("-m rpfilter -j ACCEPT", tcp("fd00::1", "fd00::9"), F, {"iif": "br0"}),
    ("-m rpfilter -j ACCEPT", tcp("2001:db8::1", "fd00::9"), F, {}),
    ("-m rpfilter --loose -j ACCEPT", tcp("fd00::1", "fd00::9"), T, {"iif": "br0"}),
    ("-m rpfilter --accept-local -j ACCEPT", tcp("fd00::9", "fd00::9"), T, {}),
    ("-m rpfilter -j ACCEPT", tcp("fd00::9", "fd00::9"), F, {}),
]


@pytest.mark.parametrize(
    ("text", "packet", "expected", "where"), CASES, ids=[f"{n} {case[0]}" for n, case in enumerate(CASES)]
)
def test_a_match(text: str, packet: Packet | Tracked, expected: Tri, where: dict[str, Any]) -> None:
    """Each case against the rule as the kernel gave it out, of the packet's family."""
    ctx = context(packet, **where)
    assert matches(ctx, text, "ip6tables" if ctx.packet.ipv6 else "iptables") is expected


def test_a_list_remembers_the_packet() -> None:
    """What --set put on it is there for --rcheck and --remove, and gone after that; nothing else is known."""
    ctx = context(tcp())
    rcheck = "-m recent --rcheck --seconds 60 --name nvtext4 --mask 255.255.255.255 --rsource -j DROP"
    remove = "-m recent --remove --name nvtext4 --mask 255.255.255.255 --rsource -j DROP"
    update = (
        "-m recent --update --seconds 60 --hitcount 3 --name nvtext4 --mask 255.255.255.255 --rdest -j ACCEPT"
    )
    assert matches(ctx, rcheck) is U
    assert matches(ctx, "-m recent --set --name nvtext4 --mask 255.255.255.255 --rsource -j ACCEPT") is T
    assert matches(ctx, rcheck) is T
    assert matches(ctx, update) is U
    assert matches(ctx, remove) is T
    assert matches(ctx, rcheck) is F


def test_half_of_a_cluster() -> None:
    """Of two nodes exactly one takes an address."""
    info = [(2).to_bytes(4, "little") + mask.to_bytes(4, "little") + bytes(8) for mask in (1, 2)]
    for last in range(1, 20):
        ctx = context(tracked(tcp(f"10.0.0.{last}")))
        answers = {
            evaluate(ctx, NftExpr("match", {"name": "cluster", "rev": 0, "info": one})) for one in info
        }
        assert answers == {T, F}


def test_what_the_kernel_hashed() -> None:
    """As a kernel answered for this seed: the second of two nodes takes these; of IPv6 the first word decides."""
    info = (2).to_bytes(4, "little") * 2 + (0x67270402).to_bytes(4, "little") + bytes(4)
    expr = NftExpr("match", {"name": "cluster", "rev": 0, "info": info})
    for src, dst in (("10.9.9.2", "10.1.2.3"), ("fd44:1::2", "fd00::9"), ("fd44:1::3", "fd00::9")):
        assert evaluate(context(tracked(tcp(src, dst))), expr) is T


def test_an_accounting_object_matches_unless_it_has_a_quota() -> None:
    """Without quota always; with one it isn't known; no more is one that isn't in the state."""
    expr = NftExpr("match", {"name": "nfacct", "rev": 1, "info": b"web".ljust(32, b"\0")})
    for accounts, expected in (({}, U), ({"web": NfAcct("web")}, T), ({"web": NfAcct("web", 2, 100)}, U)):
        assert evaluate(context(tcp(), nfaccts=accounts), expr) is expected


LISTENER = Socket(6, bytes(16), 80, state=TCP_LISTEN, cookie=1)
BOUND = Socket(6, pack_ip("10.0.0.9"), 80, state=TCP_LISTEN, cookie=2, transparent=True)


@pytest.mark.parametrize(
    ("text", "sockets", "expected"),
    [
        ("-m socket -j ACCEPT", (), F),
        ("-m socket -j ACCEPT", (LISTENER,), F),
        ("-m socket --nowildcard -j ACCEPT", (LISTENER,), T),
        ("-m socket -j ACCEPT", (BOUND,), T),
        ("-m socket --transparent --nowildcard -j ACCEPT", (LISTENER,), F),
        ("-m socket --transparent --nowildcard -j ACCEPT", (BOUND,), T),
    ],
)
def test_a_socket(text: str, sockets: tuple[Socket, ...], expected: Tri) -> None:
    """One that is bound to every address doesn't count, unless the rule says so."""
    assert matches(context(tcp(dst="10.0.0.9"), sockets=sockets), text) is expected
    assert matches(context(tcp(dst="10.0.0.9", dport=81), sockets=sockets), text) is F
    assert matches(context(echo(dst="10.0.0.9"), sockets=sockets), text) is F
    assert matches(context(udp(dst="10.0.0.9", dport=80), sockets=sockets), text) is F
