"""How long nodes take to follow a change of a service's endpoints: what is measured on the recorded cluster, and what isn't."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import ObjectKey
from netviz.core.state.delta import diff
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import cluster_source
from netviz.core.wire.nvz import join_captures, load_nvz
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import Position
from netviz.kubernetes import delays as module
from netviz.kubernetes.delays import Delays, Followed
from tests.core.check.services.recorded import DATA, change_elements, change_rules
from tests.core.wire.test_kubernetes_lists import lists
from tests.web.states import show

WEB: ObjectKey = ("shop", "web")
WEB_IP = pack_ip("10.96.20.1")
API = cluster_source("c1")


def full() -> ClusterState:
    """The nodes as they were recorded."""
    nodes = join_captures(load_nvz(path.read_bytes()) for path in sorted((DATA / "before").glob("*.nvz")))
    return ClusterState(nodes.nodes, nodes.bodies)


def behind() -> ClusterState:
    """The nodes before they had any rules for shop/web."""
    cluster = full()
    for name in ("n1", "n3"):
        cluster = change_rules(
            cluster,
            name,
            (2, "nat", "KUBE-SERVICES"),
            lambda text, rule: () if 'shop/web cluster IP"' in text else (rule,),
        )
    return change_elements(
        cluster,
        "n2",
        (2, "kube-proxy", "service-ips"),
        lambda elem: () if WEB_IP in elem.key else (elem,),
    )


def without_endpoints(state: NodeState) -> NodeState:
    """What the API had before shop/web had endpoints."""
    slices = {
        key: msgspec.structs.replace(one, endpoints=()) if one.service == WEB[1] else one
        for key, one in state.objects.endpoint_slices.items()
    }
    return msgspec.structs.replace(
        state, objects=msgspec.structs.replace(state.objects, endpoint_slices=slices)
    )


def fold(store: MemoryStore, new: NodeState, at_s: float) -> None:
    """Have a source's collector tell at a time what it is like now."""
    old, position = store.state(new.node), store.position(new.node)
    assert old is not None
    assert position is not None
    store.fold(new.node, diff(old, new), Position(position.epoch, position.seq + 1), at_s)


