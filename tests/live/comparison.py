"""The server's state against a fresh dump of the kernel, section by section.

A generation counts how often one collector saw an inode number again, so two collectors that
started at different times may differ in it: it is left out of the comparison. So is what rules have counted, which says
when it was read.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab.stack import ROOT, Stack
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import SECTIONS, NetnsState, NodeState
from netviz.core.wire.nvz import load_nvz

Comparable = dict[tuple[int, int], dict[str, Any]]


def fresh_dump(node: str, arguments: Sequence[str], folder: Path) -> NodeState:
    """Read a node's state from the kernel now, with a collector of its own."""
    out = folder / f"{node}-{time.monotonic_ns()}.nvz"
    argv = [sys.executable, "-m", "agents", "snapshot", "--node", node, *arguments, "--out", str(out)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_nvz(out.read_bytes())[1]


def held_state(stack: Stack, node: str) -> NodeState:
    """The node's state as the server holds it."""
    status, body = stack.get(f"/api/nodes/{node}/state")
    assert status == 200, body
    return load_nvz(body)[1]


def _without_generation(key: NetnsKey) -> NetnsKey:
    return msgspec.structs.replace(key, gen=0)


READ_AT_A_TIME = ("kernel_stats", "rule_counters")
"""Sections of counts and of when they were read: two readers, one after the other, never have the same."""


def _comparable_netns(ns: NetnsState) -> dict[str, Any]:
    netns = msgspec.structs.replace(
        ns.netns,
        key=_without_generation(ns.key),
        nsids=tuple((nsid, _without_generation(key)) for nsid, key in ns.netns.nsids),
    )
    return {"netns": netns} | {s: dict(getattr(ns, s)) for s in SECTIONS if s not in READ_AT_A_TIME}


def comparable(state: NodeState) -> Comparable:
    """A state as plain values: (dev, ino) -> section -> key -> record."""
    return {(key.dev, key.ino): _comparable_netns(ns) for key, ns in state.netns.items()}


def differences(held: NodeState, fresh: NodeState) -> list[str]:
    """Every difference in one line each; none when the two are equal."""
    a, b = comparable(held), comparable(fresh)
    lines = [
        f"{state.node}: namespace {key} only {side}"
        for state, key, side in [
            *((held, key, "at the server") for key in a.keys() - b.keys()),
            *((fresh, key, "in the kernel") for key in b.keys() - a.keys()),
        ]
    ]
    for key in a.keys() & b.keys():
        for name, section in a[key].items():
            other = b[key][name]
            if section == other:
                continue
            where = f"{held.node} {key} {b[key]['netns'].name} {name}"
            if name == "netns":
                lines.append(f"{where}: {section} != {other}")
                continue
            for record in section.keys() | other.keys():
                if section.get(record) != other.get(record):
                    lines.append(f"{where}: server {section.get(record)} != kernel {other.get(record)}")
    return lines


def assert_converges(stack: Stack, folder: Path, timeout_s: float = 45.0) -> None:
    """Wait until every node's state at the server equals a fresh dump; else fail with the differences."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = [
            line
            for node, arguments in stack.collector_args.items()
            for line in differences(held_state(stack, node), fresh_dump(node, arguments, folder))
        ]
        if not found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{len(found)} differences after {timeout_s:.0f} s:\n" + "\n".join(found[:20])
            )
        time.sleep(0.5)
