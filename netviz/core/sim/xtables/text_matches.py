"""Matches as `iptables-save` writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.netfilter import IpSet
from netviz.core.sim.xtables import payloads
from netviz.core.sim.xtables.words import bit_names, masked, no, prefix_length, quoted, span

Sets = Mapping[Any, IpSet]
STATES = ((1, "INVALID"), (8, "NEW"), (4, "RELATED"), (2, "ESTABLISHED"), (0x100, "UNTRACKED"), (64, "SNAT"),
          (128, "DNAT"))  # fmt: skip
STATUSES = ((1, "EXPECTED"), (2, "SEEN_REPLY"), (4, "ASSURED"), (8, "CONFIRMED"))
TCP_FLAGS = ((1, "FIN"), (2, "SYN"), (4, "RST"), (8, "PSH"), (16, "ACK"), (32, "URG"))
ADDRESS_TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE",
                 "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")  # fmt: skip
PKT_TYPES = ("unicast", "broadcast", "multicast")
HEADERS = ((128, "hop-by-hop"), (64, "ipv6-opts"), (32, "ipv6-route"), (16, "ipv6-frag"), (8, "ah"), (4, "esp"),
           (2, "ipv6-nonxt"), (1, "protocol"))  # fmt: skip
MODES = ((4, "srcip"), (8, "srcport"), (1, "dstip"), (2, "dstport"))
COUNTER_WORDS = {1: "eq", 2: "eq", 3: "lt", 4: "gt"}


def _conntrack(a: payloads.Conntrack) -> str:
    words = []
    if a.flags & 1:
        words.append(f"{no(a.invert & 1)}--ctstate {bit_names(a.state, STATES)}")
    if a.flags & 2:
        words.append(f"{no(a.invert & 2)}--ctproto {a.proto}")
    for number, name in enumerate(("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst")):
        if a.flags & 4 << number:
            addr, mask = a.addrs[number]
            width = 4 if not any(addr[4:]) and not any(mask[4:]) else 16
            length = prefix_length(mask[:width])
            suffix = "" if length == width * 8 else f"/{length}"
            words.append(f"{no(a.invert & 4 << number)}--{name} {format_ip(addr[:width])}{suffix}")
    for number, name in enumerate(("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")):
        if a.flags & 1 << 8 + number:
            words.append(f"{no(a.invert & 1 << 8 + number)}--{name} {span(*a.ports[number])}")
    if a.flags & 1 << 6:
        words.append(f"{no(a.invert & 1 << 6)}--ctstatus {bit_names(a.status, STATUSES)}")
    if a.flags & 1 << 7:
        words.append(f"{no(a.invert & 1 << 7)}--ctexpire {span(*a.expires)}")
    if a.flags & 1 << 12:
        words.append(f"--ctdir {'REPLY' if a.invert & 1 << 12 else 'ORIGINAL'}")
    return " ".join(words)


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


def _statistic(a: payloads.Statistic) -> str:
    if a.nth:
        return f"--mode nth {no(a.invert)}--every {a.every} --packet {a.packet}"
    return f"--mode random {no(a.invert)}--probability {a.probability:.11f}"


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
    if a.hits:
        words.append(f"--hitcount {a.hits}")
    words.append(f"--name {a.name}")
    if a.mask:
        words.append(f"--mask {format_ip(a.mask[: 16 if ipv6 else 4])}")
    words.append("--rdest" if a.side else "--rsource")
    return " ".join(words)


def _limit(a: payloads.Limit) -> str:
    for unit, ticks in (("day", 864000000), ("hour", 36000000), ("min", 600000), ("sec", 10000)):
        if a.avg and ticks // a.avg > 0 and (unit == "sec" or a.avg * 1 > ticks // 60):
            return f"--limit {ticks // a.avg}/{unit} --limit-burst {a.burst}"
    return f"--limit {10000 // a.avg if a.avg else 0}/sec --limit-burst {a.burst}"


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


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}"


def _date(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    era_days = days + 719468
    era, doe = divmod(era_days, 146097)
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    month_index = (5 * doy + 2) // 153
    day = doy - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = yoe + era * 400 + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d}T{_clock(rest)}"


def _time(a: payloads.Time) -> str:
    words = []
    if a.daytime != (0, 86399):
        words.append(f"--timestart {_clock(a.daytime[0])} --timestop {_clock(a.daytime[1])}")
    if a.monthdays != 0xFFFFFFFE:
        words.append("--monthdays " + ",".join(str(day) for day in range(1, 32) if a.monthdays & 1 << day))
    if a.weekdays != 0xFE:
        names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        words.append(
            "--weekdays " + ",".join(name for day, name in enumerate(names, 1) if a.weekdays & 1 << day)
        )
    if a.date[0]:
        words.append(f"--datestart {_date(a.date[0])}")
    if a.date[1] != 0xFFFFFFFF:
        words.append(f"--datestop {_date(a.date[1])}")
    words += [word for bit, word in ((1, "--kerneltz"), (2, "--contiguous")) if a.flags & bit]
    return " ".join(words)


def _connbytes(a: payloads.ConnBytes) -> str:
    inverted = a.high < a.low
    low, high = (a.high, a.low) if inverted else (a.low, a.high)
    upper = "" if high == (1 << 64) - 1 else str(high)
    what, way = ("packets", "bytes", "avgpkt")[a.what], ("original", "reply", "both")[a.direction]
    return f"{no(inverted)}--connbytes {low}:{upper} --connbytes-mode {what} --connbytes-dir {way}"


def _connlimit(a: payloads.ConnLimit, ipv6: bool) -> str:
    width = 16 if ipv6 else 4
    way = "--connlimit-upto" if a.flags & 1 else "--connlimit-above"
    side = "--connlimit-daddr" if a.flags & 2 else "--connlimit-saddr"
    return f"{way} {a.limit} --connlimit-mask {prefix_length(a.mask[:width])} {side}"


def _connlabel(a: payloads.ConnLabel) -> str:
    return f'{no(a.options & 1)}--label "{a.bit}"{" --set" if a.options & 2 else ""}'


def _cluster(a: payloads.Cluster) -> str:
    return (
        f"{no(a.invert)}--cluster-local-nodemask 0x{a.mask:08x} --cluster-total-nodes {a.total} "
        f"--cluster-hash-seed 0x{a.seed:08x}"
    )


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


def _rate(a: payloads.HashLimit) -> str:
    """Write a rate in the largest unit that it has a whole number of."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1)):
        ticks = seconds * a.scale
        if a.avg and ticks // a.avg and (unit == "sec" or ticks // a.avg < seconds // UNIT_BELOW[unit]):
            return f"{ticks // a.avg}/{unit}"
    return f"{a.scale // a.avg if a.avg else 0}/sec"


