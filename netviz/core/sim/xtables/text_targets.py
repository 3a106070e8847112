"""Targets as `iptables-save` writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.sim.xtables import payloads, target_payloads
from netviz.core.sim.xtables.text_matches import Sets, set_name, sides
from netviz.core.sim.xtables.words import prefix_length, quoted

REJECT4 = {0: "icmp-net-unreachable", 1: "icmp-host-unreachable", 2: "icmp-proto-unreachable",
           3: "icmp-port-unreachable", 5: "icmp-net-prohibited", 6: "icmp-host-prohibited", 7: "tcp-reset",
           8: "icmp-admin-prohibited"}  # fmt: skip
REJECT6 = {0: "icmp6-no-route", 1: "icmp6-adm-prohibited", 3: "icmp6-addr-unreachable",
           4: "icmp6-port-unreachable", 6: "tcp-reset", 7: "icmp6-policy-fail",
           8: "icmp6-reject-route"}  # fmt: skip
EVENTS = ("new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark", "label",
          "synproxy")  # fmt: skip


def set_target(a: target_payloads.SetChange, sets: Sets) -> str:
    """Write what a target does to sets."""
    words = ["-j SET"]
    for option, ref in (("add-set", a.add), ("del-set", a.delete), ("map-set", a.map)):
        if ref is not None and ref.index != 0xFFFF:
            words.append(f"--{option} {set_name(ref.index, sets)} {sides(ref)}")
    flags = ((1, "--exist"), (1 << 8, "--map-mark"), (1 << 9, "--map-prio"), (1 << 10, "--map-queue"))
    return " ".join(words + [word for bit, word in flags if a.map_flags & bit])


def _connmark_set(a: target_payloads.ConnmarkSet) -> str:
    if a.mode == 0:
        return f"--set-xmark 0x{a.ctmark:x}/0x{a.ctmask:x}"
    option = "--save-mark" if a.mode == 1 else "--restore-mark"
    return f"{option} --nfmask 0x{a.nfmask:x} --ctmask 0x{a.ctmask:x}"


def _ct_set(a: target_payloads.CtSet) -> str:
    if a.flags & 1:
        return "--notrack"
    words = [f"--ctevents {_events(a.events)}"] if a.events else []
    if a.expect_events:
        words.append(f"--expevents {_events(a.expect_events)}")
    way = {4: "-orig", 8: "-reply"}.get(a.flags & 12, "")
    if a.zone or a.flags & 16:
        words.append(f"--zone{way} {'mark' if a.flags & 16 else a.zone}")
    if a.helper:
        words.append(f"--helper {a.helper}")
    return " ".join(words + ([f"--timeout {a.timeout}"] if a.timeout else []))


def _events(mask: int) -> str:
    return ",".join(name for bit, name in enumerate(EVENTS) if mask & 1 << bit)


def _queue(a: target_payloads.Queue) -> str:
    last = a.number + a.total - 1
    words = [f"--queue-balance {a.number}:{last}" if a.total > 1 else f"--queue-num {a.number}"]
    return " ".join(
        words + [w for bit, w in ((1, "--queue-bypass"), (2, "--queue-cpu-fanout")) if a.flags & bit]
    )


def _hmark(a: target_payloads.Hmark, ipv6: bool) -> str:
    words = []
    if a.flags & 1 << 12:
        words.append("--hmark-tuple ct")
    for bit, name, mask in ((0, "src", a.src_mask), (1, "dst", a.dst_mask)):
        if a.flags & 1 << bit:
            width = 16 if ipv6 else 4
            length = prefix_length(mask[:width])
            shown = length if length is not None else format_ip(mask[:width])
            words.append(f"--hmark-{name}-prefix {shown}")
    ports = ((6, "sport-mask", a.port_mask[:2]), (7, "dport-mask", a.port_mask[2:]), (4, "sport", a.port_set[:2]),
             (5, "dport", a.port_set[2:]))  # fmt: skip
    words += [f"--hmark-{name} 0x{port.hex()}" for bit, name, port in ports if a.flags & 1 << bit]
    if a.flags & 1 << 8:
        words.append(f"--hmark-proto-mask 0x{a.proto_mask:02x}")
    if a.flags & 1 << 9:
        words.append(f"--hmark-rnd 0x{a.seed:08x}")
    words.append(f"--hmark-mod {a.modulus}")
    return " ".join(words + ([f"--hmark-offset {a.offset}"] if a.flags & 1 << 11 else []))


def _prefixes(a: target_payloads.Prefixes) -> str:
    src, dst = f"{format_ip(a.src)}/{a.src_len}", f"{format_ip(a.dst)}/{a.dst_len}"
    return f"--src-pfx {src} --dst-pfx {dst}"


def _tee(a: target_payloads.Gateway) -> str:
    width = 16 if any(a.addr[4:]) else 4
    return f"--gateway {format_ip(a.addr[:width])}" + (f" --oif {a.oif}" if a.oif else "")


def _ecn_set(a: target_payloads.EcnSet) -> str:
    return "--ecn-tcp-remove" if a.operation & 0x30 == 0x30 and not a.tcp else f"--ecn-ip-ect {a.ect}"


def _rateest(a: target_payloads.Estimator) -> str:
    return f"--rateest-name {a.name} --rateest-interval {_period(a.interval)} --rateest-ewmalog {_ewma(a)}"


def _period(interval: int) -> str:
    """Write an estimator's interval: a quarter of a second, shifted. Source: xt_rateest's interval, 2 is one second."""
    milliseconds = 250 << (interval + 2)
    return f"{milliseconds}.0ms" if milliseconds < 1000 else f"{milliseconds // 1000}.0s"


def _ewma(a: target_payloads.Estimator) -> str:
    milliseconds = (250 << (a.interval + 2)) << a.ewma_log
    return f"{milliseconds}.0ms" if milliseconds < 1000 else f"{milliseconds // 1000}.0s"


def _range_writer(option: str) -> Callable[[target_payloads.Range], str]:
    def write(a: target_payloads.Range) -> str:
        words = []
        v6 = any(a.low[4:]) or any(a.high[4:])
        low, high = (format_ip(addr if v6 else addr[:4]) for addr in (a.low, a.high))
        addr = (low if low == high else f"{low}-{high}") if a.flags & 1 else ""
        port = _dashed(a) if a.flags & 2 else ""
        if port and option == "--to-ports":
            words.append(f"{option} {port}")
        elif addr or port:
            shown = f"[{addr}]" if v6 and port else addr
            words.append(f"{option} {shown}{':' + port if port else ''}")
        names = ((4, "--random"), (8, "--persistent"), (16, "--random-fully"))
        return " ".join(words + [word for bit, word in names if a.flags & bit])

    return write


def _dashed(a: target_payloads.Range) -> str:
    return str(a.port_low) if a.port_low == a.port_high else f"{a.port_low}-{a.port_high}"


def _netmap(a: target_payloads.Range) -> str:
    width = 16 if len(a.low) == 16 else 4
    mask = bytes(~(low ^ high) & 0xFF for low, high in zip(a.low[:width], a.high[:width], strict=True))
    length = prefix_length(mask)
    return f"--to {format_ip(a.low[:width])}{'' if length == width * 8 else f'/{length}'}"


def log(a: target_payloads.Log) -> str:
    """Write what LOG is asked for."""
    words = [f"--log-prefix {quoted(a.prefix)}"] if a.prefix else []
    return " ".join(words + ([f"--log-level {a.level}"] if a.level != 4 else []))


def nflog(a: target_payloads.Log) -> str:
    """Write what NFLOG is asked for."""
    words = [f"--nflog-prefix {quoted(a.prefix)}"] if a.prefix else []
    return " ".join(words + ([f"--nflog-group {a.group}"] if a.group else []))


def _ttl_set(option: str) -> Callable[[payloads.Number], str]:
    return lambda a: f"--{option}-{('set', 'inc', 'dec')[a.mask] if a.mask < 3 else a.mask} {a.value}"


TARGETS: dict[str, Callable[[Any], str]] = {
    "MARK": lambda a: f"--set-xmark 0x{a.value:x}/0x{a.mask:x}",
    "CONNMARK": _connmark_set,
    "CT": _ct_set,
    "NOTRACK": lambda _a: "",
    "DNAT": _range_writer("--to-destination"),
    "SNAT": _range_writer("--to-source"),
    "MASQUERADE": _range_writer("--to-ports"),
    "REDIRECT": _range_writer("--to-ports"),
    "NETMAP": _netmap,
    "TCPMSS": lambda a: "--clamp-mss-to-pmtu" if a.value == 0xFFFF else f"--set-mss {a.value}",
    "LOG": log,
    "NFLOG": nflog,
    "AUDIT": lambda a: f"--type {('accept', 'drop', 'reject')[a.value] if a.value < 3 else a.value}",
    "CHECKSUM": lambda _a: "--checksum-fill",
    "CLASSIFY": lambda a: f"--set-class {a.value >> 16:04x}:{a.value & 0xFFFF:04x}",
    "TOS": lambda a: f"--set-tos 0x{a.value:02x}/0x{a.mask:02x}",
    "DSCP": lambda a: f"--set-dscp 0x{a.value:02x}",
    "TTL": _ttl_set("ttl"),
    "HL": _ttl_set("hl"),
    "NFQUEUE": _queue,
    "SNPT": _prefixes,
    "DNPT": _prefixes,
    "TEE": _tee,
    "ECN": _ecn_set,
    "RATEEST": _rateest,
    "IDLETIMER": lambda a: f"--timeout {a.timeout_s} --label {a.label}",
    "TCPOPTSTRIP": lambda a: f"--strip-options {','.join(str(kind) for kind in sorted(a.kinds))}",
    "CONNSECMARK": lambda a: "--save" if a.value == 1 else "--restore",
}


def _tproxy(a: target_payloads.Tproxy, ipv6: bool) -> str:
    addr = format_ip(a.addr[: 16 if ipv6 else 4])
    return f"--on-port {a.port} --on-ip {addr} --tproxy-mark 0x{a.mark_value:x}/0x{a.mark_mask:x}"


# Those that write addresses which have the same layout in both families.
BY_FAMILY: dict[str, Callable[[Any, bool], str]] = {"HMARK": _hmark, "TPROXY": _tproxy}


def target_options(name: str, decoded: Any, ipv6: bool) -> str | None:
    """Write a target's options; None where it has no writer."""
    if name in BY_FAMILY:
        return BY_FAMILY[name](decoded, ipv6)
    write = TARGETS.get(name)
    return write(decoded) if write is not None else None
