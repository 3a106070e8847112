"""nftables rules as text, as near to how `nft` writes them as can be: evidence for people, never an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from netviz.core.model.netfilter import (
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NFPROTO_NAMES,
    NftChain,
    NftExpr,
    NftRuleBody,
    SetBody,
)
from netviz.core.plain import quoted
from netviz.core.sim.attrs import data_of, verdict_of
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.nft import words as nft_words
from netviz.core.sim.nft.context import word
from netviz.core.sim.nft.statements import STATEMENTS, verdict_text
from netviz.core.sim.nft.words import typed_text, value_text
from netviz.core.sim.xtables.text import is_xtables, xt_rule_text
from netviz.core.sim.xtables.text_ebtables import eb_rule_text
from netviz.core.sim.xtables.text_matches import Sets

REGISTER_WORDS = 20  # NFT_REG32_COUNT
HOOK_NAMES = ("prerouting", "input", "forward", "output", "postrouting", "ingress", "egress")
OPERATORS = {0: "", 1: "!= ", 2: "< ", 3: "<= ", 4: "> ", 5: ">= "}
BITWISE = {1: "<<", 2: ">>", 3: "&", 4: "|", 5: "^"}
MAX_ELEMENTS = 6
PRESENT = 0x20
IMPLIED = ("meta l4proto", "meta nfproto", "meta protocol", "ip protocol", "ip6 nexthdr")
# A set by name: its elements, and the datatype of a map's values.
Elements = Callable[[str], tuple[SetBody, int] | None]


class Loaded(msgspec.Struct, frozen=True):
    """What a register holds: the words for it, the mask over it, and its value where that is in the rule itself."""

    words: str
    mask: bytes = b""
    value: bytes | None = None
    present: bool = False
    length: int = 4
    put: bytes = b""


def chain_text(chain: NftChain) -> str:
    """Name a chain as `nft` does: family, table, chain."""
    return f"{NFPROTO_NAMES.get(chain.family, chain.family)} {chain.table} {chain.name}"


def list_command(chain: NftChain, *, legacy: bool = False) -> str:
    """Say how to list a chain by hand."""
    table, name = quoted(chain.table), quoted(chain.name)
    if not legacy:
        return f"nft -a list chain {NFPROTO_NAMES.get(chain.family, chain.family)} {table} {name}"
    program = "ip6tables-legacy" if chain.family == NFPROTO_IPV6 else "iptables-legacy"
    return f"{program} -t {table} -v -S {name}"


UNREADABLE_RULE = "(a rule that cannot be written: its expressions contradict themselves)"


def rule_text(
    rule: NftRuleBody,
    family: int = 0,
    sets: Sets | None = None,
    xtables: bool = False,
    elements: Elements | None = None,
) -> str:
    """Write a rule as `nft` does; one with xtables extensions (or of a legacy table) as `iptables-save` does.

    `elements` returns a set's elements: those of unnamed sets are written out. A rule whose expressions contradict
    themselves is UNREADABLE_RULE.
    """
    try:
        return _rule_text(rule, family, sets, xtables, elements)
    except BAD_STATE:
        return UNREADABLE_RULE


def _rule_text(
    rule: NftRuleBody, family: int, sets: Sets | None, xtables: bool, elements: Elements | None
) -> str:
    if family == NFPROTO_BRIDGE and is_xtables(rule):
        return eb_rule_text(rule)
    if xtables or is_xtables(rule):
        return xt_rule_text(rule, family == NFPROTO_IPV6, sets)
    writer = Writer(family, elements)
    for expr in rule.exprs:
        writer.take(expr)
    text = " ".join(one for one in writer.out if one)
    return f'{text} comment "{rule.comment}"' if rule.comment else text


class Writer:
    """Writes a rule expression by expression, keeping in mind what the registers hold and what the packet is."""

    def __init__(self, family: int, elements: Elements | None) -> None:
        self.family = family if family not in (NFPROTO_INET, 5, 7) else 0
        self.inet = family == NFPROTO_INET
        self.proto = 0
        self.elements = elements
        self.regs: dict[int, Loaded] = {}
        self.out: list[str] = []
        self.hints: list[tuple[int, tuple[str, ...]]] = []  # comparisons that a later field's name implies

    def take(self, expr: NftExpr) -> None:
        """Write one expression."""
        a = expr.attrs
        if "raw" in a:
            self.out.append(f"[{expr.name}]")
        elif expr.name in LOADS and "dreg" in a:
            self._put(
                a["dreg"], Loaded(self._load(expr.name, a), b"", None, bool(_present(expr)), a.get("len", 4))
            )
        elif expr.name in STEPS:
            STEPS[expr.name](self, a)
        elif expr.name in STATEMENTS:
            text = STATEMENTS[expr.name](self.reg, {**a, "v6": self.family == NFPROTO_IPV6})
            if expr.name == "nat" and self.inet:
                text = text.replace(" to ", f" {'ip6' if a.get('family') == NFPROTO_IPV6 else 'ip'} to ", 1)
            self.out.append(text)
        elif expr.name in ("payload", "exthdr", "meta", "ct") and "sreg" in a:
            self._set(expr.name, a)
        elif expr.name == "exthdr":
            self.out.append(f"reset {self._load(expr.name, a)}")
        else:
            self.out.append(expr.name)

    def reg(self, number: int, name: str = "") -> str:
        """Write what a register holds, a value as one of the field `name`."""
        held = self.regs.get(word(number))
        if held is None:
            return "?"
        return value_text(name, held.value) if held.value is not None else held.words

    def _put(self, number: int, held: Loaded) -> None:
        self.regs[word(number)] = held

    def _held(self, number: int) -> Loaded:
        return self.regs.get(word(number), Loaded("?"))

    def _load(self, name: str, a: dict[str, Any]) -> str:
        key = a.get("key", 0)
        if name == "payload":
            words = nft_words.payload_name(a, self.family, self.proto)
            self._imply(words)
            return words
        if name == "meta":
            return nft_words.META[key] if key < len(nft_words.META) else f"meta {key}"
        if name == "ct":
            way = {0: "original ", 1: "reply "}.get(a.get("direction", -1), "")
            return f"ct {way}{nft_words.CT[key] if key < len(nft_words.CT) else key}"
        if name == "exthdr":
            return nft_words.exthdr_name(a)
        if name == "fib":
            return nft_words.fib_name(a)
        if name in ("rt", "socket"):
            names = nft_words.RT if name == "rt" else nft_words.SOCKET
            return f"{name} {names[key] if key < len(names) else key}"
        if name in ("numgen", "hash"):
            return self._number(name, a)
        return {"osf": "osf name", "xfrm": "ipsec", "tunnel": "tunnel"}.get(name, name)

    def _set(self, what: str, a: dict[str, Any]) -> None:
        """Write a change of a field; of a part of one, where the rest was loaded and is kept."""
        name, held = self._load(what, a), self._held(a["sreg"])
        if what != "payload" or not held.mask or not held.put:
            self.out.append(f"{name} set {self.reg(a['sreg'], name)}")
            return
        mask, put = bytes(255 - byte for byte in held.mask), held.put
        at = next((i for i, byte in enumerate(mask) if byte), 0)
        if a["len"] == 2 and not any(mask[at + 1 :]):
            name = self._load(what, {**a, "offset": a.get("offset", 0) + at, "len": 1})
            mask, put = mask[at : at + 1], put[at : at + 1]
        name, shift = nft_words.bit_field(name, mask)
        self.out.append(f"{name} set {int.from_bytes(put, 'big') >> max(shift, 0)}")

    def _number(self, name: str, a: dict[str, Any]) -> str:
        offset = f" offset {a['offset']}" if a.get("offset") else ""
        if name == "numgen":
            return f"numgen {'random' if a.get('type') else 'inc'} mod {a.get('modulus')}{offset}"
        if a.get("type"):
            return f"symhash mod {a.get('modulus')}{offset}"
        seed = f" seed {a['seed']:#x}" if "seed" in a else ""
        return f"jhash {self._joined(a['sreg'], a.get('len', 4))} mod {a.get('modulus')}{seed}{offset}"

    def _imply(self, words: str) -> None:
        """Leave out the comparison of a protocol that the field's own name says."""
        left = len(self.out) - len(self.hints)  # a hint counts only while nothing else follows it
        self.hints = [hint for hint in self.hints if hint[0] >= left]
        for at, names in reversed(self.hints):
            if words.startswith(names):
                del self.out[at]
                self.hints = [(one - (one > at), more) for one, more in self.hints if one != at]

    def _joined(self, number: int, length: int) -> str:
        """Write the parts of a concatenation. Lengths are the rule's own words, and may be anything."""
        first = word(number)
        parts, at = [], first
        while at < first + min((length + 3) // 4, REGISTER_WORDS):
            held = self.regs.get(at)
            if held is None:
                at += 1
                continue
            parts.append(held.words)
            at += max(1, (held.length + 3) // 4)
        return " . ".join(parts) or "?"

    def _immediate(self, a: dict[str, Any]) -> None:
        if a.get("dreg", 0) == 0:
            verdict = verdict_of(a.get("data"))
            self.out.append(verdict_text(verdict.code, verdict.chain) if verdict is not None else "?")
        else:
            data = data_of(a.get("data"))
            self._put(a["dreg"], Loaded("", b"", data, False, len(data)))

    def _bitwise(self, a: dict[str, Any]) -> None:
        held = self._held(a["sreg"])
        op, dreg = a.get("op", 0), a.get("dreg", 0)
        if op:
            right = (
                self.reg(a["sreg2"])
                if a.get("sreg2")
                else hex(int.from_bytes(data_of(a.get("data"))[:4], "little"))
            )
            self._put(dreg, Loaded(f"{held.words} {BITWISE.get(op, '?')} {right}", length=held.length))
            return
        mask, xor = data_of(a.get("mask")), data_of(a.get("xor"))
        if not any(xor):
            self._put(dreg, Loaded(held.words, mask, None, held.present, held.length))
            return
        order = "little" if held.words.startswith(nft_words.HOST_ORDER) else "big"
        keep, put = (int.from_bytes(one, "little" if order == "little" else "big") for one in (mask, xor))
        full = (1 << 8 * len(mask)) - 1
        words = f"{held.words} ^ {put:#x}" if keep == full else f"{held.words} & {keep:#x} ^ {put:#x}"
        if keep | put == full and not keep & put:
            words = f"{held.words} | {put:#x}"
        self._put(dreg, Loaded(words, mask, None, False, held.length, xor))

    def _byteorder(self, a: dict[str, Any]) -> None:
        self._put(a["dreg"], self._held(a["sreg"]))

    def _cmp(self, a: dict[str, Any]) -> None:
        held, data, op = self._held(a["sreg"]), data_of(a.get("data")), a.get("op", 0)
        name = held.words
        if held.present:
            self.out.append(f"{name} {'exists' if any(data) != (op == 1) else 'missing'}")
            return
        self._learn(name, data, op)
        if held.mask and not any(data) and op == 1 and name in ("ct state", "ct status", "tcp flags"):
            self.out.append(f"{name} {value_text(name, held.mask)}")
            return
        self._compare(held, name, data, op)
        if op == 0 and name in IMPLIED:
            self.hints.append((len(self.out) - 1, self._implied(name, data)))

    def _compare(self, held: Loaded, name: str, data: bytes, op: int) -> None:
        field, shift = nft_words.bit_field(name, held.mask)
        if held.mask and shift >= 0:
            self.out.append(f"{field} {OPERATORS.get(op, '? ')}{int.from_bytes(data, 'big') >> shift}")
            return
        masked, suffix = self._masked(held, data)
        width = 16 if "ip6" in name else 4
        if name.rpartition(" ")[2].endswith("addr") and len(data) < width and not suffix:
            suffix, data = f"/{len(data) * 8}", data.ljust(width, b"\0")
        low = f"{masked} >= "
        if op == 3 and self.out and self.out[-1].startswith(low):
            self.out[-1] = f"{masked} {self.out[-1][len(low) :]}-{value_text(name, data)}"
        else:
            self.out.append(f"{masked} {OPERATORS.get(op, '? ')}{value_text(name, data)}{suffix}")

    @staticmethod
    def _implied(name: str, data: bytes) -> tuple[str, ...]:
        if name in ("meta nfproto", "meta protocol"):
            kind = value_text(name, data)
            v4, v6 = ("ip ", "icmp "), ("ip6 ", "icmpv6 ")
            return {"ipv4": v4, "ipv6": v6, "ip": v4, "ip6": v6}.get(kind, (f"{kind} ",))
        return ({6: "tcp ", 17: "udp ", 1: "icmp ", 58: "icmpv6 "}.get(data[0], "\0"),) if data else ("\0",)

    @staticmethod
    def _masked(held: Loaded, data: bytes) -> tuple[str, str]:
        """Write a mask: as a prefix's length behind an address, else as an operation."""
        if not held.mask:
            return held.words, ""
        length = _prefix_length(held.mask)
        if held.words.rpartition(" ")[2].endswith("addr") and length is not None:
            return held.words, f"/{length}" if length < len(data) * 8 else ""
        order = "little" if held.words.startswith(nft_words.HOST_ORDER) else "big"
        number = int.from_bytes(held.mask, "little" if order == "little" else "big")
        return f"{held.words} & {number:#x}", ""

    def _learn(self, name: str, data: bytes, op: int) -> None:
        """Keep in mind what a comparison says the packet is."""
        if op or not data:
            return
        if name in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
            self.proto = data[0]
        elif name == "meta nfproto":
            self.family = data[0]
        elif name in ("meta protocol", "ether type"):
            self.family = {0x0800: NFPROTO_IPV4, 0x86DD: NFPROTO_IPV6, 0x0806: 3}.get(
                int.from_bytes(data, "big"), 0
            )

    def _range(self, a: dict[str, Any]) -> None:
        name = self._held(a["sreg"]).words
        low, high = (value_text(name, data_of(a.get(end))) for end in ("from_data", "to_data"))
        self.out.append(f"{name} {'!= ' if a.get('op') == 1 else ''}{low}-{high}")

    def _lookup(self, a: dict[str, Any]) -> None:
        body, data_type = self._set_of(a.get("set", "")) or (None, 0)
        length = len(body.elems[0].key) if body is not None and body.elems else 64
        name = self._joined(a["sreg"], length)
        what = self._set_text(str(a.get("set")), body, name, data_type)
        if "dreg" not in a:
            self.out.append(f"{name} {'!= ' if a.get('flags') else ''}{what}")
        elif a["dreg"] == 0:
            self.out.append(f"{name} vmap {what}")
        else:
            self.regs = {reg: held for reg, held in self.regs.items() if reg < word(a["dreg"])}
            self._put(a["dreg"], Loaded(f"{name} map {what}"))

    def _set_of(self, name: str) -> tuple[SetBody, int] | None:
        return self.elements(name) if self.elements is not None else None

    @staticmethod
    def _set_text(name: str, body: SetBody | None, field: str, data_type: int) -> str:
        """Write an unnamed set's elements, a named set's name."""
        if not name.startswith("__") or body is None or " . " in field:
            return f"@{name}"
        words = []
        for elem in body.elems[:MAX_ELEMENTS]:
            if elem.end:
                continue
            key = "*" if elem.catchall else value_text(field, elem.key)
            if elem.verdict is not None:
                key += f" : {verdict_text(elem.verdict, elem.chain)}"
            elif elem.data:
                key += f" : {typed_text(data_type, elem.data)}"
            words.append(key)
        more = ", ..." if len(body.elems) > MAX_ELEMENTS else ""
        intervals = any(elem.end for elem in body.elems)
        return f"@{name}" if intervals else f"{{ {', '.join(words)}{more} }}"

    def _dynset(self, a: dict[str, Any]) -> None:
        op = ("add", "update", "delete")[a.get("op", 0) % 3]
        value = f" : {self.reg(a['sreg_data'])}" if a.get("sreg_data") else ""
        exprs = a.get("expressions") or ([a["expr"]] if "expr" in a else [])
        limits = "".join(f" {STATEMENTS[one['name']](self.reg, one.get('attrs', {}))}" for one in exprs)
        self.out.append(f"{op} @{a.get('set_name')} {{ {self._joined(a['sreg_key'], 64)}{limits}{value} }}")

    def _inner(self, a: dict[str, Any]) -> None:
        inner = a.get("expr") or {}
        held = Loaded(f"vxlan {self._load(str(inner.get('name')), inner.get('attrs', {}))}")
        self._put(inner.get("attrs", {}).get("dreg", 1), held)


LOADS = frozenset(
    ("payload", "meta", "ct", "fib", "numgen", "hash", "rt", "socket", "exthdr", "osf", "xfrm", "tunnel")
)
STEPS: dict[str, Callable[[Writer, dict[str, Any]], None]] = {
    "immediate": Writer._immediate,
    "bitwise": Writer._bitwise,
    "byteorder": Writer._byteorder,
    "cmp": Writer._cmp,
    "range": Writer._range,
    "lookup": Writer._lookup,
    "dynset": Writer._dynset,
    "inner": Writer._inner,
}


def _present(expr: NftExpr) -> bool:
    flags = expr.attrs.get("flags", 0)
    return bool(flags & PRESENT) if expr.name == "fib" else expr.name == "exthdr" and bool(flags & 1)


def _prefix_length(mask: bytes) -> int | None:
    number = int.from_bytes(mask, "big")
    width = len(mask) * 8
    ones = number.bit_count()
    return ones if number == ((1 << ones) - 1) << (width - ones) else None
