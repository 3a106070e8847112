"""A walk leaves out what only words need; laid over the trace, it is there, and where packets go stays as it was."""

from __future__ import annotations

from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.reads import Recording
from netviz.core.sim.trace import Step, Trace
from netviz.core.sim.walk import simulate
from tests.core.sim.build import textbook


def steps_of(trace: Trace) -> list[Step]:
    paths = [path for branch in trace.branches for path in (branch.forward, branch.reply) if path is not None]
    return [step for path in paths for hop in path.hops for step in hop.steps]


def test_a_walk_asks_nothing_for_words_alone_and_its_context_changes_no_path() -> None:
    net, _ = textbook()
    cluster = net.cluster()
    flow = resolve_flow(cluster, "pod-1-1", "pod-2-1")
    bare, whole = Recording(cluster), Recording(cluster)
    trace = simulate(bare.cluster, flow)
    told = simulate_in_context(whole.cluster, flow)
    asked = {read.kind for read, _ in bare.reads().answers()}
    more = {read.kind for read, _ in whole.reads().answers()} - asked
    assert "namespaces.names.addrs" in more, "who owns an address is asked for words alone"
    assert trace.source is None
    assert told.source is not None
    assert told.source.place.pod == "default/pod-1-1"
    assert [(one.at, one.what) for one in steps_of(told)] == [(one.at, one.what) for one in steps_of(trace)]
    assert any(one.meaning for one in steps_of(told))
    assert not any(one.meaning for one in steps_of(trace))
