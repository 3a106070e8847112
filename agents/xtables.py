"""Legacy xtables: read a table's entries from the kernel and decode them into chains of rules.

The kernel hands a table out as one blob: entries in order, jumps as offsets. Here they become chains in
the same form as those of iptables-nft: addresses, interfaces and protocols as nftables' expressions,
matches and targets as compat expressions, verdicts as immediates; so one evaluator runs both. A
table is only asked for when it is loaded already: asking would load it.

Source: include/uapi/linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h, netfilter/x_tables.h;
net/ipv4/netfilter/ip_tables.c, copy_entries_to_user, ip_packet_match, ipt_do_table (Linux 6.18).
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from agents.kernel import Kernel
from netviz.core.model.netfilter import (
    NF_ACCEPT,
    NF_DROP,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NFT_GOTO,
    NFT_JUMP,
    NFT_RETURN,
    XT_HOOKS,
    ChainBody,
    NftExpr,
    NftRuleBody,
    RuleCount,
)

SO_GET_INFO, SO_GET_ENTRIES = 64, 65
HOOK_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
XT_ERROR = "ERROR"
INV_IN, INV_OUT, INV_SRC, INV_DST, INV_FRAG, INV_PROTO = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40
META_IIFNAME, META_OIFNAME, META_L4PROTO = 6, 7, 16
ATTEMPTS = 5

_INFO = Struct("=32sI5I5III")
_EXTENSION = Struct("=H29sB")
_COUNTERS = Struct("=QQ")  # struct xt_counters: packets, bytes


class Layout(NamedTuple):
    """Where the parts of an entry are, for one family."""

    family: int
    address: int  # bytes of an address
    names: int  # where the interface names begin
    proto: int
    flags: int
    invert: int
    target: int  # where target_offset is; next_offset follows
    counters: int
    size: int
    goto: int
    frag: int
    proto_flag: int
    fields: tuple[int, int]  # offsets of source and destination in the packet's header


LAYOUTS = {
    NFPROTO_IPV4: Layout(NFPROTO_IPV4, 4, 16, 80, 82, 83, 88, 96, 112, 0x02, 0x01, 0, (12, 16)),
    NFPROTO_IPV6: Layout(NFPROTO_IPV6, 16, 64, 128, 131, 132, 140, 152, 168, 0x04, 0, 0x01, (8, 24)),
}


class LegacyChain(msgspec.Struct, frozen=True):
    """One chain: `hook` and `policy` of a base chain, and its rules as raw entries at their offsets.

    `stable` are the rules without what they count, `counts` what those have counted that have counted anything.
    """

    name: str
    hook: int | None
    policy: int
    rules: tuple[tuple[int, bytes], ...]
    stable: tuple[bytes, ...]
    counts: tuple[RuleCount, ...]


class LegacyTable(msgspec.Struct, frozen=True):
    """A table's chains, and which chain begins at which offset."""

    family: int
    name: str
    chains: tuple[LegacyChain, ...]
    starts: dict[int, str]


class BadTable(ValueError):
    """The entries are not as the kernel lays them out."""


def read_table(kernel: Kernel, family: int, name: str) -> tuple[bytes, bytes]:
    """Read a table's information and entries, in the calling thread's namespace. Raises: OSError."""
    sockets = socket.AF_INET6 if family == NFPROTO_IPV6 else socket.AF_INET
    for attempt in range(ATTEMPTS):
        info = bytearray(name.encode().ljust(_INFO.size, b"\0"))
        kernel.ask_xtables(sockets, SO_GET_INFO, info)
        size = _INFO.unpack(info)[-1]
        entries = bytearray(name.encode().ljust(32, b"\0") + size.to_bytes(4, "little") + bytes(4 + size))
        try:
            kernel.ask_xtables(sockets, SO_GET_ENTRIES, entries)
        except BlockingIOError:  # it grew or shrank meanwhile
            if attempt == ATTEMPTS - 1:
                raise
            continue
        return bytes(info), bytes(memoryview(entries)[40:])
    raise AssertionError("not reached")


def split_table(family: int, info: bytes, entries: bytes) -> LegacyTable:
    """Split a table into its chains, without decoding rules. Raises: BadTable."""
    layout = LAYOUTS[family]
    fields = _INFO.unpack(info)
    table = fields[0].split(b"\0", 1)[0].decode()
    valid, hooks, underflows = fields[1], fields[2:7], fields[7:12]
    begins = {hooks[hook]: hook for hook in range(5) if valid >> hook & 1}
    chains: list[LegacyChain] = []
    starts: dict[int, str] = {}
    name = ""
    hook: int | None = None
    rules: list[tuple[int, bytes]] = []
    offset, end = 0, len(entries)
    while offset < end:
        raw, following = _entry(layout, entries, offset)
        kind = _extension_name(raw, int.from_bytes(raw[layout.target : layout.target + 2], "little"))
        if offset in begins:
            hook = begins[offset]
            name, rules = HOOK_CHAINS[hook], []
            starts[offset] = name
        if hook is not None and offset == underflows[hook]:
            verdict = _standard_verdict(layout, raw)
            chains.append(_chain(layout, name, hook, NF_ACCEPT if verdict == -2 else NF_DROP, rules))
            name, hook, rules = "", None, []
        elif kind == XT_ERROR:
            if name:  # the tail of a user's chain returns; it is no rule
                chains.append(_chain(layout, name, None, NF_ACCEPT, rules[:-1]))
            at = int.from_bytes(raw[layout.target : layout.target + 2], "little") + 32
            name, rules = raw[at:].split(b"\0", 1)[0].decode("utf-8", "backslashreplace"), []
            starts[following] = name
            if following >= end:
                name = ""
        else:
            rules.append((offset, raw))
        offset = following
    return LegacyTable(family, table, tuple(chains), starts)


