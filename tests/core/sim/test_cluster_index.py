"""The index over the cluster: after any changes it says what an index made afresh says."""

from __future__ import annotations

import random

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.sim.link import cluster_index as ci
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.section import Section
from tests.bench.scale import build, changed
from tests.core.sim.build import Net, textbook


def where(nodes: dict[str, NodeState], key: ci.Key) -> list[str]:
    return [node.node for node in ci.candidates(Section.of(nodes), key)]


def test_following_changes_equals_making_it_afresh() -> None:
    """Nodes change, go and come; older states stay answered as they were."""
    pick = random.Random(11)
    spare = build(40)
    state = ClusterState({name: spare.nodes[name] for name in list(spare.nodes)[:20]})
    history: list[ClusterState] = []
    for number in range(60):
        nodes = dict(state.nodes)
        what = pick.choice(("change", "go", "come"))
        name = pick.choice(list(spare.nodes))
        if what == "go" and len(nodes) > 2:
            nodes.pop(name, None)
        elif what == "come":
            nodes[name] = spare.nodes[name]
        elif name in nodes:
            nodes = dict(changed(state, name, number).nodes)
        state = ClusterState(nodes)
        history.append(state)
        for seen in (state, pick.choice(history)):
            index = ci.cluster_index(seen.nodes)
            afresh = ci._follow(ci._EMPTY, seen.nodes)
            assert {name: state() for name, state in index.seen.items()} == seen.nodes
            assert ci.cluster_index(seen.nodes) is index
            assert index.buckets == afresh.buckets or _only_everywhere_differs(index, afresh)


def _only_everywhere_differs(one: ci.ClusterIndex, other: ci.ClusterIndex) -> bool:
    """A key that many nodes had is looked for everywhere, also when most of them are gone."""
    keys = {key for buckets in (one.buckets, other.buckets) for bucket in buckets for key in bucket}
    return all(one.names(key) == other.names(key) or one.names(key) == ci.EVERYWHERE for key in keys)


def test_a_moved_pod_is_found_where_it_is_and_in_old_states_where_it_was() -> None:
    net, _made = textbook(2, 1)
    before = net.cluster()
    assert where(dict(before.nodes), "pod-2-1") == ["node-2"]
    moved = Net(macs=50, inode=500)
    node = moved.node("node-2")
    node.nic("ens3", "192.168.0.2/24")
    after = msgspec.structs.replace(before, nodes={**before.nodes, "node-2": moved.cluster().nodes["node-2"]})
    assert where(dict(after.nodes), "pod-2-1") == []
    assert where(dict(before.nodes), "pod-2-1") == ["node-2"]
    assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DELIVERED


def test_a_key_on_every_node_is_looked_for_everywhere() -> None:
    nodes = dict(build(30).nodes)
    assert len(where(nodes, pack_ip("127.0.0.1"))) == 30
    assert where(nodes, "pod-7-3") == ["node-7"]
    assert where(nodes, "nobody") == []
