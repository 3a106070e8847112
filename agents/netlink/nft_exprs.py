"""What the attributes of nf_tables expressions and objects are called, and how each is encoded.

One row an expression: attribute number -> (name, kind). The names are the kernel's, without prefix
and in lower case. `None` in place of a row's entry marks what a body must not hold because it
changes while the ruleset stands still: counter values, consumed quotas, time stamps.

Source: include/uapi/linux/netfilter/nf_tables.h, nf_tables_compat.h, and the dump function of each
net/netfilter/nft_*.c (Linux 6.18), which is where the widths and byte orders are.
"""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """How an attribute's bytes are read. Numbers are big-endian unless they say host order."""

    U8 = 0
    U16 = 1
    U32 = 2
    U64 = 3
    U32_HOST = 4
    TEXT = 5
    RAW = 6
    DATA = 7
    EXPR = 8
    EXPRS = 9


Row = dict[int, tuple[str, Kind] | None]


def _row(*names: str | None, **kinds: Kind) -> Row:
    """Number `names` from 1; an attribute is U32 unless `kinds` says otherwise; None is left out."""
    return {
        number: None if name is None else (name, kinds.get(name, Kind.U32))
        for number, name in enumerate(names, 1)
    }


EXPRESSIONS: dict[str, Row] = {
    "immediate": _row("dreg", "data", data=Kind.DATA),
    "bitwise": _row(
        "sreg", "dreg", "len", "mask", "xor", "op", "data", "sreg2",
        mask=Kind.DATA, xor=Kind.DATA, data=Kind.DATA,
    ),
    "byteorder": _row("sreg", "dreg", "op", "len", "size"),
    "cmp": _row("sreg", "op", "data", data=Kind.DATA),
    "range": _row("sreg", "op", "from_data", "to_data", from_data=Kind.DATA, to_data=Kind.DATA),
    "lookup": _row("set", "sreg", "dreg", None, "flags", set=Kind.TEXT),
    "dynset": _row(
        "set_name", None, "op", "sreg_key", "sreg_data", "timeout", "expr", None, "flags", "expressions",
        set_name=Kind.TEXT, timeout=Kind.U64, expr=Kind.EXPR, expressions=Kind.EXPRS,
    ),
    "payload": _row("dreg", "base", "offset", "len", "sreg", "csum_type", "csum_offset", "csum_flags"),
    "exthdr": _row("dreg", "type", "offset", "len", "flags", "op", "sreg", type=Kind.U8),
    "meta": _row("dreg", "key", "sreg"),
    "rt": _row("dreg", "key"),
    "socket": _row("key", "dreg", "level"),
    "hash": _row("sreg", "dreg", "len", "modulus", "seed", "offset", "type"),
    "numgen": _row("dreg", "modulus", "type", "offset"),
    "ct": _row("dreg", "key", "direction", "sreg", direction=Kind.U8),
    "flow_offload": _row("table_name", table_name=Kind.TEXT),
    "limit": _row("rate", "unit", "burst", "type", "flags", None, rate=Kind.U64, unit=Kind.U64),
    "connlimit": _row("count", "flags"),
    "counter": _row(None, None, None),
    "last": _row(None, None, None),
    "quota": _row("bytes", "flags", None, None, bytes=Kind.U64),
    "log": _row(
        "group", "prefix", "snaplen", "qthreshold", "level", "flags",
        group=Kind.U16, prefix=Kind.TEXT, qthreshold=Kind.U16,
    ),
    "queue": _row("num", "total", "flags", "sreg_qnum", num=Kind.U16, total=Kind.U16, flags=Kind.U16),
    "reject": _row("type", "icmp_code", icmp_code=Kind.U8),
    "nat": _row(
        "type", "family", "reg_addr_min", "reg_addr_max", "reg_proto_min", "reg_proto_max", "flags"
    ),
    "masq": _row("flags", "reg_proto_min", "reg_proto_max"),
    "redir": _row("reg_proto_min", "reg_proto_max", "flags"),
    "tproxy": _row("family", "reg_addr", "reg_port"),
    "synproxy": _row("mss", "wscale", "flags", mss=Kind.U16, wscale=Kind.U8),
    "dup": _row("sreg_addr", "sreg_dev"),
    "fwd": _row("sreg_dev", "sreg_addr", "nfproto"),
    "objref": _row(
        "imm_type", "imm_name", "set_sreg", "set_name", None, imm_name=Kind.TEXT, set_name=Kind.TEXT
    ),
    "fib": _row("dreg", "result", "flags"),
    "xfrm": _row("dreg", "key", "dir", "spnum", dir=Kind.U8),
    "osf": _row("dreg", "ttl", "flags", ttl=Kind.U8),
    "tunnel": _row("key", "dreg", "mode"),
    "inner": _row("num", "type", "flags", "hdrsize", "expr", expr=Kind.EXPR),
    "notrack": {},
    "match": _row("name", "rev", "info", name=Kind.TEXT, info=Kind.RAW),
    "target": _row("name", "rev", "info", name=Kind.TEXT, info=Kind.RAW),
}  # fmt: skip

# Named objects: number -> (name, attributes).
OBJECTS: dict[int, tuple[str, Row]] = {
    1: ("counter", EXPRESSIONS["counter"]),
    2: ("quota", EXPRESSIONS["quota"]),
    3: ("ct helper", _row("name", "l3proto", "l4proto", name=Kind.TEXT, l3proto=Kind.U16, l4proto=Kind.U8)),
    4: ("limit", EXPRESSIONS["limit"]),
    5: ("connlimit", EXPRESSIONS["connlimit"]),
    6: (
        "tunnel",
        _row(
            "id", "ip", "ip6", "flags", "tos", "ttl", "sport", "dport", "opts",
            ip=Kind.RAW, ip6=Kind.RAW, tos=Kind.U8, ttl=Kind.U8, sport=Kind.U16, dport=Kind.U16, opts=Kind.RAW,
        ),
    ),
    7: (
        "ct timeout",
        _row("l3proto", "l4proto", "data", l3proto=Kind.U16, l4proto=Kind.U8, data=Kind.RAW),
    ),
    8: ("secmark", _row("ctx", ctx=Kind.TEXT)),
    9: (
        "ct expectation",
        _row(
            "l3proto", "l4proto", "dport", "timeout", "size",
            l3proto=Kind.U16, l4proto=Kind.U8, dport=Kind.U16, timeout=Kind.U32_HOST, size=Kind.U8,
        ),
    ),
    10: ("synproxy", EXPRESSIONS["synproxy"]),
}  # fmt: skip

# Expressions whose raw bytes change while the ruleset stands still. (A quota's DEPLETED flag is such a
# change too; the decoder clears it.)
VOLATILE = ("counter", "last", "quota")
NFT_QUOTA_F_DEPLETED = 0x2
