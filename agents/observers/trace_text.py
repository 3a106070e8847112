"""Read the text of tracefs: events of packets' transmission, reception and free, and of lookups of routes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from netviz.core.observe.sighting import Event, Lookup, TracePoint

POINTS: Mapping[str, TracePoint] = {
    "net_dev_queue": "net:net_dev_queue",
    "net_dev_start_xmit": "net:net_dev_start_xmit",
    "netif_receive_skb": "net:netif_receive_skb",
    "kfree_skb": "skb:kfree_skb",
    "consume_skb": "skb:consume_skb",
}
LOOKUPS: Mapping[str, TracePoint] = {
    "fib_table_lookup": "fib:fib_table_lookup",
    "fib6_table_lookup": "fib6:fib6_table_lookup",
}
# COMM-PID [CPU] FLAGS SECONDS.MICROSECONDS: EVENT: FIELDS. A comm may have blanks and minus signs.
_LINE = re.compile(r"-(\d+)\s+\[(\d+)\]\s+\S+\s+(\d+)\.(\d{6}): (\w+): (.*)$")
_SKB = re.compile(r"skbaddr=(\w+)")
_DEV = re.compile(r"^dev=(\S+) ")
_LENGTH = re.compile(r"\blen=(\d+)")
_PROTOCOL = re.compile(r"\bprotocol=(\d+)")
_REASON = re.compile(r"\breason: (\w+)")
# table 254 oif 0 iif 3 proto 6 SRC/PORT -> DST/PORT tos 0 ...: ==> dev eth0 gw 192.0.2.1/:: err 0; IPv6 has flowlabel and one gateway.
_LOOKUP = re.compile(
    r"^table\s+(\d+) oif -?\d+ iif (-?\d+) proto \d+ ([\da-f.:]+)/\d+ -> ([\da-f.:]+)/\d+ .*"
    r"==> dev (\S*) gw ([\da-f.:]+)(?:/([\da-f.:]+))? err (-?\d+)$"
)
_NO_GATEWAY = ("0.0.0.0", "::")
_OVERRUN = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)


def parse_events(text: str) -> list[Event]:
    """Read a trace, in its order; lines of other events are left out."""
    return list(_events(text.splitlines()))


def _events(lines: Iterable[str]) -> Iterator[Event]:
    for line in lines:
        found = _LINE.search(line)
        if found is None:
            continue
        pid, cpu = int(found[1]), int(found[2])
        at_ns = (int(found[3]) * 1_000_000 + int(found[4])) * 1000
        point, said = POINTS.get(found[5]), found[6]
        if point is None:
            lookup = _lookup(said) if found[5] in LOOKUPS else None
            if lookup is not None:
                yield Event(at_ns, LOOKUPS[found[5]], 0, pid, cpu=cpu, lookup=lookup)
            continue
        skb = _SKB.search(said)
        if skb is None:
            continue
        dev, reason = _DEV.search(said), _REASON.search(said)
        protocol = _number(_PROTOCOL, said) if point.startswith("skb:") else 0
        yield Event(
            at_ns,
            point,
            int(skb[1], 16),
            pid,
            dev[1] if dev is not None else "",
            _number(_LENGTH, said),
            protocol,
            reason[1] if reason is not None else "",
            cpu,
        )


def _lookup(said: str) -> Lookup | None:
    found = _LOOKUP.search(said)
    if found is None:
        return None
    table, iif, src, dst, dev, gateway, gateway6, error = found.groups()
    via = next((one for one in (gateway, gateway6) if one and one not in _NO_GATEWAY), "")
    return Lookup(int(table), int(iif), src, dst, "" if dev == "-" else dev, via, abs(int(error)))


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found[1]) if found is not None else 0


def parse_lost(stats: str) -> int:
    """Return how many events a processor's buffer lost, by its `stats`."""
    return sum(int(count) for count in _OVERRUN.findall(stats))
