"""nf_tables messages: one message's bytes from the kernel to one record, and nothing else.

Rules have a decoder of their own (`nft_rules`), because there may be 100,000 of them.

Source: net/netfilter/nf_tables_api.c, nf_tables_fill_*_info (Linux 6.18).
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from agents.netlink.nfnetlink import NFGENMSG_LEN, NFNL_SUBSYS_NFTABLES, number
from agents.netlink.nft_exprs import EXPRESSIONS, NFT_QUOTA_F_DEPLETED, OBJECTS, Kind, Row
from agents.netlink.wire import attr_list, attrs, text
from netviz.core.model.netfilter import NftChain, NftExpr, NftObject, NftSet, NftTable, SetElem

_SUBSYS = NFNL_SUBSYS_NFTABLES << 8
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE = _SUBSYS | 0, _SUBSYS | 1
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN = _SUBSYS | 3, _SUBSYS | 4
NFT_MSG_NEWRULE, NFT_MSG_GETRULE = _SUBSYS | 6, _SUBSYS | 7
NFT_MSG_NEWSET, NFT_MSG_GETSET = _SUBSYS | 9, _SUBSYS | 10
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM = _SUBSYS | 12, _SUBSYS | 13
NFT_MSG_NEWGEN, NFT_MSG_GETGEN = _SUBSYS | 15, _SUBSYS | 16
NFT_MSG_NEWOBJ, NFT_MSG_GETOBJ = _SUBSYS | 18, _SUBSYS | 19
NFT_MSG_NEWFLOWTABLE, NFT_MSG_GETFLOWTABLE = _SUBSYS | 22, _SUBSYS | 23

NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_EXPRESSIONS, NFTA_RULE_USERDATA = 1, 2, 3, 4, 7
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFT_SET_TIMEOUT, NFT_SET_EVAL, NFT_SET_EXPR = 0x10, 0x20, 0x100

_UDATA_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT and NFTNL_UDATA_SET_ELEM_COMMENT

_u16 = Struct(">H").unpack
_u32 = Struct(">I").unpack
_s32 = Struct(">i").unpack
_u64 = Struct(">Q").unpack
_u32_host = Struct("=I").unpack


def elements(data: bytes) -> list[bytes]:
    """Split a list (of NFTA_LIST_ELEM) into its elements' bytes. Raises: BadMessage."""
    return [raw for _, raw in attr_list(data)]


def parse_data(data: bytes) -> bytes | dict[str, Any]:
    """Read an nft_data: raw register bytes, or a verdict as {"code", "chain"}."""
    found = attrs(data)
    if 2 in found:
        verdict = attrs(found[2])
        return {"code": _s32(verdict[1])[0], "chain": text(verdict.get(2, b""))}
    return found.get(1, b"")


def _plain(expr: NftExpr) -> dict[str, Any]:
    return {"name": expr.name, "attrs": expr.attrs}


def _value(kind: Kind, data: bytes) -> Any:
    """Read one attribute. Raises: struct.error, ValueError."""
    match kind:
        case Kind.U32:
            return _u32(data)[0]
        case Kind.DATA:
            return parse_data(data)
        case Kind.TEXT:
            return text(data)
        case Kind.U8:
            return data[0]
        case Kind.U16:
            return _u16(data)[0]
        case Kind.U64:
            return _u64(data)[0]
        case Kind.U32_HOST:
            return _u32_host(data)[0]
        case Kind.EXPR:
            return _plain(parse_expr(data))
        case Kind.EXPRS:
            return [_plain(parse_expr(one)) for _, one in attr_list(data)]
        case Kind.RAW:
            return data


def _attrs(row: Row, data: bytes) -> dict[str, Any]:
    """Read attributes by name. One that `row` doesn't know is kept raw as "attrN", so nobody overlooks it."""
    named: dict[str, Any] = {}
    for kind, raw in attrs(data).items():
        if kind not in row:
            named[f"attr{kind}"] = raw
        elif (column := row[kind]) is not None:
            named[column[0]] = _value(column[1], raw)
    return named


def parse_expr(data: bytes) -> NftExpr:
    """Read one expression (NFTA_EXPR_NAME, NFTA_EXPR_DATA)."""
    outer = attrs(data)
    name = text(outer[1])
    raw = outer.get(2, b"")
    if (row := EXPRESSIONS.get(name)) is None:
        return NftExpr(name, {"raw": raw})
    named = _attrs(row, raw)
    if name == "quota":
        named["flags"] = named.get("flags", 0) & ~NFT_QUOTA_F_DEPLETED
    return NftExpr(name, named)


def parse_comment(userdata: bytes) -> str:
    """Find the comment among the type-length-value triples that nft and iptables-nft keep with a rule."""
    pos = 0
    while pos + 2 <= len(userdata):
        kind, length = userdata[pos], userdata[pos + 1]
        if kind == _UDATA_COMMENT:
            return text(userdata[pos + 2 : pos + 2 + length])
        pos += 2 + length
    return ""


