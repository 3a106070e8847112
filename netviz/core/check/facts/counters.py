"""Whether links drop packets now: counters that rose since they were read last.

A NIC counts frames of protocols that nobody wants as dropped, so a few are normal: told is what is more than a share of
all packets. What rules count is another check's (`rule_drops.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import who
from netviz.core.model.ids import NetnsKey
from netviz.core.model.link import LinkCounters
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

AT_LEAST, SHARE = 10, 0.01
# What a counter of a direction counts, and the packets of that direction.
DIRECTIONS = (
    ("rx_dropped", "rx_packets", "drops what it receives"),
    ("tx_dropped", "tx_packets", "drops what it sends"),
    ("rx_errors", "rx_packets", "receives broken frames"),
    ("tx_errors", "tx_packets", "fails to send"),
)
# Of each namespace the counters as they were read last, and what was found then; None: they were read once.
Memory = dict[NetnsKey, tuple[Mapping[Any, LinkCounters], tuple[Problem, ...] | None]]


def _find(look: Look) -> Iterator[Problem]:
    before: Memory = look.memory or {}
    look.memory = {}
    compared = False
    for key, ns in look.node.netns.items():
        if not ns.counters or not look.whole(ns):
            continue
        was, found = before.get(key, (None, ()))
        if was is None:
            look.memory[key] = (ns.counters, None)
            continue
        if was is not ns.counters:
            pairs = ((was[index], now) for index, now in ns.counters.items() if index in was)
            found = tuple(problem for pair in pairs for problem in _rising(look, ns, *pair))
        look.memory[key] = (ns.counters, found)
        if found is not None:
            compared = True
            look.judged += len(ns.counters)
            yield from found
    if not compared:
        look.lacks_second_reading("counters")


def _rising(look: Look, ns: NetnsState, was: LinkCounters, now: LinkCounters) -> Iterator[Problem]:
    link = ns.links.get(now.ifindex)
    if link is None:
        return
    for dropped, packets, what in DIRECTIONS:
        rose = getattr(now, dropped) - getattr(was, dropped)
        passed = getattr(now, packets) - getattr(was, packets)
        if rose < AT_LEAST or rose < SHARE * (rose + max(passed, 0)):
            continue
        yield Problem(
            kind="drops-rising",
            cause=f"{ns.key}:{link.ifname}:{dropped}",
            severity="warning",
            harm="degrades",
            headline=f"{link.ifname} of {who(ns.netns)} {what}: {dropped} rises",
            consequence="Some of the packets by this link were lost between the last two readings.",
            where=place(ns.netns, link),
            certainty="likely",
            affects=affects([pod_name(ns.netns)]),
            check=(command(ns.netns, f"ip -s link show {quoted(link.ifname)}"),),
            rests_on=look.rests_on(),
        )


FACT = Fact(
    name="drops",
    demands="No link drops a share of its packets.",
    unit="links",
    kinds=("drops-rising",),
    needs=("counters",),
    find=_find,
    compares=True,
)
