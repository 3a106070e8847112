"""What a node does first with a packet: whether its rules give it another destination, and by which rule.

The walk's own course, as far as that is decided: until the destination is translated, the packet ends, or its node is
about to send it on as it is. Whoever asks where a service's address leads has no need of the rest of the path.
"""

from __future__ import annotations

from functools import partial

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns
from netviz.core.sim.actions import Action, Ended, Resolve, Rx, Send
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run, Work
from netviz.core.sim.steps import Copy, What
from netviz.core.sim.trace import CERTAIN, Disposition, Flow, Recorder, Step
from netviz.core.sim.walk import asks_without_source, courses, first_packet
from netviz.core.sim.words.step import end_reason
from netviz.core.state.node import ClusterState

MAX_COURSES = 512


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One possible course. `ended` is how the packet ended, None where it goes on.

    `translated`: it goes on to `packet`'s destination, which is another one than it had. `steps` are its decisions,
    `probability` how likely it is, None where nothing tells.
    """

    ended: Disposition | None
    reason: str
    packet: Packet
    steps: tuple[Step, ...] = ()
    translated: bool = False
    probability: float | None = None


class _Translated(Exception):
    pass


class _Until(Recorder):
    """Records the followed packet's steps until one gives it another destination; others' are recorded elsewhere."""

    def __init__(self, packet: Packet) -> None:
        super().__init__()
        self._first = packet
        self._target = packet.dst, packet.dport

    def step(
        self,
        netns: Netns,
        dev: Link | int | None,
        packet: Packet,
        what: What,
        reason: str = "",
        certainty: str = CERTAIN,
        copies: tuple[Copy, ...] = (),
    ) -> None:
        super().step(netns, dev, packet, what, reason, certainty, copies)
        if packet.payload is None and (packet.dst, packet.dport) != self._target:
            raise _Translated

    @property
    def packet(self) -> Packet:
        """The followed packet, as its last step left it."""
        own = (step.packet for step in self.steps_backwards() if step.packet.payload is None)
        return next(own, self._first)


def entries(cluster: ClusterState, flow: Flow, by: LinkKey | None = None) -> list[Entry]:
    """Follow a flow's first packet through its node, in all courses, in a fixed order. Never raises for bad state.

    `by` is the node's link by which it comes in from outside; None: the flow's namespace sends it. With more than
    `MAX_COURSES` courses, the last one is UNKNOWN.
    """
    found: list[Entry] = []
    for run in courses(cluster, flow, Work()):
        if len(found) >= MAX_COURSES:
            why = f"more than {MAX_COURSES} possible courses"
            found.append(Entry(Disposition.UNKNOWN, why, first_packet(flow)))
            break
        found.append(msgspec.structs.replace(_course(run, by), probability=run.probability))
    return found


def _course(run: Run, by: LinkKey | None) -> Entry:
    if run.start is None:
        run.rec = _Until(first_packet(run.flow))
    recorder = run.rec
    assert isinstance(recorder, _Until)
    try:
        action = run.start.action if run.start is not None else _first(run, by)
        found = run.course(action, partial(_leaves, run))
    except _Translated:
        return _entry(recorder, None, translated=True)
    except BAD_STATE as err:
        return _entry(recorder, Disposition.UNKNOWN, f"{type(err).__name__}: {err}")
    if isinstance(found, Ended):
        return _entry(recorder, found.disposition, found.reason)
    return _entry(recorder, None)


def _first(run: Run, by: LinkKey | None) -> Action:
    packet, flow = first_packet(run.flow), run.flow
    if by is not None:
        return Rx(by, packet, host=True)
    return Send(flow.src_netns, packet, flow.oif, sourceless=asks_without_source(run, packet))


def _leaves(run: Run, action: Action) -> bool:
    """Tell whether a packet is past all that may translate it: its node's own namespace is about to send it on."""
    if isinstance(action, Resolve):
        return run.netns(action.link.netns).netns.root
    at = action.netns if isinstance(action, Send) else action.link.netns
    return at.node != run.flow.src_netns.node


def _entry(recorder: _Until, ended: Disposition | None, reason: str = "", translated: bool = False) -> Entry:
    path = recorder.path(ended or Disposition.DELIVERED, reason)
    steps = tuple(step for hop in path.hops for step in hop.steps)
    if ended is not None:
        reason = reason or end_reason(ended, steps[-1] if steps else None)
    return Entry(ended, reason, recorder.packet, steps, translated)
