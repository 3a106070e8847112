"""Reports of several nodes gathered into evidence: clocks that are off, nodes that are missing, and what they lost."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.observe import orders
from netviz.core.observe.clocks import in_line
from netviz.core.observe.evidence import Apart, Evidence, Kernel, Source, judge, node_of
from netviz.core.observe.gather import GONE, Gathering
from netviz.core.observe.kept import Kept
from netviz.core.observe.latency import latencies
from netviz.core.observe.orders import Finished, News, Ready, Refused, Report
from netviz.core.observe.sighting import Clocks, Sighting
from netviz.core.sim.trace import Path, Trace
from netviz.core.sim.walk import simulate
from tests.live.observed_cases import read_recorded

OTHER = "other"
SLOW_NS = 2_000_000


def reports(evidence: Evidence, ahead_ns: int = 0) -> list[tuple[str, Report, int, int]]:
    """What two nodes report, of which the second has half of the places and a clock that is ahead, in the order of time.

    Each is (node, report, asked, heard) with the server's clock being the sender's.
    """
    (kernel,) = evidence.kernels
    places = sorted({one.place for one in evidence.sightings})
    theirs = set(places[2:])

    def of_other(one: Sighting) -> Sighting:
        place = one.place.replace(evidence.sender, OTHER)
        return msgspec.structs.replace(one, place=place, at_ns=one.at_ns + ahead_ns)

    mine = tuple(one for one in evidence.sightings if one.place not in theirs)
    elsewhere = tuple(of_other(one) for one in evidence.sightings if one.place in theirs)
    at = evidence.sightings[0].at_ns
    far = Clocks(kernel.clocks.offset_ns + ahead_ns, 0)
    own = (evidence.sender, at - 10 * SLOW_NS)
    other = (OTHER, at - 10 * SLOW_NS + ahead_ns)
    said: list[tuple[str, Report, int, int]] = []
    for (node, said_ns), clocks, seen in ((own, kernel.clocks, mine), (other, far, elsewhere)):
        watched = tuple(one for one in evidence.watched if (one in theirs) == (node == OTHER))
        watched = tuple(one.replace(evidence.sender, node) for one in watched)
        begun = at - 10 * SLOW_NS
        said.append((node, Ready(said_ns, watched, clocks), begun - SLOW_NS, begun + SLOW_NS))
        sending, told = (evidence.sending, evidence.told) if node == evidence.sender else (None, "")
        said.append((node, News(seen, sending=sending, told=told), 0, 0))
        said.append((node, Finished(said_ns, (), Kernel((node,), clocks)), begun - SLOW_NS, begun + SLOW_NS))
    return said


def gathered(recorded: Kept, ahead_ns: int = 0) -> tuple[Gathering, Evidence]:
    evidence = recorded.evidence
    number = evidence.sightings[0].frame.number
    gathering = Gathering(recorded.flow, number, {evidence.sender: "one", OTHER: "two"})
    for node, report, asked_ns, heard_ns in reports(evidence, ahead_ns):
        gathering.take(node, report, asked_ns, heard_ns)
    return gathering, gathering.evidence()


def elsewhere_too(trace: Trace, evidence: Evidence) -> Trace:
    """The prediction, as if the second node's places were that node's."""
    theirs = {one.place.split(":", 1)[1] for one in evidence.sightings if node_of(one.place) == OTHER}

    def moved(path: Path) -> Path:
        hops = [
            msgspec.structs.replace(
                hop,
                place=msgspec.structs.replace(
                    hop.place, netns=msgspec.structs.replace(hop.netns, node=OTHER)
                ),
            )
            if str(hop.netns).split(":", 1)[1] in theirs
            else hop
            for hop in path.hops
        ]
        return msgspec.structs.replace(path, hops=tuple(hops))

    (branch,) = trace.branches
    reply = moved(branch.reply) if branch.reply is not None else None
    branch = msgspec.structs.replace(branch, forward=moved(branch.forward), reply=reply)
    return msgspec.structs.replace(trace, branches=(branch,))


@pytest.mark.parametrize("ahead_ns", [0, 1_500_000, -1_500_000, 3_600_000_000_000])
@pytest.mark.parametrize("name", ["datagram", "delivered"])
def test_another_clock_is_brought_in_line(name: str, ahead_ns: int) -> None:
    """However far the other node's clock is off, the order of what was seen stays, and what is left open is said."""
    recorded = read_recorded(name)
    _, evidence = gathered(recorded, ahead_ns)
    assert 0 < evidence.apart_ns <= 2 * SLOW_NS
    evidence = in_line(evidence, elsewhere_too(simulate(recorded.cluster(), recorded.flow), evidence))
    assert [one.frame.kind for one in evidence.sightings] == [
        one.frame.kind for one in recorded.evidence.sightings
    ]
    for kind in ("forward", "reply"):
        at = [one.dev for one in evidence.sightings if one.frame.kind == kind]
        assert at == [one.dev for one in recorded.evidence.sightings if one.frame.kind == kind]
    assert evidence.apart_ns < SLOW_NS


def test_a_prediction_moves_no_clock_beyond_its_bounds() -> None:
    """Where the order can't be so, the clocks stay where they were measured to be."""
    recorded = read_recorded("delivered")
    _, evidence = gathered(recorded)
    trace = elsewhere_too(simulate(recorded.cluster(), recorded.flow), evidence)
    (apart,) = evidence.apart
    early = [
        msgspec.structs.replace(
            one, at_ns=one.at_ns - (3600_000_000_000 if node_of(one.place) == OTHER else 0)
        )
        for one in evidence.sightings
    ]
    moved = in_line(msgspec.structs.replace(evidence, sightings=tuple(early)), trace)
    first, after = (
        next(one.at_ns for one in seen if node_of(one.place) == OTHER) for seen in (early, moved.sightings)
    )
    shift = after - first
    assert apart.low_ns <= shift <= apart.high_ns


