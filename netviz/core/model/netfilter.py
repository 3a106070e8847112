"""Netfilter as the kernel evaluates it: tables, chains of expressions, sets.

Large and shared parts are content-addressed. A chain's rules, without their handles and counters,
and a set's elements are a *body*; the record carries the body's digest, and the body is kept once
for all chains, namespaces and nodes that have the same. `body_digest` makes digests.

Source: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c (Linux 6.18).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any, ClassVar

import msgspec

from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import (
    S32,
    U8,
    U32,
    U64,
    Check,
    Digest,
    IpOrNone,
    Mac,
    NftName,
    Port,
    PrefixLen,
    Register,
    Seconds,
    ShortName,
    one_of,
)

# Protocol families of tables (NFPROTO_*).
NFPROTO_INET, NFPROTO_IPV4, NFPROTO_ARP, NFPROTO_NETDEV, NFPROTO_BRIDGE, NFPROTO_IPV6 = 1, 2, 3, 5, 7, 10
NFPROTO_NAMES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
# Hooks of ip, ip6, inet and bridge (NF_INET_*, NF_BR_*).
NF_PRE_ROUTING, NF_LOCAL_IN, NF_FORWARD, NF_LOCAL_OUT, NF_POST_ROUTING, NF_INGRESS = range(6)
# The hooks and priorities of the legacy xtables tables (net/ipv4/netfilter/iptable_*.c).
XT_HOOKS: dict[str, dict[int, int]] = {
    "raw": {NF_PRE_ROUTING: -300, NF_LOCAL_OUT: -300},
    "mangle": dict.fromkeys(range(5), -150),
    "nat": {NF_PRE_ROUTING: -100, NF_LOCAL_OUT: -100, NF_POST_ROUTING: 100, NF_LOCAL_IN: 100},
    "filter": {NF_LOCAL_IN: 0, NF_FORWARD: 0, NF_LOCAL_OUT: 0},
    "security": {NF_LOCAL_IN: 50, NF_FORWARD: 50, NF_LOCAL_OUT: 50},
}
NF_DROP, NF_ACCEPT, NF_STOLEN, NF_QUEUE = 0, 1, 2, 3
NFT_CONTINUE, NFT_BREAK, NFT_JUMP, NFT_GOTO, NFT_RETURN = -1, -2, -3, -4, -5

# A value of an expression attribute: numbers in host order, data as raw bytes in the kernel's
# register layout, names as text, and a verdict as (code, chain name).
NftValue = Any  # int | bytes | str | bool | list | dict; msgspec can't say bytes | str, MessagePack can


Family = Annotated[int, one_of(*NFPROTO_NAMES)]
IpSetFamily = Annotated[int, one_of(0, NFPROTO_IPV4, NFPROTO_IPV6)]
Hook = Annotated[int, msgspec.Meta(ge=0, le=NF_INGRESS)]
# The last hook of families that have fewer than NF_INGRESS + 1.
_LAST_HOOK = {NFPROTO_ARP: 2, NFPROTO_NETDEV: 1}
_PLAIN_VALUES = frozenset((int, bytes, str, bool))


def _attrs_problem(found: Iterable[dict[Any, NftValue]]) -> str:
    """Say what of many expressions' attributes isn't an NftValue, or "". Looked at all at once: there are millions."""
    values = [*chain.from_iterable(map(dict.values, found))]
    while odd := set(map(type, values)) - _PLAIN_VALUES:
        if odd - {dict, list}:
            return f"{min(kind.__name__ for kind in odd - {dict, list})} is no attribute's type"
        mappings = [one for one in values if type(one) is dict]
        if any(type(name) is not str for name in chain.from_iterable(mappings)):
            return "a name that is no text"
        lists = (one for one in values if type(one) is list)
        values = [*chain.from_iterable(map(dict.values, mappings)), *chain.from_iterable(lists)]
    return ""


Attrs = Annotated[dict[str, NftValue], msgspec.Meta(extra={"problem_of_all": _attrs_problem})]


def _hook_problem(family: int, hook: int | None) -> str:
    last = _LAST_HOOK.get(family, NF_INGRESS)
    return "" if hook is None or hook <= last else f"hook: {hook}, of {last} that the family has"


_HOOK = Check((("family", None), ("hook", None)), _hook_problem)


def _of_ipset(addr: str, bits: str) -> Check:
    def problem(width: int, length: int | None) -> str:
        wrong = width and length is not None and length > width * 8
        return f"{bits}: {length} bits of an address of {width} bytes" if wrong else ""

    return Check(((addr, len), (bits, None)), problem)


class NftExpr(Part, frozen=True, gc=False):
    """One expression of a rule: the kernel's name for it, and its attributes.

    `attrs` maps lower-case attribute names without prefix (NFTA_PAYLOAD_BASE is "base") to values.
    A kind that the collector cannot decode has the single attribute "raw" (bytes). A verdict
    ("immediate" or a map's data) is {"code": int, "chain": str}.
    """

    name: ShortName
    attrs: Attrs = {}


class NftRuleBody(Part, frozen=True, gc=False):
    """One rule without handle and counters: its expressions, and its comment if it has one."""

    exprs: tuple[NftExpr, ...]
    comment: NftName = ""


class ChainBody(Part, frozen=True, gc=True, dict=True, tag="chain"):
    """The rules of one chain in order."""

    rules: tuple[NftRuleBody, ...] = ()


class SetElem(Part, frozen=True, gc=False):
    """One element of a set or map.

    `key` and `key_end` are raw bytes in the kernel's register layout (each field of a
    concatenation padded to 4 bytes); `end` marks the end of an interval; `catchall` the default.
    `data` is raw bytes, or a verdict (`verdict`, `chain`), or the name of an object (`objref`).
    Expirations are left out.
    """

    key: Register = b""
    key_end: Register = b""
    end: bool = False
    catchall: bool = False
    data: Register = b""
    verdict: S32 | None = None
    chain: NftName = ""
    exprs: tuple[NftExpr, ...] = ()
    timeout_ms: U64 = 0
    comment: NftName = ""
    objref: NftName = ""


class SetBody(Part, frozen=True, gc=True, dict=True, tag="set"):
    """The elements of one set, sorted by (key, end)."""

    elems: tuple[SetElem, ...] = ()


class IpSetElem(Part, frozen=True, gc=False):
    """One element of an ipset: those fields are set that the set's type has.

    Addresses and MACs are raw bytes; `cidr` and `cidr2` are prefix lengths (None: the whole address).
    `name` is an interface (hash:net,iface) or a member set (list:set).
    `physdev` asks for the bridge port instead of the interface; `wildcard` makes `name` a prefix. `nomatch` makes
    an exception. `skbmark` is the mark, and its mask, that a rule may take from the element.
    """

    ip: IpOrNone = b""
    cidr: PrefixLen | None = None
    proto: U8 = 0
    port: Port = 0
    ip2: IpOrNone = b""
    cidr2: PrefixLen | None = None
    mac: Mac = b""
    mark: U32 = 0
    name: ShortName = ""
    physdev: bool = False
    nomatch: bool = False
    wildcard: bool = False
    skbmark: tuple[U32, U32] = (0, 0)
    checks: ClassVar[tuple[Check, ...]] = (
        _of_ipset("ip", "cidr"),
        _of_ipset("ip2", "cidr2"),
    )


class IpSetBody(Part, frozen=True, gc=True, dict=True, tag="ipset"):
    """The elements of one ipset in a fixed order; a list:set's in its own order."""

    elems: tuple[IpSetElem, ...] = ()


