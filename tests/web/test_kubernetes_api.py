"""Services, workloads and namespaces over the API, of a recorded cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client

from netviz.core.intent.peers import selects
from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.kubernetes import Requirement, Selector
from netviz.core.model.netns import Pod
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_source
from netviz.core.wire.nvz import load_nvz
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import Position
from tests.core.wire.test_kubernetes_lists import lists
from tests.web.states import show

DATA = Path(__file__).resolve().parents[1] / "data" / "kubernetes"


@pytest.fixture
def viewer(token: Callable[[str], str]) -> Client:
    """A program with a viewer's API token."""
    return Client(headers={"Authorization": f"Bearer {token('viewer')}"})


@pytest.fixture
def recorded(store: MemoryStore) -> MemoryStore:
    """The recorded cluster, with its API."""
    for path in sorted((DATA / "before").glob("*.nvz")):
        show(store, load_nvz(path.read_bytes())[1])
    api = lists("before")
    store.replace(
        NodeState(cluster_source("c1"), status=api.status, objects=api.objects), Position(1, 0), 1.0
    )
    return store


def get(viewer: Client, path: str) -> Any:
    answer = viewer.get(path)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_all_services_are_listed_with_how_many_endpoints_are_ready(
    recorded: MemoryStore, viewer: Client
) -> None:
    objects = recorded.cluster().clusters["c1"].objects
    listed = get(viewer, "/api/services")["services"]
    assert len(listed) == len(objects.services)
    by_name = {(one["namespace"], one["name"]): one for one in listed}
    web = by_name["shop", "web"]
    assert (web["type"], web["endpoints"], web["ready"]) == ("ClusterIP", 4, 4)
    assert web["ports"][0]["port"] == objects.services["shop", "web"].ports[0].port
    assert {one["type"] for one in listed} >= {"ClusterIP", "NodePort", "Headless"}
    assert {one["namespace"] for one in get(viewer, "/api/services?namespace=shop")["services"]} == {"shop"}


def test_a_service_has_its_endpoints_where_they_are(recorded: MemoryStore, viewer: Client) -> None:
    cluster = recorded.cluster()
    one = get(viewer, "/api/services/shop/web")
    assert one["selector"] == {"app": "web"}
    listed = get(viewer, "/api/services")["services"]
    every = [get(viewer, f"/api/services/{s['namespace']}/{s['name']}")["policies"] for s in listed]
    assert any(every), "some service's pods are selected by a policy"
    assert len(one["rows"]) == 4
    for row in one["rows"]:
        pod = cluster.clusters["c1"].objects.kube_pods["shop", row["pod"]]
        assert (row["node"], row["state"], row["zone"]) == (pod.node, "ready", None)
        ns = next(ns for key, ns in cluster.nodes[pod.node].netns.items() if str(key) == row["netns"])
        assert isinstance(ns.netns.pod, Pod)
        assert ns.netns.pod.name == row["pod"]
    assert viewer.get("/api/services/shop/nosuch").status_code == 404


