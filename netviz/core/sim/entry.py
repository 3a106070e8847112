"""What a node does first with a packet: whether its rules give it another destination, and by which rule.

The walk's own course, as far as that is decided: until the destination is translated, the packet ends, or its node is
about to send it on as it is. Whoever asks where a service's address leads has no need of the rest of the path.
"""

from __future__ import annotations

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns
from netviz.core.sim.actions import Action, Ended, Resolve, Rx, Send
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run, Work
from netviz.core.sim.steps import Copy, What
from netviz.core.sim.trace import CERTAIN, MAX_MOVES, Disposition, Flow, Recorder, Step
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
        self.packet = packet
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
        if packet.payload is None:
            self.packet = packet
            if (packet.dst, packet.dport) != self._target:
                raise _Translated


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
    packet = first_packet(run.flow)
    recorder = run.rec = _Until(packet)
    try:
        action: Action = (
            Rx(by, packet, host=True)
            if by is not None
            else Send(run.flow.src_netns, packet, run.flow.oif, sourceless=asks_without_source(run, packet))
        )
        for _ in range(MAX_MOVES):
            if _leaves(run, action):
                return _entry(recorder, None)
            action = run.move(action)
    except _Translated:
        return _entry(recorder, None, translated=True)
    except Ended as err:
        return _entry(recorder, err.disposition, err.reason)
    except BAD_STATE as err:
        return _entry(recorder, Disposition.UNKNOWN, f"{type(err).__name__}: {err}")
    return _entry(recorder, Disposition.LOOP)


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
