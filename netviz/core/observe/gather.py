"""What the collectors report of one probe, gathered into evidence: clocks compared, losses named, what never came said.

Nodes have clocks of their own. How far another's is off is known from the exchanges with it: it said what its clock was
between the server's order and the server's receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netviz.core.observe.directed import directed
from netviz.core.observe.evidence import (
    Apart,
    Evidence,
    Kernel,
    Sending,
    Source,
    chosen,
    node_of,
    place_name,
    syn_of,
)
from netviz.core.observe.orders import MAX_SIGHTINGS, Finished, News, Ready, Refused, Report
from netviz.core.observe.sighting import Clocks, RuleEvent, Sighting, Tracked
from netviz.core.sim.trace import Flow

GONE = "its collector's connection ended"
SILENT = "its collector didn't answer in time"


class Exchange(msgspec.Struct, frozen=True):
    """A node's wall clock as said between two readings of the server's, all in ns."""

    asked_ns: int
    said_ns: int
    heard_ns: int


class Gathering:
    """Takes the reports of the nodes that were asked. `kernels` are the boot ids of the nodes, where they are known."""

    def __init__(self, flow: Flow, number: int, kernels: Mapping[str, str]) -> None:
        self.sender = flow.src_netns.node
        self.sending: Sending | None = None
        self.told = ""
        self.ready: dict[str, Ready] = {}
        self.missing: dict[str, str] = {}
        self._flow = flow
        self._number = number
        self._kernels = kernels
        self._sightings: list[Sighting] = []
        self._rules: list[RuleEvent] = []
        self._tracked: list[Tracked] = []
        self._finished: dict[str, Finished] = {}
        self._exchanges: dict[str, list[Exchange]] = {}
        self._overfull: set[str] = set()

    def take(self, node: str, report: Report, asked_ns: int, heard_ns: int) -> None:
        """Take what a node said, which was asked at a time of the server's clock."""
        if node in self.missing:
            return
        match report:
            case Ready(at_ns=at_ns):
                self.ready[node] = report
                self._note(node, asked_ns, at_ns, heard_ns)
            case Refused(why=why):
                self.lose(node, why)
            case News():
                self._take_news(node, report)
            case Finished(at_ns=at_ns):
                self._finished[node] = report
                self._note(node, asked_ns, at_ns, heard_ns)

    def _take_news(self, node: str, news: News) -> None:
        if node == self.sender:
            self.sending = news.sending or self.sending
            self.told = news.told or self.told
        room = MAX_SIGHTINGS - len(self._sightings) - len(self._rules) - len(self._tracked)
        if len(news.sightings) + len(news.rules) + len(news.tracked) > room:
            self._overfull.add(node)
            return
        self._sightings += [one for one in news.sightings if node_of(one.place) == node]
        self._tracked += [one for one in news.tracked if node_of(one.place) == node]
        self._rules += [one for one in news.rules if node_of(one.place) == node]

    def _note(self, node: str, asked_ns: int, said_ns: int, heard_ns: int) -> None:
        self._exchanges.setdefault(node, []).append(Exchange(asked_ns, said_ns, heard_ns))

    def lose(self, node: str, why: str) -> None:
        """Note that nothing more will come of a node; what it said stands."""
        self.missing.setdefault(node, why)

    def sightings(self) -> tuple[Sighting, ...]:
        """The probe's sightings so far, as they came."""
        return chosen(self._sightings, self._number, self.seq())

    def unfinished(self, nodes: Iterable[str]) -> list[str]:
        """Of some nodes, those that have yet to finish."""
        return [node for node in nodes if node not in self._finished and node not in self.missing]

    def unready(self, nodes: Iterable[str]) -> list[str]:
        """Of some nodes, those that have yet to be ready."""
        return [node for node in nodes if node not in self.ready and node not in self.missing]

    def seq(self) -> int | None:
        """The sequence number of a TCP probe's SYN, as soon as the sender's collector has seen it."""
        place = place_name(self._flow.src_netns)
        return syn_of([*self._sightings, *self._rules], place, self._flow.sport or 0)

    def sightings_of(self, nodes: Iterable[str]) -> tuple[Sighting, ...]:
        """What some nodes saw so far."""
        wanted = frozenset(nodes)
        return tuple(one for one in self.sightings() if node_of(one.place) in wanted)

    def evidence(self) -> Evidence:
        """Return what is known so far. Raises: ValueError before the probe was sent."""
        if self.sending is None:
            raise ValueError("the probe wasn't sent")
        seq = self.seq()
        sightings = list(self.sightings())
        shifts, apart = self._shifts()
        sightings = [
            msgspec.structs.replace(one, at_ns=one.at_ns + shifts.get(node_of(one.place), 0))
            for one in sightings
        ]
        sightings.sort(key=lambda one: one.at_ns)
        sightings, rules = directed(sightings, chosen(self._rules, self._number, seq))
        return Evidence(
            self.sender,
            tuple(sightings),
            tuple(self._shared(shifts)),
            tuple(sorted(place for one in self.ready.values() for place in one.watched)),
            tuple(self._sources()),
            self.sending,
            self.told,
            tuple(rules),
            tuple(apart),
            tuple(self._tracked),
            tuple(self._finished[node].counts for node in sorted(self._finished)),
        )

    def _sources(self) -> Iterable[Source]:
        for node in sorted(self._finished):
            yield from self._finished[node].sources
        for node in sorted(self.missing):
            yield Source(node, "collector", missing=f"{node}: {self.missing[node]}")
        for node in sorted(self._overfull):
            yield Source(node, "collector", lost=1, missing=f"{node} saw more than can be kept")

    def _boot(self, node: str) -> str:
        return self._kernels.get(node) or f"of {node}"

    def _shared(self, shifts: Mapping[str, int]) -> Iterable[Kernel]:
        """Make one of the nodes that run on one kernel; the events are of whichever listened to its tracepoints."""
        groups: dict[str, list[str]] = {}
        for node in sorted(self.ready):
            groups.setdefault(self._boot(node), []).append(node)
        for nodes in groups.values():
            told = [self._finished[node].kernel for node in nodes if node in self._finished]
            told.sort(key=lambda kernel: not kernel.drops)
            one = told[0] if told else Kernel((), self.ready[nodes[0]].clocks)
            clocks = Clocks(one.clocks.offset_ns + shifts.get(nodes[0], 0), one.clocks.uncertainty_ns)
            yield msgspec.structs.replace(one, nodes=tuple(nodes), clocks=clocks)

    def _shifts(self) -> tuple[dict[str, int], list[Apart]]:
        """What to add to each node's wall clock to have the sender's, and by how much that may be wrong."""
        shifts: dict[str, int] = {}
        apart = []
        mine = self._bounds(self.sender)
        for node in sorted(self.ready):
            other = self._bounds(node)
            if self._boot(node) == self._boot(self.sender) or mine is None or other is None:
                continue
            low, high = mine[0] - other[1], mine[1] - other[0]
            shifts[node] = (low + high) // 2
            apart.append(Apart(node, low - shifts[node], high - shifts[node]))
        return shifts, apart

    def _bounds(self, node: str) -> tuple[int, int] | None:
        """How much a node's wall clock is ahead of the server's, at least and at most."""
        found = self._exchanges.get(node)
        if not found:
            return None
        low = max(one.said_ns - one.heard_ns for one in found)
        high = min(one.said_ns - one.asked_ns for one in found)
        return (low, high) if low <= high else (high, low)  # a clock was set in between
