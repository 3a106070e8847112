"""Whether each node's collector is connected, in time, can read all of its node, and has the server's time."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Command, NodeHealth, Problem, Where
from netviz.core.check.text import joined, not_watched
from netviz.core.state.node import SECTIONS
from netviz.core.state.objects import cluster_of

# One that is back after a moment is no news.
LOST_GRACE_S = 5.0
# Two heartbeats have to say so.
CLOCK_GRACE_S = 15.0


def doubt(node: str, health: NodeHealth) -> str:
    """Say why what is known of a node may not be so any more, or ""."""
    if health.fault:
        return f"{node} is not understood"
    if health.awaited:
        return f"{_awaited(node)}: nothing there is checked"
    if not health.connected:
        cluster = cluster_of(node)
        return f"{node}'s collector is not connected" if cluster is None else not_watched(cluster)
    return f"{node}'s collector is late with {joined(health.late)}" if health.late else ""


def _awaited(node: str) -> str:
    return f"{node} has been enrolled, but its collector has not connected yet"


def not_understood(node: str, fault: str) -> Problem:
    """Say of a node whose state can't be worked out that no check covers it."""
    return Problem(
        kind="not-understood",
        cause=node,
        severity="error",
        harm="not known",
        headline=f"netviz doesn't understand the state of {node}",
        consequence=f"No check covers {node} whole, and a trace through it may fail: {fault}",
        where=Where(node),
    )


def _skewed(node: str, clock_s: int) -> Problem:
    """What a node says comes later than it says it: that its clock is ahead is certain, that it is behind likely."""
    far = f"{abs(clock_s)} s" if abs(clock_s) < 120 else f"{abs(clock_s) // 60} min"
    return Problem(
        kind="clock-skew",
        cause=node,
        severity="warning",
        harm="at risk",
        headline=f"{node}'s clock is some {far} {'ahead of' if clock_s > 0 else 'behind'} the server's",
        consequence="Times in its logs and events don't fit the others', and certificates may count as not yet valid, or expired.",
        where=Where(node),
        certainty="certain" if clock_s > 0 else "likely",
        check=(Command(node, "", "timedatectl timesync-status || chronyc tracking"),),
        grace_s=CLOCK_GRACE_S,
    )


def _find(look: Look) -> Iterator[Problem]:
    node, health = look.node.node, look.health
    look.judged = 1
    if health.fault:
        yield not_understood(node, health.fault)
    running = (Command(node, "", "pgrep -af 'agents run'"),)
    if health.awaited:
        yield Problem(
            kind="collector-awaited",
            cause=node,
            severity="warning",
            harm="not known",
            headline=_awaited(node),
            consequence=f"Nothing on {node} is checked or shown until it connects.",
            where=Where(node),
            check=running,
            grace_s=LOST_GRACE_S,
        )
    elif not health.connected:
        yield Problem(
            kind="collector-lost",
            cause=node,
            severity="error",
            harm="not known",
            headline=f"{node}'s collector is not connected",
            consequence=f"What netviz knows of {node}, if anything, is as old as its last message: nothing about it is certain.",
            where=Where(node),
            check=running,
            grace_s=LOST_GRACE_S,
        )
    elif health.late:
        yield Problem(
            kind="collector-late",
            cause=node,
            severity="warning",
            harm="not known",
            headline=f"{node}'s collector is late with {joined(health.late)}",
            consequence="These parts of its state are older than they promise to be: what rests on them isn't certain.",
            where=Where(node),
            check=running,
            rests_on=((node, "netns"),),
        )
    if health.clock_s:
        yield _skewed(node, health.clock_s)
    gaps = look.node.gaps
    if gaps:
        section, reason = next(iter(gaps.items()))
        yield Problem(
            kind="collector-incomplete",
            cause=node,
            severity="warning",
            harm="not known",
            headline=f"{node}'s collector can't read all of {joined(gaps)}",
            consequence=f"Checks that need these parts of the state leave {node} out; {section}: {reason}",
            where=Where(node),
            rests_on=((node, "netns"),),
        )


FACT = Fact(
    name="collectors",
    demands="Every node's collector is connected, in time, and reads the whole of its node.",
    unit="collectors",
    kinds=(
        "collector-awaited",
        "collector-lost",
        "collector-late",
        "collector-incomplete",
        "clock-skew",
        "not-understood",
    ),
    needs=(),
    reads=SECTIONS,
    find=_find,
    watches_health=True,
)
