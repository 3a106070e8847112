"""What recorded targets do."""

from __future__ import annotations

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NftExpr
from netviz.core.model.socket import TCP_LISTEN, Socket
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.nft.compat.hmark import METHOD_CT, hash_mark
from netviz.core.sim.nft.context import Statement, Stop, Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.packet import Packet, icmp_error
from netviz.core.sim.xtables import target_payloads
from tests.core.sim.xtables.recorded import Tracked, apply_rule, context, echo, rule, tcp, tracked


def test_marks() -> None:
    """MARK sets bits under a mask; CONNMARK saves, restores and sets."""
    ctx = context(tcp(mark=0x8001))
    assert apply_rule(ctx, rule("-i eth+ -j MARK --set-xmark 0x4000/0x4000")) is Tri.TRUE
    assert ctx.packet.mark == 0xC001
    ctx = context(tracked(tcp(mark=0x1234), mark=0xFF00))
    apply_rule(ctx, rule("-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"))
    assert ctx.conn is not None
    assert ctx.conn.mark == 0xFF34
    ctx = context(tracked(tcp(mark=1), mark=0xAB))
    apply_rule(ctx, rule("-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"))
    assert ctx.packet.mark == 0xAB
    ctx = context(tracked(tcp(), mark=0x1FF))
    apply_rule(ctx, rule("-j CONNMARK --set-xmark 0x5/0xff"))
    assert ctx.conn is not None
    assert ctx.conn.mark == 0x105


def test_header_fields() -> None:
    """TTL, TOS and DSCP."""
    ctx = context(tcp(tos=0xFF, ttl=9))
    apply_rule(ctx, rule("-j TTL --ttl-dec 2"))
    assert ctx.packet.ttl == 7
    apply_rule(ctx, rule("-j TOS --set-tos 0x10/0x3f"))
    assert ctx.packet.tos == 0xD0
    apply_rule(ctx, rule("-p tcp -m tcp --dport 80 --tcp-flags SYN,RST SYN -j DSCP --set-dscp 0x0a"))
    assert ctx.packet.tos == 0x28


def test_no_tracking() -> None:
    """CT --notrack leaves a tracked packet alone."""
    text = "-p tcp -m tcp --dport 99 -j CT --notrack"
    ctx = context(tcp(dport=99))
    apply_rule(ctx, rule(text))
    assert ctx.packet.untracked
    ctx = context(tracked(tcp(dport=99)))
    apply_rule(ctx, rule(text))
    assert not ctx.packet.untracked


def loaded(result: object, ctx: object, reg: str, width: int) -> bytes | None:
    """Read the register that a statement names."""
    assert isinstance(result, Statement)
    return ctx.load(result.expr.attrs[reg], width)  # type: ignore[attr-defined, no-any-return]


def test_translation_becomes_nft_statements() -> None:
    """DNAT, SNAT, MASQUERADE, REDIRECT and NETMAP of IPv4, with addresses and ports in registers."""
    ctx = context(tcp(dport=81))
    text = "-p tcp -m tcp --dport 81 -j DNAT --to-destination 10.1.1.2-10.1.1.9:8080-8090 --random"
    for program in ("iptables", "iptables-legacy"):
        result = apply_rule(ctx, rule(text, program))
        assert isinstance(result, Statement)
        assert (result.expr.name, result.expr.attrs["type"], result.expr.attrs["flags"]) == ("nat", 1, 4)
        assert loaded(result, ctx, "reg_addr_min", 4) == pack_ip("10.1.1.2")
        assert loaded(result, ctx, "reg_addr_max", 4) == pack_ip("10.1.1.9")
        assert loaded(result, ctx, "reg_proto_min", 2) == (8080).to_bytes(2, "big")
        assert loaded(result, ctx, "reg_proto_max", 2) == (8090).to_bytes(2, "big")
    ctx = context(tcp("10.1.0.5"), hook=4, iif="", oif="eth0")
    result = apply_rule(ctx, rule("-s 10.1.0.0/16 -j SNAT --to-source 1.2.3.4"))
    assert isinstance(result, Statement)
    assert result.expr.attrs["type"] == 0
    assert loaded(result, ctx, "reg_addr_min", 4) == pack_ip("1.2.3.4")
    result = apply_rule(ctx, rule("-s 10.1.0.0/16 ! -o cni0 -j MASQUERADE --random-fully"))
    assert result == Statement(NftExpr("masq", {"flags": 16}))
    ctx = context(tcp(dst="10.5.7.8"))
    result = apply_rule(ctx, rule("-d 10.5.0.0/16 -j NETMAP --to 10.6.0.0/16"))
    assert loaded(result, ctx, "reg_addr_min", 4) == pack_ip("10.6.7.8")
    ctx = context(tcp(dport=82))
    result = apply_rule(ctx, rule("-p tcp -m tcp --dport 82 -j REDIRECT --to-ports 8080"))
    assert isinstance(result, Statement)
    assert result.expr.name == "redir"


