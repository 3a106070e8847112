"""Counters of drops that rise between two states; how they stand in one says nothing."""

from __future__ import annotations

import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.link import LinkCounters
from tests.core.check.judging import proper
from tests.core.sim.build import textbook


def after(*counters: LinkCounters) -> list[list[Problem]]:
    """What is wrong in each of successive states, in which pod-1-1's eth0 has these counters."""
    checker, found = Checker(), []
    for one in counters:
        net, made = textbook()
        made["pod-1-1"].add("counters", one)
        found.append(list(checker.judge(net.cluster()).problems))
    return found


def test_drops_that_rise_are_told_until_they_dont() -> None:
    first, rising, still = after(
        LinkCounters(2, 1000, rx_dropped=500),
        LinkCounters(2, 1100, rx_dropped=540),
        LinkCounters(2, 1200, rx_dropped=540),
    )
    assert first == still == []
    (problem,) = rising
    proper(problem)
    assert problem.headline == "eth0 of default/pod-1-1 on node-1 drops what it receives: rx_dropped rises"
    assert problem.certainty == "likely"


@pytest.mark.parametrize("now", [LinkCounters(2, 100_000, rx_dropped=40), LinkCounters(2, 5, rx_dropped=4)])
def test_a_few_are_normal(now: LinkCounters) -> None:
    assert after(LinkCounters(2), now) == [[], []]


def test_what_was_found_stands_until_the_counters_are_read_again() -> None:
    checker = Checker()
    net, made = textbook()
    made["pod-1-1"].add("counters", LinkCounters(2, 100))
    checker.judge(net.cluster())
    made["pod-1-1"].lists["counters"] = [LinkCounters(2, 200, tx_dropped=50)]
    rising = net.cluster()
    assert [p.kind for p in checker.judge(rising).problems] == ["drops-rising"]
    made["pod-1-2"].add("counters", LinkCounters(2, 100))
    other = net.cluster()
    node, key = rising.nodes["node-1"], made["pod-1-1"].key
    kept = {**other.nodes["node-1"].netns, key: node.netns[key]}
    assert node.netns[key].counters is kept[key].counters
    state = type(other)({**other.nodes, "node-1": type(node)("node-1", netns=kept, status=node.status)})
    assert [p.kind for p in checker.judge(state).problems] == ["drops-rising"]
