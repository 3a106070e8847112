"""An observer killed at random times, and what is left behind: `make proof-kills`.

    python -m tests.live.kill_proof [--kills N] [--seed N]

A process observes on a small network again and again, and is killed (SIGKILL) after a random time. Before and after all
stand tables, rules, packet sockets, trace instances, mounts, and network namespaces; others' of the like stay untouched.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from agents.__main__ import build_parser
from agents.kernel import Kernel
from agents.observers.session import observe
from agents.observers.tracefs import PREFIX, _mounted
from agents.options import make_collectors
from tests.live.node_rig import Node
from tests.live.observed_cases import CASES, inside, network, run_case, where

DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/kills.md"
LONGEST_S = 0.6
GONE_S = 30.0
FOREIGN = "foreign-"
FOREIGN_TABLE = (
    "table inet foreign {\n chain c {\n type filter hook output priority -350\n meta nftrace set 0\n }\n}\n"
)
Listed = frozenset[str]


def instances() -> Path:
    """Where trace instances are; the mount goes with this process."""
    return Path(f"/proc/self/fd/{_mounted()}/instances")


def listed(node: Node, traced: Path, pids: set[int]) -> Listed:
    """List everything of which the observers with these process ids make some: others may run on this machine, too."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found = {f"mount {line}" for line in mounts if "tracefs" in line or node.base in line}
    found |= {f"namespace {name}" for name in os.listdir("/run/netns") if name.startswith(node.base)}
    mine = tuple(f"{PREFIX}{pid}-" for pid in pids)
    found |= {f"instance {one.name}" for one in traced.iterdir() if one.name.startswith((*mine, FOREIGN))}
    for name in ("root", "p1", "p2", "out"):
        netns = ["ip", "netns", "exec", f"{node.base}-{name}"]
        program = "nft -a list ruleset; sed 1d /proc/net/packet | cut -d' ' -f3-6; sed 1d /proc/net/raw | cut -d: -f2-3"
        said = subprocess.run(
            [*netns, "sh", "-c", program], capture_output=True, text=True, check=True
        ).stdout
        found |= {f"{name} {number}: {line}" for number, line in enumerate(said.splitlines())}
    return frozenset(found)


def killed_at(node: Node, after_s: float, case: str) -> tuple[int, bool]:
    """Observe in a process of its own, kill it after a while; return its id, and whether it was still at it."""
    child = os.fork()
    if child == 0:
        try:
            args = build_parser().parse_args(["snapshot", *where(node), "--out", "unused"])
            for _ in range(100):
                list(observe(node.options(), make_collectors(args), Kernel(), CASES[case].request))
        finally:
            os._exit(1)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    return child, os.WIFSIGNALED(os.waitpid(child, 0)[1])


def without_ours(found: Listed) -> Listed:
    """Leave out our own instances, which the next start removes."""
    return frozenset(one for one in found if not one.startswith(f"instance {PREFIX}"))


def prove(kills: int, choose: random.Random) -> tuple[str, list[str]]:
    """Kill so often; what was found in a line, and what was left."""
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    traced, pids = instances(), {os.getpid()}
    with network() as node:
        inside(node, "p1", "nft", "-f", "-", text=FOREIGN_TABLE)
        foreign = traced / f"{FOREIGN}{os.getpid()}"
        foreign.mkdir()
        try:
            before = listed(node, traced, pids)
            for number in range(kills):
                case = choose.choice(("delivered", "datagram", "nobody", "echo6"))
                pid, was_at_it = killed_at(node, choose.random() * LONGEST_S, case)
                pids.add(pid)
                limit = time.monotonic() + GONE_S
                while (
                    without_ours(after := listed(node, traced, pids)) != before and time.monotonic() < limit
                ):
                    time.sleep(0.01)
                seen["killed" if was_at_it else "ended by itself"] += 1
                seen["an instance was left to the next start"] += after != without_ours(after)
                if without_ours(after) != before:
                    wrong += [
                        f"kill {number} ({case}): {one}" for one in sorted(without_ours(after) ^ before)
                    ]
                    break
            run_case(node, CASES["delivered"])
            wrong += [f"after the next start: {one}" for one in sorted(listed(node, traced, pids) ^ before)]
        finally:
            foreign.rmdir()
    return ", ".join(f"{count} {what}" for what, count in seen.items()), wrong


def main() -> int:
    """Prove it and publish that; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    text, wrong = prove(args.kills, random.Random(args.seed))
    made = time.strftime("%Y-%m-%d", time.gmtime())
    verdict = "Nothing else was left" if not wrong else "LEFT"
    lines = [
        "# Observers killed at random times",
        "",
        f"Written by `make proof-kills` on {made}, Linux {platform.release()}. An observer on a node of four namespaces was killed",
        f"(SIGKILL) within {LONGEST_S} s of its start: {text}. {verdict}: compared before, after each kill, and after the next start",
        "are nftables' rules, packet and raw sockets of each namespace, trace instances, mounts, and network namespaces. An",
        "instance and a table of somebody else's stayed.",
        *(f"- {one}" for one in wrong),
    ]
    DOCS.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
