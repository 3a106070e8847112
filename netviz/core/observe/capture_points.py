"""Where to capture a trace: each device that its packets cross, as an interface with the steps that are there.

What was captured is laid beside the path, of all branches and directions, that has most of the devices that it crossed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.observe.pcapng import Interface

_CROSSES = {"link_tx": True, "link_rx": False}


class Hop(msgspec.Struct, frozen=True):
    """A device of a capture. `sent` and `received` are the steps there, in words."""

    place: str
    node: str
    dev: str
    where: str
    sent: str = ""
    received: str = ""

    @property
    def interface(self) -> Interface:
        """How the file describes it."""
        steps = "; ".join(part for part in (self.sent, self.received) if part)
        return Interface(self.dev, f"{self.dev} in {self.where}{f': {steps}' if steps else ''}")

    def comment(self, *, out: bool) -> str:
        """What is said of each packet there."""
        steps = self.sent if out else self.received
        return (
            f"{self.where}, {'sent by' if out else 'received by'} {self.dev}{f'; {steps}' if steps else ''}"
        )


def hops_of(trace: Mapping[str, Any]) -> list[Hop]:
    """List the devices that any branch of a trace's JSON crosses, in the order of the path."""
    found: dict[tuple[str, str], tuple[str, str, dict[bool, list[str]]]] = {}
    for direction, hop, step in _steps(trace):
        out = _CROSSES.get(step["kind"])
        if out is None or not step["dev"] or step["dev"] == "lo":
            continue
        where = f"pod {hop['pod']} on {hop['node']}" if hop["pod"] else hop["node"]
        _, _, steps = found.setdefault((hop["netns"], step["dev"]), (hop["node"], where, {}))
        said = f"step {step['seq']}, {direction}"
        if said not in steps.setdefault(out, []):
            steps[out].append(said)
    return [
        Hop(place, node, dev, where, " and ".join(steps.get(True, ())), " and ".join(steps.get(False, ())))
        for (place, dev), (node, where, steps) in found.items()
    ]


class Planned(msgspec.Struct, frozen=True):
    """A trace's packet crosses a device, of a capture's `hops` by its number, in a step."""

    hop: int
    out: bool
    step: int


def paths_of(trace: Mapping[str, Any], hops: Sequence[Hop]) -> tuple[tuple[Planned, ...], ...]:
    """List what each branch of a trace's JSON crosses in each direction, in order, of these devices."""
    numbers = {(hop.place, hop.dev): number for number, hop in enumerate(hops)}
    found: dict[tuple[int, str], list[Planned]] = {}
    for number, branch in enumerate(trace["branches"]):
        for direction, hop, step in _steps({"branches": [branch]}):
            out, at = _CROSSES.get(step["kind"]), numbers.get((hop["netns"], step["dev"]))
            if out is not None and at is not None:
                found.setdefault((number, direction), []).append(Planned(at, out, step["seq"]))
    return tuple(map(tuple, found.values()))


def beside(crossed: Iterable[tuple[int, bool]], paths: Sequence[Sequence[Planned]]) -> tuple[Planned, ...]:
    """Return the first path that most of what was crossed is on, each device by its number and whether it was sent; () for none."""
    seen = frozenset(crossed)
    counts = [sum((one.hop, one.out) in seen for one in path) for path in paths]
    most = max(counts, default=0)
    return tuple(paths[counts.index(most)]) if most else ()


def addresses_of(trace: Mapping[str, Any]) -> frozenset[bytes]:
    """The addresses that a trace's packets have on their way, packed: those of its ends, and what they are translated to."""
    flow = trace["flow"]
    found = {flow["src"], flow["dst"]}
    for _, _, step in _steps(trace):
        found |= {step["packet"].get("src"), step["packet"].get("dst")}
    return frozenset(pack_ip(addr) for addr in found if addr)


def _steps(trace: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for branch in trace["branches"]:
        for direction in ("forward", "reply"):
            for hop in (branch[direction] or {"hops": ()})["hops"]:
                for step in hop["steps"]:
                    yield direction, hop, step
