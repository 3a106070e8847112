"""Rules as `iptables-save` writes them: evidence for people, never an input.

iptables-nft turns addresses, protocols, interfaces, ports, limits and some more into nftables' own
expressions, and keeps the rest as extensions; the words come from both. An extension without a
writer is shown by its name, revision and raw payload.
"""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.model.netfilter import NFT_GOTO, NFT_JUMP, NFT_RETURN, NftExpr, NftRuleBody
from netviz.core.sim.attrs import data_of, verdict_of
from netviz.core.sim.packet import PROTO_NAMES
from netviz.core.sim.xtables import payloads, target_payloads
from netviz.core.sim.xtables.decode import decode_match, decode_target
from netviz.core.sim.xtables.text_matches import TCP_FLAGS, Sets, match_options, set_match
from netviz.core.sim.xtables.text_targets import REJECT4, REJECT6, log, nflog, set_target, target_options
from netviz.core.sim.xtables.words import bit_names, prefix_length, span

VERDICTS = {0: "DROP", 1: "ACCEPT", NFT_RETURN: "RETURN"}
MORE_PROTOS = {33: "dccp", 47: "gre", 50: "esp", 51: "ah", 108: "ipcomp", 132: "sctp", 136: "udplite"}
UNITS = {1: "sec", 60: "min", 3600: "hour", 86400: "day"}


def is_xtables(rule: NftRuleBody) -> bool:
    """Tell whether a rule has extensions, so that iptables wrote it."""
    return any(expr.name in ("match", "target") for expr in rule.exprs)


def xt_rule_text(rule: NftRuleBody, ipv6: bool = False, sets: Sets | None = None) -> str:
    """Write a rule without its chain: `-d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j ACCEPT`."""
    writer = _Writer(ipv6, sets or {})
    for expr in rule.exprs:
        writer.take(expr)
    return writer.text()


