"""nftables rules as text, near to how `nft` writes them: evidence for people, never an input."""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.model.netfilter import (
    NFPROTO_BRIDGE,
    NFPROTO_IPV6,
    NFPROTO_NAMES,
    NftChain,
    NftExpr,
    NftRuleBody,
)
from netviz.core.sim.nft_context import data_of, verdict_of
from netviz.core.sim.packet import PROTO_NAMES
from netviz.core.sim.xtables.text import is_xtables, xt_rule_text
from netviz.core.sim.xtables.text_ebtables import eb_rule_text
from netviz.core.sim.xtables.text_matches import Sets

HOOK_NAMES = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -2: "break", -5: "return"}
OPERATORS = {0: "", 1: "!= ", 2: "< ", 3: "<= ", 4: "> ", 5: ">= "}
META = {
    0: "length",
    1: "protocol",
    3: "mark",
    4: "iif",
    5: "oif",
    6: "iifname",
    7: "oifname",
    10: "skuid",
    15: "nfproto",
    16: "l4proto",
    19: "pkttype",
}
CT = {0: "state", 1: "direction", 2: "status", 3: "mark", 8: "saddr", 9: "daddr", 16: "zone", 17: "zone"}
CT_STATES = ((1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked"))
# (base, offset, length) of the fields that rules look at most, by the family of the table.
FIELDS = {
    (1, 12, 4): "ip saddr",
    (1, 16, 4): "ip daddr",
    (1, 9, 1): "ip protocol",
    (1, 8, 16): "ip6 saddr",
    (1, 24, 16): "ip6 daddr",
    (1, 6, 1): "ip6 nexthdr",
    (2, 0, 2): "th sport",
    (2, 2, 2): "th dport",
    (2, 0, 1): "icmp type",
    (0, 0, 6): "ether daddr",
    (0, 6, 6): "ether saddr",
    (0, 12, 2): "ether type",
}


def chain_text(chain: NftChain) -> str:
    """Name a chain as `nft` does: family, table, chain."""
    return f"{NFPROTO_NAMES.get(chain.family, chain.family)} {chain.table} {chain.name}"


def list_command(chain: NftChain, *, legacy: bool = False) -> str:
    """Say how to list a chain by hand."""
    if not legacy:
        return f"nft -a list chain {chain_text(chain)}"
    program = "ip6tables-legacy" if chain.family == NFPROTO_IPV6 else "iptables-legacy"
    return f"{program} -t {chain.table} -v -S {chain.name}"


def rule_text(rule: NftRuleBody, family: int = 0, sets: Sets | None = None, xtables: bool = False) -> str:
    """Write a rule as `nft` does; one with xtables extensions (or of a legacy table) as `iptables-save` does."""
    if family == NFPROTO_BRIDGE and is_xtables(rule):
        return eb_rule_text(rule)
    if xtables or is_xtables(rule):
        return xt_rule_text(rule, family == NFPROTO_IPV6, sets)
    words: list[str] = []
    registers: dict[int, tuple[str, int | None]] = {}
    for expr in rule.exprs:
        word = _expr_text(expr, registers)
        if word:
            words.append(word)
    text = " ".join(words)
    return f'{text} comment "{rule.comment}"' if rule.comment else text


def _expr_text(expr: NftExpr, registers: dict[int, tuple[str, int | None]]) -> str:
    a = expr.attrs
    if expr.name == "immediate" and a.get("dreg", 0) == 0:
        verdict = verdict_of(a.get("data"))
        return verdict_text(verdict.code, verdict.chain) if verdict is not None else "?"
    if expr.name == "immediate":
        registers[a["dreg"]] = (_value("", data_of(a.get("data"))), None)
        return ""
    if expr.name in ("payload", "meta", "ct", "fib", "numgen", "hash", "rt", "socket") and "dreg" in a:
        registers[a["dreg"]] = (_load_text(expr.name, a), None)
        return ""
    if expr.name == "bitwise":
        name, _ = registers.get(a.get("sreg", 0), ("?", None))
        length = _prefix_length(data_of(a.get("mask")), data_of(a.get("xor")))
        registers[a.get("dreg", 0)] = (name, length) if length is not None else (f"{name} masked", None)
        return ""
    if expr.name == "byteorder":
        registers[a.get("dreg", 0)] = registers.get(a.get("sreg", 0), ("?", None))
        return ""
    if expr.name == "cmp":
        return _cmp_text(a, registers)
    if expr.name == "range":
        name, _ = registers.get(a.get("sreg", 0), ("?", None))
        no = "!= " if a.get("op") == 1 else ""
        low, high = (_value(name, data_of(a.get(end))) for end in ("from_data", "to_data"))
        return f"{name} {no}{low}-{high}"
    if expr.name == "lookup":
        name, _ = registers.get(a.get("sreg", 0), ("?", None))
        if "dreg" in a:
            registers[a["dreg"]] = (f"{name} map @{a.get('set')}", None)
            return f"{name} vmap @{a.get('set')}" if a["dreg"] == 0 else ""
        return f"{name} {'!= ' if a.get('flags') else ''}@{a.get('set')}"
    return _statement_text(expr, registers)


def _statement_text(expr: NftExpr, registers: dict[int, tuple[str, int | None]]) -> str:
    a = expr.attrs
    if expr.name in ("counter", "log", "limit", "quota", "notrack", "queue"):
        return expr.name
    if expr.name == "masq":
        return "masquerade"
    if expr.name == "redir":
        return "redirect"
    if expr.name == "nat":
        kind = "dnat" if a.get("type") == 1 else "snat"
        addr = registers.get(a.get("reg_addr_min", -1), ("", None))[0]
        port = registers.get(a.get("reg_proto_min", -1), ("", None))[0]
        return f"{kind} to {addr}{':' + port if port else ''}"
    if expr.name == "reject":
        return "reject"
    if expr.name in ("meta", "ct"):
        names = META if expr.name == "meta" else CT
        value = registers.get(a.get("sreg", -1), ("?", None))[0]
        return f"{expr.name} {names.get(a.get('key', 0), '?')} set {value}"
    if expr.name == "match":
        return f"-m {a.get('name')}"
    if expr.name == "target":
        return f"-j {a.get('name')}"
    return expr.name


def _load_text(name: str, a: dict[str, Any]) -> str:
    if name == "payload":
        where = (a.get("base", 0), a.get("offset", 0), a.get("len", 0))
        if where[0] == 1 and where not in FIELDS and where[1] in (12, 16, 8, 24):
            return {12: "ip saddr", 16: "ip daddr", 8: "ip6 saddr", 24: "ip6 daddr"}[where[1]]
        return FIELDS.get(where, f"@{('ll', 'nh', 'th', 'ih')[where[0] & 3]},{where[1] * 8},{where[2] * 8}")
    if name == "meta":
        return META.get(a.get("key", 0), f"meta {a.get('key')}")
    if name == "ct":
        return f"ct {CT.get(a.get('key', 0), a.get('key'))}"
    if name == "fib":
        return "fib daddr type" if a.get("flags") == 2 else "fib"
    return name


def _prefix_length(mask: bytes, xor: bytes) -> int | None:
    if not mask or any(xor):
        return None
    number = int.from_bytes(mask, "big")
    width = len(mask) * 8
    ones = number.bit_count()
    return ones if number == ((1 << ones) - 1) << (width - ones) else None


def _cmp_text(a: dict[str, Any], registers: dict[int, tuple[str, int | None]]) -> str:
    name, length = registers.get(a.get("sreg", 0), ("?", None))
    data = data_of(a.get("data"))
    op = OPERATORS.get(a.get("op", 0), "? ")
    if name == "ct state masked" and not any(data):
        return name
    value = _value(name, data)
    if name.endswith("addr") and len(data) in (1, 2, 3):
        value, length = _value(name, data + bytes(4 - len(data))), len(data) * 8
    suffix = f"/{length}" if length is not None and name.endswith("addr") and length < len(data) * 8 else ""
    if name.endswith("addr") and len(data) in (1, 2, 3):
        suffix = f"/{length}"
    return f"{name} {op}{value}{suffix}"


def _value(name: str, data: bytes) -> str:
    if name.endswith("addr") and len(data) in (4, 16):
        return format_ip(data)
    if name in ("iifname", "oifname"):
        return f'"{data.rstrip(bytes(1)).decode(errors="replace")}"'
    if name in ("l4proto", "ip protocol", "ip6 nexthdr") and data:
        return PROTO_NAMES.get(data[0], str(data[0]))
    if name in ("th sport", "th dport"):
        return str(int.from_bytes(data, "big"))
    if name == "ct state":
        number = int.from_bytes(data, "little")
        return ",".join(word for bit, word in CT_STATES if number & bit)
    if not name and len(data) in (4, 16):
        return format_ip(data)
    if not name and len(data) == 2:
        return str(int.from_bytes(data, "big"))
    return f"0x{int.from_bytes(data, 'little'):x}" if len(data) == 4 else f"0x{data.hex()}"


def verdict_text(code: int, chain: str = "") -> str:
    """Write a verdict."""
    if code in (-3, -4):
        return f"{'jump' if code == -3 else 'goto'} {chain}"
    return VERDICTS.get(code, f"verdict {code}")