def test_who_talks_is_counted_once_by_the_endpoints_node(recorded: MemoryStore, viewer: Client) -> None:
    cluster = recorded.cluster()
    objects = cluster.clusters["c1"].objects
    service = objects.services["shop", "web"]
    end = next(pod for pod in objects.kube_pods.values() if pod.labels.get("app") == "web")
    port = next(one for one in objects.endpoint_slices.values() if one.service == "web").ports[0].port
    other = next(
        pod
        for pod in objects.kube_pods.values()
        if pod.ips and not pod.host_network and pod.node != end.node and pod.owner is not None
    )

    def entry(source: bytes, sport: int, to: bytes, dport: int) -> CtEntry:
        return CtEntry(6, source, to, sport, dport, end.ips[0], source, port, sport)

    outside = pack_ip("198.51.100.7")
    entries = (
        entry(other.ips[0], 1, end.ips[0], port),
        entry(other.ips[0], 2, end.ips[0], port),
        entry(outside, 3, service.cluster_ips[0], service.ports[0].port),
        CtEntry(6, outside, end.ips[0], 4, port + 1, end.ips[0], outside, port + 1, 4),
    )
    for node, state in cluster.nodes.items():
        own, position = state.root, recorded.position(node)
        assert own is not None
        assert position is not None
        put = entries if node == end.node else ()
        delta = NetnsDelta(own.key, conntrack=Change(put, tuple(own.conntrack)))
        recorded.fold(node, NodeDelta(netns=(delta,)), Position(position.epoch, position.seq + 1), 2.0)
    one = get(viewer, "/api/services/shop/web")
    assert next(row["conns"] for row in one["rows"] if row["pod"] == end.name) == 3
    talkers = {talker["name"]: talker for talker in one["talkers"]}
    assert talkers["198.51.100.7"] == {
        "kind": "address",
        "name": "198.51.100.7",
        "conns": 1,
        "pods": 0,
        "nodes": [],
    }
    (named,) = (talker for talker in one["talkers"] if talker["kind"] != "address")
    assert (named["conns"], named["pods"], named["nodes"]) == (2, 1, [other.node])
    assert one["nodes_left_out"] == 0


def test_a_workload_has_its_pods(recorded: MemoryStore, viewer: Client) -> None:
    listed = {
        (one["kind"], one["namespace"], one["name"]): one
        for one in get(viewer, "/api/workloads")["workloads"]
    }
    assert listed["Deployment", "shop", "web"]["pods"] == 4
    for kind in ("Deployment", "deploy"):
        one = get(viewer, f"/api/workloads/{kind}/shop/web")
        assert (one["kind"], len(one["rows"]), one["ready"]) == ("Deployment", 4, 4)
        assert "shop/web" in one["services"]
    assert {row["workload"]["name"] for row in one["rows"]} == {"web"}
    assert viewer.get("/api/workloads/Deployment/shop/nosuch").status_code == 404
    assert all(kind != "ReplicaSet" for kind, _, _ in listed), "users know their Deployments"


def test_a_namespace_has_all_that_is_in_it(recorded: MemoryStore, viewer: Client) -> None:
    objects = recorded.cluster().clusters["c1"].objects
    listed = {one["name"]: one for one in get(viewer, "/api/namespaces")["namespaces"]}
    assert set(listed) == set(objects.kube_namespaces)
    one = get(viewer, "/api/namespaces/shop")
    assert len(one["services"]) == listed["shop"]["services"] > 1
    guarded = max(listed.values(), key=lambda one: int(one["policies"]))
    assert len(get(viewer, f"/api/namespaces/{guarded['name']}")["policies"]) == guarded["policies"] > 0
    assert {row["namespace"] for row in one["rows"]} == {"shop"}
    assert any(row["waits"] for row in one["rows"]) or all(row["phase"] == "Running" for row in one["rows"])
    assert viewer.get("/api/namespaces/nosuch").status_code == 404


def test_without_an_api_there_is_nothing_and_that_is_no_error(store: MemoryStore, viewer: Client) -> None:
    for kind in ("services", "workloads", "namespaces"):
        assert get(viewer, f"/api/{kind}")[kind] == []


@pytest.mark.parametrize(
    ("operator", "values", "labels", "wanted"),
    [
        ("In", ("a", "b"), {"k": "a"}, True),
        ("In", ("a",), {"k": "c"}, False),
        ("In", ("a",), {}, False),
        ("NotIn", ("a",), {"k": "a"}, False),
        ("NotIn", ("a",), {}, True),
        ("Exists", (), {"k": ""}, True),
        ("Exists", (), {}, False),
        ("DoesNotExist", (), {}, True),
        ("DoesNotExist", (), {"k": "a"}, False),
    ],
)
def test_selectors(operator: str, values: tuple[str, ...], labels: dict[str, str], wanted: bool) -> None:
    selector = Selector(expressions=(Requirement("k", operator, values),))
    assert selects(selector, labels) is wanted
    assert selects(Selector(), labels)
    assert not selects(msgspec.structs.replace(selector, labels={"other": "x"}), labels)