class _Writer:
    """Collects a rule's words. The address part goes first, then matches in order, then the target."""

    def __init__(self, ipv6: bool, sets: Sets) -> None:
        self.ipv6 = ipv6
        self.sets = sets
        self.head: dict[str, str] = {}
        self.words: list[str] = []
        self.target = ""
        self.proto = 0
        self.loaded: dict[int, tuple[str, tuple[Any, ...], bytes]] = {}
        self.ports: dict[str, str] = {}
        self.immediate = b""

    def text(self) -> str:
        self.flush_ports()
        head = [self.head[key] for key in ("s", "d", "i", "o", "p", "f") if key in self.head]
        return " ".join([*head, *self.words, *([self.target] if self.target else [])])

    def take(self, expr: NftExpr) -> None:
        a = expr.attrs
        if expr.name in ("payload", "meta") and "dreg" in a:
            where = (a.get("base"), a.get("offset"), a.get("len")) if expr.name == "payload" else (a["key"],)
            self.loaded[a["dreg"]] = (expr.name, where, b"")
        elif expr.name == "bitwise":
            name, where, _ = self.loaded.get(a.get("sreg", 0), ("?", (), b""))
            self.loaded[a.get("dreg", 0)] = (name, where, data_of(a.get("mask")))
        elif expr.name == "cmp":
            self._compared(a)
        elif expr.name == "range":
            self._ranged(a)
        elif expr.name == "immediate":
            self._immediate(a)
        elif expr.name == "match":
            self._match(a)
        elif expr.name == "target":
            self.target = self._target(a)
        else:
            self._other(expr)

    def _other(self, expr: NftExpr) -> None:
        a = expr.attrs
        if expr.name == "limit":
            unit = UNITS.get(a.get("unit", 1), f"{a.get('unit')}s")
            self.words.append(f"-m limit --limit {a.get('rate')}/{unit} --limit-burst {a.get('burst')}")
        elif expr.name == "log":
            target = nflog if "group" in a else log
            made = target_payloads.Log(a.get("prefix", ""), a.get("level", 4), group=a.get("group", 0))
            self.target = f"-j {'NFLOG' if 'group' in a else 'LOG'} {target(made)}".rstrip()
        elif expr.name == "meta" and a.get("key") == 12:
            self.target = "-j TRACE"
        elif expr.name not in ("counter", "meta"):
            self.words.append(f"[{expr.name}]")

    def _immediate(self, a: dict[str, Any]) -> None:
        verdict = verdict_of(a.get("data")) if a.get("dreg", 0) == 0 else None
        if verdict is None:
            return
        if verdict.code in (NFT_JUMP, NFT_GOTO):
            self.target = f"{'-j' if verdict.code == NFT_JUMP else '-g'} {verdict.chain}"
        else:
            self.target = f"-j {VERDICTS.get(verdict.code, f'verdict {verdict.code}')}"

    def _compared(self, a: dict[str, Any]) -> None:
        name, where, mask = self.loaded.get(a.get("sreg", 0), ("?", (), b""))
        data = data_of(a.get("data"))
        no = "! " if a.get("op") == 1 else ""
        if name == "meta" and where[0] in (6, 7):
            key, option = ("i", "-i") if where[0] == 6 else ("o", "-o")
            plain = data.rstrip(b"\0")
            self.head[key] = f"{no}{option} {plain.decode(errors='replace')}{'' if plain != data else '+'}"
        elif name == "meta" and where[0] == 16 and data:
            self.proto = data[0]
            known = PROTO_NAMES.get(data[0]) or MORE_PROTOS.get(data[0], str(data[0]))
            self.head["p"] = f"{no}-p {'ipv6-icmp' if known == 'icmpv6' else known}"
        elif name == "meta" and where[0] == 3:
            shown = f"/0x{int.from_bytes(mask, 'little'):x}" if mask else ""
            self.words.append(f"-m mark {no}--mark 0x{int.from_bytes(data, 'little'):x}{shown}")
        elif name == "payload":
            self._payload(no, where, mask, data)

    def _payload(self, no: str, where: tuple[Any, ...], mask: bytes, data: bytes) -> None:
        base, offset, length = where
        source, dest = (8, 24) if self.ipv6 else (12, 16)
        width = 16 if self.ipv6 else 4
        if base == 1 and offset in (source, dest):
            prefix = length * 8 if length < width else prefix_length(mask) if mask else width * 8
            addr = format_ip(data.ljust(width, b"\0"))
            shown = f"/{prefix}" if prefix is not None else f"/{format_ip(mask)}"
            key = "s" if offset == source else "d"
            self.head[key] = f"{no}-{key} {addr}{shown}"
        elif base == 1 and offset == 6 and not self.ipv6:
            self.head["f"] = "-f" if no else "! -f"
        elif base == 2 and offset in (0, 2) and length == 2:
            self._port(offset, f"{no}--{'sport' if offset == 0 else 'dport'} {int.from_bytes(data, 'big')}")
        elif base == 2 and offset == 13:
            names = f"{bit_names(mask[0], TCP_FLAGS)} {bit_names(data[0], TCP_FLAGS)}"
            self.ports["flags"] = f"{no}--tcp-flags {names}"
        else:
            self.words.append(f"[payload {base},{offset},{length} {no}{data.hex()}]")

    def _ranged(self, a: dict[str, Any]) -> None:
        _, where, _ = self.loaded.get(a.get("sreg", 0), ("?", (), b""))
        low, high = (int.from_bytes(data_of(a.get(end)), "big") for end in ("from_data", "to_data"))
        no = "! " if a.get("op") == 1 else ""
        if len(where) == 3 and where[0] == 2:
            self._port(where[1], f"{no}--{'sport' if where[1] == 0 else 'dport'} {span(low, high)}")

    def _port(self, offset: int, text: str) -> None:
        self.ports["sport" if offset == 0 else "dport"] = text

    def flush_ports(self) -> None:
        """Write the native port and flag comparisons as the match that they came from."""
        if self.ports:
            name = PROTO_NAMES.get(self.proto, str(self.proto))
            found = [self.ports[key] for key in ("sport", "dport", "flags") if key in self.ports]
            self.words.append(f"-m {name} {' '.join(found)}")
            self.ports = {}

    def _match(self, a: dict[str, Any]) -> None:
        name, rev, info = a.get("name", ""), a.get("rev", 0), a.get("info", b"")
        self.flush_ports()
        decoded = decode_match(name, rev, info)
        options = match_options(name, decoded, self.ipv6) if decoded is not None else None
        if options is None:
            self.words.append(f"-m {name} [revision {rev}]")
            return
        if isinstance(decoded, payloads.SetRef):
            self.words.append(set_match(decoded, self.sets))
            return
        alias = "state" if isinstance(decoded, payloads.Conntrack) and decoded.flags & 1 << 13 else name
        if alias == "state":
            options = options.replace("--ctstate", "--state")
        self.words.append(f"-m {alias} {options}" if options else f"-m {alias}")

    def _target(self, a: dict[str, Any]) -> str:
        name, rev, info = a.get("name", ""), a.get("rev", 0), a.get("info", b"")
        decoded = decode_target(name, rev, info, self.ipv6)
        if decoded is None:
            return f"-j {name}" if name == "TRACE" else f"-j {name} [revision {rev}]"
        if name == "REJECT":
            names = REJECT6 if self.ipv6 else REJECT4
            return f"-j REJECT --reject-with {names.get(decoded.value, decoded.value)}"
        if isinstance(decoded, target_payloads.SetChange):
            return set_target(decoded, self.sets)
        options = target_options(name, decoded, self.ipv6)
        if options is None:
            options = f"[revision {rev}]"
        return f"-j {name} {options}" if options else f"-j {name}"
