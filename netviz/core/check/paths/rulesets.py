"""Netfilter's rules in canonical form: what they say, but for the names of those whom they say it of.

A body (a chain's rules, a set's elements) is looked at once, whoever has it: the names that stand in it, the address
ranges that it compares with, and each rule with its names left open. For a node, a name of its own is a role; then the
chains of two nodes that say the same of their own pods are the same. Rules that name one pod alone, and the chains that
only they lead to, belong to that pod's form and not to its node's.

Which chains are looked at is for the caller: those that traces have read, since no other can matter to them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.model.netfilter import Body, ChainBody, IpSetBody, NftExpr, NftRuleBody, SetBody

Range = tuple[bytes, bytes]
SHORTEST_NAME = 3
# Comparisons of a packet's addresses: (offset, length of the field) in the network header.
_FIELDS = {(12, 4), (16, 4), (8, 16), (24, 16)}
_SILENT = frozenset(("counter",))
_encoder = msgspec.msgpack.Encoder()


class RuleFacts(msgspec.Struct):
    """A rule, without its comments: the names and ranges that it compares with, the chains that it may lead to.

    `bare` is its form where no name in it is a role, made when somebody asks for it.
    """

    exprs: tuple[NftExpr, ...]
    names: frozenset[bytes]
    ranges: tuple[Range, ...]
    targets: tuple[str, ...]
    form: Hashable = None

    @property
    def bare(self) -> Hashable:
        """The rule's form, with all names as they are."""
        if self.form is None:
            self.form = rule_form(self.exprs, {}, {})
        return self.form


class BodyFacts(msgspec.Struct, frozen=True):
    """All names of a body, and its ranges; its rules, none for a set.

    A set's single addresses are ranges too (`members`), each with what is looked up by it: members that lead to the
    same are told apart by nothing.
    """

    names: frozenset[bytes]
    ranges: tuple[Range, ...]
    rules: tuple[RuleFacts, ...] = ()
    members: tuple[tuple[Range, Hashable], ...] = ()


def facts_of(body: Body, known: dict[bytes, RuleFacts]) -> BodyFacts:
    """Look a body over. `known` are the rules that were seen before, by what they say: most are written many times."""
    if isinstance(body, ChainBody):
        rules = tuple(_known_rule(rule, known) for rule in body.rules)
        names: set[bytes] = set().union(*(one.names for one in rules)) if rules else set()
        return BodyFacts(frozenset(names), tuple({r: None for one in rules for r in one.ranges}), rules)
    return _ipset_facts(body) if isinstance(body, IpSetBody) else _set_facts(body)


def _ipset_facts(body: IpSetBody) -> BodyFacts:
    names: set[bytes] = set()
    members: list[tuple[Range, Hashable]] = []
    for elem in body.elems:
        alone = not (elem.ip2 or elem.mac or elem.name)
        for addr, cidr in ((elem.ip, elem.cidr), (elem.ip2, elem.cidr2)):
            if addr and (alone or (cidr is not None and cidr < len(addr) * 8)):
                what = (elem.proto, elem.port, elem.mark, elem.nomatch, elem.skbmark)
                members.append(
                    (_bounds(addr, len(addr) * 8 if cidr is None else cidr), what if alone else elem)
                )
            elif addr:
                names.add(addr)
        names.update(name for name in (elem.mac, elem.name.encode()) if name)
    return BodyFacts(frozenset(names), (), (), tuple(members))


def _set_facts(body: SetBody) -> BodyFacts:
    names: set[bytes] = set()
    members: list[tuple[Range, Hashable]] = []
    bounds = sorted(
        ((e.key, not e.end, e) for e in body.elems if e.key and not e.key_end), key=lambda b: b[:2]
    )
    ended = any(not starts for _, starts, _ in bounds)
    for at, (key, starts, elem) in enumerate(bounds):
        if not starts:
            continue
        last = key
        if ended:
            end = bounds[at + 1][0] if at + 1 < len(bounds) else b"\xff" * len(key)
            last = max(int.from_bytes(end, "big") - 1, 0).to_bytes(len(key), "big")
        if len(key) in (4, 16):
            members.append(((key, last), (elem.data, elem.verdict, elem.chain, elem.objref)))
        else:
            names.update(_words(key))
    for elem in body.elems:
        names.update(_words(elem.data))
        if elem.key_end:
            names.update(_words(elem.key))
            for at in range(0, len(elem.key) - 3, 4):
                members.append(((elem.key[at : at + 4], elem.key_end[at : at + 4]), elem))
    return BodyFacts(frozenset(names), (), (), tuple(members))


def _words(data: bytes) -> Iterable[bytes]:
    """List what may be a name in a register's bytes: the whole, and each address in it."""
    if len(data) < SHORTEST_NAME:
        return ()
    found = [data.rstrip(b"\0")] if len(data) not in (4, 16) else [data, data.rstrip(b"\0")]
    if len(data) > 4:
        found += [data[at : at + 4] for at in range(0, len(data) - 3, 4)]
        found += [data[at : at + 16] for at in range(0, len(data) - 15, 4)]
        found.append(data[:6])
    return found