def test_translation_of_ipv6() -> None:
    """The wider layout."""
    ctx = context(tcp("fd00::1", "fd01::77", dport=80))
    result = apply_rule(ctx, rule("-p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::1]:8080"))
    assert loaded(result, ctx, "reg_addr_min", 16) == pack_ip("fd00::1")
    result = apply_rule(ctx, rule("-d fd01::/64 -j NETMAP --to fd02::/64"))
    assert loaded(result, ctx, "reg_addr_min", 16) == pack_ip("fd02::77")


def test_reject() -> None:
    """A reset, and ICMP codes by family."""
    reset = apply_rule(
        context(tcp(dport=22)), rule("-p tcp -m tcp --dport 22 -j REJECT --reject-with tcp-reset")
    )
    assert reset == Statement(NftExpr("reject", {"type": 1}))
    prohibited = apply_rule(context(tcp()), rule("-j REJECT --reject-with icmp-host-prohibited"))
    assert prohibited == Statement(NftExpr("reject", {"type": 0, "icmp_code": 10}))
    port = apply_rule(
        context(tcp("fd00::5", "fd00::1")),
        rule("-d fd00::1/128 -j REJECT --reject-with icmp6-port-unreachable"),
    )
    assert port == Statement(NftExpr("reject", {"type": 0, "icmp_code": 4}))


def test_what_changes_nothing_goes_on() -> None:
    """Logging, class, checksum, MSS."""
    for text in (
        "-j CLASSIFY --set-class 0001:0002",
        "-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        "-j NFLOG --nflog-group 3",
    ):
        assert apply_rule(context(tcp()), rule(text)) is Tri.TRUE


def test_what_is_not_modelled_stops_by_name_and_revision() -> None:
    """Cookies for SYNs, and revisions that aren't known."""
    expr = NftExpr("target", {"name": "SYNPROXY", "rev": 0, "info": bytes(8)})
    assert evaluate(context(tcp()), expr) == Stop("target SYNPROXY revision 0")
    expr = NftExpr("target", {"name": "MARK", "rev": 9, "info": bytes(8)})
    assert evaluate(context(echo()), expr) == Stop("target MARK revision 9")
    expr = NftExpr("target", {"name": "DNAT", "rev": 2, "info": b"short"})
    assert evaluate(context(echo()), expr) == Stop("target DNAT revision 2")


def test_a_queue_forks() -> None:
    """Whether a program listens isn't known: without one the packet is dropped, or passed over by bypass."""
    assert apply_rule(context(tcp()), rule("-j NFQUEUE --queue-num 5")) == Verdict(0)
    with_program = apply_rule(context(tcp(), script=(1,)), rule("-j NFQUEUE --queue-num 5"))
    assert with_program == Stop("target NFQUEUE to a program on queue 5")
    bypass = NftExpr("target", {"name": "NFQUEUE", "rev": 3, "info": bytes([5, 0, 1, 0, 1, 0])})
    assert evaluate(context(tcp()), bypass) == Verdict(1)


def test_prefix_translation_keeps_the_checksum() -> None:
    """RFC 6296, section 3.1: FD01:203:405:1::1234 behind FD01:203:405::/48 is 2001:DB8:1:D550::1234, and back."""
    inside, outside = "fd01:203:405::", "2001:db8:1::"

    def expr(name: str, src: str, dst: str) -> NftExpr:
        info = pack_ip(src) + pack_ip(dst) + bytes([48, 48]) + bytes(6)
        return NftExpr("target", {"name": name, "rev": 0, "info": info})

    ctx = context(tcp("fd01:203:405:1::1234", "fd00::1"))
    assert evaluate(ctx, expr("SNPT", inside, outside)) is Tri.TRUE
    assert ctx.packet.src == pack_ip("2001:db8:1:d550::1234")
    ctx = context(tcp("fd00::1", "2001:db8:1:d550::1234"))
    assert evaluate(ctx, expr("DNPT", outside, inside)) is Tri.TRUE
    assert ctx.packet.dst == pack_ip("fd01:203:405:1::1234")


