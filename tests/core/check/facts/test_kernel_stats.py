"""What the kernel counts of its own tables: drops that rise between two readings, and tables that are nearly full."""

from __future__ import annotations

import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.stat import KernelStat
from tests.core.check.judging import proper
from tests.core.sim.build import textbook


def after(*readings: dict[str, int]) -> list[list[Problem]]:
    """What is wrong in each of successive states, in which node-1's kernel has these numbers."""
    checker, found = Checker(), []
    for one in readings:
        net, made = textbook()
        for name, value in one.items():
            made["node-1"].add("kernel_stats", KernelStat(name, value))
        found.append(list(checker.judge(net.cluster()).problems))
        for problem in found[-1]:
            proper(problem)
    return found


def conntrack(at_s: int, **counters: int) -> dict[str, int]:
    return {"read.at_s": at_s} | {f"conntrack.{name}": value for name, value in counters.items()}


def arp(entries: int, fulls: int) -> dict[str, int]:
    name = "neigh.arp_cache"
    return {f"{name}.entries": entries, f"{name}.gc_thresh3": 1024, f"{name}.table_fulls": fulls}


def test_what_connection_tracking_drops_is_told_with_its_rate_until_it_stops() -> None:
    first, rising, still = after(
        conntrack(100, insert_failed=5, drop=5),
        conntrack(130, insert_failed=65, drop=65),
        conntrack(160, insert_failed=65, drop=65),
    )
    assert first == still == []
    (problem,) = rising
    assert (problem.kind, problem.certainty, problem.harm) == ("conntrack-drops", "likely", "degrades")
    assert "rises by 120 a minute" in problem.headline
    assert problem.headline.startswith("node-1's connection tracking drops packets")
    assert "default/pod-1-1" in problem.affects.pods


@pytest.mark.parametrize(
    "now",
    [conntrack(130, drop=14), conntrack(5000, drop=60), conntrack(90, drop=900), conntrack(100, drop=900)],
)
def test_a_few_are_normal_and_numbers_that_begin_anew_say_nothing(now: dict[str, int]) -> None:
    assert after(conntrack(100, drop=5), now) == [[], []]


def test_a_neighbour_table_without_room_is_certain_and_one_that_fills_is_at_risk() -> None:
    sound, filling, over, back = after(arp(900, 3), arp(930, 3), arp(1024, 9), arp(40, 9))
    assert sound == back == []
    (risk,), (full,) = filling, over
    assert (risk.kind, risk.harm, risk.certainty) == ("neighbours-full", "at risk", "likely")
    assert (full.kind, full.harm, full.certainty) == ("neighbours-full", "breaks traffic", "certain")
    assert full.headline == "node-1's ARP table has no room for more: gc_thresh3 is 1024"
    assert full.fix[0].command.startswith("sysctl -w net.ipv4.neigh.default.gc_thresh3=4096")
