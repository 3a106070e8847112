"""Netfilter as the kernel evaluates it: tables, chains of expressions, sets.

Large and shared parts are content-addressed. A chain's rules, without their handles and counters,
and a set's elements are a *body*; the record carries the body's digest, and the body is kept once
for all chains, namespaces and nodes that have the same. `body_digest` makes digests.

Source: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c (Linux 6.18).
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from netviz.core.model.base import Part, Record

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


class NftExpr(Part, frozen=True, gc=False):
    """One expression of a rule: the kernel's name for it, and its attributes.

    `attrs` maps lower-case attribute names without prefix (NFTA_PAYLOAD_BASE is "base") to values.
    A kind that the collector cannot decode has the single attribute "raw" (bytes). A verdict
    ("immediate" or a map's data) is {"code": int, "chain": str}.
    """

    name: str
    attrs: dict[str, NftValue] = {}


class NftRuleBody(Part, frozen=True, gc=False):
    """One rule without handle and counters: its expressions, and its comment if it has one."""

    exprs: tuple[NftExpr, ...]
    comment: str = ""


class ChainBody(Part, frozen=True, gc=False, tag="chain"):
    """The rules of one chain in order."""

    rules: tuple[NftRuleBody, ...] = ()


class SetElem(Part, frozen=True, gc=False):
    """One element of a set or map.

    `key` and `key_end` are raw bytes in the kernel's register layout (each field of a
    concatenation padded to 4 bytes); `end` marks the end of an interval; `catchall` the default.
    `data` is raw bytes, or a verdict (`verdict`, `chain`), or the name of an object (`objref`).
    Expirations are left out.
    """

    key: bytes = b""
    key_end: bytes = b""
    end: bool = False
    catchall: bool = False
    data: bytes = b""
    verdict: int | None = None
    chain: str = ""
    exprs: tuple[NftExpr, ...] = ()
    timeout_ms: int = 0
    comment: str = ""
    objref: str = ""


class SetBody(Part, frozen=True, gc=False, tag="set"):
    """The elements of one set, sorted by (key, end)."""

    elems: tuple[SetElem, ...] = ()


class IpSetElem(Part, frozen=True, gc=False):
    """One element of an ipset: those fields are set that the set's type has.

    Addresses and MACs are raw bytes; `cidr` and `cidr2` are prefix lengths (None: the whole address).
    `name` is an interface (hash:net,iface) or a member set (list:set).
    `physdev` asks for the bridge port instead of the interface; `wildcard` makes `name` a prefix. `nomatch` makes
    an exception. `skbmark` is the mark, and its mask, that a rule may take from the element.
    """

    ip: bytes = b""
    cidr: int | None = None
    proto: int = 0
    port: int = 0
    ip2: bytes = b""
    cidr2: int | None = None
    mac: bytes = b""
    mark: int = 0
    name: str = ""
    physdev: bool = False
    nomatch: bool = False
    wildcard: bool = False
    skbmark: tuple[int, int] = (0, 0)


class IpSetBody(Part, frozen=True, gc=False, tag="ipset"):
    """The elements of one ipset in a fixed order; a list:set's in its own order."""

    elems: tuple[IpSetElem, ...] = ()


Body = ChainBody | SetBody | IpSetBody
EMPTY_BODY = b""


class NftTable(Record, frozen=True, gc=False):
    """A table. `flags` 1 is dormant."""

    family: int
    name: str
    handle: int = 0
    flags: int = 0

    @property
    def key(self) -> tuple[int, str]:
        """(family, name)."""
        return (self.family, self.name)


class NftChain(Record, frozen=True, gc=False):
    """A chain; a base chain has a `hook` (number) and `type` ("filter", "nat", "route").

    `body` is the digest of its ChainBody (empty for no rules); `handles` its rules' handles in order.
    """

    family: int
    table: str
    name: str
    handle: int = 0
    type: str = ""
    hook: int | None = None
    priority: int = 0
    policy: int = NF_ACCEPT
    devs: tuple[str, ...] = ()
    flags: int = 0
    body: bytes = EMPTY_BODY
    handles: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[int, str, str]:
        """(family, table, name)."""
        return (self.family, self.table, self.name)


class NftSet(Record, frozen=True, gc=False):
    """A set or map. `key_type` and `data_type` are nft's datatype numbers; lengths are bytes.

    `fields` holds a concatenation's field lengths in bytes; `body` is the digest of its SetBody.
    `id` is not kept: anonymous sets are named `__setN` by the kernel.
    """

    family: int
    table: str
    name: str
    handle: int = 0
    flags: int = 0
    key_type: int = 0
    key_len: int = 0
    data_type: int = 0
    data_len: int = 0
    obj_type: int = 0
    fields: tuple[int, ...] = ()
    timeout_ms: int = 0
    policy: int = 0
    size: int = 0
    exprs: tuple[NftExpr, ...] = ()
    body: bytes = EMPTY_BODY

    @property
    def key(self) -> tuple[int, str, str]:
        """(family, table, name)."""
        return (self.family, self.table, self.name)


class NftObject(Record, frozen=True, gc=False):
    """A named object (counter, quota, limit, ct helper, ...) or a flowtable ("flowtable")."""

    family: int
    table: str
    name: str
    type: str
    attrs: dict[str, NftValue] = {}

    @property
    def key(self) -> tuple[int, str, str, str]:
        """(family, table, type, name)."""
        return (self.family, self.table, self.type, self.name)


class XtTable(Record, frozen=True, gc=False):
    """A legacy (not nft-backed) xtables table that is loaded in the namespace.

    `family` is NFPROTO_*, `name` "filter", "nat", .... Where `read`, its chains are in `xt_chains`;
    otherwise only its presence is known.
    """

    family: int
    name: str
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

    name: str
    type: str
    family: int = 0
    index: int = 0
    netmask: int = 0
    bitmask: bytes = b""
    markmask: int = 0xFFFFFFFF
    timeout_s: int | None = None
    counters: bool = False
    body: bytes = EMPTY_BODY

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class NfAcct(Record, frozen=True, gc=False):
    """An accounting object (nfnetlink_acct). `flags` 1 is a quota of packets, 2 one of bytes, 4 that it is used up."""

    name: str
    flags: int = 0
    quota: int = 0

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
