"""What a trace comes to, both directions and the pod network's contract together.

| outcome           | the flow ...                                                                          |
|-------------------|---------------------------------------------------------------------------------------|
| `good`            | arrives, and its answer comes back; or leaves the known network as it should            |
| `broken`          | doesn't arrive or isn't answered, in one of the courses that it can take at least        |
| `breaks-contract` | passes, but a pod sees another address than the other pod's own                          |
| `uncertain`       | meets something that isn't known                                                         |
"""

from __future__ import annotations

from typing import Literal

from netviz.core.sim.steps import Transmit
from netviz.core.sim.trace import CERTAIN, UNCERTAIN, Branch, Disposition, Path, Step, Trace

Outcome = Literal["good", "broken", "breaks-contract", "uncertain"]
GOOD: Outcome = "good"
BROKEN: Outcome = "broken"
BREAKS: Outcome = "breaks-contract"
UNSURE: Outcome = "uncertain"
_WORST: tuple[Outcome, ...] = (BROKEN, BREAKS, UNSURE, GOOD)


def outcome_of(trace: Trace) -> Outcome:
    """Say what a trace comes to: the worst of its branches; one that is only assumed counts as not known."""
    found = [branch_outcome(trace, branch) for branch in trace.branches]
    worst = next(one for one in _WORST if one in found)
    if worst in (BROKEN, BREAKS) and worst not in [
        one for one, branch in zip(found, trace.branches, strict=True) if not _is_assumed(branch)
    ]:
        return worst if set(found) == {worst} else UNSURE
    return UNSURE if worst == GOOD and trace.certainty == UNCERTAIN else worst


def _is_assumed(branch: Branch) -> bool:
    """Tell whether a course rests on an answer that nobody knows."""
    paths = (branch.forward, *((branch.reply,) if branch.reply is not None else ()))
    return any(
        step.certainty != CERTAIN and step.action.startswith("assume")
        for path in paths
        for hop in path.hops
        for step in hop.steps
    )


def branch_outcome(trace: Trace, branch: Branch) -> Outcome:
    """Say what one course comes to."""
    forward, reply = branch.forward, branch.reply
    if forward.disposition is Disposition.UNKNOWN:
        return UNSURE
    if forward.disposition is Disposition.LEFT_NETWORK:
        return _left(trace, forward)
    if forward.disposition is not Disposition.DELIVERED:
        return BROKEN
    if reply is not None and reply.disposition is Disposition.UNKNOWN:
        return UNSURE
    if reply is not None and not _is_back(trace, reply):
        return BROKEN
    return BREAKS if _rewrites(trace, forward, reply) else GOOD


def last_step(path: Path) -> Step | None:
    """Return the last step of a path."""
    return path.hops[-1].steps[-1] if path.hops and path.hops[-1].steps else None


def failing_path(trace: Trace, branch: Branch) -> Path | None:
    """Return the direction in which a course fails; None where it doesn't."""
    if branch_outcome(trace, branch) in (GOOD, BREAKS):
        return None
    arrived = branch.forward.disposition is Disposition.DELIVERED
    return branch.reply if arrived and branch.reply is not None else branch.forward


def _left(trace: Trace, path: Path) -> Outcome:
    """A packet that leaves is lost if somebody known has its address."""
    last = last_step(path)
    if last is not None and isinstance(last.what, Transmit):
        if last.what.stray is not None:
            return BROKEN
        if last.what.edge is not None and last.what.edge.doubtful:
            return UNSURE  # whether it is answered depends on who is out there
        if last.what.cause == "to next hop" and last.what.target == last.packet.dst:
            return UNSURE  # it is on a subnet that is known, of a host that isn't
    return GOOD


def _is_back(trace: Trace, reply: Path) -> bool:
    """Tell whether an answer reached who asked; somebody outside is sent it as from where they asked."""
    last, flow = last_step(reply), trace.flow
    if flow.by is not None:
        return (
            reply.disposition is Disposition.LEFT_NETWORK
            and _left(trace, reply) != BROKEN
            and last is not None
            and (last.packet.src, last.packet.dst) == (flow.dst, flow.src)
            and (flow.dport is None or (last.packet.sport, last.packet.dport) == (flow.dport, flow.sport))
        )
    return (
        reply.disposition is Disposition.DELIVERED
        and bool(reply.hops)
        and reply.hops[-1].netns == trace.flow.src_netns
    )


def _rewrites(trace: Trace, forward: Path, reply: Path | None) -> bool:
    """Tell whether one pod sees another's packets with another source than the pod sent."""
    last = last_step(forward)
    if last is None or not trace.origin.pod or not forward.hops[-1].place.pod:
        return False
    if last.packet.dst != trace.flow.dst:
        return False  # a service's address: what is rewritten there is for that to say
    if last.packet.src != trace.flow.src:
        return True
    end = last_step(reply) if reply is not None else None
    return end is not None and end.packet.src != trace.flow.dst
