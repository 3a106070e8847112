"""One run of the walk: what it reads (the cluster), what it has changed so far, and what it chose.

Where the kernel chooses, or nobody can know, the walk asks `Run.choose`. The driver takes the run back to
before that for each other choice (`go_back`), with the choices so far as its script: so the walk itself is
written as if there were a single course, and branches come in a fixed order.

What packets leave behind in the kernel (a conntrack entry, a learned FDB entry, a resolved neighbour) is
the run's memory, one immutable value beside the state; the circumstances of the packet that is followed are
another, its journey. What is speculated works on a fork of both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NoReturn, TypeVar, cast

import msgspec

from netviz.core.model.conntrack import CtTuple
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action, Ended, Rx, Send
from netviz.core.sim.conn import Conn
from netviz.core.sim.findings import Choice, Findings, Found, Met
from netviz.core.sim.journey import Journey, Stand
from netviz.core.sim.known import is_past, why_missing
from netviz.core.sim.memory import Memory
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import (
    Assumption,
    Bridge,
    Copy,
    DropReason,
    HookVerdict,
    Nat,
    Neighbour,
    RouteLookup,
    RpFilter,
    SocketLookup,
    What,
)
from netviz.core.sim.trace import (
    BRANCH,
    CERTAIN,
    MAX_MOVES,
    UNCERTAIN,
    Disposition,
    Flow,
    Limit,
    Path,
    Recorder,
)
from netviz.core.state.node import ClusterState, NetnsState, NodeState

MAX_SUPPOSED = 64

T = TypeVar("T")


# Decisions that need a section of the state whole.
Gappy = Bridge | HookVerdict | Nat | Neighbour | RouteLookup | RpFilter | SocketLookup


# Carries out what a layer handed back, and returns what is next. Raises: Ended.
Move = Callable[[Action], Action]


def _nobody_knows(_action: Action) -> Action:
    raise Ended(Disposition.UNKNOWN)


def _comes_out(action: Action) -> bool:
    return isinstance(action, Rx) and action.packet.payload is None


def next_script(choices: list[Choice]) -> list[int]:
    """Return the script of the course after one that made these choices, in a fixed order; empty after the last."""
    script = [choice.picked for choice in choices]
    for at in range(len(choices) - 1, -1, -1):
        if script[at] + 1 < choices[at].count:
            return [*script[:at], script[at] + 1]
    return []


class Work(msgspec.Struct):
    """How much a trace may take, in moves (None: any), and has taken, in all its courses."""

    most: int | None = None
    spent: int = 0

    @property
    def is_done(self) -> bool:
        """Whether no other course is to be begun."""
        return self.most is not None and self.spent >= self.most


class Run:
    """One run: what it reads, its memory and journey, what it recorded and what it chose."""

    def __init__(
        self,
        cluster: ClusterState,
        flow: Flow,
        script: Sequence[int] = (),
        work: Work | None = None,
    ) -> None:
        self.cluster = cluster
        self.flow = flow
        self.work = work or Work()
        self.rec = Recorder()
        self.memory = Memory()
        self.journey = Journey()
        self.client: tuple[NetnsKey, CtTuple] | None = None
        self.speculation_depth = 0
        self.choices: list[Choice] = []
        self._script = script
        self._made: dict[Hashable, int] = {}
        self._stands: list[Stand] = []
        # the path forward, once the answer is followed; and where a course begins that shares its start with the one before
        self.forward: Path | None = None
        self.start: Stand | None = None
        self._findings: Findings = {}
        self._met: list[Met] = []
        # the sections found whole, by namespace
        self._whole: set[tuple[NetnsKey, str]] = set()
        # what no state tells, in sentences, in the order of use: the answer rests on it, also where it was speculated
        self.assumed: dict[Assumption, None] = {}
        self.move: Move = _nobody_knows

    def choose(self, key: Hashable, count: int, weights: tuple[float, ...] | None) -> int:
        """Choose one of `count` courses. The same question (`key`) has the same answer within a run."""
        for met in self._met:
            met.meet(key)
        if key in self._made:
            return self._made[key]
        at = len(self.choices)
        picked = self._script[at] if at < len(self._script) else 0
        self.choices.append(Choice(key, picked, count, weights))
        self._made[key] = picked
        return picked

    def pick(
        self, key: Hashable, among: Sequence[T], weights: tuple[float, ...] | None = None
    ) -> tuple[T, str]:
        """Follow one of several: a course each. Returns it and how certain that is."""
        if len(among) == 1:
            return among[0], CERTAIN
        return among[self.choose(key, len(among), weights)], BRANCH

    def once(self, question: Hashable, work: Callable[[], T]) -> T:
        """Do what records no steps and leaves the journey as it is, unless a course of this flow has done the same.

        `question` says all that the work depends on, beside the memory, the choices, and the journey but for `visited`.
        """
        journey = self.journey
        around = journey.in_ifindex, journey.xmit_depth, tuple(journey.routed.items()), journey.resolving
        key = question, around, self.speculation_depth > 0
        at = len(self.choices)
        known = self._findings.setdefault(key, [])
        for found in known:
            if found.holds(self.memory, self._made, self._script[at : at + len(found.choices)]):
                for met in self._met:
                    for chosen in found.met:
                        met.meet(chosen)
                self.choices += found.choices
                self._made.update((choice.key, choice.picked) for choice in found.choices)
                self.memory = found.after
                return cast(T, found.result)
        before, met = self.memory, Met(dict(self._made), {})
        self._met.append(met)
        try:
            result = work()
        finally:
            self._met.pop()
        known.append(Found(before, met.keys, result, tuple(self.choices[at:]), self.memory))
        return result

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Follow another packet meanwhile, without recording its steps; what it leaves behind stays."""
        recorder, journey = self.rec, self.journey
        self.rec, self.journey = Recorder(), journey.but(visited=frozenset(), lead=None)
        try:
            yield
        finally:
            self.rec, self.journey = recorder, journey

    def go_back(self, script: Sequence[int]) -> None:
        """Begin the course with this script: where the one before stood when it had made the same choices, else anew."""
        while self._stands and self._stands[-1].choices >= len(script):
            self._stands.pop()
        self.start = start = self._stands.pop() if self._stands else None
        if start is None:
            self.memory, self.journey, self.rec, self.forward = Memory(), Journey(), Recorder(), None
        else:
            self.memory, self.journey, self.forward = start.memory, start.journey, start.forward
            self.rec = start.rec
            self.rec.go_back(start.recorded)
        self.choices = self.choices[: start.choices if start is not None else 0]
        self._made = {choice.key: choice.picked for choice in self.choices}
        self._script = script

    def course(self, action: Action, reached: Callable[[Action], bool] | None = None) -> Action | Ended:
        """Follow the flow's own packet, or its answer, as `follow` does; `action` is that of `start` where there is one."""
        moves, self.start = self.start.moves if self.start is not None else 0, None
        try:
            for number in range(moves, MAX_MOVES):
                if reached is not None and reached(action):
                    return action
                self._stands.append(
                    Stand(
                        action,
                        number,
                        len(self.choices),
                        self.memory,
                        self.journey,
                        self.rec,
                        self.rec.recorded,
                        self.forward,
                    )
                )
                action = self.move(action)
        except Ended as ended:
            return ended
        return Ended(Disposition.LOOP)

    def follow(self, action: Action, reached: Callable[[Action], bool] | None = None) -> Action | Ended:
        """Follow a packet until what is next satisfies `reached`, or to its end."""
        try:
            for _ in range(MAX_MOVES):
                if reached is not None and reached(action):
                    return action
                action = self.move(action)
        except Ended as ended:
            return ended
        return Ended(Disposition.LOOP)

    def fate(self, action: Action) -> Ended:
        """Follow a packet to its end."""
        ended = self.follow(action)
        assert isinstance(ended, Ended)
        return ended

    def carry(self, start: NetnsKey, packet: Packet, oif: int) -> tuple[LinkKey | None, bool]:
        """Follow a tunnel packet until it is taken apart, without recording steps: it isn't the traced packet's.

        Returns the device where the inner frame comes out (None: it doesn't), and whether that isn't known.
        """
        end = self.once(
            ("carry", start, packet, oif), partial(self._follow_aside, Send(start, packet, oif), _comes_out)
        )
        if isinstance(end, Ended):
            return None, end.disposition in (Disposition.UNKNOWN, Disposition.LEFT_NETWORK)
        assert isinstance(end, Rx)
        return end.link, False

    def _follow_aside(self, action: Action, reached: Callable[[Action], bool]) -> Action | Ended:
        with self.aside():
            return self.follow(action, reached)

    def suppose(self, work: Callable[[], T]) -> T:
        """Find out what would become of packets that are only speculated, and forget all that they leave behind.

        `work` returns the answer. The run chooses what the speculated packets meet only where the answer depends on it, or
        may depend on it: no more than `MAX_SUPPOSED` courses are compared.
        """
        choices, script, made = self.choices, self._script, self._made
        self.choices, self._script, self._made = [], (), dict(made)
        try:
            first = self._forked(work)
            for _ in range(MAX_SUPPOSED):
                self._script = next_script(self.choices)
                if not self._script:
                    return first
                self.choices, self._made = [], dict(made)
                if self._forked(work) != first:
                    break
        finally:
            self.choices, self._script, self._made = choices, script, made
        return self._forked(work)

    def _forked(self, work: Callable[[], T]) -> T:
        memory = self.memory
        self.speculation_depth += 1
        try:
            with self.aside():
                return work()
        finally:
            self.speculation_depth -= 1
            self.memory = memory

    def conn(self, number: int | None) -> Conn | None:
        """Return the connection that a packet carries the number of."""
        return None if number is None else self.memory.conns[number]

    def add_conn(self, conn: Conn) -> int:
        """Give a connection a number."""
        number = len(self.memory.conns) + 1
        self.memory = self.memory.with_conn(number, conn)
        return number

    def change_conn(self, number: int | None, **changes: object) -> None:
        """Change a connection, wherever its number is."""
        if number is not None:
            self.memory = self.memory.with_conn(number, self.memory.conns[number].but(**changes))

    @property
    def probability(self) -> float | None:
        """How likely this run's choices are together; None when one of them has no known odds."""
        total = 1.0
        for choice in self.choices:
            if choice.weights is None:
                return None
            total *= choice.weights[choice.picked]
        return total

    def netns(self, key: NetnsKey) -> NetnsState:
        """Look a namespace up. Raises: KeyError, which ends the walk as UNKNOWN."""
        return self.cluster.nodes[key.node].netns[key]

    def node(self, key: NetnsKey) -> NodeState:
        """Look a namespace's node up. Raises: KeyError."""
        return self.cluster.nodes[key.node]

    def link(self, key: LinkKey) -> Link | None:
        """Look a link up."""
        node = self.cluster.nodes.get(key.netns.node)
        return node.link(key) if node is not None else None

    def record(
        self,
        ns: NetnsState,
        dev: Link | int | None,
        packet: Packet,
        what: What,
        *,
        reason: str = "",
        certainty: str = CERTAIN,
        copies: tuple[Copy, ...] = (),
    ) -> None:
        """Record a decision. `dev` is the link, or the ifindex of one that is not in the state."""
        self.rec.step(ns.netns, dev, packet, what, reason, certainty, copies)

    def note_limit(self, ns: NetnsState, dev: Link, packet: Packet, mtu: int, silent: bool = False) -> None:
        """Note that no packet of more than `mtu` bytes passes whole here, as the packet is wrapped now.

        `silent`: a larger one is dropped there, and nobody is told.
        """
        room = mtu if packet.payload is None else mtu - packet.length + packet.innermost.length
        limit = self.rec.limit
        if limit is None or room < limit.bytes:
            self.rec.limit = Limit(room, LinkKey(ns.key, dev.ifindex), dev.ifname, silent)

    def end_dropped(
        self,
        ns: NetnsState,
        dev: Link | None,
        packet: Packet,
        reason: DropReason,
        what: What,
        *,
        copies: tuple[Copy, ...] = (),
    ) -> NoReturn:
        """Record that the packet is dropped here, and end the walk."""
        self.rec.step(ns.netns, dev, packet, what, reason, CERTAIN, copies)
        raise Ended(Disposition.DROPPED, reason)

    def end_unknown(self, ns: NetnsState, dev: Link | int | None, packet: Packet, what: What) -> NoReturn:
        """Record that what happens here isn't known, and end the walk."""
        self.rec.step(ns.netns, dev, packet, what, "", UNCERTAIN)
        raise Ended(Disposition.UNKNOWN)

    def check_gap(
        self, ns: NetnsState, section: str, kind: type[Gappy], dev: Link | None, packet: Packet
    ) -> None:
        """End the walk as UNKNOWN when `section`, which a decision of this kind needs, was not read whole here."""
        asked = ns.key, section
        if asked in self._whole:
            return
        missing = self.missing(ns, section)
        if missing:
            what = kind("unknown", "section not read", section=section, missing=missing)
            self.end_unknown(ns, dev, packet, what)
        self._whole.add(asked)

    def missing(self, ns: NetnsState, section: str) -> str:
        """Say why a namespace's section isn't known whole, or ""."""
        return why_missing(self.cluster.nodes[ns.key.node], ns.key, section)

    def is_past(self, ns: NetnsState, section: str) -> bool:
        """Tell whether a section is of an earlier time, with no more of it than a new flow meets."""
        return is_past(self.node(ns.key), section)

    def start_path(self) -> None:
        """Begin the answer's path; step numbers go on."""
        self.rec = Recorder(self.rec.seq)
        self.journey = self.journey.but(visited=frozenset())
