"""Every record of a recorded state taken away, one at a time: where the prediction changes, that is found.

A prediction differs where its devices, headers, end or deciding rules do. Then the branch must not be among those that
nothing speaks against; where nothing of it differs, it must stay.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from netviz.core.observe.crossing import crossings, predicted_headers
from netviz.core.observe.evidence import judge, place_name
from netviz.core.sim.endpoints import EndpointError
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Branch, Disposition, Path
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState
from tests.live.observed_cases import read_recorded

NAMES = (
    "delivered",
    "no-listener",
    "masqueraded",
    "service",
    "input-drop",
    "forward-drop",
    "jumps",
    "policy-drop",
)
SECTIONS = ("routes", "addrs", "neighs", "fdb", "nft_chains", "sockets", "rules")
LEAST = 5  # lies that show, of each case


def without_one(cluster: ClusterState) -> Iterator[tuple[str, ClusterState]]:
    """Take each record away, one at a time."""
    (node,) = cluster.nodes.values()
    for key, ns in node.netns.items():
        for section in SECTIONS:
            records = getattr(ns, section)
            for record in records:
                left = {one: value for one, value in records.items() if one != record}
                changed = msgspec.structs.replace(ns, **{section: left})
                lie = msgspec.structs.replace(node, netns={**node.netns, key: changed})
                yield (
                    f"{ns.netns.name} {section} {record}",
                    msgspec.structs.replace(cluster, nodes={node.node: lie}),
                )


def shown(branch: Branch) -> list[object]:
    """List what can be seen of a branch."""
    return [*_shown(branch.forward), *(_shown(branch.reply) if branch.reply is not None else ["no answer"])]


def _shown(path: Path) -> Iterator[object]:
    for one in crossings(path, place_name):
        if one.crossing.dev != "lo" and not (one.crossing.dev == "br0" and one.crossing.out):
            yield str(one.crossing), predicted_headers(one.packet), one.packet.smac, one.packet.dmac
    for hop in path.hops:
        for step in hop.steps:
            if isinstance(step.what, HookVerdict):
                yield str(hop.netns), step.action, step.what.hit.handle if step.what.hit is not None else 0
    if path.disposition is Disposition.DROPPED:
        yield path.reason


@pytest.mark.parametrize("name", NAMES)
def test_each_lie_that_shows_is_found(name: str) -> None:
    recorded = read_recorded(name)
    truth = shown(simulate(recorded.cluster(), recorded.flow).branches[0])
    found = 0
    missed, accused = [], []
    for lie, cluster in without_one(recorded.cluster()):
        try:
            trace = simulate(cluster, recorded.flow)
        except EndpointError:
            continue
        taken = judge(cluster, trace, recorded.evidence).taken
        for number, branch in enumerate(trace.branches):
            if Disposition.UNKNOWN in (branch.forward.disposition, branch.reply and branch.reply.disposition):
                continue
            same = shown(branch) == truth
            found += not same
            if not same and number in taken:
                missed.append((lie, branch.forward.disposition.value, branch.forward.reason))
            if same and number not in taken:
                accused.append((lie, branch.forward.disposition.value))
    assert missed == []
    assert accused == []
    assert found >= LEAST
