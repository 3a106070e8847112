"""Rules as `iptables-save` writes them: evidence for people, never an input.

iptables-nft turns addresses, protocols, interfaces, ports, limits and some more into nftables' own
expressions, and keeps the rest as extensions; the words come from both. An extension without a
writer is shown by its name, revision and raw payload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.netfilter import NFT_GOTO, NFT_JUMP, NFT_RETURN, IpSet, NftExpr, NftRuleBody
from netviz.core.sim.nft_context import data_of, verdict_of
from netviz.core.sim.packet import PROTO_NAMES
from netviz.core.sim.xtables import decode
from netviz.core.sim.xtables.decode import decode_match, decode_target

Sets = Mapping[Any, IpSet]
VERDICTS = {0: "DROP", 1: "ACCEPT", NFT_RETURN: "RETURN"}
STATES = ((1, "INVALID"), (8, "NEW"), (4, "RELATED"), (2, "ESTABLISHED"), (0x100, "UNTRACKED"), (64, "SNAT"),
          (128, "DNAT"))  # fmt: skip
STATUSES = ((1, "EXPECTED"), (2, "SEEN_REPLY"), (4, "ASSURED"), (8, "CONFIRMED"))
TCP_FLAGS = ((1, "FIN"), (2, "SYN"), (4, "RST"), (8, "PSH"), (16, "ACK"), (32, "URG"))
ADDRESS_TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE",
                 "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")  # fmt: skip
REJECT4 = {0: "icmp-net-unreachable", 1: "icmp-host-unreachable", 2: "icmp-proto-unreachable",
           3: "icmp-port-unreachable", 5: "icmp-net-prohibited", 6: "icmp-host-prohibited", 7: "tcp-reset",
           8: "icmp-admin-prohibited"}  # fmt: skip
REJECT6 = {0: "icmp6-no-route", 1: "icmp6-adm-prohibited", 3: "icmp6-addr-unreachable",
           4: "icmp6-port-unreachable", 6: "tcp-reset", 7: "icmp6-policy-fail",
           8: "icmp6-reject-route"}  # fmt: skip
UNITS = {1: "sec", 60: "min", 3600: "hour", 86400: "day"}
PKT_TYPES = ("unicast", "broadcast", "multicast")


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
            target = _nflog if "group" in a else _log
            made = decode.Log(a.get("prefix", ""), a.get("level", 4), group=a.get("group", 0))
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
            known = PROTO_NAMES.get(data[0], str(data[0]))
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
            prefix = length * 8 if length < width else _prefix(mask) if mask else width * 8
            addr = format_ip(data.ljust(width, b"\0"))
            shown = f"/{prefix}" if prefix is not None else f"/{format_ip(mask)}"
            key = "s" if offset == source else "d"
            self.head[key] = f"{no}-{key} {addr}{shown}"
        elif base == 1 and offset == 6 and not self.ipv6:
            self.head["f"] = "-f" if no else "! -f"
        elif base == 2 and offset in (0, 2) and length == 2:
            self._port(offset, f"{no}--{'sport' if offset == 0 else 'dport'} {int.from_bytes(data, 'big')}")
        elif base == 2 and offset == 13:
            names = f"{_names(mask[0], TCP_FLAGS)} {_names(data[0], TCP_FLAGS)}"
            self.ports["flags"] = f"{no}--tcp-flags {names}"
        else:
            self.words.append(f"[payload {base},{offset},{length} {no}{data.hex()}]")

    def _ranged(self, a: dict[str, Any]) -> None:
        _, where, _ = self.loaded.get(a.get("sreg", 0), ("?", (), b""))
        low, high = (int.from_bytes(data_of(a.get(end)), "big") for end in ("from_data", "to_data"))
        no = "! " if a.get("op") == 1 else ""
        if len(where) == 3 and where[0] == 2:
            self._port(where[1], f"{no}--{'sport' if where[1] == 0 else 'dport'} {_span(low, high)}")

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
        write = MATCHES.get(name)
        if decoded is None or write is None:
            self.words.append(f"-m {name} [revision {rev}]")
            return
        if isinstance(decoded, decode.SetRef):
            self.words.append(_set_match(decoded, self.sets))
            return
        options = write(decoded)
        alias = "state" if isinstance(decoded, decode.Conntrack) and decoded.flags & 1 << 13 else name
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
        if isinstance(decoded, decode.SetChange):
            return _set_target(decoded, self.sets)
        write = TARGETS.get(name)
        options = write(decoded) if write is not None else f"[revision {rev}]"
        return f"-j {name} {options}" if options else f"-j {name}"


def _quoted(text: str) -> str:
    if text and all(char.isalnum() or char in "_-" for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _names(bits: int, table: tuple[tuple[int, str], ...]) -> str:
    return ",".join(name for bit, name in table if bits & bit) or "NONE"


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}:{high}"


def _prefix(mask: bytes) -> int | None:
    number, width = int.from_bytes(mask, "big"), len(mask) * 8
    ones = number.bit_count()
    return ones if number == ((1 << ones) - 1) << (width - ones) else None


def _no(invert: bool | int) -> str:
    return "! " if invert else ""


def _masked(value: int, mask: int, full: int = 0xFFFFFFFF) -> str:
    return f"0x{value:x}" if mask == full else f"0x{value:x}/0x{mask:x}"


def _conntrack(a: decode.Conntrack) -> str:
    words = []
    if a.flags & 1:
        words.append(f"{_no(a.invert & 1)}--ctstate {_names(a.state, STATES)}")
    if a.flags & 2:
        words.append(f"{_no(a.invert & 2)}--ctproto {a.proto}")
    for number, name in enumerate(("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst")):
        if a.flags & 4 << number:
            addr, mask = a.addrs[number]
            width = 4 if not any(addr[4:]) and not any(mask[4:]) else 16
            length = _prefix(mask[:width])
            suffix = "" if length == width * 8 else f"/{length}"
            words.append(f"{_no(a.invert & 4 << number)}--{name} {format_ip(addr[:width])}{suffix}")
    for number, name in enumerate(("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")):
        if a.flags & 1 << 8 + number:
            words.append(f"{_no(a.invert & 1 << 8 + number)}--{name} {_span(*a.ports[number])}")
    if a.flags & 1 << 6:
        words.append(f"{_no(a.invert & 1 << 6)}--ctstatus {_names(a.status, STATUSES)}")
    if a.flags & 1 << 7:
        words.append(f"{_no(a.invert & 1 << 7)}--ctexpire {_span(*a.expires)}")
    if a.flags & 1 << 12:
        words.append(f"--ctdir {'REPLY' if a.invert & 1 << 12 else 'ORIGINAL'}")
    return " ".join(words)


def _multiport(a: decode.Multiport) -> str:
    option = ("sports", "dports", "ports")[a.side] if a.side < 3 else str(a.side)
    return f"{_no(a.invert)}--{option} {','.join(_span(low, high) for low, high in a.ports)}"


def _transport(a: decode.Transport) -> str:
    words = []
    for name, ports, bit in (("sport", a.sports, 1), ("dport", a.dports, 2)):
        if ports != (0, 65535) or a.invert & bit:
            words.append(f"{_no(a.invert & bit)}--{name} {_span(*ports)}")
    if a.flag_mask or a.invert & 4:
        flags = f"{_names(a.flag_mask, TCP_FLAGS)} {_names(a.flag_value, TCP_FLAGS)}"
        words.append(f"{_no(a.invert & 4)}--tcp-flags {flags}")
    if a.option:
        words.append(f"{_no(a.invert & 8)}--tcp-option {a.option}")
    return " ".join(words)


def _icmp_writer(option: str) -> Callable[[decode.Icmp], str]:
    def write(a: decode.Icmp) -> str:
        if a.type == 0xFF:
            return f"{_no(a.invert)}--{option} any"
        code = "" if (a.code_min, a.code_max) == (0, 255) else f"/{a.code_min}"
        return f"{_no(a.invert)}--{option} {a.type}{code}"

    return write


def _addrtype(a: decode.Addrtype) -> str:
    words = []
    for name, mask, bit in (("src-type", a.source, 1), ("dst-type", a.dest, 2)):
        if mask:
            types = ",".join(kind for number, kind in enumerate(ADDRESS_TYPES) if mask & 1 << number)
            words.append(f"{_no(a.flags & bit)}--{name} {types}")
    if a.flags & 4:
        words.append("--limit-iface-in")
    if a.flags & 8:
        words.append("--limit-iface-out")
    return " ".join(words)


def _mark(a: decode.Mark) -> str:
    return f"{_no(a.invert)}--mark {_masked(a.value, a.mask)}"


def _statistic(a: decode.Statistic) -> str:
    if a.nth:
        return f"--mode nth {_no(a.invert)}--every {a.every} --packet {a.packet}"
    return f"--mode random {_no(a.invert)}--probability {a.probability:.11f}"


def _physdev(a: decode.Physdev) -> str:
    def name(pair: tuple[bytes, int]) -> str:
        return pair[0][: pair[1]].decode(errors="replace") + ("" if pair[1] > len(pair[0]) else "+")

    words = []
    for bit, option in ((8, "physdev-is-in"), (1, "physdev-in"), (16, "physdev-is-out"), (2, "physdev-out")):
        if a.flags & bit:
            value = {1: f" {name(a.indev)}", 2: f" {name(a.outdev)}"}.get(bit, "").replace("++", "+")
            words.append(f"{_no(a.invert & bit)}--{option}{value}")
    if a.flags & 4:
        words.append(f"{_no(a.invert & 4)}--physdev-is-bridged")
    return " ".join(words)


def _iprange(a: decode.Iprange) -> str:
    words = []
    for name, (low, high), bit in (("src-range", a.src, 1), ("dst-range", a.dst, 2)):
        if a.flags & bit:
            width = 16 if any(low[4:]) or any(high[4:]) else 4
            words.append(
                f"{_no(a.flags & bit << 4)}--{name} {format_ip(low[:width])}-{format_ip(high[:width])}"
            )
    return " ".join(words)


def _owner(a: decode.Owner) -> str:
    words = []
    for bit, name, pair in ((1, "uid-owner", a.uid), (2, "gid-owner", a.gid)):
        if a.match & bit:
            low, high = pair
            value = str(low) if low == high else f"{low}-{high}"
            words.append(f"{_no(a.invert & bit)}--{name} {value}")
    if a.match & 4:
        words.append(f"{_no(a.invert & 4)}--socket-exists")
    return " ".join(words)


def _recent(a: decode.Recent) -> str:
    action = {1: "--rcheck", 2: "--set", 4: "--update", 8: "--remove"}.get(a.check & 0xF, "")
    words = [f"{_no(a.invert)}{action}"]
    if a.seconds:
        words.append(f"--seconds {a.seconds}")
    if a.hits:
        words.append(f"--hitcount {a.hits}")
    words.append(f"--name {a.name}")
    if a.mask:
        words.append(f"--mask {format_ip(a.mask[:4])}")
    words.append("--rdest" if a.side else "--rsource")
    return " ".join(words)


def _limit(a: decode.Limit) -> str:
    for unit, ticks in (("day", 864000000), ("hour", 36000000), ("min", 600000), ("sec", 10000)):
        if a.avg and ticks // a.avg > 0 and (unit == "sec" or a.avg * 1 > ticks // 60):
            return f"--limit {ticks // a.avg}/{unit} --limit-burst {a.burst}"
    return f"--limit {10000 // a.avg if a.avg else 0}/sec --limit-burst {a.burst}"


def _u32(a: decode.U32) -> str:
    tests = []
    for test in a.tests:
        where = f"0x{test.first:x}" + "".join(
            f"{('&', '<<', '>>', '@')[op]}0x{number:x}" for op, number in test.steps
        )
        values = ",".join(
            f"0x{low:x}" if low == high else f"0x{low:x}:0x{high:x}" for low, high in test.values
        )
        tests.append(f"{where}={values}")
    return f'{_no(a.invert)}--u32 "{"&&".join(tests)}"'


def _ttl_writer(name: str, invert_word: str) -> Callable[[decode.Compare], str]:
    def write(a: decode.Compare) -> str:
        words = (f"--{name}-eq", invert_word, f"--{name}-lt", f"--{name}-gt")
        return f"{words[a.mode] if a.mode < 4 else a.mode} {a.value}"

    return write


def _rpfilter(a: decode.Number) -> str:
    names = ((1, "--loose"), (2, "--validmark"), (4, "--accept-local"), (8, "--invert"))
    return " ".join(word for bit, word in names if a.value & bit)


def _socket(a: decode.Number) -> str:
    names = ((1, "--transparent"), (2, "--nowildcard"), (4, "--restore-skmark"))
    return " ".join(word for bit, word in names if a.value & bit)


def _sides(ref: decode.SetRef) -> str:
    return ",".join("src" if ref.flags & 2 << number else "dst" for number in range(ref.dim))


def _set_name(index: int, sets: Sets) -> str:
    return next((one.name for one in sets.values() if one.index == index), f"#{index}")


def _set_match(a: decode.SetRef, sets: Sets) -> str:
    counted = " [with counters]" if a.counted else ""
    nomatch = " --return-nomatch" if a.options & 1 << 7 else ""
    return f"-m set {_no(a.flags & 1)}--match-set {_set_name(a.index, sets)} {_sides(a)}{nomatch}{counted}"


def _set_target(a: decode.SetChange, sets: Sets) -> str:
    words = ["-j SET"]
    for option, ref in (("add-set", a.add), ("del-set", a.delete), ("map-set", a.map)):
        if ref is not None and ref.index != 0xFFFF:
            words.append(f"--{option} {_set_name(ref.index, sets)} {_sides(ref)}")
    return " ".join(words)


MATCHES: dict[str, Callable[[Any], str]] = {
    "comment": lambda a: f"--comment {_quoted(a.name)}",
    "conntrack": _conntrack,
    "state": lambda a: f"--state {_names(a.state, STATES)}",
    "multiport": _multiport,
    "tcp": _transport,
    "udp": _transport,
    "icmp": _icmp_writer("icmp-type"),
    "icmp6": _icmp_writer("icmpv6-type"),
    "addrtype": _addrtype,
    "mark": _mark,
    "connmark": _mark,
    "statistic": _statistic,
    "physdev": _physdev,
    "iprange": _iprange,
    "mac": lambda a: f"{_no(a.invert)}--mac-source {format_mac(a.mac)}",
    "owner": _owner,
    "recent": _recent,
    "limit": _limit,
    "set": lambda _a: "",
    "u32": _u32,
    "length": lambda a: f"{_no(a.invert)}--length {_span(a.low, a.high)}",
    "pkttype": lambda a: (
        f"{_no(a.invert)}--pkt-type {PKT_TYPES[a.number] if a.number < len(PKT_TYPES) else a.number}"
    ),
    "tos": lambda a: f"{_no(a.invert)}--tos 0x{a.value:02x}/0x{a.mask:02x}",
    "dscp": lambda a: f"{_no(a.invert)}--dscp 0x{a.value >> 2:02x}",
    "ttl": _ttl_writer("ttl", "! --ttl-eq"),
    "hl": _ttl_writer("hl", "! --hl-eq"),
    "cpu": lambda a: f"{_no(a.invert)}--cpu {a.number}",
    "cgroup": lambda a: f"{_no(a.invert)}--cgroup {a.number}",
    "nfacct": lambda a: f"--nfacct-name {a.name}",
    "helper": lambda a: f"{_no(a.invert)}--helper {_quoted(a.name)}",
    "rpfilter": _rpfilter,
    "socket": _socket,
}


def _connmark_set(a: decode.ConnmarkSet) -> str:
    if a.mode == 0:
        return f"--set-xmark 0x{a.ctmark:x}/0x{a.ctmask:x}"
    option = "--save-mark" if a.mode == 1 else "--restore-mark"
    return f"{option} --nfmask 0x{a.nfmask:x} --ctmask 0x{a.ctmask:x}"


def _ct_set(a: decode.CtSet) -> str:
    if a.flags & 1:
        return "--notrack"
    words = [f"--zone {a.zone}"] if a.zone else []
    return " ".join(words + ([f"--helper {a.helper}"] if a.helper else []))


def _range_writer(option: str) -> Callable[[decode.Range], str]:
    def write(a: decode.Range) -> str:
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


def _dashed(a: decode.Range) -> str:
    return str(a.port_low) if a.port_low == a.port_high else f"{a.port_low}-{a.port_high}"


def _netmap(a: decode.Range) -> str:
    width = 16 if len(a.low) == 16 else 4
    mask = bytes(~(low ^ high) & 0xFF for low, high in zip(a.low[:width], a.high[:width], strict=True))
    length = _prefix(mask)
    return f"--to {format_ip(a.low[:width])}{'' if length == width * 8 else f'/{length}'}"


def _log(a: decode.Log) -> str:
    words = [f"--log-prefix {_quoted(a.prefix)}"] if a.prefix else []
    return " ".join(words + ([f"--log-level {a.level}"] if a.level != 4 else []))


def _nflog(a: decode.Log) -> str:
    words = [f"--nflog-prefix {_quoted(a.prefix)}"] if a.prefix else []
    return " ".join(words + ([f"--nflog-group {a.group}"] if a.group else []))


def _ttl_set(option: str) -> Callable[[decode.Number], str]:
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
    "TPROXY": lambda a: (
        f"--on-port {a.port} --on-ip "
        f"{format_ip(a.addr if any(a.addr[4:]) else a.addr[:4])} "
        f"--tproxy-mark 0x{a.mark_value:x}/0x{a.mark_mask:x}"
    ),
    "TCPMSS": lambda a: "--clamp-mss-to-pmtu" if a.value == 0xFFFF else f"--set-mss {a.value}",
    "LOG": _log,
    "NFLOG": _nflog,
    "AUDIT": lambda a: f"--type {('accept', 'drop', 'reject')[a.value] if a.value < 3 else a.value}",
    "CHECKSUM": lambda _a: "--checksum-fill",
    "CLASSIFY": lambda a: f"--set-class {a.value >> 16:04x}:{a.value & 0xFFFF:04x}",
    "TOS": lambda a: f"--set-tos 0x{a.value:02x}/0x{a.mask:02x}",
    "DSCP": lambda a: f"--set-dscp 0x{a.value:02x}",
    "TTL": _ttl_set("ttl"),
    "HL": _ttl_set("hl"),
    "NFQUEUE": lambda a: f"--queue-num {a.value}",
}