def _entry(layout: Layout, entries: bytes, offset: int) -> tuple[bytes, int]:
    at = offset + layout.target
    size = int.from_bytes(entries[at + 2 : at + 4], "little")
    if size < layout.size + 32 or offset + size > len(entries):
        raise BadTable(f"an entry of {size} bytes at {offset} of {len(entries)}")
    return entries[offset : offset + size], offset + size


def _chain(
    layout: Layout, name: str, hook: int | None, policy: int, rules: list[tuple[int, bytes]]
) -> LegacyChain:
    cut, resume = layout.counters, layout.counters + 16
    stable = tuple(raw[:cut] + offset.to_bytes(4, "little") + raw[resume:] for offset, raw in rules)
    counted = enumerate(_COUNTERS.unpack_from(raw, cut) for _, raw in rules)
    counts = tuple(RuleCount(number, *count) for number, count in counted if any(count))
    return LegacyChain(name, hook, policy, tuple(rules), stable, counts)


def _extension_name(raw: bytes, at: int) -> str:
    _size, name, _rev = _EXTENSION.unpack_from(raw, at)
    return str(name.split(b"\0", 1)[0].decode())


def _standard_verdict(layout: Layout, raw: bytes) -> int:
    at = int.from_bytes(raw[layout.target : layout.target + 2], "little") + 32
    return int.from_bytes(raw[at : at + 4], "little", signed=True)


def decode_chain(table: LegacyTable, chain: LegacyChain) -> ChainBody:
    """Decode a chain's rules. Raises: BadTable."""
    layout = LAYOUTS[table.family]
    return ChainBody(tuple(_rule(layout, table, offset, raw) for offset, raw in chain.rules))


def priority_of(table: str, hook: int) -> int:
    """Return the priority at which a table's chain is called."""
    return XT_HOOKS.get(table, {}).get(hook, 0)


def _rule(layout: Layout, table: LegacyTable, offset: int, raw: bytes) -> NftRuleBody:
    exprs = _header(layout, raw)
    target = int.from_bytes(raw[layout.target : layout.target + 2], "little")
    at = layout.size
    while at < target:
        size, name, rev = _EXTENSION.unpack_from(raw, at)
        if size < 32:
            raise BadTable(f"a match of {size} bytes")
        exprs.append(_extension("match", name, rev, raw[at + 32 : at + size]))
        at += size
    size, name, rev = _EXTENSION.unpack_from(raw, target)
    if name[:1] == b"\0":
        goto = bool(raw[layout.flags] & layout.goto)
        exprs += _verdict(table, _standard_verdict(layout, raw), offset + len(raw), goto)
    else:
        exprs.append(_extension("target", name, rev, raw[target + 32 : target + size]))
    return NftRuleBody(tuple(exprs))


def _extension(kind: str, name: bytes, rev: int, info: bytes) -> NftExpr:
    plain = name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
    return NftExpr(kind, {"name": plain, "rev": rev, "info": info})


def _verdict(table: LegacyTable, verdict: int, following: int, goto: bool) -> list[NftExpr]:
    if verdict == following:
        return []
    if verdict >= 0:
        if verdict not in table.starts:
            raise BadTable(f"a jump to {verdict}, where no chain begins")
        data: dict[str, Any] = {"code": NFT_GOTO if goto else NFT_JUMP, "chain": table.starts[verdict]}
    else:
        data = {"code": NFT_RETURN if verdict == -5 else -verdict - 1, "chain": ""}
    return [NftExpr("immediate", {"dreg": 0, "data": data})]


def _compare(load: NftExpr, data: bytes, invert: int, mask: bytes = b"") -> list[NftExpr]:
    exprs = [load]
    if mask:
        attrs = {"sreg": 1, "dreg": 1, "len": len(mask), "mask": mask, "xor": bytes(len(mask)), "op": 0}
        exprs.append(NftExpr("bitwise", attrs))
    exprs.append(NftExpr("cmp", {"sreg": 1, "op": int(bool(invert)), "data": data}))
    return exprs


def _header(layout: Layout, raw: bytes) -> list[NftExpr]:
    """Decode what an entry wants of addresses, interfaces, protocol and fragments."""
    width, flags, invert = layout.address, raw[layout.flags], raw[layout.invert]
    exprs: list[NftExpr] = []
    for index, bit in ((0, INV_SRC), (1, INV_DST)):
        addr = raw[index * width : (index + 1) * width]
        mask = raw[(index + 2) * width : (index + 3) * width]
        if any(mask) or invert & bit:
            load = {"dreg": 1, "base": 1, "offset": layout.fields[index], "len": width}
            whole = mask == b"\xff" * width
            exprs += _compare(NftExpr("payload", load), addr, invert & bit, b"" if whole else mask)
    for index, bit, key in ((0, INV_IN, META_IIFNAME), (1, INV_OUT, META_OIFNAME)):
        at = layout.names + 16 * index
        length = sum(1 for byte in raw[at + 32 : at + 48] if byte)
        if length:
            load = {"dreg": 1, "key": key}
            exprs += _compare(NftExpr("meta", load), raw[at : at + length], invert & bit)
    proto = int.from_bytes(raw[layout.proto : layout.proto + 2], "little")
    if proto and (not layout.proto_flag or flags & layout.proto_flag):
        load = {"dreg": 1, "key": META_L4PROTO}
        exprs += _compare(NftExpr("meta", load), bytes([proto & 0xFF]), invert & INV_PROTO)
    if layout.frag and flags & layout.frag:
        load = {"dreg": 1, "base": 1, "offset": 6, "len": 2}
        exprs += _compare(NftExpr("payload", load), b"\0\0", not invert & INV_FRAG, b"\x1f\xff")
    return exprs
