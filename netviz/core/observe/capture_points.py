"""Where to capture a trace: each device that its packets cross, as an interface with the steps that are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
