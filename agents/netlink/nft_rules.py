"""Rules and set elements: raw bytes to content-addressed bodies, decoding only what is new.

A ruleset can be large (a kube-proxy node has 100,000 rules) and little of it changes at a time. So a
chain is digested in its raw form first, without handles and without what changes while the ruleset
stands still (counter values and the like); only a chain whose raw digest is new is decoded, encoded
and digested as a body. The same goes for a set's elements.

Bodies are shared: whoever holds an `EncodedBody` keeps it alive, and when nobody does it is gone from
the cache too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from struct import Struct
from weakref import WeakValueDictionary

from agents.bodies import EncodedBody
from agents.netlink.ipset import parse_elem, stable_elem
from agents.netlink.nfnetlink import NFGENMSG_LEN
from agents.netlink.nft_exprs import NFT_QUOTA_F_DEPLETED, VOLATILE
from agents.netlink.nftables import (
    NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_HANDLE,
    NFTA_RULE_TABLE,
    NFTA_RULE_USERDATA,
    elements,
    parse_comment,
    parse_expr,
    parse_set_elem,
)
from agents.netlink.wire import attr, attrs, text
from netviz.core.model.netfilter import (
    Body,
    ChainBody,
    IpSetBody,
    NftExpr,
    NftRuleBody,
    RuleCount,
    SetBody,
    encode_body,
    encoded_digest,
)

ChainKey = tuple[int, str, str]

_counts = Struct("=II")
_MAX_EXPRS_CACHED = 20_000


# How a raw expression begins: with its name, which is unpadded only if its length is a multiple of 4.
_VOLATILE_HEADS = tuple(attr(1, name.encode() + b"\0") for name in VOLATILE)
_COUNTER_HEAD = attr(1, b"counter\0")


class BodyCache:
    """Turn raw rules and elements into bodies; what was seen before isn't decoded again."""

    def __init__(self) -> None:
        self._by_digest: WeakValueDictionary[bytes, EncodedBody] = WeakValueDictionary()
        self._by_raw: WeakValueDictionary[bytes, EncodedBody] = WeakValueDictionary()
        self._exprs: dict[bytes, NftExpr] = {}
        self.decoded = 0

    def _keep(self, raw_digest: bytes, body: Body) -> EncodedBody:
        self.decoded += 1
        data = encode_body(body)
        digest = encoded_digest(data)
        if (kept := self._by_digest.get(digest)) is None:
            kept = self._by_digest[digest] = EncodedBody(digest, data)
        if raw_digest:
            self._by_raw[raw_digest] = kept
        return kept

    def chain(self, rules: list[tuple[list[bytes], bytes]]) -> EncodedBody:
        """Return the body of a chain's rules, each (its `stable_exprs`, its userdata); at least one."""
        parts = []
        for exprs, userdata in rules:
            parts.append(_counts.pack(len(exprs), len(userdata)))
            parts += exprs
            parts.append(userdata)
        raw_digest = hashlib.blake2b(b"".join(parts), digest_size=16).digest()
        if (kept := self._by_raw.get(raw_digest)) is not None:
            return kept
        return self._keep(raw_digest, ChainBody(tuple(self._rule(*rule) for rule in rules)))

    def _rule(self, exprs: list[bytes], userdata: bytes) -> NftRuleBody:
        return NftRuleBody(
            tuple([self._expr(raw) for raw in exprs]), parse_comment(userdata) if userdata else ""
        )

    def _expr(self, raw: bytes) -> NftExpr:
        if (known := self._exprs.get(raw)) is not None:
            return known
        if len(self._exprs) >= _MAX_EXPRS_CACHED:
            self._exprs.clear()
        expr = self._exprs[raw] = parse_expr(raw)
        return expr

    def elems(self, raw: list[bytes], *, stable: bool) -> EncodedBody:
        """Return the body of a set's raw elements (at least one).

        `stable` says that they hold nothing that changes by itself (no timeouts, no expressions).
        """
        raw_digest = b""
        if stable:
            digester = hashlib.blake2b(digest_size=16)
            for one in sorted(raw):  # a hash set's order is its own in every namespace
                digester.update(len(one).to_bytes(4, "little"))
                digester.update(one)
            raw_digest = digester.digest()
            if (kept := self._by_raw.get(raw_digest)) is not None:
                return kept
        elems = sorted(map(parse_set_elem, raw), key=lambda e: (e.key, e.end, e.catchall, e.key_end))
        if any(elem.exprs for elem in elems):
            raw_digest = b""
        return self._keep(raw_digest, SetBody(tuple(elems)))

    def ipset(self, raw: list[bytes], *, ordered: bool) -> EncodedBody:
        """Return the body of an ipset's raw elements (at least one); `ordered` says that their order matters."""
        stable = [stable_elem(one) for one in raw]
        if not ordered:
            stable.sort()
        digester = hashlib.blake2b(b"ipset", digest_size=16)
        for one in stable:
            digester.update(len(one).to_bytes(4, "little"))
            digester.update(one)
        raw_digest = digester.digest()
        if (kept := self._by_raw.get(raw_digest)) is not None:
            return kept
        return self._keep(raw_digest, IpSetBody(tuple(map(parse_elem, stable))))

    def legacy_chain(self, rules: list[bytes], decode: Callable[[], ChainBody]) -> EncodedBody:
        """Return the body of a legacy chain's rules, given raw without counters (at least one)."""
        raw_digest = hashlib.blake2b(b"".join([b"legacy", *rules]), digest_size=16).digest()
        if (kept := self._by_raw.get(raw_digest)) is not None:
            return kept
        return self._keep(raw_digest, decode())


