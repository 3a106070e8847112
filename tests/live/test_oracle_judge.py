"""The oracle's judge: an error planted in a right prediction is found.

A judge that takes everything for right would make the oracle's figures worthless, so predictions that agree with the
kernel are changed, one thing at a time, and laid beside the same packets again.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from lab.randomnet.generate import generate
from netviz.core.sim.trace import Branch, Disposition, Hop, Path, Step, Trace
from tests.live.oracle.build import built
from tests.live.oracle.collect import collect
from tests.live.oracle.compare import RIGHT, Comparison, compare
from tests.live.oracle.path import Places
from tests.live.oracle.predict import predict
from tests.live.oracle.send import Session

pytestmark = pytest.mark.live

SEEDS = range(31, 43)
LEAST_PLANTED = 5


def _changed(trace: Trace, path: Path) -> Trace:
    branch = trace.branches[0]
    return msgspec.structs.replace(trace, branches=(msgspec.structs.replace(branch, forward=path),))


def _each_step(path: Path, change: Callable[[Step], Step]) -> Path:
    hops = (
        msgspec.structs.replace(hop, steps=tuple(change(step) for step in hop.steps)) for hop in path.hops
    )
    return msgspec.structs.replace(path, hops=tuple(hops))


def _crosses(path: Path) -> bool:
    """Tell whether the path goes to another namespace, to an end in sight, and nobody gets copies."""
    steps = [step for hop in path.hops for step in hop.steps]
    copies = any(step.action in ("flood", "copy") or step.copies for step in steps)
    known = path.disposition in (Disposition.DELIVERED, Disposition.NO_LISTENER, Disposition.REJECTED)
    return len(path.hops) > 1 and known and not copies


def another_ttl(trace: Trace) -> Trace | None:
    """Count one hop too few."""
    path = trace.branches[0].forward
    return _changed(
        trace,
        _each_step(path, lambda s: msgspec.structs.replace(s, packet=s.packet.but(ttl=s.packet.ttl + 1))),
    )


def another_source(trace: Trace) -> Trace | None:
    """Translate the source where the kernel doesn't."""
    path = trace.branches[0].forward

    def other(step: Step) -> Step:
        src = step.packet.src[:-1] + bytes([step.packet.src[-1] ^ 1])
        return msgspec.structs.replace(step, packet=step.packet.but(src=src))

    return _changed(trace, _each_step(path, other))


def another_next_hop(trace: Trace) -> Trace | None:
    """Send the frames to another neighbour."""
    path = trace.branches[0].forward

    def other(step: Step) -> Step:
        mac = step.packet.dmac
        return (
            msgspec.structs.replace(step, packet=step.packet.but(dmac=mac[:-1] + bytes([mac[-1] ^ 1])))
            if mac
            else step
        )

    return _changed(trace, _each_step(path, other))


def a_hop_too_few(trace: Trace) -> Trace | None:
    """Drop the packet one namespace too early."""
    path = trace.branches[0].forward
    if path.hops[-1].steps[0].cause == "bridge port":
        return None  # what comes in by a bridge's port may be there by chance
    return _changed(trace, Path(Disposition.DROPPED, "NETFILTER_DROP", path.hops[:-1]))


def dropped_at_the_end(trace: Trace) -> Trace | None:
    """Drop what the kernel delivers or answers."""
    branch = trace.branches[0]
    if branch.reply is None or branch.reply.disposition is not Disposition.DELIVERED:
        return None
    lost = Path(Disposition.DROPPED, "NETFILTER_DROP", branch.forward.hops)
    return msgspec.structs.replace(trace, branches=(Branch(branch.probability, lost, None),))


def delivered_instead(trace: Trace) -> Trace | None:
    """Deliver what the kernel refuses."""
    path, reply = trace.branches[0].forward, trace.branches[0].reply
    if path.disposition is Disposition.DELIVERED or reply is None:
        return None
    if reply.disposition is not Disposition.DELIVERED:
        return None  # neither a lost refusal nor a lost answer is seen
    return _changed(trace, msgspec.structs.replace(path, disposition=Disposition.DELIVERED, reason=""))


def another_place(trace: Trace) -> Trace | None:
    """Cross a device that isn't there."""
    path = trace.branches[0].forward

    def other(hop: Hop) -> Hop:
        return msgspec.structs.replace(
            hop, steps=tuple(msgspec.structs.replace(s, dev=f"{s.dev}x") for s in hop.steps)
        )

    return _changed(trace, msgspec.structs.replace(path, hops=tuple(other(hop) for hop in path.hops)))


def a_lost_answer(trace: Trace) -> Trace | None:
    """Lose the answer that the sender gets."""
    branch = trace.branches[0]
    if (
        branch.reply is None
        or branch.reply.disposition is not Disposition.DELIVERED
        or len(branch.reply.hops) < 2
    ):
        return None
    lost = Path(Disposition.DROPPED, "NETFILTER_DROP", branch.reply.hops[:-1])
    return msgspec.structs.replace(trace, branches=(Branch(branch.probability, branch.forward, lost),))


PLANTED = (
    another_ttl,
    another_source,
    another_next_hop,
    a_hop_too_few,
    dropped_at_the_end,
    delivered_instead,
    another_place,
    a_lost_answer,
)


@pytest.fixture(scope="module")
def judged() -> list[tuple[Comparison, Places]]:
    """Some networks' packets that are predicted rightly and end in sight, in another namespace."""
    found = []
    for seed in SEEDS:
        with built(generate(seed, 20)) as up:
            session = Session(up)
            try:
                session.prepare()
                state = collect(up)
                places = Places.of_built(up)
                compared = [compare(predict(state, r.probe), r, places) for r in session.send()]
            finally:
                session.close()
        found += [(c, places) for c in compared if c.verdict == RIGHT]
    return [
        (c, places) for c, places in found if c.trace is not None and _crosses(c.trace.branches[0].forward)
    ]


@pytest.mark.parametrize("plant", PLANTED)
def test_planted_errors_are_found(
    judged: list[tuple[Comparison, Places]], plant: Callable[[Trace], Trace | None]
) -> None:
    """Not one of the changed predictions is taken for right."""
    missed, planted = list[str](), 0
    for comparison, places in judged:
        assert comparison.trace is not None
        wrong = plant(comparison.trace)
        if wrong is not None:
            planted += 1
            if compare(wrong, comparison.result, places).verdict == RIGHT:
                missed.append(str(comparison.result.probe))
    assert missed == []
    assert planted >= LEAST_PLANTED
