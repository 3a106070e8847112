"""What collectors said that may speak no more leaves after a time that is shown; and what a dead server held is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.utils import timezone

from lab.stack import wait_until
from netviz.ingest import redis_leases
from netviz.ingest.departures import Departures, departures
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.redis_records import NODES, base_key, log_key
from netviz.inventory.models import Collector, Node
from netviz.inventory.service import approve_collector, enrol, revoke_collector
from netviz.topology.live import get_topology
from tests.web.served import Collector as MadeUpCollector
from tests.web.served import Served, eventually
from tests.web.services import redis_server
from tests.web.states import pod_network, show

KEPT_S = 600


@pytest.fixture(autouse=True)
def kept(settings: Any) -> None:
    settings.REVOKED_STATE_S = KEPT_S


@pytest.fixture
def collector(db: None, store: MemoryStore) -> Collector:
    """An approved collector of node a, whose state is held, beside that of node b."""
    show(store, pod_network())
    show(store, pod_network(node="b", third=2))
    enrol("b", approve=True)
    return enrol("a", approve=True)[0]


def held(store: MemoryStore) -> set[str]:
    return set(store.node_revisions())


def shown() -> dict[str, int | None]:
    return {name: node.leaves_in_s for name, node in get_topology().graph()[1].nodes.items()}


def test_a_revoked_collector_s_state_leaves_after_a_time_that_is_shown(
    collector: Collector, store: MemoryStore
) -> None:
    now_s = time.time()
    departures.look(store, now_s)
    assert shown() == {"a": None, "b": None}
    revoke_collector(collector)
    departures.look(store, now_s)
    assert shown() == {"a": KEPT_S, "b": None}
    departures.look(store, now_s + KEPT_S - 5)
    assert departures.leaves_in_s("a", now_s + KEPT_S - 5) == 60
    assert held(store) == {"a", "b"}
    departures.look(store, now_s + KEPT_S + 5)
    assert held(store) == {"b"}
    assert shown() == {"b": None}
    assert "a" not in store.cluster().nodes


def test_approved_again_it_stays(collector: Collector, store: MemoryStore) -> None:
    revoke_collector(collector)
    departures.look(store, time.time())
    assert shown()["a"] == KEPT_S
    assert approve_collector(collector)
    departures.look(store, time.time() + 2 * KEPT_S)
    assert shown() == {"a": None, "b": None}


def test_another_collector_of_the_node_keeps_its_state(collector: Collector, store: MemoryStore) -> None:
    other = enrol("a")[0]
    revoke_collector(collector)
    departures.look(store, time.time())
    assert shown()["a"] == KEPT_S, "one that waits for approval may not speak"
    approve_collector(other)
    departures.look(store, time.time() + 2 * KEPT_S)
    assert shown() == {"a": None, "b": None}


@pytest.mark.parametrize("what", ["collector", "node", "node behind the server's back"])
def test_what_is_deleted_leaves_at_once(collector: Collector, store: MemoryStore, what: str) -> None:
    if what == "collector":
        collector.delete()
    elif what == "node":
        collector.node.delete()
    else:
        _delete_silently(collector)
    departures.look(store, time.time())
    assert held(store) == {"b"}


def _delete_silently(collector: Collector) -> None:
    """As another process does: no signal comes here."""
    Collector.objects.filter(pk=collector.pk)._raw_delete("default")
    Node.objects.filter(name="a")._raw_delete("default")


def test_a_restart_in_between_changes_nothing(collector: Collector, store: MemoryStore) -> None:
    revoke_collector(collector)
    Collector.objects.filter(pk=collector.pk).update(
        revoked_at=timezone.now() - timedelta(seconds=KEPT_S / 2)
    )
    restarted = Departures()
    restarted.look(store, time.time())
    assert restarted.leaves_in_s("a", time.time()) == KEPT_S / 2
    restarted.look(store, time.time() + KEPT_S / 2 + 1)
    assert held(store) == {"b"}


def test_what_nobody_alive_has_left_goes_at_once(
    collector: Collector, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke_collector(collector)
    monkeypatch.setattr(MemoryStore, "restored", True)
    Departures().look(store, time.time())
    assert held(store) == {"b"}


def test_a_dead_server_is_known_within_ten_seconds() -> None:
    """A lease that has just been renewed ends, and is looked for once more."""
    assert redis_leases.LEASE_S + 2 * redis_leases.RENEW_EVERY_S < 10
    assert redis_leases.LOST_S + redis_leases.RENEW_EVERY_S < 10


@pytest.fixture
def two_servers(tmp_path: Path) -> Iterator[Callable[[], tuple[Served, Served, redis.Redis]]]:
    """Two servers on one database and one Redis."""
    made: list[Served] = []
    with redis_server(tmp_path / "redis") as url:
        client = redis.Redis.from_url(url)

        def make() -> tuple[Served, Served, redis.Redis]:
            for _ in range(2):
                made.append(Served(tmp_path / "var", NETVIZ_REDIS_URL=url))
                made[-1].start()
            return made[0], made[1], client

        try:
            yield make
        finally:
            for server in made:
                if server.running:
                    server.stop()
            client.close()


async def test_two_servers_of_which_one_dies(
    two_servers: Callable[[], tuple[Served, Served, redis.Redis]],
) -> None:
    one, other, client = two_servers()
    token = one.provision("n1", "n2")["token"]

    def nodes() -> dict[str, tuple[bool, int | None]]:
        found = other.get("/api/topology", token)["nodes"]
        return {node["name"]: (node["connected"], node["leaves_in_s"]) for node in found}

    async def become(**wanted: tuple[bool, int | None]) -> None:
        """Wait until the other server shows these nodes, so."""
        await eventually(lambda: nodes() == wanted, 300, f"the nodes become {wanted}")

    async with MadeUpCollector(one, "n1"), MadeUpCollector(one, "n2"):
        await become(n1=(True, None), n2=(True, None))
        one.kill()
        began = time.monotonic()
        await become(n1=(False, None), n2=(False, None))
        print(json.dumps({"lost_after_s": round(time.monotonic() - began, 1)}))
    other.manage("revoke", "n1")
    await eventually(
        lambda: (leaves := nodes()["n1"][1]) is not None and 0 < leaves <= KEPT_S, what="n1 is to leave"
    )
    assert nodes()["n2"] == (False, None)
    other.kill()
    other.start()
    await become(n2=(False, None))
    wait_until(lambda: not client.hexists(NODES, "n1"), 300, "Redis forgets it")
    assert client.exists(base_key("n1"), log_key("n1")) == 0
    assert client.hexists(NODES, "n2")
