"""What recorded matches say of packets: true, false, or not known."""

from __future__ import annotations

from typing import Any

import pytest

from netviz.core.model.netfilter import NftExpr
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.packet import Packet
from tests.core.sim.xtables.recorded import Tracked, context, echo, matches, tcp, tracked, udp

T, F, U = Tri.TRUE, Tri.FALSE, Tri.UNKNOWN
QUESTION = Packet(bytes(4), bytes(4), 0, length=28)  # what stands for ARP in a tunnel
REPLY = tracked(tcp(), reply=True)
CASES: list[tuple[str, Packet | Tracked, Tri, dict[str, Any]]] = [
    ("-p icmp -m icmp --icmp-type 8 -j ACCEPT", echo(), T, {}),
    ("-p icmp -m icmp --icmp-type 8 -j ACCEPT", echo(icmp_type=0), F, {}),
    ("-p icmp -m icmp --icmp-type 3/4 -j ACCEPT", echo(icmp_type=3, icmp_code=4), T, {}),
    ("-p icmp -m icmp --icmp-type 3/4 -j ACCEPT", echo(icmp_type=3, icmp_code=1), F, {}),
    ("-p tcp -m multiport --dports 80,443,8000:8100 -j RETURN", tcp(dport=8050), T, {}),
    ("-p tcp -m multiport --dports 80,443,8000:8100 -j RETURN", tcp(dport=81), F, {}),
    ("-p tcp -m multiport --dports 80,443,8000:8100 -j RETURN", tcp(dport_unsure=True), U, {}),
    ("-p tcp -m multiport --sports 80 -j ACCEPT", tcp(sport=80), T, {}),
    ("-p udp -m multiport ! --ports 53,67:69 -j ACCEPT", udp(dport=53), F, {}),
    ("-p udp -m multiport ! --ports 53,67:69 -j ACCEPT", udp(sport=68, dport=1), F, {}),
    ("-p udp -m multiport ! --ports 53,67:69 -j ACCEPT", udp(dport=54), T, {}),
    ("-p tcp -m tcp ! --sport 1024:65535 ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", tcp(sport=9), F, {}),
    (
        "-p tcp -m tcp ! --sport 1024:65535 ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
        tcp(sport=9, tcp_flags=16),
        T,
        {},
    ),
    ("! -s 10.0.0.0/8 -d 10.1.2.3/32 -m mark --mark 0x1/0xff -j ACCEPT", tcp("192.0.2.1", mark=0x101), T, {}),
    ("! -s 10.0.0.0/8 -d 10.1.2.3/32 -m mark --mark 0x1/0xff -j ACCEPT", tcp("192.0.2.1", mark=2), F, {}),
    ("-s 10.1.0.0/20 -m addrtype --dst-type LOCAL -j ACCEPT", tcp("10.1.0.5", "10.0.0.9"), T, {}),
    ("-s 10.1.0.0/20 -m addrtype --dst-type LOCAL -j ACCEPT", tcp("10.1.0.5", "10.0.0.8"), F, {}),
    ("-m addrtype ! --src-type LOCAL,BROADCAST --limit-iface-in -j ACCEPT", tcp("10.0.0.9"), F, {}),
    ("-m addrtype ! --src-type LOCAL,BROADCAST --limit-iface-in -j ACCEPT", tcp("10.1.0.1"), T, {}),
    ("-m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT", tcp("10.0.0.9"), T, {}),
    ("-m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT", tcp("10.0.0.10"), F, {}),
    ("-m iprange ! --dst-range 10.1.0.0-10.1.255.255 -j ACCEPT", tcp(), F, {}),
    ("-m length ! --length 60 -j ACCEPT", tcp(length=60), F, {}),
    ("-m length ! --length 60 -j ACCEPT", tcp(length=61), T, {}),
    ("-p tcp -m tos --tos 0x10/0x3f -j ACCEPT", tcp(tos=0x50), T, {}),
    ("-p tcp -m tos --tos 0x10/0x3f -j ACCEPT", tcp(tos=0x20), F, {}),
    ("-m dscp --dscp 0x0a -j ACCEPT", tcp(tos=0x29), T, {}),
    ("-m ttl --ttl-lt 5 -j ACCEPT", tcp(ttl=5), F, {}),
    ("-m ttl ! --ttl-eq 64 -j ACCEPT", tcp(ttl=63), T, {}),
    ("-m mac --mac-source 00:11:22:33:44:55 -j ACCEPT", tcp(smac=bytes.fromhex("001122334455")), T, {}),
    ("-m mac --mac-source 00:11:22:33:44:55 -j ACCEPT", tcp(smac=bytes(6)), F, {}),
    ("-m mac --mac-source 00:11:22:33:44:55 -j ACCEPT", tcp(), U, {}),
    ("-m mac ! --mac-source 00:11:22:33:44:55 -j ACCEPT", tcp(), F, {"iif": ""}),
    ("-m pkttype --pkt-type unicast -j ACCEPT", tcp(), T, {}),
    ('-m u32 --u32 "0x6&0xff=0x1" -j ACCEPT', echo(), T, {}),
    ('-m u32 --u32 "0x6&0xff=0x1" -j ACCEPT', tcp(), F, {}),
    ('-m u32 --u32 "0x0>>0x16&0x3c@0x0>>0x10=0x50,0x1bb:0x1bd" -j ACCEPT', tcp(sport=0x1BC), T, {}),
    (
        '-m u32 --u32 "0x0>>0x16&0x3c@0x0>>0x10=0x50,0x1bb:0x1bd" -j ACCEPT',
        tcp(sport_unsure=True),
        U,
        {},
    ),
    ("-m rpfilter --invert -j DROP", tcp("10.0.0.1"), F, {}),
    ("-m rpfilter --invert -j DROP", tcp("10.1.0.5"), T, {}),
    ("-m rpfilter --invert -j DROP", tcp("192.0.2.7"), T, {}),
    ("-m conntrack --ctstate NEW,RELATED -j X", tracked(tcp()), T, {}),
    ("-m conntrack --ctstate NEW,RELATED -j X", REPLY, F, {}),
    ("-m conntrack --ctstate NEW,RELATED -j X", tcp(), F, {}),
    ("-m conntrack --ctstate NEW,RELATED -j X", tcp(template=True), T, {}),
    ("-m conntrack ! --ctstate NEW,UNTRACKED --ctdir REPLY -j ACCEPT", tcp(template=True), F, {}),
    ("-m state --state INVALID -j DROP", tcp(), T, {}),
    ("-m state --state INVALID -j DROP", tcp(untracked=True), F, {}),
    ("-m conntrack ! --ctstate NEW,UNTRACKED --ctdir REPLY -j ACCEPT", REPLY, T, {}),
    (
        "-m conntrack ! --ctstate NEW,UNTRACKED --ctdir REPLY -j ACCEPT",
        tracked(tcp(), seen_reply=True),
        F,
        {},
    ),
    (
        "-m conntrack --ctproto 6 --ctorigsrc 10.0.0.0/8 ! --ctorigdstport 80:90 -j ACCEPT",
        tracked(tcp()),
        F,
        {},
    ),
    (
        "-m conntrack --ctproto 6 --ctorigsrc 10.0.0.0/8 ! --ctorigdstport 80:90 -j ACCEPT",
        tracked(tcp(dport=91)),
        T,
        {},
    ),
    (
        "-m conntrack --ctstate DNAT --ctstatus ASSURED,CONFIRMED -j ACCEPT",
        tracked(tcp(), status=0x20 | 8),
        T,
        {},
    ),
    ("-m conntrack --ctstate DNAT --ctstatus ASSURED,CONFIRMED -j ACCEPT", tracked(tcp(), status=8), F, {}),
    ("-m connmark --mark 0x1 -j AUDIT --type accept", tcp(), F, {}),
    ("-m connmark --mark 0x1 -j AUDIT --type accept", tracked(tcp(), mark=1), T, {}),
    ("-m helper --helper ftp -j ACCEPT", tracked(tcp()), F, {}),
    ("-m helper --helper ftp -j ACCEPT", tracked(tcp(), status=1), U, {}),
    ("-m owner --uid-owner 0 -j ACCEPT", tcp(own=True), U, {"hook": 3, "iif": "", "oif": "eth0"}),
    (
        "-m owner --uid-owner 0 -j ACCEPT",
        tcp(own=True, tcp_flags=4),
        F,
        {"hook": 3, "iif": "", "oif": "eth0"},
    ),
    ("-m owner --uid-owner 0 -j ACCEPT", tcp(payload=QUESTION), F, {"hook": 3, "iif": "", "oif": "eth0"}),
    (
        "-m owner --uid-owner 0 -j ACCEPT",
        tcp(payload=tcp(own=True)),
        U,
        {"hook": 3, "iif": "", "oif": "eth0"},
    ),
    ("-m recent --set --name BAD --mask 255.255.255.255 --rsource -j ACCEPT", tcp(), T, {}),
    (
        "-m recent --rcheck --seconds 60 --hitcount 3 --name BAD --mask 255.255.255.255 --rsource -j DROP",
        tcp(),
        U,
        {},
    ),
    ("-m socket --transparent -j ACCEPT", tcp(), F, {}),
    ("-m cpu --cpu 1 -j ACCEPT", tcp(), U, {}),
    ("-m limit --limit 5/min --limit-burst 7 -j ACCEPT", tcp(), U, {}),
    ("-f -j ACCEPT", tcp(), F, {}),
    ("-m physdev --physdev-in veth+ --physdev-is-bridged -j ACCEPT", tcp(), F, {}),
    (
        "-m physdev --physdev-in veth+ --physdev-is-bridged -j ACCEPT",
        tcp(),
        T,
        {"physin": "veth1", "physout": "veth1"},
    ),
    ("-m physdev --physdev-in veth+ --physdev-is-bridged -j ACCEPT", tcp(), F, {"physin": "veth1"}),
    (
        "-m physdev --physdev-in veth+ --physdev-is-bridged -j ACCEPT",
        tcp(),
        F,
        {"physin": "eth0", "physout": "veth1"},
    ),
    ("-m physdev ! --physdev-is-bridged -j ACCEPT", tcp(), T, {}),
    ("-m physdev ! --physdev-is-bridged -j ACCEPT", tcp(), F, {"physin": "veth1", "physout": "veth1"}),
    (
        "-m physdev --physdev-out veth1 --physdev-is-bridged -j ACCEPT",
        tcp(),
        T,
        {"physin": "eth0", "physout": "veth1"},
    ),
    ("-m physdev ! --physdev-in veth1 -j ACCEPT", tcp(), T, {"physin": "eth0"}),
    ("-m physdev ! --physdev-in veth1 -j ACCEPT", tcp(), F, {"physin": "veth1"}),
]


