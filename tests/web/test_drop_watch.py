"""Drop watch without a kernel: who may, what the collector is told, and how what it reports is shown."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from netviz.core.model.addr import pack_ip
from netviz.core.observe.drops import Drop, Group
from netviz.core.observe.evidence import Source
from netviz.core.observe.headers import Headers
from netviz.core.observe.orders import Drops, Finish, Order, Refused, WatchDrops, encode, read_order
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.reports import mailbox
from netviz.inventory.models import AuditEntry
from netviz.observing import drops
from netviz.observing.models import Observation
from tests.core.observe.test_explain import denied
from tests.core.sim.build import Ns
from tests.web.states import show

SOURCES = (Source("node-1", "packet sockets"), Source("node-1", "tracefs"))


@pytest.fixture
def made(store: MemoryStore, settings: Any) -> dict[str, Ns]:
    """The textbook cluster, in which a rule of node-1 drops what goes to pod-2-1."""
    settings.OBSERVE = True
    net, made = denied()
    for node in net.cluster().nodes.values():
        show(store, node)
        store.set_connected(node.node, True, time.time())
    store.put_bodies(net.bodies.values())
    return made


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


def post(client: Client, **request: Any) -> Any:
    return client.post("/api/drops", data=json.dumps(request), content_type="application/json")


def groups_of(made: dict[str, Ns]) -> tuple[Group, ...]:
    """A drop that the rule explains, one of another pod, and one that nothing tells of."""
    syn = Headers(6, pack_ip("10.1.1.11"), pack_ip("10.1.2.11"), 0, 80, 2)
    other = Headers(17, pack_ip("10.1.1.12"), pack_ip("10.1.2.12"), 0, 99)
    node, at_ns = str(made["node-1"].key), 1_700_000_000_000_000_000
    return (
        Group(Drop(at_ns, "NETFILTER_DROP", node, "cni0", headers=syn), 7, at_ns),
        Group(Drop(at_ns, "NETFILTER_DROP", node, "cni0", headers=other), 1, at_ns),
        Group(Drop(at_ns, "NOT_SPECIFIED"), 3, at_ns),
    )


class Collector:
    """node-1's collector, which answers orders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Order], bytes | None]) -> None:
        self.got: list[Order] = []
        self._answer = answer
        monkeypatch.setattr(drops, "order", self._take)

    def _take(self, node: str, ident: str, body: bytes) -> None:
        assert node == "node-1"
        what = read_order(body)
        self.got.append(what)
        if (answer := self._answer(what)) is not None:
            mailbox.deliver(ident, node, answer)


def finished(client: Client, **request: Any) -> dict[str, Any]:
    """Watch, and wait for the end."""
    ident = post(client, **request).json()["id"]
    for thread in threading.enumerate():
        if thread.name == f"observation-{ident}":
            thread.join(60)
    connection.close()
    found: dict[str, Any] = client.get(f"/api/observations/{ident}").json()
    return found


@pytest.mark.django_db
def test_what_cannot_be_watched(made: dict[str, Ns], operator: Client, settings: Any) -> None:
    assert post(operator, of="nobody").status_code == 400
    assert post(operator, of="node-1", seconds=31).status_code == 400
    settings.OBSERVE = False
    assert post(operator, of="node-1").status_code == 403
    assert not Observation.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("of", "counts", "total"), [("node-1", [7, 1, 3], 11), ("default/pod-1-1", [7], 7)])
def test_groups_are_explained(
    made: dict[str, Ns],
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
    counts: list[int],
    total: int,
) -> None:
    """Of a node all; of a pod what is known to be its own, and how much nobody can place."""

    def answer(what: Order) -> bytes:
        return encode(Drops(groups_of(made), SOURCES, over=isinstance(what, Finish)))

    collector = Collector(monkeypatch, answer)
    found = finished(operator, of=of, seconds=1)
    perhaps, named = "", counts[:2]
    if of == "node-1":
        perhaps = ", and 3 for which the kernel names no reason, some perhaps of other nodes on its kernel"
    assert (found["status"], found["kind"], found["finding"]) == ("done", "drops", "drops")
    assert found["headline"] == f"{sum(named)} drops of {of} seen in 1 s{perhaps}."
    said = found["drops"]
    assert [one["count"] for one in said["groups"]] == counts
    assert (said["total"], said["unplaced"], said["shared_with"]) == (total, 3, ["node-2"])
    first = said["groups"][0]
    assert (first["explained"], first["flow"]["from"], first["flow"]["to"]) == (
        True,
        "default/pod-1-1",
        "default/pod-2-1",
    )
    assert first["place"]["node"] == "node-1"
    assert "policy" in first["why"]
    text = operator.get(f"/api/observations/{found['id']}/export?as=text").content.decode()
    assert f"{sum(named)} drops of {of} seen in 1 s{perhaps}.\n" in text
    assert "     7 NETFILTER_DROP       after cni0 in node-1\n" in text
    assert "tcp 10.1.1.11 (default/pod-1-1) > 10.1.2.11:80 (default/pod-2-1)\n" in text
    assert "of 3 drops of this kernel (also that of node-2) it isn't known which packets they were" in text
    assert operator.get(f"/api/observations/{found['id']}/export?as=markdown").status_code == 400
    watch, finish = collector.got
    assert isinstance(watch, WatchDrops)
    assert {"cni0", "eth0", "veth-pod-2-1"} <= watch.shared
    assert "veth-pod-1-1" not in watch.shared
    assert isinstance(finish, Finish)
    entry = AuditEntry.objects.filter(action="drops.start").latest("pk")
    assert (entry.actor, entry.detail["request"]) == ("a-operator", {"of": of, "seconds": 1})


@pytest.mark.django_db(transaction=True)
def test_a_loss_is_told(made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    lossy = (Source("node-1", "packet sockets", 5),)
    Collector(monkeypatch, lambda what: encode(Drops((), lossy, over=isinstance(what, Finish))))
    found = finished(operator, of="node-1", seconds=1)
    assert (found["status"], found["finding"]) == ("partial", "none")
    assert found["headline"] == (
        "No drop of node-1 was seen in 1 s; 5 events or frames were lost, so there may be more."
    )


@pytest.mark.django_db(transaction=True)
def test_a_watch_without_its_end(
    made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was dropped after the last report isn't known, and none is no promise."""
    monkeypatch.setattr(drops, "FINISH_S", 0.1)
    sources = (Source("node-1", "packet sockets"),)
    Collector(monkeypatch, lambda what: None if isinstance(what, Finish) else encode(Drops((), sources)))
    found = finished(operator, of="node-1", seconds=1)
    assert found["status"] == "partial"
    assert found["headline"] == (
        "No drop of node-1 was seen in 1 s; not everything was watched, so there may be more."
    )


@pytest.mark.django_db(transaction=True)
def test_a_collector_that_cannot(
    made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(monkeypatch, lambda what: encode(Refused("no tracefs (barred)")))
    found = finished(operator, of="node-1", seconds=1)
    assert (found["status"], found["error"]) == ("failed", "node-1 can't watch: no tracefs (barred)")
    assert isinstance(collector.got[-1], Finish)
