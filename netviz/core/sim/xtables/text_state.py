"""Matches that look at more than the packet, as `iptables-save` writes them: connections, counters, clocks, programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.sim.xtables import payloads
from netviz.core.sim.xtables.words import bit_names, no, prefix_length, span

STATES = ((1, "INVALID"), (8, "NEW"), (4, "RELATED"), (2, "ESTABLISHED"), (0x100, "UNTRACKED"), (64, "SNAT"),
          (128, "DNAT"))  # fmt: skip
STATUSES = ((1, "EXPECTED"), (2, "SEEN_REPLY"), (4, "ASSURED"), (8, "CONFIRMED"))
MODES = ((4, "srcip"), (8, "srcport"), (1, "dstip"), (2, "dstport"))
UNIT_BELOW = {"day": 3600, "hour": 60, "min": 1}


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


def _statistic(a: payloads.Statistic) -> str:
    if a.nth:
        return f"--mode nth {no(a.invert)}--every {a.every} --packet {a.packet}"
    return f"--mode random {no(a.invert)}--probability {a.probability:.11f}"


def _limit(a: payloads.Limit) -> str:
    for unit, ticks in (("day", 864000000), ("hour", 36000000), ("min", 600000), ("sec", 10000)):
        if a.avg and ticks // a.avg > 0 and (unit == "sec" or a.avg * 1 > ticks // 60):
            return f"--limit {ticks // a.avg}/{unit} --limit-burst {a.burst}"
    return f"--limit {10000 // a.avg if a.avg else 0}/sec --limit-burst {a.burst}"


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


def _connlabel(a: payloads.ConnLabel) -> str:
    return f'{no(a.options & 1)}--label "{a.bit}"{" --set" if a.options & 2 else ""}'


def _cluster(a: payloads.Cluster) -> str:
    return (
        f"{no(a.invert)}--cluster-local-nodemask 0x{a.mask:08x} --cluster-total-nodes {a.total} "
        f"--cluster-hash-seed 0x{a.seed:08x}"
    )


def _rate(a: payloads.HashLimit) -> str:
    """Write a rate in the largest unit that it has a whole number of."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1)):
        ticks = seconds * a.scale
        if a.avg and ticks // a.avg and (unit == "sec" or ticks // a.avg < seconds // UNIT_BELOW[unit]):
            return f"{ticks // a.avg}/{unit}"
    return f"{a.scale // a.avg if a.avg else 0}/sec"


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


def _bpf(a: payloads.Program) -> str:
    return f'--bytecode "{a.text}"'


STATE_MATCHES: dict[str, Callable[[Any], str]] = {
    "state": lambda a: f"--state {bit_names(a.state, STATES)}",
    "conntrack": _conntrack,
    "statistic": _statistic,
    "limit": _limit,
    "time": _time,
    "connbytes": _connbytes,
    "connlabel": _connlabel,
    "cluster": _cluster,
    "hashlimit": _hashlimit,
    "bpf": _bpf,
}