@pytest.mark.parametrize(
    ("text", "packet", "expected", "where"), CASES, ids=[f"{n} {case[0]}" for n, case in enumerate(CASES)]
)
def test_a_match(text: str, packet: Packet | Tracked, expected: Tri, where: dict[str, Any]) -> None:
    """Each case against the rule as the kernel gave it out."""
    assert matches(context(packet, **where), text) is expected


def test_statistic_branches_with_its_odds() -> None:
    """Random, inverted, and every nth."""
    for text, odds in (
        ("-m statistic --mode random --probability 0.33000000007 -j ACCEPT", 0.33),
        ("-m statistic --mode random ! --probability 0.25000000000 -j ACCEPT", 0.75),
        ("-m statistic --mode nth --every 3 --packet 1 -j ACCEPT", 1 / 3),
    ):
        ctx = context(tcp())
        assert matches(ctx, text) is T
        assert ctx.run.probability == pytest.approx(odds)
        other = context(tcp(), script=(1,))
        assert matches(other, text) is F
        assert other.run.probability == pytest.approx(1 - odds)


@pytest.mark.parametrize(
    ("name", "rev"),
    [("bpf", 1), ("quota", 0), ("time", 0), ("tcp", 7), ("set", 0), ("nfacct", 0), ("string", 7)],
)
def test_what_is_not_modelled_is_not_known(name: str, rev: int) -> None:
    """Never accepted, never refused."""
    expr = NftExpr("match", {"name": name, "rev": rev, "info": bytes(700)})
    assert evaluate(context(tcp()), expr) is U