Body = ChainBody | SetBody | IpSetBody
EMPTY_BODY = b""


class NftTable(Record, frozen=True, gc=False):
    """A table. `flags` 1 is dormant."""

    family: Family
    name: NftName
    handle: U64 = 0
    flags: U32 = 0

    @property
    def key(self) -> tuple[int, str]:
        """(family, name)."""
        return (self.family, self.name)


class NftChain(Record, frozen=True, gc=False):
    """A chain; a base chain has a `hook` (number) and `type` ("filter", "nat", "route").

    `body` is the digest of its ChainBody (empty for no rules); `handles` its rules' handles in order.
    """

    family: Family
    table: NftName
    name: NftName
    handle: U64 = 0
    type: ShortName = ""
    hook: Hook | None = None
    priority: S32 = 0
    policy: S32 = NF_ACCEPT
    devs: tuple[ShortName, ...] = ()
    flags: U32 = 0
    body: Digest = EMPTY_BODY
    handles: tuple[U64, ...] = ()

    checks: ClassVar[tuple[Check, ...]] = (_HOOK,)

    @property
    def key(self) -> tuple[int, str, str]:
        """(family, table, name)."""
        return (self.family, self.table, self.name)


class RuleCount(Part, frozen=True, gc=False):
    """What a chain's rule with this number (from 0) has counted."""

    number: U32
    packets: U64 = 0
    bytes: U64 = 0


