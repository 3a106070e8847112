"""Rules that drop what a node forwards, by their counters in two readings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.netfilter import RuleCount, RuleCounters
from netviz.core.state.node import SectionStatus
from tests.core.check.judging import proper
from tests.core.sim.build import textbook
from tests.core.sim.nft import ACCEPT, DROP, FORWARD, INPUT, JUMP, chain, ct_state, dport, e, verdict

COUNTER = e("counter")
RULES: dict[str, Any] = {
    "drops": (*dport(81), COUNTER, verdict(DROP)),
    "rejects": (*dport(81), COUNTER, e("reject", type=0, code=3)),
    "accepts": (*ct_state(2), COUNTER, verdict(ACCEPT)),
}


def after(
    rule: str, *readings: tuple[float, int], hook: int = FORWARD, within: str = "own", read_at_s: float = 0.0
) -> list[list[Problem]]:
    """What is wrong in each of successive states, in which node-1's second rule had counted so much at these times."""
    checker, found = Checker(), []
    for at_s, packets in readings:
        net, made = textbook()
        node = made["node-1"]
        made_chain = chain(node, within, RULES["accepts"], RULES[rule])
        chain(node, "base", (verdict(JUMP, within),), hook=hook)
        counts = (RuleCount(0, 5000), RuleCount(1, packets))
        node.add("rule_counters", RuleCounters(2, "t", within, False, made_chain.body, counts, at_s))
        cluster = net.cluster()
        if read_at_s and (at_s, packets) == readings[-1]:
            status = {"rule_counters": SectionStatus(read_at_s, max_age_s=60.0)}
            state = msgspec.structs.replace(cluster.nodes["node-1"], status=status)
            cluster = type(cluster)({**cluster.nodes, "node-1": state}, cluster.bodies)
        found.append([one for one in checker.judge(cluster).problems if one.kind == "rule-drops-rising"])
    return found


@pytest.mark.parametrize("rule", ["drops", "rejects"])
def test_a_rule_that_refuses_what_is_forwarded_is_told_with_its_rate_until_it_stops(rule: str) -> None:
    first, rising, still = after(rule, (1000.0, 7), (1060.0, 127), (1120.0, 128))
    assert first == still == []
    (problem,) = rising
    proper(problem)
    assert problem.headline == f"node-1 {rule} 120 packets a minute by a rule of chain own"
    assert "not all need be forwarded" in problem.consequence
    assert "tcp dport 81" in problem.consequence or "dport 81" in problem.consequence
    assert (problem.severity, problem.certainty) == ("warning", "likely")


def test_counters_that_stand_still_are_over_when_they_were_read_again() -> None:
    readings = ((1000.0, 7), (1060.0, 127), (1060.0, 127))
    _, rising, standing = after("drops", *readings)
    assert rising == standing != []
    assert after("drops", *readings, read_at_s=1119.0)[-1] != []
    assert after("drops", *readings, read_at_s=1121.0)[-1] == []


@pytest.mark.parametrize(
    ("rule", "second", "more"),
    [
        ("drops", (1060.0, 16), {}),  # a few
        ("drops", (4600.0, 107), {}),  # over an hour
        ("drops", (940.0, 900), {}),  # the node's clock was set back
        ("accepts", (1060.0, 900), {}),
        ("drops", (1060.0, 900), {"hook": INPUT}),
        ("drops", (1060.0, 900), {"within": "cali-tw-cali11"}),
    ],
)
def test_what_is_normal_is_not_told(rule: str, second: tuple[float, int], more: dict[str, Any]) -> None:
    assert after(rule, (1000.0, 7), second, **more) == [[], []]


def test_a_rule_that_had_counted_nothing_has_no_record_of_its_chain_and_rises_from_0() -> None:
    checker, found = Checker(), []
    for at_s, packets in ((1000.0, 0), (1060.0, 30)):
        net, made = textbook()
        node = made["node-1"]
        made_chain = chain(node, "own", RULES["drops"], hook=FORWARD)
        node.add("rule_counters", RuleCounters(2, "t", "", at_s=1000.0, table_handle=1, last_handle=50))
        if packets:
            counts = (RuleCount(0, packets),)
            node.add("rule_counters", RuleCounters(2, "t", "own", False, made_chain.body, counts, at_s))
        found.append([one.kind for one in checker.judge(net.cluster()).problems])
    assert found == [[], ["rule-drops-rising"]]
