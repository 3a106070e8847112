"""A namespace's connections over the API: listed, judged, and traced by the request that each comes with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from netviz.ingest.memory_store import MemoryStore
from netviz.observing import connections
from tests.core.observe.test_connections import SERVICE, entry, service
from tests.core.sim.build import Net, Ns, textbook
from tests.web.states import show


@pytest.fixture
def net() -> tuple[Net, dict[str, Ns]]:
    """The textbook cluster with a service whose endpoint has changed."""
    net, made = textbook()
    service(made["node-1"], "10.1.2.11")
    made["node-1"].conntrack(entry("10.1.1.11", 40000, SERVICE, "10.1.2.12"))
    made["node-1"].conntrack(entry("10.1.1.11", 40001, SERVICE, "10.1.2.11"))
    made["node-1"].conntrack(entry("10.1.1.12", 40000, "10.1.1.11", "10.1.1.11"))
    return net, made


def put(store: MemoryStore, net: Net) -> None:
    cluster = net.cluster()
    for node in cluster.nodes.values():
        show(store, node)
        store.set_connected(node.node, True, time.time())
    store.put_bodies(cluster.bodies.values())


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


def get(client: Client, ns: Ns) -> Any:
    return client.get(f"/api/netns/{ns.key}/connections")


@pytest.mark.django_db
def test_listed_and_traced(store: MemoryStore, net: tuple[Net, dict[str, Ns]], operator: Client) -> None:
    put(store, net[0])
    found = get(operator, net[1]["pod-1-1"]).json()
    assert (found["otherwise"], found["left_off"], found["missing"]) == (1, 0, [])
    first, *others = found["connections"]
    assert [one["now"] for one in others] == ["same", "same"]
    assert {one["side"] for one in others} == {"client", "server"}
    assert (first["now"], first["side"], first["state"]) == ("otherwise", "client", "established")
    assert first["from"] == {"addr": "10.1.1.11:40000", "name": "default/pod-1-1"}
    assert first["answered_by"] == {"addr": "10.1.2.12:80", "name": "default/pod-2-2"}
    assert "would go to 10.1.2.11:80" in first["why"]
    ends = {}
    for one in (first, *(one for one in others if one["side"] == "client")):
        answer = operator.post("/api/traces", json.dumps(one["trace"]), content_type="application/json")
        assert answer.status_code == 202
        trace = operator.get(f"/api/traces/{answer.json()['id']}").json()["trace"]
        (branch,) = trace["branches"]
        ends[one["from"]["addr"]] = branch["forward"]["hops"][-1]["pod"]
    assert ends == {"10.1.1.11:40000": "default/pod-2-2", "10.1.1.11:40001": "default/pod-2-1"}


@pytest.mark.django_db
def test_what_is_too_much_is_said(
    store: MemoryStore, net: tuple[Net, dict[str, Ns]], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_ROWS", 2)
    monkeypatch.setattr(connections, "MOST_SORTS", 0)
    put(store, net[0])
    found = get(operator, net[1]["pod-1-1"]).json()
    assert (len(found["connections"]), found["left_off"], found["otherwise"]) == (2, 1, 0)
    assert {one["why"] for one in found["connections"]} == {connections.NOT_JUDGED}


@pytest.mark.django_db
def test_of_no_namespace(store: MemoryStore, operator: Client) -> None:
    assert operator.get("/api/netns/nonsense/connections").status_code == 400
    assert operator.get("/api/netns/n1:4:1:0/connections").status_code == 404