def test_a_template_comes_first() -> None:
    """After a CT target that isn't --notrack, NOTRACK and another zone do nothing."""
    ctx = context(tcp())
    assert apply_rule(ctx, rule("-j CT --zone 3", "iptables")) is Tri.TRUE
    assert ctx.packet.zone == 3
    notrack = NftExpr("target", {"name": "NOTRACK", "rev": 0, "info": b""})
    assert evaluate(ctx, notrack) is Tri.TRUE
    assert not ctx.packet.untracked
    ctx = context(tcp())
    apply_rule(ctx, rule("-p tcp -j CT --ctevents new,destroy", "iptables"))
    evaluate(ctx, notrack)
    assert not ctx.packet.untracked
    stopped = apply_rule(context(tcp()), rule("-j CT --zone-orig 3", "iptables"))
    assert stopped == Stop("target CT with a zone for one direction")


def test_congestion_bits_and_options() -> None:
    """ECN takes TCP's bits away; TCPOPTSTRIP makes the options unknown."""
    ctx = context(tcp(tcp_flags=0xC2, length=60))
    assert apply_rule(ctx, rule("-p tcp -j ECN --ecn-tcp-remove", "iptables")) is Tri.TRUE
    assert ctx.packet.tcp_flags == 2
    with_mss = rule("-p tcp -m tcp --tcp-option 2 -j ACCEPT", "iptables")
    assert apply_rule(ctx, with_mss) == Verdict(1)
    assert apply_rule(ctx, rule("-p tcp -j TCPOPTSTRIP --strip-options 5,8", "iptables")) is Tri.TRUE
    assert apply_rule(ctx, with_mss) is Tri.UNKNOWN


def test_a_hash_as_mark() -> None:
    """The same for both directions of a flow, below the modulus, another for other addresses sometimes."""
    text = "-j HMARK --hmark-src-prefix 32 --hmark-dst-prefix 32 --hmark-rnd 0x0000feed --hmark-mod 7"
    marks = set()
    for last in range(1, 30):
        both = set()
        for src, dst in ((f"10.0.0.{last}", "10.1.2.3"), ("10.1.2.3", f"10.0.0.{last}")):
            ctx = context(tcp(src, dst, mark=99))
            assert apply_rule(ctx, rule(text, "iptables")) is Tri.TRUE
            both.add(ctx.packet.mark)
        assert len(both) == 1
        marks |= both
    assert marks == set(range(7))


def test_what_a_mark_is_a_hash_of() -> None:
    """An error's quoted packet, not its own addresses; a connection's ends, whichever way and however translated."""
    every = b"\xff" * 16
    plain = target_payloads.Hmark(every, every, b"\xff" * 4, bytes(4), 7, 0xFFFF, 1, 1000, 0)
    by_connection = msgspec.structs.replace(plain, flags=METHOD_CT)

    def mark(packet: Packet | Tracked, how: target_payloads.Hmark) -> int:
        ctx = context(packet)
        assert hash_mark(ctx, how) is Tri.TRUE
        return ctx.packet.mark

    sent = tcp("10.0.0.1", "10.0.0.2", mark=5)
    error = icmp_error(sent, "port", pack_ip("10.0.0.77"))
    assert error is not None
    assert mark(error, plain) == mark(sent, plain)
    assert mark(sent, by_connection) == 5  # without a connection
    there = tracked(sent)
    back = Tracked(tcp("10.0.0.2", "10.0.0.1"), there.conn, reply=True)
    assert mark(there, by_connection) == mark(sent, plain)
    assert mark(back, by_connection) == mark(sent, plain)
    assert isinstance(hash_mark(context(tracked(sent, unsure="source")), by_connection), Stop)


PROXY = "-p tcp -j TPROXY --on-port 8080 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1"


def test_a_transparent_proxy() -> None:
    """A transparent listener gets the packet and the mark; without one the packet is dropped."""
    clear = Socket(6, bytes(16), 8080, state=TCP_LISTEN, cookie=7, transparent=True)
    for sockets, verdict, cookie in (
        ((), Verdict(0), 0),
        ((msgspec.structs.replace(clear, transparent=False),), Verdict(0), 0),
        ((clear,), Verdict(1), 7),
    ):
        ctx = context(tcp(dst="198.51.100.1", mark=0x10), sockets=sockets)
        assert apply_rule(ctx, rule(PROXY, "iptables")) == verdict
        assert (ctx.packet.sk, ctx.packet.mark) == (cookie, 0x11 if cookie else 0x10)
    ctx = context(tcp(dst="198.51.100.1", dport_unsure=True), sockets=(clear,))
    assert apply_rule(ctx, rule(PROXY, "iptables")) == Stop(
        "target TPROXY where ports or sockets aren't known"
    )
