"""Half an hour of churn: the whole netviz on a lab that changes all the time calls nothing a problem but what is one.

    make proof-churn [ARGS='--seconds 1800 --rate 50 --seed 1']

Pods, routes, addresses, neighbour entries, links and MTUs come and go at a steady rate. Every few minutes a fault is planted
besides, found, mended and seen to leave: so that who finds nothing isn't blind. Every problem that was ever kept counts,
however short; what isn't the planted fault's is false.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lab.churn import ChurnReport, run_churn
from lab.cluster import Cluster, ClusterSpec
from lab.faults import apply_fault, mend
from lab.stack import Stack, StackError, wait_until
from tests.live.problem_proof import blamed, warm

DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/churn.md"
NODES, PODS = 3, 5
EVERY_S = 1.0
PLANT_EVERY_S = 300.0
# Planted faults, and the kind of the problem that each is.
PLANTED = {"blackhole-route": "no-route", "bridge-port-down": "pod-link-down", "wrong-mtu": "mtu-at-veth"}
PATIENCE_S = 120.0


class Planted(msgspec.Struct):
    """A planted fault: when its problem was seen after it was planted, and seen gone after it was mended, in seconds.

    None: not within PATIENCE_S.
    """

    name: str
    kind: str
    node: str
    found_s: float | None
    gone_s: float | None

    def words(self) -> str:
        """Say how it went."""
        found = f"found after {self.found_s:.1f} s" if self.found_s is not None else "NOT FOUND"
        gone = f"gone {self.gone_s:.1f} s after it was mended" if self.gone_s is not None else "NOT GONE"
        return f"`{self.name}`: {found}, {gone}."


class Watcher:
    """Looks at the problems again and again."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.states: Counter[str] = Counter()
        self.results: Counter[str] = Counter()

    def look(self) -> list[dict[str, Any]]:
        """Return what is called a problem now, and count how the checking is."""
        answer = self.answer("")
        self.states[answer["checked"]["state"]] += 1
        self.results.update(f"{one['name']}: {one['result']}" for one in answer["checked"]["checks"])
        return list(answer["problems"])

    def answer(self, query: str) -> dict[str, Any]:
        """Ask the server for problems."""
        status, body = self._stack.get(f"/api/problems{query}")
        assert status == 200, (status, body)
        return dict(json.loads(body))

    def ever(self) -> list[dict[str, Any]]:
        """Every problem that was kept, over or not."""
        found: dict[str, dict[str, Any]] = {}
        for query in ("", "?state=resolved&limit=1000"):
            found |= {one["id"]: one for one in self.answer(query)["problems"]}
        return list(found.values())


def plant(cluster: Cluster, watcher: Watcher, name: str) -> Planted:
    """Apply a fault, wait until it is a problem, mend it, wait until it is none."""
    kind, node = PLANTED[name], blamed(cluster, name)["node"]

    def shown() -> bool:
        return any(one["kind"] == kind and one["where"]["node"] == node for one in current(watcher))

    applied, began = apply_fault(cluster, name), time.monotonic()
    try:
        found_s = waited(shown, began)
    finally:
        mend(cluster, applied.id)
    return Planted(name, kind, node, found_s, waited(lambda: not shown(), time.monotonic()))


def waited(condition: Callable[[], bool], began_s: float) -> float | None:
    """Wait for a condition; return how long it took, None where it took too long."""
    try:
        wait_until(condition, PATIENCE_S, "it", EVERY_S / 4)
    except StackError:
        return None
    return time.monotonic() - began_s


def current(watcher: Watcher) -> list[dict[str, Any]]:
    """What is there now, without what is gone and only not yet over."""
    return [one for one in watcher.look() if one["until"] is None]


def is_planted(problem: dict[str, Any], planted: list[Planted]) -> bool:
    """Tell whether a problem is a planted fault's."""
    return any((problem["kind"], problem["where"]["node"]) == (one.kind, one.node) for one in planted)


def churned(seconds: float, rate: float, seed: int) -> tuple[ChurnReport, Watcher, list[Planted], list[str]]:
    """Run everything; return how the churn went, who watched, what was planted, and what was called a problem falsely."""
    with (
        Cluster.up(ClusterSpec(f"churn-{os.getpid()}", nodes=NODES, pods=PODS, services=2)) as cluster,
        tempfile.TemporaryDirectory() as folder,
        Stack({node.name: node.collector_args() for node in cluster.nodes.values()}, Path(folder)) as stack,
    ):
        warm(cluster)
        stack.start()
        watcher = Watcher(stack)
        wait_until(
            lambda: not watcher.look() and watcher.states["current"], PATIENCE_S, "the first judgement"
        )
        watcher.states.clear()
        watcher.results.clear()
        reports: list[ChurnReport] = []
        halt = threading.Event()
        thread = threading.Thread(
            target=lambda: reports.append(run_churn(cluster, rate, seconds, seed, halt))
        )
        thread.start()
        planted: list[Planted] = []
        began, due = time.monotonic(), time.monotonic() + min(PLANT_EVERY_S, seconds / 4)
        while thread.is_alive():
            watcher.look()
            if time.monotonic() > due and time.monotonic() < began + seconds - EVERY_S:
                planted.append(plant(cluster, watcher, list(PLANTED)[len(planted) % len(PLANTED)]))
                print(planted[-1], file=sys.stderr, flush=True)
                due = time.monotonic() + PLANT_EVERY_S
            thread.join(EVERY_S)
            if time.monotonic() > began + seconds:
                halt.set()  # a busy machine reaches less than the rate
        false = [
            f"{one['kind']}: {one['headline']} ({one['since']} to {one['until']})"
            for one in watcher.ever()
            if not is_planted(one, planted)
        ]
    return reports[0], watcher, planted, false


def main(argv: list[str]) -> int:
    """Churn, and write what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.churn_proof")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=DOCS)
    options = parser.parse_args(argv)
    report, watcher, planted, false = churned(options.seconds, options.rate, options.seed)
    made = time.strftime("%Y-%m-%d", time.gmtime())
    looks = watcher.states.total()
    undecided = sorted(name for name, count in watcher.results.items() if name.endswith("unknown") and count)
    lines = [
        "# Churn without a false problem",
        "",
        f"Written by `make proof-churn` on {made}, Linux {platform.release()}, {os.cpu_count()} cores, load"
        f" {os.getloadavg()[2]:.0f} (others used the machine too).",
        "",
        f"- {report.changes} changes in {report.elapsed_s:.0f} s, {report.rate_per_s:.1f} a second, {report.failed} failed:"
        f" {', '.join(f'{kind} {count}' for kind, count in report.by_kind.items())}.",
        f"- **{len(false)} false problems**, of all that were kept, however short.",
        *(f"  - {one}" for one in false),
        f"- {looks} looks at the checking: {', '.join(f'{state} {count}' for state, count in watcher.states.items())}.",
        "- Undecided for a moment: "
        + (", ".join(f"{name} {watcher.results[name]} times" for name in undecided) or "nothing")
        + ".",
        "- Planted meanwhile:",
        *(f"  - {one.words()}" for one in planted),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    options.report.write_text(text)
    blind = any(one.found_s is None or one.gone_s is None for one in planted)
    return 1 if false or blind else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