def test_nodes_on_one_kernel_need_no_clock() -> None:
    """Emulated nodes share clock and tracepoints: the events of one stand for both."""
    recorded = read_recorded("delivered")
    (kernel,) = recorded.evidence.kernels
    gathering = Gathering(recorded.flow, 0, {recorded.evidence.sender: "one", OTHER: "one"})
    for node, report, asked_ns, heard_ns in reports(recorded.evidence):
        if isinstance(report, Finished) and node == OTHER:
            report = msgspec.structs.replace(report, kernel=msgspec.structs.replace(kernel, nodes=(OTHER,)))
        gathering.take(node, report, asked_ns, heard_ns)
    evidence = gathering.evidence()
    (one,) = evidence.kernels
    assert (one.events, one.drops, sorted(one.nodes)) == (
        kernel.events,
        True,
        sorted([OTHER, recorded.evidence.sender]),
    )
    assert evidence.apart_ns == 0


def test_a_node_that_is_gone_is_missing_and_its_steps_were_not_watched() -> None:
    """What it said before stands; what it didn't say speaks against nothing."""
    recorded = read_recorded("delivered")
    gathering = Gathering(recorded.flow, 0, {})
    said = reports(recorded.evidence)
    for node, report, asked_ns, heard_ns in said:
        if node == recorded.evidence.sender:
            gathering.take(node, report, asked_ns, heard_ns)
    gathering.lose(OTHER, GONE)
    gathering.take(OTHER, said[-1][1], 0, 0)
    assert gathering.unfinished([OTHER, recorded.evidence.sender]) == []
    evidence = gathering.evidence()
    assert [one.missing for one in evidence.sources] == [f"{OTHER}: {GONE}"]
    observation = judge(recorded.cluster(), simulate(recorded.cluster(), recorded.flow), evidence)
    assert observation.taken == (0,)


def test_latency_is_as_sure_as_the_clocks() -> None:
    """From step to step it adds up; between kernels it may be off by what the exchange left open."""
    kept = read_recorded("delivered")
    trace, observation = kept.judged()
    path = observation.nearest.forward
    seen = [match.sighting for match in path.matches if match.sighting is not None]
    took = latencies(path, kept.evidence)
    assert sum(one.ns for one in took.values()) == seen[-1].at_ns - seen[0].at_ns
    assert {one.uncertainty_ns for one in took.values()} == {0}
    there = node_of(seen[-1].place)
    (kernel,) = kept.evidence.kernels
    other = Kernel(("elsewhere",), kernel.clocks)
    moved = [
        msgspec.structs.replace(one, place=one.place.replace(there, "elsewhere"))
        if one.place == seen[-1].place
        else one
        for one in kept.evidence.sightings
    ]
    evidence = msgspec.structs.replace(
        kept.evidence, sightings=tuple(moved), kernels=(kernel, other), apart=(Apart("elsewhere", -400, 300),)
    )
    last = [match for match in path.matches if match.sighting is not None][-1]
    far = msgspec.structs.replace(last, sighting=next(one for one in moved if "elsewhere" in one.place))
    matches = tuple(far if match is last else match for match in path.matches)
    assert (
        latencies(msgspec.structs.replace(path, matches=matches), evidence)[last.step.seq].uncertainty_ns
        == 400
    )
    assert trace.branches


def test_nobody_speaks_of_anothers_places_or_for_the_sender() -> None:
    """A node's sightings are its own, and only the sender's collector says what was sent and told."""
    recorded = read_recorded("delivered")
    gathering = Gathering(recorded.flow, 0, {})
    evidence = recorded.evidence
    gathering.take(OTHER, News(evidence.sightings, evidence.rules, evidence.sending, "answer"), 0, 0)
    assert gathering.sightings() == ()
    assert (gathering.sending, gathering.told) == (None, "")
    with pytest.raises(ValueError, match="wasn't sent"):
        gathering.evidence()


def test_more_than_is_kept_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netviz.core.observe.gather.MAX_SIGHTINGS", 3)
    _, evidence = gathered(read_recorded("delivered"))
    assert evidence.lost == 1  # six of one node, two of the other


def test_orders_and_reports_are_read_back() -> None:
    """As the wire carries them; what no version knows is refused."""
    recorded = read_recorded("delivered")
    prepare = orders.Prepare(recorded.flow, 7, True, False, 3.0)
    assert orders.read_order(orders.encode(prepare)) == prepare
    assert orders.read_order(orders.encode(orders.Pick(1 << 31))) == orders.Pick(1 << 31)
    for report in (*(one[1] for one in reports(recorded.evidence)), Refused("no")):
        assert orders.read_report(orders.encode(report)) == report
    for wrong in (b"", b"\x80", orders.encode(Refused("x" * 3000)), orders.encode(prepare)):
        with pytest.raises(ValueError, match=r".+"):
            orders.read_report(wrong)


def test_a_place_names_its_node() -> None:
    key = read_recorded("delivered").flow.src_netns
    assert node_of(str(key)) == key.node
    assert Source(key.node, "tracefs").missing == ""