UNIT_BELOW = {"day": 3600, "hour": 60, "min": 1}


def _hashlimit(a: payloads.HashLimit) -> str:
    if a.mode & 32:
        return f"[by bytes] --hashlimit-name {a.name}"
    way = "above" if a.mode & 16 else "upto"
    words = [f"--hashlimit-{way} {_rate(a)} --hashlimit-burst {a.burst}"]
    if a.mode & 15:
        words.append(f"--hashlimit-mode {','.join(name for bit, name in MODES if a.mode & bit)}")
    words.append(f"--hashlimit-name {a.name}")
    defaults = (("htable-size", a.size, 0), ("htable-max", a.max, 0), ("htable-gcinterval", a.gc_interval_ms, 1000),
                ("htable-expire", a.expire_ms, None))  # fmt: skip
    words += [f"--hashlimit-{name} {value}" for name, value, usual in defaults[:3] if value != usual]
    for name, mask in (("srcmask", a.srcmask), ("dstmask", a.dstmask)):
        if mask not in (32, 128):
            words.append(f"--hashlimit-{name} {mask}")
    return " ".join(words)


def _frag(a: payloads.Spis) -> str:
    return f"{no(a.invert)}--fragid {span(a.low, a.high)}"


def _options(name: str) -> Callable[[payloads.Number], str]:
    return lambda a: f"--{name}-len {a.value}" if a.mask & 1 else ""


def _bpf(a: payloads.Program) -> str:
    return f'--bytecode "{a.text}"'


MATCHES: dict[str, Callable[[Any], str]] = {
    "comment": lambda a: f"--comment {quoted(a.name)}",
    "conntrack": _conntrack,
    "state": lambda a: f"--state {bit_names(a.state, STATES)}",
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
    "mac": lambda a: f"{no(a.invert)}--mac-source {format_mac(a.mac)}",
    "owner": _owner,
    "limit": _limit,
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
    "time": _time,
    "connbytes": _connbytes,
    "connlabel": _connlabel,
    "cluster": _cluster,
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
    "hashlimit": _hashlimit,
    "frag": _frag,
    "hbh": _options("hbh"),
    "dst": _options("dst"),
    "rt": lambda a: f"--rt-type {a.value}" if a.mask & 1 else "",
    "eui64": lambda _a: "",
    "srh": lambda a: f"--srh-next-hdr {a.value}" if a.mask & 1 else "",
    "bpf": _bpf,
}
# Those that write addresses which have the same layout in both families.
BY_FAMILY: dict[str, Callable[[Any, bool], str]] = {"recent": _recent, "connlimit": _connlimit}


def match_options(name: str, decoded: Any, ipv6: bool) -> str | None:
    """Write a match's options; None where it has no writer."""
    if name in BY_FAMILY:
        return BY_FAMILY[name](decoded, ipv6)
    write = MATCHES.get(name)
    return write(decoded) if write is not None else None
