"""Matches as `iptables-save` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.netfilter import IpSet
from netviz.core.sim.xtables import payloads
from netviz.core.sim.xtables.text_state import STATE_MATCHES
from netviz.core.sim.xtables.words import bit_names, masked, no, prefix_length, quoted, span

Sets = Mapping[Any, IpSet]
TCP_FLAGS = ((1, "FIN"), (2, "SYN"), (4, "RST"), (8, "PSH"), (16, "ACK"), (32, "URG"))
ADDRESS_TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE",
                 "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")  # fmt: skip
PKT_TYPES = ("unicast", "broadcast", "multicast")
HEADERS = ((128, "hop-by-hop"), (64, "ipv6-opts"), (32, "ipv6-route"), (16, "ipv6-frag"), (8, "ah"), (4, "esp"),
           (2, "ipv6-nonxt"), (1, "protocol"))  # fmt: skip
COUNTER_WORDS = {1: "eq", 2: "eq", 3: "lt", 4: "gt"}


def _multiport(a: payloads.Multiport) -> str:
    option = ("sports", "dports", "ports")[a.side] if a.side < 3 else str(a.side)
    return f"{no(a.invert)}--{option} {','.join(span(low, high) for low, high in a.ports)}"


def _transport(a: payloads.Transport) -> str:
    words = []
    for name, ports, bit in (("sport", a.sports, 1), ("dport", a.dports, 2)):
        if ports != (0, 65535) or a.invert & bit:
            words.append(f"{no(a.invert & bit)}--{name} {span(*ports)}")
    if a.flag_mask or a.invert & 4:
        flags = f"{bit_names(a.flag_mask, TCP_FLAGS)} {bit_names(a.flag_value, TCP_FLAGS)}"
        words.append(f"{no(a.invert & 4)}--tcp-flags {flags}")
    if a.option:
        words.append(f"{no(a.invert & 8)}--tcp-option {a.option}")
    return " ".join(words)


def _icmp_writer(option: str) -> Callable[[payloads.Icmp], str]:
    def write(a: payloads.Icmp) -> str:
        if a.type == 0xFF:
            return f"{no(a.invert)}--{option} any"
        code = "" if (a.code_min, a.code_max) == (0, 255) else f"/{a.code_min}"
        return f"{no(a.invert)}--{option} {a.type}{code}"

    return write


def _addrtype(a: payloads.Addrtype) -> str:
    words = []
    for name, mask, bit in (("src-type", a.source, 1), ("dst-type", a.dest, 2)):
        if mask:
            types = ",".join(kind for number, kind in enumerate(ADDRESS_TYPES) if mask & 1 << number)
            words.append(f"{no(a.flags & bit)}--{name} {types}")
    if a.flags & 4:
        words.append("--limit-iface-in")
    if a.flags & 8:
        words.append("--limit-iface-out")
    return " ".join(words)


def _mark(a: payloads.Mark) -> str:
    return f"{no(a.invert)}--mark {masked(a.value, a.mask)}"


def _physdev(a: payloads.Physdev) -> str:
    def name(pair: tuple[bytes, int]) -> str:
        return pair[0][: pair[1]].decode(errors="replace") + ("" if pair[1] > len(pair[0]) else "+")

    words = []
    for bit, option in ((8, "physdev-is-in"), (1, "physdev-in"), (16, "physdev-is-out"), (2, "physdev-out")):
        if a.flags & bit:
            value = {1: f" {name(a.indev)}", 2: f" {name(a.outdev)}"}.get(bit, "").replace("++", "+")
            words.append(f"{no(a.invert & bit)}--{option}{value}")
    if a.flags & 4:
        words.append(f"{no(a.invert & 4)}--physdev-is-bridged")
    return " ".join(words)


def _iprange(a: payloads.Iprange) -> str:
    words = []
    for name, (low, high), bit in (("src-range", a.src, 1), ("dst-range", a.dst, 2)):
        if a.flags & bit:
            width = 16 if any(low[4:]) or any(high[4:]) else 4
            words.append(
                f"{no(a.flags & bit << 4)}--{name} {format_ip(low[:width])}-{format_ip(high[:width])}"
            )
    return " ".join(words)


def _owner(a: payloads.Owner) -> str:
    words = []
    for bit, name, pair in ((1, "uid-owner", a.uid), (2, "gid-owner", a.gid)):
        if a.match & bit:
            low, high = pair
            value = str(low) if low == high else f"{low}-{high}"
            words.append(f"{no(a.invert & bit)}--{name} {value}")
    if a.match & 4:
        words.append(f"{no(a.invert & 4)}--socket-exists")
    return " ".join(words)


def _recent(a: payloads.Recent, ipv6: bool) -> str:
    action = {1: "--rcheck", 2: "--set", 4: "--update", 8: "--remove"}.get(a.check & 0xF, "")
    words = [f"{no(a.invert)}{action}"]
    if a.seconds:
        words.append(f"--seconds {a.seconds}")
    if a.check & 0x20:
        words.append("--reap")
    if a.hits:
        words.append(f"--hitcount {a.hits}")
    if a.check & 0x10:
        words.append("--rttl")
    words.append(f"--name {a.name}")
    if a.mask:
        words.append(f"--mask {format_ip(a.mask[: 16 if ipv6 else 4])}")
    words.append("--rdest" if a.side else "--rsource")
    return " ".join(words)


def _u32(a: payloads.U32) -> str:
    tests = []
    for test in a.tests:
        where = f"0x{test.first:x}" + "".join(
            f"{('&', '<<', '>>', '@')[op]}0x{number:x}" for op, number in test.steps
        )
        values = ",".join(
            f"0x{low:x}" if low == high else f"0x{low:x}:0x{high:x}" for low, high in test.values
        )
        tests.append(f"{where}={values}")
    return f'{no(a.invert)}--u32 "{"&&".join(tests)}"'


def _ttl_writer(name: str, invert_word: str) -> Callable[[payloads.Compare], str]:
    def write(a: payloads.Compare) -> str:
        words = (f"--{name}-eq", invert_word, f"--{name}-lt", f"--{name}-gt")
        return f"{words[a.mode] if a.mode < 4 else a.mode} {a.value}"

    return write


def _rpfilter(a: payloads.Number) -> str:
    names = ((1, "--loose"), (2, "--validmark"), (4, "--accept-local"), (8, "--invert"))
    return " ".join(word for bit, word in names if a.value & bit)


def _socket(a: payloads.Number) -> str:
    names = ((1, "--transparent"), (2, "--nowildcard"), (4, "--restore-skmark"))
    return " ".join(word for bit, word in names if a.value & bit)


def sides(ref: payloads.SetRef) -> str:
    """Write which side of the packet each dimension of a set looks at."""
    return ",".join("src" if ref.flags & 2 << number else "dst" for number in range(ref.dim))


def set_name(index: int, sets: Sets) -> str:
    """Name the set that rules know by `index`."""
    return next((one.name for one in sets.values() if one.index == index), f"#{index}")


def set_match(a: payloads.SetRef, sets: Sets) -> str:
    """Write the match of a set."""
    words = [f"-m set {no(a.flags & 1)}--match-set {set_name(a.index, sets)} {sides(a)}"]
    if a.options & 1 << 7:
        words.append("--return-nomatch")
    if a.options & 1 << 3:
        words.append("! --update-counters")
    if a.options & 1 << 4:
        words.append("! --update-subcounters")
    for name, (how, value) in (("packets", a.packets), ("bytes", a.bytes)):
        if how:
            words.append(f"{no(how == 2)}--{name}-{COUNTER_WORDS.get(how, how)} {value}")
    return " ".join(words)


def _ecn(a: payloads.Ecn) -> str:
    words = []
    for bit, name in ((0x10, "--ecn-tcp-ece"), (0x20, "--ecn-tcp-cwr")):
        if a.operation & bit:
            words.append(f"{no(a.invert & bit)}{name}")
    if a.operation & 1:
        words.append(f"{no(a.invert & 1)}--ecn-ip-ect {a.ect}")
    return " ".join(words)


def _string(a: payloads.TextSearch) -> str:
    plain = all(0x20 <= byte < 0x7F for byte in a.pattern) and not a.pattern.startswith(b" ")
    shown = a.pattern.decode("ascii") if plain else f"|{a.pattern.hex()}|"
    shown = shown.replace("\\", "\\\\").replace('"', '\\"')
    words = [f'{no(a.flags & 1)}--{"string" if plain else "hex-string"} "{shown}" --algo {a.algo}']
    if a.low:
        words.append(f"--from {a.low}")
    if a.high not in (0, 0xFFFF):
        words.append(f"--to {a.high}")
    return " ".join([*words, *(["--icase"] if a.flags & 2 else [])])


def _connlimit(a: payloads.ConnLimit, ipv6: bool) -> str:
    width = 16 if ipv6 else 4
    way = "--connlimit-upto" if a.flags & 1 else "--connlimit-above"
    side = "--connlimit-daddr" if a.flags & 2 else "--connlimit-saddr"
    return f"{way} {a.limit} --connlimit-mask {prefix_length(a.mask[:width])} {side}"


def _group(pair: tuple[int, int]) -> str:
    value, mask = pair
    if mask == 0xFFFFFFFF:
        return "default" if value == 0 else f"0x{value:x}"
    return f"0x{value:x}/0x{mask:x}"


def _devgroup(a: payloads.DevGroup) -> str:
    words = []
    for name, pair, bit in (("src", a.src, 1), ("dst", a.dst, 4)):
        if a.flags & bit:
            words.append(f"{no(a.flags & bit << 1)}--{name}-group {_group(pair)}")
    return " ".join(words)


def _cgroup(a: payloads.Cgroup) -> str:
    if a.path:
        return f'{no(a.invert)}--path "{a.path}"'
    return f"{no(a.invert)}--cgroup {a.classid}"


def _realm(a: payloads.Mark) -> str:
    return f"{no(a.invert)}--realm {masked(a.value, a.mask)}"


def _policy(a: payloads.Policy) -> str:
    words = [f"--dir {'in' if a.flags & 1 else 'out'} --pol {'none' if a.flags & 4 else 'ipsec'}"]
    return " ".join(words + (["--strict"] if a.flags & 8 else []))


def _spi_writer(option: str) -> Callable[[payloads.Spis], str]:
    def write(a: payloads.Spis) -> str:
        whole = (a.low, a.high) == (0, 0xFFFFFFFF) and not a.invert
        return "" if whole else f"{no(a.invert)}--{option} {span(a.low, a.high)}"

    return write


def _other_ports(a: payloads.Ports) -> str:
    words = []
    for name, ports, bit in (("sport", a.sports, 1), ("dport", a.dports, 2)):
        if a.flags & bit:
            words.append(f"{no(a.invert & bit)}--{name} {span(*ports)}")
    return " ".join(words + (["[and more]"] if a.more else []))


def _ipv6header(a: payloads.Ipv6Header) -> str:
    words = f"{no(a.invert)}--header {bit_names(a.match, HEADERS)}"
    return words + (" --soft" if a.soft else "")


def _osf(a: payloads.OsfGenre) -> str:
    words = [f"{no(a.flags & 8)}--genre {a.genre}"]
    if a.flags & 2:
        words.append(f"--ttl {a.ttl}")
    return " ".join(words + ([f"--log {a.loglevel}"] if a.flags & 4 else []))


def _frag(a: payloads.Spis) -> str:
    return f"{no(a.invert)}--fragid {span(a.low, a.high)}"


def _options(name: str) -> Callable[[payloads.Number], str]:
    return lambda a: f"--{name}-len {a.value}" if a.mask & 1 else ""


MATCHES: dict[str, Callable[[Any], str]] = {
    **STATE_MATCHES,
    "comment": lambda a: f"--comment {quoted(a.name)}",
    "multiport": _multiport,
    "tcp": _transport,
    "udp": _transport,
    "icmp": _icmp_writer("icmp-type"),
    "icmp6": _icmp_writer("icmpv6-type"),
    "addrtype": _addrtype,
    "mark": _mark,
    "connmark": _mark,
    "physdev": _physdev,
    "iprange": _iprange,
    "mac": lambda a: f"{no(a.invert)}--mac-source {format_mac(a.mac)}",
    "owner": _owner,
    "set": lambda _a: "",
    "u32": _u32,
    "length": lambda a: f"{no(a.invert)}--length {span(a.low, a.high)}",
    "pkttype": lambda a: (
        f"{no(a.invert)}--pkt-type {PKT_TYPES[a.number] if a.number < len(PKT_TYPES) else a.number}"
    ),
    "tos": lambda a: f"{no(a.invert)}--tos 0x{a.value:02x}/0x{a.mask:02x}",
    "dscp": lambda a: f"{no(a.invert)}--dscp 0x{a.value >> 2:02x}",
    "ttl": _ttl_writer("ttl", "! --ttl-eq"),
    "hl": _ttl_writer("hl", "! --hl-eq"),
    "cpu": lambda a: f"{no(a.invert)}--cpu {a.number}",
    "nfacct": lambda a: f"--nfacct-name {a.name}",
    "helper": lambda a: f"{no(a.invert)}--helper {quoted(a.name)}",
    "rpfilter": _rpfilter,
    "socket": _socket,
    "ecn": _ecn,
    "string": _string,
    "devgroup": _devgroup,
    "quota": lambda a: f"{no(a.invert)}--quota {a.quota}",
    "cgroup": _cgroup,
    "realm": _realm,
    "policy": _policy,
    "esp": _spi_writer("espspi"),
    "ah": _spi_writer("ahspi"),
    "ipcomp": _spi_writer("ipcompspi"),
    "sctp": _other_ports,
    "dccp": _other_ports,
    "tcpmss": lambda a: f"{no(a.invert)}--mss {span(a.low, a.high)}",
    "ipv6header": _ipv6header,
    "osf": _osf,
    "frag": _frag,
    "hbh": _options("hbh"),
    "dst": _options("dst"),
    "rt": lambda a: f"--rt-type {a.value}" if a.mask & 1 else "",
    "eui64": lambda _a: "",
    "srh": lambda a: f"--srh-next-hdr {a.value}" if a.mask & 1 else "",
}  # Those that write addresses which have the same layout in both families.
BY_FAMILY: dict[str, Callable[[Any, bool], str]] = {"recent": _recent, "connlimit": _connlimit}


def match_options(name: str, decoded: Any, ipv6: bool) -> str | None:
    """Write a match's options; None where it has no writer."""
    if name in BY_FAMILY:
        return BY_FAMILY[name](decoded, ipv6)
    write = MATCHES.get(name)
    return write(decoded) if write is not None else None
