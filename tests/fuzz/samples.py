"""Real states to damage: recorded from a Kubernetes cluster and from random networks of the oracle."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from netviz.core.state.node import NodeState
from netviz.core.wire.nvz import Capture, load_nvz
from tests.core.sim.build import textbook

DIRECTORY = Path(__file__).resolve().parents[1] / "data" / "states"


@cache
def clusters() -> dict[str, list[tuple[Capture, NodeState]]]:
    """The nodes of each folder that has any."""
    found: dict[str, list[tuple[Capture, NodeState]]] = {}
    for path in sorted(DIRECTORY.rglob("*.nvz")):
        found.setdefault(str(path.parent.relative_to(DIRECTORY)), []).append(load_nvz(path.read_bytes()))
    return found


@cache
def small_states() -> list[NodeState]:
    """Nodes with few records, for what is done very often."""
    made, _ = textbook(2, 1)
    states = list(made.cluster().nodes.values())
    for files in clusters().values():
        for _, state in files:
            few = {
                key: msgspec.structs.replace(
                    ns,
                    **{
                        name: dict(list(getattr(ns, name).items())[:3])
                        for name in ns.__struct_fields__
                        if name != "netns"
                    },
                )
                for key, ns in list(state.netns.items())[:2]
            }
            states.append(msgspec.structs.replace(state, netns=few))
    return states
