"""Rules of ebtables as `ebtables-save` writes them: evidence for people, never an input."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.netfilter import NFT_GOTO, NFT_JUMP, NFT_RETURN, NftExpr, NftRuleBody
from netviz.core.sim.attrs import data_of, verdict_of
from netviz.core.sim.xtables.payloads import text, unpack
from netviz.core.sim.xtables.words import no, prefix_length, span

PROTOS = {b"\x08\x00": "IPv4", b"\x08\x06": "ARP", b"\x86\xdd": "IPv6", b"\x81\x00": "802_1Q"}
IP_PROTOS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
ARP_OPS = {1: "Request", 2: "Reply"}
PKT_TYPES = {0: "host", 1: "broadcast", 2: "multicast", 3: "otherhost", 4: "outgoing", 5: "loopback"}
VERDICTS = {0: "DROP", 1: "ACCEPT", NFT_RETURN: "RETURN", -1: "CONTINUE"}
TARGETS = {0xF: "ACCEPT", 0xE: "DROP", 0xD: "CONTINUE", 0xC: "RETURN"}
MARKS = {0xFFFFFFF0: "set", 0xFFFFFFE0: "or", 0xFFFFFFD0: "and", 0xFFFFFFC0: "xor"}
HEAD = ("p", "s", "d", "i", "o")


def eb_rule_text(rule: NftRuleBody) -> str:
    """Write a rule without its chain: `-p IPv4 --ip-dst 10.0.0.1 -j DROP`."""
    head: dict[str, str] = {}
    words: list[str] = []
    loaded: dict[int, tuple[Any, ...]] = {}
    target = "-j CONTINUE"
    for expr in rule.exprs:
        a = expr.attrs
        if expr.name in ("payload", "meta") and "dreg" in a:
            loaded[a["dreg"]] = (expr.name, a.get("base"), a.get("offset"), a.get("key"))
        elif expr.name == "cmp":
            _compared(head, words, loaded.get(a.get("sreg", 0), ()), a)
        elif expr.name == "match":
            words.append(_extension(MATCH_WORDS, a))
        elif expr.name == "target" and a.get("name") in WATCHERS:
            words.append(_extension(WATCHERS, a))
        elif expr.name == "target":
            target = f"-j {a.get('name')} {_extension(TARGET_WORDS, a)}".rstrip()
        elif expr.name == "immediate" and a.get("dreg", 0) == 0:
            target = _verdict(expr)
        elif expr.name != "counter":
            words.append(f"[{expr.name}]")
    return " ".join([*(head[key] for key in HEAD if key in head), *words, target])


def _verdict(expr: NftExpr) -> str:
    verdict = verdict_of(expr.attrs.get("data"))
    if verdict is None:
        return "-j ?"
    if verdict.code in (NFT_JUMP, NFT_GOTO):
        return f"-j {verdict.chain}"
    return f"-j {VERDICTS.get(verdict.code, f'verdict {verdict.code}')}"


def _compared(head: dict[str, str], words: list[str], what: tuple[Any, ...], a: dict[str, Any]) -> None:
    data, invert = data_of(a.get("data")), no(a.get("op") == 1)
    if what[:1] == ("meta",) and what[3] in (6, 7):
        key, plain = ("i" if what[3] == 6 else "o"), data.rstrip(b"\0")
        head[key] = f"-{key} {invert}{plain.decode(errors='replace')}{'' if plain != data else '+'}"
    elif what[:3] == ("payload", 0, 12):
        length = a.get("op") == 2
        head["p"] = "-p Length" if length else f"-p {invert}{PROTOS.get(data, f'0x{data.hex()}')}"
    elif what[:2] == ("payload", 0) and what[2] in (0, 6):
        key = "d" if what[2] == 0 else "s"
        head[key] = f"-{key} {invert}{'BGA' if data == BGA else format_mac(data)}"
    else:
        words.append(f"[{what[0] if what else '?'} {data.hex()}]")


BGA = bytes.fromhex("0180c2000000")


def _extension(table: dict[str, Callable[[bytes], str]], a: dict[str, Any]) -> str:
    name = a.get("name", "")
    try:
        return table[name](a.get("info", b""))
    except (KeyError, struct.error, IndexError, ValueError):
        return f"[{name} revision {a.get('rev', 0)}]"


def _ip_writer(prefix: str, width: int) -> Callable[[bytes], str]:
    def write(info: bytes) -> str:
        addrs = [info[i : i + width] for i in range(0, 4 * width, width)]
        tos, proto, wanted, invert = unpack("4B", info, 4 * width)
        words = []
        for name, addr, mask, bit in (("src", addrs[0], addrs[2], 1), ("dst", addrs[1], addrs[3], 2)):
            if wanted & bit:
                length = prefix_length(mask)
                shown = "" if length == width * 8 else f"/{length}"
                words.append(f"--{prefix}-{name} {no(invert & bit)}{format_ip(addr)}{shown}")
        if wanted & 4:
            words.append(f"--{prefix}-{'tos' if width == 4 else 'tclass'} {no(invert & 4)}0x{tos:02X}")
        if wanted & 8:
            words.append(f"--{prefix}-proto {no(invert & 8)}{IP_PROTOS.get(proto, proto)}")
        s0, s1, d0, d1 = unpack("4H", info, 4 * width + 4)
        for name, low, high, bit in (("sport", s0, s1, 16), ("dport", d0, d1, 32)):
            if wanted & bit:
                words.append(f"--{prefix}-{name} {no(invert & bit)}{span(low, high)}")
        if wanted & 64:
            t0, t1, c0, c1 = (
                info[4 * width + 4],
                info[4 * width + 5],
                info[4 * width + 8],
                info[4 * width + 9],
            )
            code = "" if (c0, c1) == (0, 255) else f"/{span(c0, c1)}"
            words.append(
                f"--{prefix}-icmp{'' if width == 4 else '6'}-type {no(invert & 64)}{span(t0, t1)}{code}"
            )
        return " ".join(words)

    return write


def _arp(info: bytes) -> str:
    htype, ptype, opcode = struct.unpack_from(">3H", info)
    wanted, invert = unpack("BB", info, 48)
    shown = (
        (1, "op", ARP_OPS.get(opcode, str(opcode))),
        (2, "htype", str(htype)),
        (4, "ptype", f"0x{ptype:x}"),
        (8, "ip-src", _masked_ip(info[8:12], info[12:16])),
        (16, "ip-dst", _masked_ip(info[16:20], info[20:24])),
        (32, "mac-src", format_mac(info[24:30])),
        (64, "mac-dst", format_mac(info[36:42])),
    )
    words = [f"--arp-{name} {no(invert & bit)}{value}" for bit, name, value in shown if wanted & bit]
    return " ".join(words + ([f"{no(invert & 128)}--arp-gratuitous"] if wanted & 128 else []))


def _masked_ip(addr: bytes, mask: bytes) -> str:
    length = prefix_length(mask)
    return format_ip(addr) + ("" if length == 32 else f"/{length}")


def _mark_m(info: bytes) -> str:
    value, mask, invert, how = unpack("QQBB", info)
    if how & 2:
        return f"--mark {no(invert)}/0x{mask:x}"
    return f"--mark {no(invert)}0x{value:x}" + ("" if mask & 0xFFFFFFFF == 0xFFFFFFFF else f"/0x{mask:x}")


def _pkttype(info: bytes) -> str:
    kind, invert = unpack("BB", info)
    return f"--pkttype-type {no(invert)}{PKT_TYPES.get(kind, kind)}"


def _mark(info: bytes) -> str:
    value, target = unpack("QI", info)
    how = MARKS.get(target & 0xFFFFFFF0, "?")
    return f"--mark-{how} 0x{value:x} --mark-target {TARGETS.get(target & 0xF, '?')}"


def _to_mac(option: str, name: str) -> Callable[[bytes], str]:
    def write(info: bytes) -> str:
        (target,) = unpack("I", info, 8)
        arp = " --snat-arp" if name == "snat" and not target & 0x10 else ""
        return f"--{option} {format_mac(info[:6])}{arp} --{name}-target {TARGETS.get(target & 0xF, '?')}"

    return write


def _redirect(info: bytes) -> str:
    (target,) = unpack("I", info)
    return "" if target & 0xF == 0xF else f"--redirect-target {TARGETS.get(target & 0xF, '?')}"


def _arpreply(info: bytes) -> str:
    (target,) = unpack("I", info, 8)
    shown = TARGETS.get(target & 0xF, "?")
    return f"--arpreply-mac {format_mac(info[:6])}" + (
        "" if shown == "DROP" else f" --arpreply-target {shown}"
    )


def _log(info: bytes) -> str:
    levels = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug")
    level = levels[info[0]] if info[0] < len(levels) else str(info[0])
    return f'--log-level {level} --log-prefix "{text(info[1:31])}"'


MATCH_WORDS: dict[str, Callable[[bytes], str]] = {
    "ip": _ip_writer("ip", 4),
    "ip6": _ip_writer("ip6", 16),
    "arp": _arp,
    "vlan": lambda info: f"--vlan-id {no(info[7] & 1)}{unpack('H', info)[0]}",
    "mark_m": _mark_m,
    "pkttype": _pkttype,
    "stp": lambda info: f"--stp-type {info[0]}",
    "802_3": lambda info: f"--802_3-sap {no(info[5] & 1)}0x{info[0]:02x}",
}
TARGET_WORDS: dict[str, Callable[[bytes], str]] = {
    "mark": _mark,
    "dnat": _to_mac("to-dst", "dnat"),
    "snat": _to_mac("to-src", "snat"),
    "redirect": _redirect,
    "arpreply": _arpreply,
}
WATCHERS: dict[str, Callable[[bytes], str]] = {
    "log": _log,
    "nflog": lambda info: f"--nflog-group {unpack('H', info, 4)[0]}",
}
