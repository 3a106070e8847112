"""What rules have counted is told beside what they decided, and changes nothing of that."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.netfilter import ChainBody, NftChain, RuleCount, RuleCounters, body_digest
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.counted import deciding_in, with_counts
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.reads import Recording
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import Flow, Trace
from netviz.core.state.node import ClusterState
from tests.core.sim.build import Ns, textbook
from tests.core.sim.nft import ACCEPT, FORWARD, chain, daddr, dport, e, verdict

KEY = (2, "t", "forward", False)
AT_S = 1_700_000_000.0


def network() -> tuple[dict[str, Ns], NftChain]:
    """The second of three rules on node-1's way to pod-2-1 decides; the third has no counter."""
    _, made = textbook()
    rules = (
        (*daddr("10.9.9.9"), e("counter"), verdict(ACCEPT)),
        (*daddr("10.1.2.11"), *dport(80), e("counter"), verdict(ACCEPT)),
        (*daddr("10.1.2.11"), verdict(ACCEPT)),
    )
    return made, chain(made["node-1"], "forward", *rules, hook=FORWARD)


def traced(cluster: ClusterState, port: int = 80) -> tuple[Flow, Trace]:
    flow = resolve_flow(cluster, "pod-1-1", "pod-2-1", "tcp", dport=port)
    return flow, with_counts(cluster, simulate_in_context(cluster, flow), lambda at_s: f"at {at_s:.0f}")


def evidence(trace: Trace) -> dict[str, object]:
    steps = [s for hop in trace_json(trace)["branches"][0]["forward"]["hops"] for s in hop["steps"]]
    (found,) = [step["evidence"] for step in steps if step["kind"] == "netfilter"]
    return dict(found)


@pytest.mark.parametrize(
    ("counts", "packets", "octets"),
    [((RuleCount(0, 5, 300), RuleCount(1, 7, 420)), 7, 420), ((RuleCount(0, 5, 300),), 0, 0)],
    ids=["some", "nothing"],
)
def test_a_deciding_rule_tells_what_it_counted(
    counts: tuple[RuleCount, ...], packets: int, octets: int
) -> None:
    made, rules = network()
    made["node-1"].add("rule_counters", RuleCounters(*KEY, rules=rules.body, counts=counts, at_s=AT_S))
    cluster = made["node-1"].net.cluster()
    _, trace = traced(cluster)
    found = evidence(trace)
    assert (found["packets"], found["bytes"], found["counted_at"]) == (packets, octets, f"at {AT_S:.0f}")
    assert f"packets: {packets}\n" in render_text(trace, detailed=True)
    assert {netns.node for netns in deciding_in(trace)} == {"node-1"}


def test_of_other_rules_than_those_that_were_counted_nothing_is_told() -> None:
    made, rules = network()
    other = body_digest(ChainBody(made["node-1"].net.bodies[rules.body].rules[:2]))  # type: ignore[union-attr]
    made["node-1"].add("rule_counters", RuleCounters(*KEY, rules=other, counts=(RuleCount(1, 7, 420),)))
    _, trace = traced(made["node-1"].net.cluster())
    assert "packets" not in evidence(trace)


@pytest.mark.parametrize(
    ("table_handle", "last_handle", "told"),
    [(1, 11, True), (1, 10, False), (2, 11, False)],
    ids=["then", "later", "other"],
)
def test_of_chains_that_had_counted_nothing_one_record_tells(
    table_handle: int, last_handle: int, told: bool
) -> None:
    """A rule that came later, or is in another table of the same name, may have counted something since."""
    made, _ = network()
    node = made["node-1"]
    node.add(
        "rule_counters",
        RuleCounters(2, "t", "", at_s=AT_S, table_handle=table_handle, last_handle=last_handle),
    )
    found = evidence(traced(node.net.cluster())[1])
    assert (found["handle"], found.get("packets")) == (11, 0 if told else None)


def test_of_a_rule_without_a_counter_nothing_is_told() -> None:
    made, rules = network()
    made["node-1"].add("rule_counters", RuleCounters(*KEY, rules=rules.body, at_s=AT_S))
    _, trace = traced(made["node-1"].net.cluster(), port=81)
    assert evidence(trace)["handle"] == 12
    assert "packets" not in evidence(trace)


def test_counters_change_no_prediction_and_no_recorded_question() -> None:
    made, rules = network()
    plain = made["node-1"].net.cluster()
    flow, without = traced(plain)
    recording = Recording(plain)
    with_counts(plain, simulate_in_context(recording.cluster, flow), str)
    reads = recording.reads()
    made["node-1"].add("rule_counters", RuleCounters(*KEY, rules=rules.body, counts=(RuleCount(1, 7, 420),)))
    counted = made["node-1"].net.cluster()
    assert reads.hold(counted)
    assert "rule_counters" not in {section for _, section in reads.sections()}
    shown = trace_json(traced(counted)[1])
    for hop in shown["branches"][0]["forward"]["hops"]:
        for step in hop["steps"]:
            for name in ("packets", "bytes", "counted_at"):
                step["evidence"].pop(name, None)
    assert shown == trace_json(without)
    assert msgspec.json.encode(shown)
