"""Which rules of a long chain can match a packet at all.

A rule that begins with comparisons of the packet's header (protocol, addresses, ports, interfaces)
and among them wants one exact destination, source or destination port cannot match another packet,
and looking at it changes nothing. Such rules are found by that value; all others are always tried. So
a chain of 10,000 services costs a few look-ups, and the course is the same as rule by rule.
"""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, ChainBody, NftExpr, NftRuleBody
from netviz.core.sim.attrs import data_of
from netviz.core.sim.index import Index
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, Packet
from netviz.core.sim.xtables.decode import decode_match
from netviz.core.sim.xtables.payloads import Transport

MIN_RULES = 12
META_L4PROTO, META_NAMES = 16, (6, 7)
# (offset, length) of the whole source and destination address, by the family of the table.
ADDRESSES = {
    NFPROTO_IPV4: {(12, 4): "src", (16, 4): "dst"},
    NFPROTO_IPV6: {(8, 16): "src", (24, 16): "dst"},
}
Key = tuple[str, bytes | tuple[int, int]]


class ChainIndex(msgspec.Struct, frozen=True):
    """Numbers of rules, ascending: those found by a value, and those that are always tried."""

    keyed: dict[Key, list[int]]
    rest: list[int]
    count: int

    def next_rule(self, packet: Packet, at: int) -> int:
        """Return the first rule from `at` that may match, or `count`."""
        if packet.dport_unsure:
            return at
        found = self.count
        keys: tuple[Key, ...] = (
            ("dst", packet.dst),
            ("src", packet.src),
            ("dport", (packet.proto, packet.dport)),
        )
        for key in keys:
            numbers = self.keyed.get(key)
            if numbers is not None:
                found = _first(numbers, at, found)
        return _first(self.rest, at, found)


def _first(numbers: list[int], at: int, otherwise: int) -> int:
    position = bisect_left(numbers, at)
    return min(numbers[position], otherwise) if position < len(numbers) else otherwise


def rule_keys(rule: NftRuleBody, family: int) -> dict[str, bytes | tuple[int, int]]:
    """Find the exact values that a rule wants before it does anything that could matter."""
    found: dict[str, bytes | tuple[int, int]] = {}
    loaded: dict[int, str] = {}
    proto = 0
    for expr in rule.exprs:
        a = expr.attrs
        if expr.name in ("payload", "meta") and "dreg" in a:
            what = _loads(expr, family)
            if not what:
                break
            loaded[a["dreg"]] = what
        elif expr.name == "cmp" and a.get("op") in (0, 1) and a.get("sreg") in loaded:
            what, data = loaded[a["sreg"]], data_of(a.get("data"))
            if a["op"] == 0 and what == "proto" and len(data) == 1:
                proto = data[0]
            elif a["op"] == 0 and what in ("src", "dst") and len(data) in (4, 16):
                found.setdefault(what, data)
            elif a["op"] == 0 and what == "dport" and proto in (IPPROTO_TCP, IPPROTO_UDP) and len(data) == 2:
                found.setdefault("dport", (proto, int.from_bytes(data, "big")))
            elif what == "dport" and proto not in (IPPROTO_TCP, IPPROTO_UDP):
                break
        elif expr.name == "match" and a.get("name") in ("tcp", "udp"):
            wanted = _exact_port(a["name"], decode_match(a["name"], a.get("rev", 0), a.get("info", b"")))
            if wanted is not None:
                found.setdefault("dport", wanted)
            break
        elif expr.name != "counter" and not (expr.name == "match" and a.get("name") == "comment"):
            break
    return found


def _loads(expr: NftExpr, family: int) -> str:
    """Name what an expression loads, if it is known of every packet and plainly compared."""
    a = expr.attrs
    if expr.name == "meta":
        return "proto" if a.get("key") == META_L4PROTO else "name" if a.get("key") in META_NAMES else ""
    if a.get("base") == 1:
        offset, length = a.get("offset", 0), a.get("len", 0)
        whole = ADDRESSES[family].get((offset, length))
        start, end = (12, 20) if family == NFPROTO_IPV4 else (8, 40)
        return whole or ("part" if start <= offset and offset + length <= end else "")
    return "dport" if (a.get("base"), a.get("offset"), a.get("len")) == (2, 2, 2) else ""


def _exact_port(name: str, a: Transport | None) -> tuple[int, int] | None:
    if a is None or a.invert & 2 or a.dports[0] != a.dports[1]:
        return None
    return (IPPROTO_TCP if name == "tcp" else IPPROTO_UDP), a.dports[0]


def build_index(body: ChainBody, family: int) -> ChainIndex:
    """Index a chain's rules."""
    keyed: dict[Key, list[int]] = {}
    rest: list[int] = []
    for number, rule in enumerate(body.rules):
        found = rule_keys(rule, family)
        kind = next((kind for kind in ("dst", "dport", "src") if kind in found), None)
        if kind is None:
            rest.append(number)
        else:
            keyed.setdefault((kind, found[kind]), []).append(number)
    return ChainIndex(keyed, rest, len(body.rules))


_indexes: Index[ChainBody, dict[int, ChainIndex | None]] = Index(lambda _body: {})


def chain_index(body: ChainBody, family: int) -> ChainIndex | None:
    """Return the index of a chain's body in a table of `family`; None where trying each rule is as good."""
    if len(body.rules) < MIN_RULES or family not in ADDRESSES:
        return None
    known = _indexes(body)
    if family not in known:
        index = build_index(body, family)
        known[family] = index if len(index.rest) < index.count else None
    return known[family]