def parse_table(body: bytes) -> NftTable:
    """Read a NEWTABLE message, `buf[pos:end]`."""
    found = attrs(body, NFGENMSG_LEN)
    return NftTable(
        family=body[0], name=text(found[1]), handle=number(found.get(4)), flags=number(found.get(2))
    )


def _hook_devs(hook: dict[int, bytes], single: int | None, several: int) -> tuple[str, ...]:
    if several in hook:
        # NFTA_DEVICE_PREFIX (2) names all devices that begin so; shown as nft does, with a star.
        listed = attr_list(hook[several])
        return tuple(text(raw) + ("*" if kind == 2 else "") for kind, raw in listed)
    return (text(hook[single]),) if single is not None and single in hook else ()


def parse_chain(body: bytes) -> NftChain:
    """Read a NEWCHAIN message; `body` and `handles` come with its rules."""
    found = attrs(body, NFGENMSG_LEN)
    hook = attrs(found[4]) if 4 in found else None
    return NftChain(
        family=body[0],
        table=text(found[1]),
        name=text(found[3]),
        handle=number(found.get(2)),
        type=text(found.get(7, b"")),
        hook=number(hook.get(1)) if hook is not None else None,
        priority=_s32(hook[2])[0] if hook is not None and 2 in hook else 0,
        policy=number(found.get(5), 1),
        devs=_hook_devs(hook, 3, 4) if hook is not None else (),
        flags=number(found.get(10)),
    )


def parse_set(body: bytes) -> NftSet:
    """Read a NEWSET message; `body` comes with its elements."""
    found = attrs(body, NFGENMSG_LEN)
    desc = attrs(found[9]) if 9 in found else {}
    fields = tuple(number(attrs(one).get(1)) for _, one in attr_list(desc.get(2, b"")))
    exprs = [found[17]] if 17 in found else elements(found.get(18, b""))
    return NftSet(
        family=body[0],
        table=text(found[1]),
        name=text(found[2]),
        handle=number(found.get(16)),
        flags=number(found.get(3)),
        key_type=number(found.get(4)),
        key_len=number(found.get(5)),
        data_type=number(found.get(6)),
        data_len=number(found.get(7)),
        obj_type=number(found.get(15)),
        fields=fields,
        timeout_ms=number(found.get(11)),
        policy=number(found.get(8)),
        size=number(desc.get(1)),
        exprs=tuple(parse_expr(one) for one in exprs),
    )


def parse_set_elem(data: bytes) -> SetElem:
    """Read one element of a NEWSETELEM message."""
    found = attrs(data)
    flags = number(found.get(3))
    value: bytes | dict[str, Any] = parse_data(found[2]) if 2 in found else b""
    verdict, chain = (value["code"], value["chain"]) if isinstance(value, dict) else (None, "")
    exprs = [found[7]] if 7 in found else elements(found.get(11, b""))
    return SetElem(
        key=_raw_key(found.get(1)),
        key_end=_raw_key(found.get(10)),
        end=bool(flags & 1),
        catchall=bool(flags & 2),
        data=value if isinstance(value, bytes) else b"",
        verdict=verdict,
        chain=chain,
        exprs=tuple(parse_expr(one) for one in exprs),
        timeout_ms=number(found.get(4)),
        comment=parse_comment(found[6]) if 6 in found else "",
        objref=text(found.get(9, b"")),
    )


def _raw_key(data: bytes | None) -> bytes:
    if data is None:
        return b""
    value = parse_data(data)
    return value if isinstance(value, bytes) else b""


def parse_set_elems(body: bytes) -> list[bytes]:
    """Return the raw elements of a NEWSETELEM message, each for `parse_set_elem`."""
    found = attrs(body, NFGENMSG_LEN)
    return elements(found.get(NFTA_SET_ELEM_LIST_ELEMENTS, b""))


def parse_object(body: bytes) -> NftObject:
    """Read a NEWOBJ message. A type without a row here is named by its number and kept raw."""
    found = attrs(body, NFGENMSG_LEN)
    type_number = number(found.get(3))
    raw = found.get(4, b"")
    kind, row = OBJECTS.get(type_number, (f"type {type_number}", None))
    named: dict[str, Any] = {"raw": raw} if row is None else _attrs(row, raw)
    if kind == "quota":
        named["flags"] = named.get("flags", 0) & ~NFT_QUOTA_F_DEPLETED
    return NftObject(family=body[0], table=text(found[1]), name=text(found[2]), type=kind, attrs=named)


def parse_flowtable(body: bytes) -> NftObject:
    """Read a NEWFLOWTABLE message."""
    found = attrs(body, NFGENMSG_LEN)
    hook = attrs(found.get(3, b""))
    named: dict[str, Any] = {
        "hook": number(hook.get(1)),
        "priority": _s32(hook[2])[0] if 2 in hook else 0,
        "devs": list(_hook_devs(hook, None, 3)),
        "flags": number(found.get(7)),
    }
    return NftObject(family=body[0], table=text(found[1]), name=text(found[2]), type="flowtable", attrs=named)


def parse_generation(body: bytes) -> int:
    """Read a NEWGEN message: the number of the ruleset's generation."""
    return number(attrs(body, NFGENMSG_LEN).get(1))
