"""How nft writes statements: what rules do, and what lets only so much pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Reg = Callable[..., str]
VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -2: "break", -5: "return"}
UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
OBJECTS = {2: "quota name", 3: "ct helper set", 4: "limit name", 5: "ct count name", 6: "tunnel name"}
OBJECTS |= {
    1: "counter name",
    7: "ct timeout set",
    8: "meta secmark set",
    9: "ct expectation set",
    10: "synproxy name",
}
REJECT4 = {
    0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 9: "net-prohibited",
    10: "host-prohibited", 13: "admin-prohibited",
}  # fmt: skip
REJECT6 = {
    0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail",
    6: "reject-route",
}  # fmt: skip
REJECTX = {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
NAT_FLAGS = ((0x4, "random"), (0x10, "fully-random"), (0x8, "persistent"), (0x40, "netmap"))


def verdict_text(code: int, chain: str = "") -> str:
    """Write a verdict."""
    if code in (-3, -4):
        return f"{'jump' if code == -3 else 'goto'} {chain}"
    return VERDICTS.get(code, f"verdict {code}")


def _nat_flags(a: dict[str, Any]) -> str:
    names = [name for bit, name in NAT_FLAGS if a.get("flags", 0) & bit and name != "netmap"]
    return f" {','.join(names)}" if names else ""


def _span(reg: Reg, a: dict[str, Any], low: str, high: str, field: str) -> str:
    if low not in a:
        return ""
    first = reg(a[low], field)
    last = reg(a[high], field) if high in a else first
    return first if last in (first, "?") else f"{first}-{last}"


def _target(reg: Reg, a: dict[str, Any]) -> str:
    addr = _span(reg, a, "reg_addr_min", "reg_addr_max", "ip daddr")
    port = _span(reg, a, "reg_proto_min", "reg_proto_max", "th dport")
    addr = f"[{addr}]" if port and ":" in addr and "map" not in addr else addr
    return f"{addr}:{port}" if port and port != "?" else addr


def _nat(reg: Reg, a: dict[str, Any]) -> str:
    prefix = " prefix" if a.get("flags", 0) & 0x40 else ""
    return f"{'dnat' if a.get('type') == 1 else 'snat'}{prefix} to {_target(reg, a)}{_nat_flags(a)}"


def _masq(reg: Reg, a: dict[str, Any]) -> str:
    target = _target(reg, a)
    return f"masquerade{' to ' + target if target else ''}{_nat_flags(a)}"


def _redir(reg: Reg, a: dict[str, Any]) -> str:
    target = _target(reg, a)
    return f"redirect{' to ' + target if target else ''}{_nat_flags(a)}"


def _reject(_reg: Reg, a: dict[str, Any]) -> str:
    kind, code = a.get("type", 0), a.get("icmp_code", 0)
    if kind == 1:
        return "reject with tcp reset"
    if kind == 2:
        return "reject" if code == 1 else f"reject with icmpx {REJECTX.get(code, code)}"
    names, word = (REJECT6, "icmpv6") if a.get("v6") else (REJECT4, "icmp")
    return f"reject with {word} {names.get(code, code)}"


def _limit(_reg: Reg, a: dict[str, Any]) -> str:
    over = "over " if a.get("flags", 0) & 1 else ""
    unit = "bytes/" if a.get("type") == 1 else "/"
    return f"limit rate {over}{a.get('rate', '?')}{unit}{UNITS.get(a.get('unit', 1), a.get('unit'))}"


def _quota(_reg: Reg, a: dict[str, Any]) -> str:
    return f"quota {'over ' if a.get('flags', 0) & 1 else ''}{a.get('bytes', '?')} bytes"


def _connlimit(_reg: Reg, a: dict[str, Any]) -> str:
    return f"ct count {'over ' if a.get('flags', 0) & 1 else ''}{a.get('count', '?')}"


def _log(_reg: Reg, a: dict[str, Any]) -> str:
    prefix = f' prefix "{a["prefix"]}"' if a.get("prefix") else ""
    return f"log{prefix}{' group ' + str(a['group']) if 'group' in a else ''}"


def _objref(_reg: Reg, a: dict[str, Any]) -> str:
    if "set_name" in a:
        return f"object map @{a['set_name']}"
    return f'{OBJECTS.get(a.get("imm_type", 0), "object")} "{a.get("imm_name", "?")}"'


def _tproxy(reg: Reg, a: dict[str, Any]) -> str:
    addr = reg(a["reg_addr"], "ip daddr") if a.get("reg_addr") else ""
    port = f":{reg(a['reg_port'], 'th dport')}" if a.get("reg_port") else ""
    return f"tproxy to {addr}{port}"


def _queue(_reg: Reg, a: dict[str, Any]) -> str:
    return f"queue num {a.get('num', 0)}{' bypass' if a.get('flags', 0) & 1 else ''}"


def _device(reg: Reg, a: dict[str, Any]) -> str:
    return reg(a["sreg_dev"], "oif") if a.get("sreg_dev") else ""


def _dup(reg: Reg, a: dict[str, Any]) -> str:
    addr = reg(a["sreg_addr"], "ip daddr") if a.get("sreg_addr") else ""
    device = _device(reg, a)
    return f"dup to {addr} device {device}" if addr and device else f"dup to {addr or device}"


def _fwd(reg: Reg, a: dict[str, Any]) -> str:
    if not a.get("sreg_addr"):
        return f"fwd to {_device(reg, a)}"
    return f"fwd to {reg(a['sreg_addr'], 'ip daddr')} device {_device(reg, a)}"


def _plain(words: str) -> Callable[[Reg, dict[str, Any]], str]:
    return lambda _reg, _a: words


STATEMENTS: dict[str, Callable[[Reg, dict[str, Any]], str]] = {
    "nat": _nat,
    "masq": _masq,
    "redir": _redir,
    "reject": _reject,
    "limit": _limit,
    "quota": _quota,
    "connlimit": _connlimit,
    "log": _log,
    "objref": _objref,
    "tproxy": _tproxy,
    "queue": _queue,
    "dup": _dup,
    "fwd": _fwd,
    "counter": _plain("counter"),
    "last": _plain("last"),
    "notrack": _plain("notrack"),
    "synproxy": _plain("synproxy"),
    "flow_offload": lambda _reg, a: f"flow add @{a.get('table_name', '?')}",
}