def until(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


@pytest.fixture
def api() -> NodeState:
    """What the API has."""
    return msgspec.structs.replace(lists("before"), node=API)


@pytest.fixture
def measured(store: MemoryStore, api: NodeState) -> Iterator[Delays]:
    """Measuring, while no node has rules for shop/web and the API no endpoints."""
    cluster = behind()
    for node in cluster.nodes.values():
        show(store, node)
    store.put_bodies(cluster.bodies.values())
    show(store, without_endpoints(api))
    made = Delays(lambda: store)
    made.start()
    yield made
    made.stop()


def change(store: MemoryStore, measured: Delays, api: NodeState) -> tuple[float, Followed]:
    """Endpoints come."""
    at_s = time.time()
    fold(store, api, at_s)
    until(lambda: measured.of("c1", WEB))
    found = measured.of("c1", WEB)
    assert found is not None
    return at_s, found


def follow(store: MemoryStore, name: str, at_s: float) -> None:
    """A node's rules come, with their bodies."""
    cluster = full()
    fold(store, cluster.nodes[name], at_s)
    store.put_bodies(cluster.bodies.values())


def took(measured: Delays) -> dict[str, float]:
    """What was measured when all that was told is judged."""
    measured.stop()
    found = measured.of("c1", WEB)
    return {node: round(s, 3) for node, s in found.took_s.items()} if found is not None else {}


def test_each_node_is_measured_from_the_apis_change_to_its_own(
    store: MemoryStore,
    measured: Delays,
    api: NodeState,
    monkeypatch: pytest.MonkeyPatch,
    token: Callable[[str], str],
) -> None:
    at_s, found = change(store, measured, api)
    assert (found.nodes, found.took_s) == (3, {})
    for name, after_s in (("n1", 0.25), ("n2", 1.5), ("n3", 0.5)):
        follow(store, name, at_s + after_s)
    assert took(measured) == {"n1": 0.25, "n2": 1.5, "n3": 0.5}

    monkeypatch.setattr("netviz.kubernetes.programming.delays", measured)
    monkeypatch.setattr("netviz.metrics.delays", measured)
    viewer = Client(headers={"Authorization": f"Bearer {token('viewer')}"})
    shown = viewer.get("/api/services/shop/web").json()["programming"]
    told = shown["delay"]
    assert (told["nodes"], told["measured"], told["median_s"]) == (3, 3, 0.5)
    assert (told["longest_s"], told["longest_on"]) == (1.5, "n2")
    rows = {tuple(row["nodes"]): row["delay_s"] for row in shown["rows"]}
    assert rows == {("n1", "n3"): [0.25, 0.5], ("n2",): [1.5, 1.5]}
    other = viewer.get("/api/services/shop/solo").json()["programming"]
    assert other["delay"] is None
    assert {row["delay_s"] for row in other["rows"]} == {None}

    text = viewer.get("/metrics").content.decode()
    samples = {
        (one.name, one.labels.get("le")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if family.name == "netviz_service_programming_seconds"
    }
    assert samples["netviz_service_programming_seconds_count", None] == 3
    assert samples["netviz_service_programming_seconds_sum", None] == pytest.approx(2.25)
    by_bound = {bound: count for (_, bound), count in samples.items() if bound is not None}
    assert (by_bound["0.1"], by_bound["0.25"], by_bound["1.0"], by_bound["+Inf"]) == (0, 1, 2, 3)


def test_rules_that_came_before_the_apis_news_are_not_measured(
    store: MemoryStore, measured: Delays, api: NodeState
) -> None:
    at_s = time.time()
    follow(store, "n1", at_s - 0.1)
    _, found = change(store, measured, api)
    assert found.nodes == 2
    follow(store, "n3", found.at_s + 0.5)
    assert took(measured) == {"n3": 0.5}


def test_a_node_that_is_told_anew_is_not_measured(
    store: MemoryStore, measured: Delays, api: NodeState
) -> None:
    """When its rules came wasn't seen: they were in a snapshot."""
    at_s, _ = change(store, measured, api)
    show(store, full().nodes["n3"])
    store.put_bodies(full().bodies.values())
    follow(store, "n1", at_s + 0.5)
    assert took(measured) == {"n1": 0.5}


def test_rules_that_were_not_known_for_a_time_are_not_measured(
    store: MemoryStore, measured: Delays, api: NodeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body of the first of two changes never came: which of them did it isn't known."""
    monkeypatch.setattr(module, "BODIES_S", 0.05)
    at_s, _ = change(store, measured, api)
    node = full().nodes["n1"]
    fold(store, node, at_s + 0.5)
    until(lambda: (found := measured.of("c1", WEB)) and "n1" in found.blurred)
    root = node.root
    assert root is not None
    tables = {
        key: msgspec.structs.replace(one, handle=one.handle + 1000) for key, one in root.nft_tables.items()
    }
    root = msgspec.structs.replace(root, nft_tables=tables)
    store.put_bodies(full().bodies.values())
    fold(store, msgspec.structs.replace(node, netns={**node.netns, root.key: root}), at_s + 0.9)
    follow(store, "n2", at_s + 1.0)
    assert took(measured) == {"n2": 1.0}


def test_a_change_that_ends_before_a_node_follows_is_not_measured(
    store: MemoryStore, measured: Delays, api: NodeState
) -> None:
    change(store, measured, api)
    fold(store, without_endpoints(api), time.time())
    follow(store, "n1", time.time())
    assert took(measured) == {}


def test_nothing_is_listened_to_while_no_endpoints_change(
    store: MemoryStore, measured: Delays, api: NodeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    monkeypatch.setattr(measured, "_take", looked.append)
    follow(store, "n1", time.time())
    measured.stop()
    assert not looked
