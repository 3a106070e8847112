"""What people type, found among all that the live state has."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import KubeService, ServicePort
from netviz.core.model.l3 import Nexthop, Route
from netviz.core.model.netfilter import ChainBody, NftChain, NftRuleBody, body_digest
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, ObjectsDelta
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import Objects, cluster_source
from netviz.core.wire.nvz import join_captures, load_nvz
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import Position
from netviz.topology.search.finder import Finder, as_json, normal
from tests.core.wire.test_kubernetes_lists import lists
from tests.web.states import pod_network, show

DATA = Path(__file__).resolve().parents[1] / "data" / "kubernetes"
ROUTE = Route(254, pack_ip("192.168.50.0"), 24, nexthops=(Nexthop(2, pack_ip("10.1.1.1")),))
BODY = ChainBody((NftRuleBody((), "drop what the printer sends"),))
CHAIN = NftChain(2, "filter", "PRINTER", body=body_digest(BODY))


def found(finder: Finder, text: str) -> list[tuple[str, str, str]]:
    answer = finder.find(text)
    while answer.partial:
        answer = finder.find(text)
    return [(hit.entry.type, hit.entry.name, hit.entry.where) for hit in answer.hits]


def types(finder: Finder, text: str) -> list[str]:
    return [kind for kind, _, _ in found(finder, text)]


def recorded(store: MemoryStore) -> Finder:
    """The recorded cluster, with its API."""
    captures = [load_nvz(path.read_bytes()) for path in sorted((DATA / "before").glob("*.nvz"))]
    for _, state in captures:
        show(store, state)
    store.put_bodies(join_captures(captures).bodies.values())
    api = lists("before")
    store.replace(
        NodeState(cluster_source("c1"), status=api.status, objects=api.objects), Position(1, 0), 1.0
    )
    return Finder(store)


def test_a_recorded_cluster_is_searched_by_all_that_names_something(store: MemoryStore) -> None:
    finder = recorded(store)
    state = store.cluster()
    pod = next(
        one
        for one in state.clusters["c1"].objects.kube_pods.values()
        if one.name.startswith("web-") and one.ips and not one.host_network
    )
    full = f"{pod.namespace}/{pod.name}"
    assert found(finder, pod.name)[0][:2] == ("pod", full)
    assert found(finder, full)[0] == ("pod", full, pod.node)
    address = ".".join(str(byte) for byte in pod.ips[0])
    assert found(finder, address)[0][:2] == ("pod", full)
    assert found(finder, "shop/web")[0][:2] == ("service", "shop/web")
    assert ("workload", "shop/web", "Deployment, 4 pods") in found(finder, "deployment")
    assert ("namespace", "shop", "Kubernetes namespace") in found(finder, "shop")
    assert found(finder, "n1")[0] == ("node", "n1", "node")
    host = next(
        one for one in state.clusters["c1"].objects.kube_pods.values() if one.host_network and one.node
    )
    assert (f"{host.node}, host network") in [where for _, _, where in found(finder, host.name)]
    link = next(one for one in state.nodes["n1"].root.links.values() if one.ifname == "flannel.1")  # type: ignore[union-attr]
    mac = ":".join(f"{byte:02x}" for byte in link.mac)
    assert found(finder, mac.upper().replace(":", "-"))[0][:2] == ("link", "flannel.1")
    assert ("route", "default", "n1 and 2 more") in found(finder, "default")
    assert any(
        "kube-services" in name.lower() for kind, name, _ in found(finder, "kube-services") if kind == "rule"
    )
    assert {"rule"} <= set(types(finder, "shop/web-np"))
    assert found(finder, "nothing is called this") == found(finder, "  ") == []


def test_better_matches_come_first(store: MemoryStore) -> None:
    show(store, pod_network(12))
    assert [name for _, name, _ in found(Finder(store), "web-1")][:3] == [
        "default/web-1",
        "default/web-10",
        "default/web-11",
    ]
    assert len(Finder(store).find("web", 5).hits) == 5
    assert Finder(store).find("web", 5).more
    assert not Finder(store).find("web-11").more


def test_what_changes_is_found_as_it_is_now(store: MemoryStore) -> None:
    show(store, pod_network(2, "a"))
    show(store, pod_network(2, "b", 2))
    finder = Finder(store)
    assert found(finder, "192.168.50.0/24") == found(finder, "printer") == []
    for seq, node in enumerate(("a", "b"), 1):
        key = next(key for key, ns in store.cluster().nodes[node].netns.items() if ns.netns.root)
        delta = NetnsDelta(key, routes=Change((ROUTE,)), nft_chains=Change((CHAIN,)))
        store.fold(node, NodeDelta(netns=(delta,)), Position(9, seq), 1.0)
    store.put_bodies([BODY])
    assert found(finder, "192.168.50.0/24") == [("route", "192.168.50.0/24", "a and 1 more")]
    chain, rule = sorted(found(finder, "printer"), key=lambda one: one[1] != "PRINTER")
    assert chain == ("rule", "PRINTER", "chain of ip filter, a and 1 more")
    assert rule[2] == "PRINTER of ip filter, a and 1 more"
    store.forget("a")
    assert found(finder, "192.168.50.0/24") == [("route", "192.168.50.0/24", "b")]
    assert [one["key"] for one in as_json(finder.find("printer"))["hits"]] == ["b:4:1:0"] * 2
    store.forget("b")
    assert found(finder, "192.168.50.0/24") == found(finder, "printer") == found(finder, "web-0") == []
    assert not finder._routes.owner
    assert not finder._rules._lines


def service(name: str, port: int = 0) -> KubeService:
    ports = (ServicePort(80, node_port=port),)
    return KubeService("shop", name, cluster_ips=(pack_ip("10.96.0.7"),), ports=ports)


def test_services_are_found_by_name_address_and_node_port(store: MemoryStore) -> None:
    source = cluster_source("c")
    store.replace(NodeState(source, status={"services": SectionStatus(1.0)}), Position(1, 0), 1.0)
    finder = Finder(store)
    put = NodeDelta(objects=ObjectsDelta(services=Change((service("cart", 30080),))))
    store.fold(source, put, Position(1, 1), 1.0)
    for text in ("cart", "shop/cart", "10.96.0.7", "30080"):
        assert found(finder, text) == [("service", "shop/cart", "ClusterIP 80/TCP")], text
    assert as_json(finder.find("10.96"))["hits"] == [
        {
            "type": "service",
            "key": "shop/cart",
            "name": "shop/cart",
            "where": "ClusterIP 80/TCP",
            "node": None,
            "matched": "10.96.0.7",
            "how": "text",
        }
    ]
    drop = NodeDelta(objects=ObjectsDelta(services=Change((), (("shop", "cart"),))))
    store.fold(source, drop, Position(1, 2), 1.0)
    assert found(finder, "cart") == []


def test_following_finds_what_an_index_made_anew_finds(store: MemoryStore) -> None:
    pick, finder = random.Random(3), Finder(store)
    source = cluster_source("c")
    for step in range(40):
        name = pick.choice("ab")
        if pick.random() < 0.2 and store.state(name) is not None:
            store.forget(name)
        elif pick.random() < 0.3:
            objects = Objects(services={one.key: one for one in map(service, pick.sample("xyz", 2))})
            store.replace(NodeState(source, objects=objects), Position(2, step), 1.0)
        else:
            show(store, pod_network(pick.randrange(4), name, pick.randrange(3)))
        for text in ("web", "10.1", "veth", "shop/", name, "eth0"):
            assert found(finder, text) == found(Finder(store), text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  Web  1 ", "web 1"),
        ("02-AA-bb", "02:aa:bb"),
        ("fd00:0:0::1", "fd00::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0", "10.0"),
        ("\x1f", ""),
    ],
)
def test_what_is_typed_is_brought_to_the_form_that_is_searched(text: str, wanted: str) -> None:
    assert normal(text) == wanted


def test_the_api(store: MemoryStore, token: Callable[[str], str]) -> None:
    show(store, pod_network())
    client = Client(headers={"Authorization": f"Bearer {token('viewer')}"})
    answer: dict[str, Any] = client.get("/api/search?q=web-0").json()
    assert (answer["more"], answer["partial"]) == (False, False)
    assert answer["hits"][0] == {
        "type": "pod",
        "key": "a:4:10:0",
        "name": "default/web-0",
        "where": "a",
        "node": "a",
        "matched": None,
        "how": "text",
    }
    assert client.get("/api/search").json()["hits"] == []
    assert len(client.get("/api/search?q=e&limit=1").json()["hits"]) == 1
    for wrong in ("0", "x", "1000", "-1"):
        assert client.get(f"/api/search?q=e&limit={wrong}").status_code == 400


def range_hits(finder: Finder, text: str) -> list[tuple[str, str, str | None]]:
    found(finder, text)
    return [(hit.how, hit.entry.name, hit.matched) for hit in finder.find(text).hits if hit.how != "text"]


def test_an_address_finds_what_contains_it_and_a_range_what_lies_in_it(store: MemoryStore) -> None:
    show(store, pod_network(3, "a"))
    show(store, pod_network(2, "b", 2))
    finder = Finder(store)
    assert range_hits(finder, "10.1.2.77") == [("contains", "10.1.2.0/24", None)]
    key = next(key for key, ns in store.cluster().nodes["a"].netns.items() if ns.netns.root)
    wide = Route(254, pack_ip("10.0.0.0"), 8)
    every = Route(254, bytes(4), 0)
    of_six = Route(254, pack_ip("fd00::"), 16)
    put = NetnsDelta(key, routes=Change((wide, every, of_six)))
    store.fold("a", NodeDelta(netns=(put,)), Position(9, 1), 1.0)
    narrowest_first = [("contains", name, None) for name in ("10.1.2.0/24", "10.0.0.0/8", "default")]
    assert range_hits(finder, "10.1.2.77") == narrowest_first
    assert range_hits(finder, "10.1.2.64/26") == narrowest_first
    assert range_hits(finder, "fd00::1") == [("contains", "fd00::/16", None)]
    # What is called so comes before what contains it, and what contains it before what only begins so.
    assert [hit.entry.name for hit in finder.find("10.1.1.2").hits][:2] == ["default/web-0", "10.1.1.0/24"]
    # The range is searched whatever host bits were typed; a pod in it is found by its address.
    inside = [one for one in range_hits(finder, "10.1.1.130/25") if one[0] == "inside"]
    assert inside == []
    inside = [one for one in range_hits(finder, "10.1.1.3/30") if one[0] == "inside"]
    assert inside == [
        ("inside", "default/web-0", "10.1.1.2"),
        ("inside", "default/web-1", "10.1.1.3"),
        ("inside", "a", "10.1.1.1"),
    ]
    drop = NetnsDelta(key, routes=Change((), (wide.key, every.key)))
    store.fold("a", NodeDelta(netns=(drop,)), Position(9, 2), 1.0)
    assert range_hits(finder, "10.1.2.77") == narrowest_first[:1]