def _bounds(addr: bytes, length: int) -> Range:
    host = (1 << len(addr) * 8 - length) - 1
    low = int.from_bytes(addr, "big") & ~host
    return low.to_bytes(len(addr), "big"), (low | host).to_bytes(len(addr), "big")


def _known_rule(rule: NftRuleBody, known: dict[bytes, RuleFacts]) -> RuleFacts:
    exprs = tuple(expr for expr in rule.exprs if not _says_nothing(expr))
    key = _encoder.encode(exprs)
    found = known.get(key)
    if found is None:
        found = known[key] = _rule_facts(exprs)
    return found


def _says_nothing(expr: NftExpr) -> bool:
    """Tell whether an expression is a comment, or counts."""
    return expr.name in _SILENT or (expr.name == "match" and expr.attrs.get("name") == "comment")


def _rule_facts(exprs: tuple[NftExpr, ...]) -> RuleFacts:
    names: set[bytes] = set()
    ranges: list[Range] = []
    targets: list[str] = []
    loaded: dict[int, tuple[int, int, int]] = {}  # register -> width of the address, bits, bits known
    for expr in exprs:
        a = expr.attrs
        if expr.name == "payload" and a.get("base") == 1 and "dreg" in a:
            offset, length = a.get("offset", 0), a.get("len", 0)
            width = next((w for o, w in _FIELDS if o == offset and length <= w), 0)
            loaded[a["dreg"]] = (width, length, length * 8)
            continue
        if expr.name == "bitwise" and a.get("sreg") in loaded:
            width, length, _ = loaded[a["sreg"]]
            loaded[a.get("dreg", 0)] = (width, length, _mask_bits(a.get("mask", b"")))
            continue
        if expr.name == "cmp" and (known := loaded.get(a.get("sreg", 0))) and known[0]:
            data = _data(a.get("data"))
            width, length, bits = known
            if bits < 0:
                names.update(_words(data))
            elif bits < width * 8 and len(data) == length:
                ranges.append(_bounds(data.ljust(width, b"\0"), bits))
            else:
                names.add(data)
            continue
        _collect(expr, names, targets)
    return RuleFacts(exprs, frozenset(names), tuple(ranges), tuple(targets))


def _mask_bits(mask: Any) -> int:
    """Count a mask's leading ones; -1 for one with holes."""
    value = _data(mask)
    number, width = int.from_bytes(value, "big"), len(value) * 8
    bits = width - ((1 << width) - 1 - number).bit_length()
    return bits if number == ((1 << bits) - 1) << (width - bits) else -1


def _data(value: Any) -> bytes:
    if isinstance(value, Mapping):
        value = value.get("value", b"")
    return value if isinstance(value, bytes) else b""


def _collect(expr: NftExpr, names: set[bytes], targets: list[str]) -> None:
    """Collect what may be a name in an expression of any kind."""
    todo: list[Any] = [expr.attrs]
    while todo:
        value = todo.pop()
        kind = type(value)
        if kind is bytes:
            names.update(_words(value))
        elif kind is dict:
            if value.get("chain"):
                targets.append(value["chain"])
            todo += [one for key, one in value.items() if key != "chain"]
        elif kind is tuple or kind is list:
            todo += value
        elif kind is NftExpr:
            todo.append(value.attrs)


Role = Hashable


def rule_form(exprs: Iterable[NftExpr], roles: Mapping[bytes, Role], own: Mapping[Range, Role]) -> Hashable:
    """Write a rule with its own names as roles; `own` has the address ranges that are the node's own."""
    return tuple((expr.name, _form(expr.attrs, roles, own)) for expr in exprs)


def _form(value: Any, roles: Mapping[bytes, Role], own: Mapping[Range, Role]) -> Hashable:
    kind = type(value)
    if kind is bytes:
        return _bytes_form(value, roles, own) if roles or own else value
    if kind is str:
        return roles.get(value.encode(), value) if roles else value  # type: ignore[no-any-return]
    if kind is dict:
        return tuple((key, _form(value[key], roles, own)) for key in sorted(value))
    if kind is tuple or kind is list:
        return tuple([_form(one, roles, own) for one in value])
    if kind is NftExpr:
        return (value.name, _form(value.attrs, roles, own))
    return value  # type: ignore[no-any-return]


def _bytes_form(value: bytes, roles: Mapping[bytes, Role], own: Mapping[Range, Role]) -> Hashable:
    for name in (value, value.rstrip(b"\0")):
        if name in roles:
            return roles[name]
    if 0 < len(value) <= 16:
        for (low, _high), role in own.items():
            if low.rstrip(b"\0") == value.rstrip(b"\0") and len(value) <= len(low):
                return role
    return value