def stable_exprs(data: bytes) -> list[bytes]:
    """Split a rule's expressions (NFTA_RULE_EXPRESSIONS) into raw ones, without values that change.

    A volatile expression comes back re-made from what of it is stable. Raises: BadMessage.
    """
    found = elements(data)
    for index, raw in enumerate(found):
        if raw.startswith(_VOLATILE_HEADS):
            found[index] = _COUNTER_HEAD if raw.startswith(_COUNTER_HEAD) else _without_values(raw)
    return found


def _without_values(raw: bytes) -> bytes:
    """Make a volatile expression again from what of it stands still."""
    outer = attrs(raw)
    name = outer[1]
    if name != b"quota\0":
        return attr(1, name)
    quota = attrs(outer[2])
    flags = int.from_bytes(quota.get(2, b""), "big") & ~NFT_QUOTA_F_DEPLETED
    return attr(1, name) + attr(2, attr(1, quota[1]) + attr(2, flags.to_bytes(4, "big")))


def rule_count(data: bytes) -> tuple[int, int] | None:
    """Read (packets, bytes) from the last counter among a rule's expressions; None where there is none.

    Raises: BadMessage.

    Source: net/netfilter/nft_counter.c, nft_counter_do_dump (Linux 6.18).
    """
    if _COUNTER_HEAD not in data:
        return None
    found = [raw for raw in elements(data) if raw.startswith(_COUNTER_HEAD)]
    counter = attrs(attrs(found[-1]).get(2, b"")) if found else None
    return None if counter is None else (_number(counter.get(2, b"")), _number(counter.get(1, b"")))


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


class RuleStream:
    """Group a dump's rules by chain. Rules of a chain come together and in order (nf_tables_dump_rules).

    `bodies` and `handles` map a chain's key to what its rules are; a chain without rules is in neither. Where the stream
    is to be `counted`, `counts` has what the rules with counters have counted, of chains that have such.
    """

    def __init__(self, cache: BodyCache, *, counted: bool = False) -> None:
        self._cache = cache
        self._counted = counted
        self._counts: list[RuleCount] = []
        self.counts: dict[ChainKey, tuple[RuleCount, ...]] = {}
        self._chain: ChainKey | None = None
        self._rules: list[tuple[list[bytes], bytes]] = []
        self._handles: list[int] = []
        self.bodies: dict[ChainKey, EncodedBody] = {}
        self.handles: dict[ChainKey, tuple[int, ...]] = {}
        self._names: dict[bytes, str] = {}

    def feed(self, body: bytes) -> None:
        """Take one NEWRULE message. Raises: BadMessage."""
        found = attrs(body, NFGENMSG_LEN)
        chain = (body[0], self._name(found[NFTA_RULE_TABLE]), self._name(found[NFTA_RULE_CHAIN]))
        if chain != self._chain:
            self.end()
            self._chain = chain
        exprs = found.get(NFTA_RULE_EXPRESSIONS, b"")
        if self._counted and (count := rule_count(exprs)) is not None:
            self._counts.append(RuleCount(len(self._rules), *count))
        self._rules.append((stable_exprs(exprs), found.get(NFTA_RULE_USERDATA, b"")))
        self._handles.append(int.from_bytes(found[NFTA_RULE_HANDLE], "big"))

    def _name(self, raw: bytes) -> str:
        if (name := self._names.get(raw)) is None:
            name = self._names[raw] = text(raw)
        return name

    def end(self) -> None:
        """The chain, or the dump, is over."""
        if self._chain is not None:
            self.bodies[self._chain] = self._cache.chain(self._rules)
            self.handles[self._chain] = tuple(self._handles)
            if self._counts:
                self.counts[self._chain] = tuple(one for one in self._counts if one.packets or one.bytes)
        self._chain, self._rules, self._handles, self._counts = None, [], [], []
