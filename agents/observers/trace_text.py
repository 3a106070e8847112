"""Read the text of tracefs: events of packets' transmission, reception and free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from netviz.core.observe.sighting import Event, TracePoint

POINTS: Mapping[str, TracePoint] = {
    "net_dev_queue": "net:net_dev_queue",
    "net_dev_start_xmit": "net:net_dev_start_xmit",
    "netif_receive_skb": "net:netif_receive_skb",
    "kfree_skb": "skb:kfree_skb",
    "consume_skb": "skb:consume_skb",
}
# COMM-PID [CPU] FLAGS SECONDS.MICROSECONDS: EVENT: FIELDS. A comm may have blanks and minus signs.
_LINE = re.compile(r"-(\d+)\s+\[\d+\]\s+\S+\s+(\d+)\.(\d{6}): (\w+): (.*)$")
_SKB = re.compile(r"skbaddr=(\w+)")
_DEV = re.compile(r"^dev=(\S+) ")
_LENGTH = re.compile(r"\blen=(\d+)")
_PROTOCOL = re.compile(r"\bprotocol=(\d+)")
_REASON = re.compile(r"\breason: (\w+)")
_OVERRUN = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)


def parse_events(text: str) -> list[Event]:
    """Read a trace, in its order; lines of other events are left out."""
    return list(_events(text.splitlines()))


def _events(lines: Iterable[str]) -> Iterator[Event]:
    for line in lines:
        found = _LINE.search(line)
        point = POINTS.get(found[4]) if found is not None else None
        skb = _SKB.search(found[5]) if found is not None else None
        if found is None or point is None or skb is None:
            continue
        said = found[5]
        at_ns = (int(found[2]) * 1_000_000 + int(found[3])) * 1000
        dev, reason = _DEV.search(said), _REASON.search(said)
        protocol = _number(_PROTOCOL, said) if point.startswith("skb:") else 0
        yield Event(
            at_ns,
            point,
            int(skb[1], 16),
            int(found[1]),
            dev[1] if dev is not None else "",
            _number(_LENGTH, said),
            protocol,
            reason[1] if reason is not None else "",
        )


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found[1]) if found is not None else 0


def parse_lost(stats: str) -> int:
    """Return how many events a processor's buffer lost, by its `stats`."""
    return sum(int(count) for count in _OVERRUN.findall(stats))
