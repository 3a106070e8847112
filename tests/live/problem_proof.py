"""Faults of the lab against what netviz finds unasked, from the state of all nodes alone."""

from __future__ import annotations

import gc
import io
import shlex
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from random import Random
from typing import Any

from agents.__main__ import main as agents
from lab.cluster import Cluster
from lab.faults import apply_fault, listed, mend
from lab.reality import Probe, send_all
from netviz.core.check.problem import Problem, Report
from netviz.core.state.delta import apply, diff
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz
from netviz.problems.checks import make_judge
from tests.core.check.judging import proper
from tests.live.listed import with_objects

# Faults that break nothing that netviz holds a network to: what listens where is its owner's choice, and so is what a
# policy's agent denies.
NO_PROBLEM = {
    "listener-gone": "nothing listens: refused by right",
    "listener-on-loopback": "it listens on loopback alone: refused by right",
    "listener-without-ipv6": "it listens on IPv4 alone: refused by right",
    "dns-wrong-server": "its packets all arrive: whom it is to ask is in the API's lists",
    "dns-udp-blocked": "no port of a pod's is hurt that is tried without the API's lists",
    "policy-pod-missing": "denied in a policy agent's chain: what the policy means needs the API's lists",
}
# Faults that are not found yet.
NOT_FOUND = {"udp-drop-rule": "small packets pass, and larger ones aren't traced unasked"}


class Watch:
    """Judges a lab cluster again and again, as the server does: what didn't change isn't judged anew.

    `objects`: the lists of the lab's API are known, too, and held against the nodes.
    """

    def __init__(self, cluster: Cluster, *, objects: bool = False) -> None:
        self._cluster, self._objects = cluster, objects
        self._judge = make_judge(Random(0), one_state=True)
        self._state = ClusterState()

    def look(self) -> Report:
        """Collect every node, and judge until nothing is left."""
        now = self.collect()
        nodes = {
            name: apply(self._state.nodes[name], diff(self._state.nodes[name], node))
            if name in self._state.nodes
            else node
            for name, node in now.nodes.items()
        }
        self._state = ClusterState(nodes, now.bodies)
        if self._objects:
            self._state = with_objects(self._cluster, self._state)
        self._judge.judge(self._state, {})
        while self._judge.work():
            pass
        return self._judge.report()

    def collect(self) -> ClusterState:
        """Collect every node as `python -m agents snapshot` does, in this process."""
        files = []
        with tempfile.TemporaryDirectory() as folder:
            for name, node in self._cluster.nodes.items():
                out = Path(folder) / f"{name}.nvz"
                with redirect_stderr(said := io.StringIO()):
                    status = agents(["snapshot", "--node", name, *node.collector_args(), "--out", str(out)])
                assert status == 0, said.getvalue()
                files.append(load_nvz(out.read_bytes()))
        gc.enable()  # a snapshot that is a process of its own does without
        return join_captures(files)


def warm(cluster: Cluster) -> None:
    """Let everybody talk to everybody once, so that neighbours are known, the router too."""
    pods = [*cluster.pods, "internet"]
    pairs = [(a, b) for a in cluster.pods for b in pods if a != b]
    send_all(cluster, [Probe(a, b, "icmp", 0) for a, b in pairs], timeout_s=1.0)


def unhealthy(report: Report) -> list[str]:
    """Say what a report of a healthy network has that it shouldn't have."""
    found = [f"{one.kind}: {one.headline}" for one in report.problems]
    return found + [
        f"{one.name} undecided: {one.reason}" for one in report.results if one.result == "unknown"
    ]


def blamed(cluster: Cluster, name: str) -> dict[str, Any]:
    """What the lab says of a fault: the node, the device, perhaps the pod that is to blame."""
    blame: dict[str, Any] = next(one for one in listed(cluster) if one["name"] == name)["blame"]
    return blame


def at(problem: Problem, blame: dict[str, Any]) -> bool:
    """Tell whether a problem is placed where the lab says that the fault is, and its headline names the place."""
    where = problem.where
    named = where.node in problem.headline or (where.netns in problem.headline.split() and where.netns)
    return where.node == blame["node"] and bool(named)


def at_device(problem: Problem, blame: dict[str, Any]) -> bool:
    """Tell whether it is at the device as well, where one is to blame."""
    return not blame["device"] or problem.where.dev == blame["device"]


def run_fixes(cluster: Cluster, problems: list[Problem]) -> int:
    """Run the commands that fix problems, as the lab runs them where they are for; return how many there were."""
    fixes = dict.fromkeys(fix for one in problems for fix in one.fix)
    for fix in fixes:
        words = shlex.split(fix.command)
        if words[0] == "nsenter":
            words = words[words.index("-n") + 1 :]
        where = fix.netns.rpartition("/")[2] or fix.node
        done = cluster.exec(where, words)
        assert done.returncode == 0, (fix, done.stderr)
    return len(fixes)


def fixed(cluster: Cluster, watch: Watch, name: str) -> tuple[list[Problem], list[str]]:
    """Apply a fault, run what the problems found say fixes it, judge again: what was found, and what is left."""
    apply_fault(cluster, name)
    try:
        found = list(watch.look().problems)
        assert run_fixes(cluster, found), name
        return found, unhealthy(watch.look())
    finally:
        mend(cluster)


def found_and_gone(cluster: Cluster, watch: Watch, name: str) -> tuple[list[Problem], list[str]]:
    """Apply a fault, judge, mend it, judge again: the problems at its place, and what is wrong with that."""
    blame = blamed(cluster, name)
    apply_fault(cluster, name)
    try:
        report = watch.look()
    finally:
        mend(cluster)
    for problem in report.problems:
        proper(problem)
    there = [one for one in report.problems if at(one, blame)]
    there.sort(key=lambda one: not at_device(one, blame))
    wrong = []
    if not there:
        elsewhere = "; ".join(one.headline for one in report.problems) or "nothing at all"
        wrong.append(f"not found at {blame['node']} {blame['device']}: {elsewhere}")
    left = unhealthy(watch.look())
    if left:
        wrong.append(f"still there when mended: {'; '.join(left[:3])}")
    return there, wrong