class RuleCounters(Record, frozen=True, gc=False):
    """What the counters of a chain's rules stood at, at `at_s` (Unix seconds by the node's clock).

    It is of the rules that were there then: `rules` is the digest of their ChainBody. Of those that have a counter, those
    that aren't in `counts` had counted nothing. `legacy`: the chain is one of a legacy xtables table.

    Of a table of nf_tables, chains that had counted nothing have no record of their own. One without a chain's name stands
    for them: in the table with the handle `table_handle`, their rules with handles up to `last_handle` had counted nothing.
    A later rule has a higher handle (net/netfilter/nf_tables_api.c, nf_tables_alloc_handle, Linux 6.18).
    """

    family: Family
    table: NftName
    chain: NftName
    legacy: bool = False
    rules: Digest = EMPTY_BODY
    counts: tuple[RuleCount, ...] = ()
    at_s: Seconds = 0.0
    table_handle: U64 = 0
    last_handle: U64 = 0

    @property
    def key(self) -> tuple[int, str, str, bool]:
        """(family, table, chain, legacy)."""
        return (self.family, self.table, self.chain, self.legacy)


class NftSet(Record, frozen=True, gc=False):
    """A set or map. `key_type` and `data_type` are nft's datatype numbers; lengths are bytes.

    `fields` holds a concatenation's field lengths in bytes; `body` is the digest of its SetBody.
    `id` is not kept: anonymous sets are named `__setN` by the kernel.
    """

    family: Family
    table: NftName
    name: NftName
    handle: U64 = 0
    flags: U32 = 0
    key_type: U32 = 0
    key_len: U32 = 0
    data_type: U32 = 0
    data_len: U32 = 0
    obj_type: U32 = 0
    fields: tuple[U32, ...] = ()
    timeout_ms: U64 = 0
    policy: U32 = 0
    size: U32 = 0
    exprs: tuple[NftExpr, ...] = ()
    body: Digest = EMPTY_BODY

    @property
    def key(self) -> tuple[int, str, str]:
        """(family, table, name)."""
        return (self.family, self.table, self.name)


class NftObject(Record, frozen=True, gc=False):
    """A named object (counter, quota, limit, ct helper, ...) or a flowtable ("flowtable")."""

    family: Family
    table: NftName
    name: NftName
    type: ShortName
    attrs: Attrs = {}

    @property
    def key(self) -> tuple[int, str, str, str]:
        """(family, table, type, name)."""
        return (self.family, self.table, self.type, self.name)


class XtTable(Record, frozen=True, gc=False):
    """A legacy (not nft-backed) xtables table that is loaded in the namespace.

    `family` is NFPROTO_*, `name` "filter", "nat", .... Where `read`, its chains are in `xt_chains`;
    otherwise only its presence is known.
    """

    family: Family
    name: ShortName
    read: bool = False

    @property
    def key(self) -> tuple[int, str]:
        """(family, name)."""
        return (self.family, self.name)


class IpSet(Record, frozen=True, gc=False):
    """An ipset. `type` is "hash:ip,port", ...; `index` is what xtables rules know the set by.

    `family` is NFPROTO_* (0 for types without addresses). `netmask` and `bitmask` are what addresses
    are masked with before they are looked up; `markmask` does the same for marks. `timeout_s` is the
    default time-out of elements (None: they stay). `counters` says that elements have counters. `body` is the
    digest of its IpSetBody.
    """

    name: ShortName
    type: ShortName
    family: IpSetFamily = 0
    index: U32 = 0
    netmask: PrefixLen = 0
    bitmask: IpOrNone = b""
    markmask: U32 = 0xFFFFFFFF
    timeout_s: U32 | None = None
    counters: bool = False
    body: Digest = EMPTY_BODY

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class NfAcct(Record, frozen=True, gc=False):
    """An accounting object (nfnetlink_acct). `flags` 1 is a quota of packets, 2 one of bytes, 4 that it is used up."""

    name: ShortName
    flags: U32 = 0
    quota: U64 = 0

    @property
    def key(self) -> str:
        """The name."""
        return self.name


_encoder = msgspec.msgpack.Encoder(order="deterministic")


def encode_body(body: Body) -> bytes:
    """Encode a body canonically: equal bodies give equal bytes."""
    return _encoder.encode(body)


def encoded_digest(encoded: bytes | memoryview) -> bytes:
    """Digest a body that isn't empty from its canonical encoding (16 bytes, BLAKE2b)."""
    return hashlib.blake2b(encoded, digest_size=16).digest()


def body_digest(body: Body) -> bytes:
    """Digest a body. An empty body has the empty digest."""
    empty = not (body.rules if isinstance(body, ChainBody) else body.elems)
    return EMPTY_BODY if empty else encoded_digest(encode_body(body))
