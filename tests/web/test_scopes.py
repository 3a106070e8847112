"""A store is a scope: whoever reads one is told of it alone, also when another has nodes of the same names."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.kubernetes import KubeService
from netviz.core.state.delta import Change, NodeDelta, ObjectsDelta, apply
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_source
from netviz.ingest.memory_store import MemoryStore
from netviz.problems.sight import Looker
from netviz.topology.live import Topology
from netviz.tracing.states import live, of_store
from tests.web.states import pod_network, show

WEB = apply(
    NodeState(cluster_source("c1")),
    NodeDelta(objects=ObjectsDelta(services=Change((KubeService("shop", "web"),)))),
)


@pytest.mark.django_db
def test_two_scopes_know_nothing_of_each_other(store: MemoryStore) -> None:
    opened = MemoryStore()
    show(store, pod_network())
    show(store, WEB)
    show(opened, msgspec.structs.replace(pod_network(pods=5), kernel="5.15"), connected=False)
    show(opened, pod_network(node="b", third=2), connected=False)
    assert live() == of_store(store)
    assert list(live().inputs) == list(live().cluster.nodes) == ["a"]
    view = of_store(opened)
    assert set(view.inputs) == set(view.cluster.nodes) == {"a", "b"}
    assert view.cluster.nodes["a"].kernel == "5.15"
    assert (list(live().cluster.clusters), dict(view.cluster.clusters)) == (["c1"], {})
    maps = {name: Topology(one) for name, one in (("live", store), ("opened", opened))}
    assert {name: sorted(one.graph()[1].nodes) for name, one in maps.items()} == {
        "live": ["a"],
        "opened": ["a", "b"],
    }
    assert maps["opened"].graph()[1].nodes["a"].pods == 5
    show(store, pod_network(node="c", third=3))
    assert sorted(maps["live"].graph()[1].nodes) == ["a", "c"]
    assert sorted(maps["opened"].graph()[1].nodes) == ["a", "b"]
    seen = Looker(opened).look()
    assert set(seen.view.cluster.nodes) == {"a", "b"}
