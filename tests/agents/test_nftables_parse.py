"""nf_tables messages made by hand: what this kernel cannot show, what changes by itself, and what is broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.netlink.nfnetlink import nfgenmsg, text_attr
from agents.netlink.nft_exprs import EXPRESSIONS
from agents.netlink.nft_rules import BodyCache, RuleStream, stable_exprs
from agents.netlink.nftables import (
    parse_chain,
    parse_comment,
    parse_expr,
    parse_flowtable,
    parse_object,
    parse_set_elem,
)
from agents.netlink.wire import BadMessage, attr
from netviz.core.model.netfilter import ChainBody, NftExpr, RuleCount, body_digest


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=value < 0)


def expr(name: str, *attrs: bytes) -> bytes:
    return text_attr(1, name) + attr(2, b"".join(attrs))


def elem(data: bytes) -> bytes:
    return attr(1, data)


def rule(chain: str, handle: int, *exprs: bytes, comment: str = "") -> bytes:
    userdata = attr(7, bytes([0, len(comment) + 1]) + comment.encode() + b"\0") if comment else b""
    body = text_attr(1, "t") + text_attr(2, chain) + attr(3, handle.to_bytes(8, "big"))
    return nfgenmsg(2) + body + attr(4, b"".join(map(elem, exprs))) + userdata


def counter(packets: int) -> bytes:
    return expr("counter", attr(1, packets.to_bytes(8, "big")), attr(2, (packets * 60).to_bytes(8, "big")))


DROP = expr("immediate", attr(1, u32(0)), attr(2, attr(2, attr(1, u32(0)))))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            expr("queue", attr(1, b"\0\3"), attr(2, b"\0\2"), attr(3, b"\0\1")),
            {"num": 3, "total": 2, "flags": 1},
        ),
        (expr("tproxy", attr(1, u32(2)), attr(3, u32(1))), {"family": 2, "reg_port": 1}),
        (
            expr("synproxy", attr(1, b"\x05\xb4"), attr(2, b"\7"), attr(3, u32(3))),
            {"mss": 1460, "wscale": 7, "flags": 3},
        ),
        (expr("xfrm", attr(1, u32(1)), attr(2, u32(6)), attr(3, b"\1")), {"dreg": 1, "key": 6, "dir": 1}),
        (expr("osf", attr(1, u32(1)), attr(2, b"\2")), {"dreg": 1, "ttl": 2}),
        (expr("flow_offload", text_attr(1, "ft")), {"table_name": "ft"}),
        (expr("connlimit", attr(1, u32(20)), attr(2, u32(1))), {"count": 20, "flags": 1}),
        (expr("notrack"), {}),
        (expr("dup", attr(1, u32(1)), attr(2, u32(2))), {"sreg_addr": 1, "sreg_dev": 2}),
        (
            expr(
                "inner",
                attr(1, u32(0)),
                attr(2, u32(1)),
                attr(3, u32(15)),
                attr(4, u32(8)),
                attr(5, expr("meta", attr(1, u32(1)), attr(2, u32(16)))),
            ),
            {
                "num": 0,
                "type": 1,
                "flags": 15,
                "hdrsize": 8,
                "expr": {"name": "meta", "attrs": {"dreg": 1, "key": 16}},
            },
        ),
        (
            expr(
                "range", attr(1, u32(1)), attr(2, u32(0)), attr(3, attr(1, b"\0P")), attr(4, attr(1, b"\0Z"))
            ),
            {"sreg": 1, "op": 0, "from_data": b"\0P", "to_data": b"\0Z"},
        ),
        (
            expr("immediate", attr(1, u32(0)), attr(2, attr(2, attr(1, u32(-4)) + text_attr(2, "next")))),
            {"dreg": 0, "data": {"code": -4, "chain": "next"}},
        ),
        (expr("cmp", attr(1, u32(1)), attr(99, b"new")), {"sreg": 1, "attr99": b"new"}),
        (expr("invention", attr(1, b"abc")), {"raw": attr(1, b"abc")}),
        (
            expr("match", text_attr(1, "statistic"), attr(2, u32(0)), attr(3, b"info")),
            {"name": "statistic", "rev": 0, "info": b"info"},
        ),
    ],
)
def test_expressions(raw: bytes, expected: dict[str, object]) -> None:
    parsed = parse_expr(raw)
    assert parsed.attrs == expected


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_known_expression_has_distinct_attribute_names(name: str) -> None:
    names = [column[0] for column in EXPRESSIONS[name].values() if column is not None]
    assert len(names) == len(set(names))


def digest_of(*rules: bytes) -> bytes:
    stream = RuleStream(BodyCache())
    for one in rules:
        stream.feed(one)
    stream.end()
    (body,) = stream.bodies.values()
    assert body_digest(body.decode()) == body.digest
    return body.digest


def test_what_changes_by_itself_does_not_change_the_digest() -> None:
    def quota(consumed: int, flags: int) -> bytes:
        return expr(
            "quota",
            attr(1, (5).to_bytes(8, "big")),
            attr(2, u32(flags)),
            attr(4, consumed.to_bytes(8, "big")),
        )

    def last(msecs: int) -> bytes:
        return expr("last", attr(1, u32(1)), attr(2, msecs.to_bytes(8, "big")))

    one = digest_of(rule("c", 1, counter(1), quota(0, 1), last(5), DROP))
    assert digest_of(rule("c", 9, counter(777), quota(5, 3), last(900), DROP)) == one
    assert digest_of(rule("c", 1, counter(1), quota(0, 0), last(5), DROP)) != one
    assert digest_of(rule("c", 1, DROP, counter(1), quota(0, 1), last(5))) != one
    assert digest_of(rule("c", 1, counter(1), quota(0, 1), last(5), DROP, comment="why")) != one


def test_a_stable_quota_keeps_its_bytes_and_flag() -> None:
    raw = expr("quota", attr(1, (5).to_bytes(8, "big")), attr(2, u32(3)), attr(4, (5).to_bytes(8, "big")))
    (stable,) = stable_exprs(elem(raw))
    assert parse_expr(stable) == NftExpr("quota", {"bytes": 5, "flags": 1})


def test_rules_are_grouped_by_chain_in_order() -> None:
    stream = RuleStream(BodyCache())
    for one in (rule("a", 5, DROP), rule("a", 7, counter(1)), rule("b", 6, DROP, comment="b's")):
        stream.feed(one)
    stream.end()
    assert stream.handles == {(2, "t", "a"): (5, 7), (2, "t", "b"): (6,)}
    body = stream.bodies[2, "t", "b"].decode()
    assert isinstance(body, ChainBody)
    assert body.rules[0].comment == "b's"


def test_what_rules_counted_is_told_apart_from_the_rules() -> None:
    def counted(packets: int, octets: int) -> bytes:
        return expr("counter", attr(1, octets.to_bytes(8, "big")), attr(2, packets.to_bytes(8, "big")))

    stream = RuleStream(BodyCache(), counted=True)
    for one in (
        rule("a", 5, DROP),
        rule("a", 6, counted(0, 0), DROP),
        rule("a", 7, counted(9, 900), counted(3, 1 << 40), DROP, comment="counter"),
        rule("b", 8, DROP, comment="counter"),
        rule("c", 9, counted(0, 0)),
    ):
        stream.feed(one)
    stream.end()
    assert stream.counts == {(2, "t", "a"): (RuleCount(2, 3, 1 << 40),), (2, "t", "c"): ()}
    assert stream.bodies.keys() == {(2, "t", "a"), (2, "t", "b"), (2, "t", "c")}


def test_a_body_nobody_holds_is_forgotten() -> None:
    cache = BodyCache()
    for _ in range(2):
        stream = RuleStream(cache)
        stream.feed(rule("a", 1, DROP))
        stream.end()
        del stream
    assert cache.decoded == 2


def test_a_held_body_is_not_decoded_again() -> None:
    cache = BodyCache()
    streams = []
    for packets in (1, 2):
        stream = RuleStream(cache)
        stream.feed(rule("a", packets, counter(packets), DROP))
        stream.end()
        streams.append(stream)
    assert cache.decoded == 1


def test_set_elements() -> None:
    catchall = parse_set_elem(attr(3, u32(2)) + attr(2, attr(2, attr(1, u32(1)))))
    assert (catchall.catchall, catchall.verdict, catchall.key) == (True, 1, b"")
    timed = parse_set_elem(
        attr(1, attr(1, b"\n\0\0\1"))
        + attr(10, attr(1, b"\n\0\0\7"))
        + attr(4, (30_000).to_bytes(8, "big"))
        + attr(5, (1_234).to_bytes(8, "big"))
        + text_attr(9, "obj")
        + attr(11, elem(counter(3)))
    )
    assert (timed.key, timed.key_end, timed.timeout_ms, timed.objref) == (
        b"\n\0\0\1",
        b"\n\0\0\7",
        30_000,
        "obj",
    )
    assert timed.exprs == (NftExpr("counter", {}),)


def test_objects_of_types_that_are_not_known_are_kept_raw() -> None:
    head = nfgenmsg(1) + text_attr(1, "t") + text_attr(2, "o")
    assert parse_object(head + attr(3, u32(77)) + attr(4, b"what")).attrs == {"raw": b"what"}
    helper = parse_object(head + attr(3, u32(3)) + attr(4, text_attr(1, "ftp") + attr(3, b"\6")))
    assert (helper.type, helper.attrs) == ("ct helper", {"name": "ftp", "l4proto": 6})


def test_devices_of_chains_and_flowtables() -> None:
    devs = attr(4, text_attr(1, "eth0") + text_attr(2, "veth"))
    hook = attr(4, attr(1, u32(0)) + attr(2, u32(-300)) + devs)
    chain = parse_chain(nfgenmsg(5) + text_attr(1, "t") + text_attr(3, "c") + hook + text_attr(7, "filter"))
    assert (chain.hook, chain.priority, chain.devs) == (0, -300, ("eth0", "veth*"))
    hook = attr(3, attr(1, u32(0)) + attr(2, u32(0)) + attr(3, text_attr(1, "eth0") + text_attr(1, "eth1")))
    table = parse_flowtable(nfgenmsg(1) + text_attr(1, "t") + text_attr(2, "f") + hook + attr(7, u32(1)))
    assert table.attrs == {"hook": 0, "priority": 0, "devs": ["eth0", "eth1"], "flags": 1}


def test_comments_are_found_among_other_userdata() -> None:
    assert parse_comment(b"\x02\x01x" + b"\x00\x03hi\x00") == "hi"
    assert parse_comment(b"\x02\x01x") == ""


@given(st.binary(max_size=200))
def test_broken_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    stream = RuleStream(BodyCache())
    whole = rule("a", 1, counter(1), DROP)
    for bad in (data, whole[: len(data)], whole[:20] + data):
        try:
            stream.feed(bad)
            stream.end()
        except (BadMessage, KeyError, IndexError, ValueError):
            continue
