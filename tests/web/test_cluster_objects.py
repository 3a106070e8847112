"""What speaks for a cluster, from its token to the journal: a source beside the nodes' collectors, and no node."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings

from netviz.core.model.kubernetes import KubePod, KubeService
from netviz.core.state.delta import Change, NodeDelta, ObjectsDelta, apply, diff
from netviz.core.state.door import fold
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import cluster_source
from netviz.core.wire.nvz import dump_nvz
from netviz.ingest.departures import Departures
from netviz.ingest.history import state_at
from netviz.ingest.journal import JournalChange
from netviz.ingest.journal_record import journaled, pack, summarise, unpack
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.weight import weigh
from netviz.inventory.models import Cluster, Collector
from netviz.inventory.service import approve_collector, enrol, enrol_watcher, find_collector, revoke_watchers
from netviz.tracing.states import of_files, past
from tests.core.strategies import CLUSTER, cluster_sources
from tests.web.served import Collector as Told
from tests.web.served import Served, eventually
from tests.web.states import pod_network, show
from tests.web.test_journal import entry_of

SOURCE = cluster_source("default")
READ = {"services": SectionStatus(1.0), "kube_pods": SectionStatus(1.0)}
WEB, API = KubeService("shop", "web"), KubeService("shop", "api")


def services(*put: KubeService, drop: tuple[tuple[str, str], ...] = ()) -> NodeDelta:
    return NodeDelta(objects=ObjectsDelta(services=Change(put, drop)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cluster_sources(), cluster_sources())
def test_the_journal_keeps_all_of_it(a: NodeState, b: NodeState) -> None:
    whole, change = journaled(diff(NodeState(CLUSTER), a)), journaled(diff(a, b), a)
    state = apply(NodeState(CLUSTER), whole or NodeDelta())
    if change is not None:
        state = fold(state, unpack(pack(change)))
    assert state.objects == b.objects
    assert len(summarise(change or NodeDelta())) <= 200


def keep(seq: int, what: NodeState | NodeDelta, node: str = SOURCE) -> None:
    entry = entry_of(JournalChange(node, 1, seq, 1000.0 + seq, what, 0, print))
    assert entry is not None
    entry.save()


@pytest.mark.django_db
def test_a_past_state_has_the_objects_of_then() -> None:
    start = apply(NodeState(SOURCE), services(WEB))
    keep(0, start)
    keep(1, services(API, drop=(WEB.key,)))
    keep(0, pod_network(), "a")
    then, now = datetime.fromtimestamp(1000.0, UTC), datetime.fromtimestamp(2000.0, UTC)
    assert state_at(SOURCE, then).objects.services == {WEB.key: WEB}
    view = past(now)
    assert (list(view.cluster.nodes), list(view.inputs)) == (["a"], ["a"])
    assert view.cluster.clusters["default"].objects.services == {API.key: API}


def test_a_file_of_a_cluster_stands_beside_those_of_nodes(tmp_path: Path) -> None:
    for name, state in (("a", pod_network()), ("c", apply(NodeState(SOURCE), services(WEB)))):
        (tmp_path / f"{name}.nvz").write_bytes(dump_nvz(state, (), 5.0))
    view = of_files(str(path) for path in sorted(tmp_path.iterdir()))
    assert list(view.inputs) == list(view.cluster.nodes) == ["a"]
    assert view.cluster.clusters["default"].objects.services == {WEB.key: WEB}


def test_objects_are_weighed() -> None:
    small, large = (
        apply(NodeState(SOURCE), NodeDelta(objects=ObjectsDelta(kube_pods=Change(tuple(pods)))))
        for pods in ([KubePod("shop", "a")], [KubePod("shop", f"web-{number}") for number in range(1000)])
    )
    assert weigh(small) < 100 < 10_000 < weigh(large)


@pytest.mark.django_db
def test_a_collector_speaks_for_a_node_or_for_a_cluster() -> None:
    _, token = enrol_watcher("prod", approve=True)
    watcher = find_collector(token)
    assert watcher is not None
    assert (watcher.source, watcher.subject) == ("cluster/prod", "cluster prod")
    node, _ = enrol("n1", cluster_name="prod")
    assert (node.source, node.subject, str(node)[:3]) == ("n1", "node n1", "n1 ")
    for whom in ({}, {"node": node.node, "cluster": watcher.cluster}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Collector.objects.create(token_hash="x", **whom)
    assert revoke_watchers("prod") == 1
    assert Collector.objects.get(pk=node.pk).status == Collector.Status.ENROLLED


@pytest.mark.django_db
def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("enrol", "--watcher", "--approve", "--cluster", "prod")
    watcher = find_collector(capsys.readouterr().out.strip())
    assert watcher is not None
    assert (watcher.source, watcher.status) == ("cluster/prod", Collector.Status.APPROVED)
    call_command("revoke", "--watcher", "--cluster", "prod")
    assert "1 revoked" in capsys.readouterr().out
    for words in ([], ["n1", "--watcher"]):
        with pytest.raises(CommandError):
            call_command("enrol", *words)


@pytest.mark.django_db
def test_its_state_leaves_when_nobody_may_speak_for_it(store: MemoryStore, settings: Any) -> None:
    settings.REVOKED_STATE_S = 600
    watcher, _ = enrol_watcher(approve=True)
    enrol("a", approve=True)
    show(store, pod_network())
    show(store, apply(NodeState(SOURCE), services(WEB)))
    departures, now_s = Departures(), time.time()
    departures.look(store, now_s)
    revoke_watchers("default")
    departures.look(store, now_s + 60)
    assert store.cluster().clusters
    approve_collector(watcher)
    departures.look(store, now_s + 900)
    assert store.cluster().clusters
    revoke_watchers("default")
    departures.look(store, time.time() + 601)
    assert store.cluster().clusters == {}
    assert list(store.cluster().nodes) == ["a"]
    show(store, apply(NodeState(SOURCE), services(WEB)))
    Cluster.objects.filter(name="default").delete()
    departures.look(store, time.time())
    assert store.cluster().clusters == {}


@pytest.mark.django_db
def test_admin_pages_name_the_cluster(admin_client: Client) -> None:
    watcher, _ = enrol_watcher("prod", approve=True)
    listed = admin_client.get("/admin/inventory/collector/?q=prod").content.decode()
    assert "cluster prod" in listed
    assert (
        "cluster prod"
        in admin_client.get(f"/admin/inventory/collector/{watcher.pk}/change/").content.decode()
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served") / "var")
    server.start()
    server.api_token = server.provision("n1")["token"]
    server.keep_token(SOURCE, server.manage("enrol", "--watcher", "--approve"))
    yield server
    server.stop()


def kept(served: Served) -> list[tuple[int, str, str]]:
    return served.rows(
        f"select seq, kind, summary from ingest_journalentry where node = '{SOURCE}' order by id"
    )


async def test_objects_come_over_a_real_socket_and_are_acknowledged_from_the_journal(served: Served) -> None:
    async with Told(served, SOURCE, NodeState(SOURCE, status=READ)) as watcher, Told(served, "n1") as node:
        await eventually(lambda: watcher.settled() and node.settled())
        watcher.tell(services(WEB))
        await eventually(lambda: watcher.last == 1 and watcher.settled())
        assert kept(served)[1] == (1, "delta", "services +1")
        assert watcher.source.state().objects.services == {WEB.key: WEB}
        graph = served.get("/api/topology", served.api_token)
        assert [one["name"] for one in graph["nodes"]] == ["n1"], "a cluster is no node"
        with urllib.request.urlopen(f"{served.url}/healthz", timeout=300) as health:
            assert health.status == 200
    async with Told(served, SOURCE, NodeState(SOURCE, status=READ)) as again:
        again.source.apply(services(API))
        await eventually(again.settled)
        assert kept(served)[-1][1] == "snapshot"


async def test_a_nodes_collector_cannot_say_what_objects_there_are(served: Served) -> None:
    async with Told(served, "n1") as node:
        await eventually(node.settled)
        node.tell(services(WEB))
        await eventually(lambda: served.log_lines("a cluster's objects from node 'n1'"))


async def test_a_token_is_for_one_of_them(served: Served) -> None:
    served.keep_token("cluster/other", served.token_file(SOURCE).read_text().strip())
    async with Told(served, "cluster/other", NodeState("cluster/other", status=READ)):
        await eventually(lambda: served.log_lines("not for 'cluster/other'"))


def test_sections_that_are_not_read_whole_are_said() -> None:
    state = apply(
        NodeState(SOURCE), NodeDelta(status={"kube_pods": SectionStatus(whole=False, reason="403 Forbidden")})
    )
    assert state.gaps == {"kube_pods": "403 Forbidden"}
    assert not state.complete
