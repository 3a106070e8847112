"""Observations without a kernel: who may ask, what is refused, who waits for whom, and collectors that don't observe."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from netviz import lease
from netviz.core.observe.evidence import Kernel, Sending
from netviz.core.observe.gather import GONE
from netviz.core.observe.kept import load_kept
from netviz.core.observe.orders import (
    Finish,
    Finished,
    News,
    Order,
    Prepare,
    Ready,
    Refused,
    Send,
    encode,
    read_order,
)
from netviz.core.observe.sighting import Clocks
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.reports import mailbox
from netviz.inventory.models import AuditEntry
from netviz.observing import conversation, queue, running
from netviz.observing.models import Observation
from netviz.observing.queue import LOST, ahead_of, shown
from netviz.tracing.states import View
from tests.core.sim.build import textbook
from tests.live.observed_cases import DIRECTORY, read_recorded
from tests.web.states import show


@pytest.fixture
def cluster(store: MemoryStore, settings: Any) -> MemoryStore:
    """The textbook cluster in the live state, of which collectors are connected."""
    settings.OBSERVE = True
    for node in textbook()[0].cluster().nodes.values():
        show(store, node)
        store.set_connected(node.node, True, time.time())
    return store


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


@pytest.fixture
def not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Observations stay queued."""
    monkeypatch.setattr(running, "start", lambda *_: None)


def post(client: Client, **request: Any) -> Any:
    body = {"from": "pod-1-1", "to": "pod-2-1", "proto": "tcp", "dport": 80} | request
    return client.post("/api/observations", data=json.dumps(body), content_type="application/json")


@pytest.mark.django_db
def test_the_server_has_a_switch(cluster: MemoryStore, operator: Client, settings: Any) -> None:
    settings.OBSERVE = False
    answer = post(operator)
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        "this server doesn't observe: start it with NETVIZ_OBSERVE=1",
    )
    assert not Observation.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"to": "nobody"}, "nobody"),
        ({"proto": "sctp"}, "proto"),
        ({"len": 100}, "SYN's size"),
        ({"sport": 70000}, "sport"),
        ({"mode": "predict"}, "mode"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    cluster: MemoryStore, operator: Client, wrong: dict[str, Any], why: str
) -> None:
    answer = post(operator, **wrong)
    assert answer.status_code == 400
    assert why in answer.json()["error"]
    assert not Observation.objects.exists()


@pytest.mark.django_db
@pytest.mark.usefixtures("not_begun")
def test_one_at_a_time_on_a_node(cluster: MemoryStore, operator: Client) -> None:
    """The others wait in the order in which they came, and each is told its place; who asked is in the audit."""
    places = [post(operator).json()["place"] for _ in range(3)]
    assert places == [0, 1, 2]
    first, second, third = Observation.objects.order_by("pk")
    assert first.nodes == ["node-1", "node-2"]
    Observation.objects.filter(pk=first.pk).update(status="done")
    assert [len(ahead_of(one)) for one in (second, third)] == [0, 1]
    Observation.objects.filter(pk=second.pk).update(nodes=["node-3"])
    assert ahead_of(third) == []
    entry = AuditEntry.objects.filter(action="observation.start").latest("pk")
    assert (entry.actor, entry.detail["nodes"]) == ("a-operator", ["node-1", "node-2"])
    assert entry.detail["request"]["to"] == "pod-2-1"


@pytest.mark.django_db
@pytest.mark.usefixtures("not_begun")
def test_a_capture_has_a_slot_of_its_own(cluster: MemoryStore, operator: Client) -> None:
    """It waits for captures alone, and no probe for it."""
    made = [
        Observation.objects.create(
            kind=kind, nodes=["node-1"], request={}, lease_until=timezone.now() + queue.LEASE
        )
        for kind in ("capture", "probe", "capture", "drops")
    ]
    assert [len(ahead_of(one)) for one in made] == [0, 0, 1, 1]


@pytest.mark.django_db
@pytest.mark.usefixtures("not_begun")
def test_nobody_waits_for_the_dead(cluster: MemoryStore, operator: Client) -> None:
    """One whose server ended is over as soon as somebody looks."""
    post(operator)
    post(operator)
    first, second = Observation.objects.order_by("pk")
    Observation.objects.filter(pk=first.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert shown(second)["place"] == 0
    found = operator.get(f"/api/observations/{first.pk}").json()
    assert (found["status"], found["error"], found["place"]) == ("failed", LOST, None)


@pytest.mark.django_db
@pytest.mark.usefixtures("not_begun")
def test_only_so_many_wait(cluster: MemoryStore, operator: Client) -> None:
    codes = [post(operator).status_code for _ in range(11)]
    assert codes == [202] * 10 + [503]


@pytest.mark.django_db
@pytest.mark.usefixtures("not_begun")
def test_lists_leave_the_trace_out(cluster: MemoryStore, operator: Client) -> None:
    ident = post(operator).json()["id"]
    (one,) = operator.get("/api/observations?limit=5").json()["observations"]
    assert one["id"] == ident
    assert "trace" not in one
    assert operator.get("/api/observations?limit=0").status_code == 400
    assert operator.get("/api/observations/999").status_code == 404


class Nodes:
    """Collectors that answer orders as they are told to; `got` has the orders by node."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, answers: Callable[[str, Order], bytes | None]
    ) -> None:
        self.got: dict[str, list[Order]] = {}
        self._answers = answers
        monkeypatch.setattr(conversation, "order", self._take)

    def _take(self, node: str, ident: str, body: bytes) -> None:
        what = read_order(body)
        self.got.setdefault(node, []).append(what)
        if (answer := self._answers(node, what)) != b"":
            mailbox.deliver(ident, node, answer)


@pytest.fixture
def finished(cluster: MemoryStore, operator: Client) -> Iterator[Callable[..., dict[str, Any]]]:
    """Observe, and wait for the end."""

    def run(**request: Any) -> dict[str, Any]:
        ident = post(operator, **request).json()["id"]
        for thread in threading.enumerate():
            if thread.name == f"observation-{ident}":
                thread.join(60)
        found: dict[str, Any] = operator.get(f"/api/observations/{ident}").json()
        return found

    yield run
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_collector_that_only_reads(
    finished: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sender's doesn't observe, no probe is sent, and everybody else is told to end."""

    def answers(node: str, what: Order) -> bytes | None:
        if isinstance(what, Prepare):
            return encode(
                Refused("its collector only reads") if node == "node-1" else Ready(0, (), Clocks(0, 0))
            )
        return None if isinstance(what, Finish) else b""

    nodes = Nodes(monkeypatch, answers)
    found = finished()
    assert (found["status"], found["trace"]) == ("failed", None)
    assert found["error"] == "node-1 can't send the probe: its collector only reads"
    assert [type(one) for one in nodes.got["node-2"]] == [Prepare, Finish]
    assert not any(isinstance(one, Send) for one in nodes.got["node-1"])


@pytest.mark.django_db(transaction=True)
def test_several_probes(
    finished: Callable[..., dict[str, Any]], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each from a port of its own; those that were sent stand, and where one can't be, that is said. At most ten."""
    ports: list[int | None] = []

    def answers(node: str, what: Order) -> bytes | None:
        if isinstance(what, Prepare):
            if node == "node-1":
                ports.append(what.flow.sport)
            is_last = node == "node-1" and len(ports) == 3
            return encode(Refused("it is full") if is_last else Ready(0, (), Clocks(0, 0)))
        if isinstance(what, Send):
            return encode(News(sending=Sending(1, 10, 20), told="answer"))
        return encode(Finished(0, (), Kernel((node,), Clocks(0, 0)))) if isinstance(what, Finish) else b""

    Nodes(monkeypatch, answers)
    found = finished(count=5)
    probes = found["trace"]["observation"]["probes"]
    assert [one["sport"] for one in probes] == [*ports[:2], None]
    assert [one["told"] for one in probes] == ["answer", "answer", None]
    assert probes[2]["error"] == "node-1 can't send the probe: it is full"
    assert found["status"] == "partial"
    assert found["headline"].startswith("3 probes: 2 as predicted, 1 not sent. ")
    text = operator.get(f"/api/observations/{found['id']}/export?as=text").content.decode()
    assert "  probe 3: node-1 can't send the probe: it is full\n" in text
    assert post(operator, count=11).status_code == 400


@pytest.mark.django_db(transaction=True)
def test_a_collector_that_never_answers(
    finished: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after a while, and told to end, should it hear."""
    monkeypatch.setattr(conversation, "READY_S", 0.2)
    nodes = Nodes(monkeypatch, lambda *_: b"")
    found = finished()
    assert found["error"] == "node-1 can't send the probe: its collector didn't answer in time"
    assert isinstance(nodes.got["node-1"][-1], Finish)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_ends(
    finished: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the sender's connection ends the observation at once."""

    def answers(node: str, what: Order) -> bytes | None:
        if isinstance(what, Prepare):
            return encode(Ready(0, (), Clocks(0, 0)))
        return None if isinstance(what, Send) or node == "node-2" else b""

    Nodes(monkeypatch, answers)
    found = finished()
    assert found["status"] == "failed"
    assert found["error"] == f"node-1 didn't send the probe: {GONE}"


@pytest.mark.django_db(transaction=True)
def test_a_failure_inside_is_an_end(
    finished: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "predict", lambda *_: 1 // 0)
    found = finished()
    assert (found["status"], found["error"]) == ("failed", running.FAILED_INSIDE)


@pytest.mark.django_db(transaction=True)
def test_an_end_waits_for_a_database_that_is_away(
    finished: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen isn't lost with a database that is away for a while: writes in between are left out, the end waits."""
    monkeypatch.setattr(lease, "RETRY_S", 0.01)
    failures = iter([OperationalError("locked"), OperationalError("full")])

    class Failing:
        def __init__(self, mine: QuerySet[Observation]) -> None:
            self._mine = mine

        def update(self, **fields: Any) -> int:
            if "finished_at" in fields and (failure := next(failures, None)) is not None:
                raise failure
            return self._mine.update(**fields)

    def lease_of(pk: int) -> lease.Lease:
        held = queue.lease_of(pk)
        held.mine = Failing(held.mine)  # type: ignore[assignment]
        return held

    monkeypatch.setattr(running, "lease_of", lease_of)
    monkeypatch.setattr(running, "predict", lambda *_: 1 // 0)
    found = finished()
    assert (found["status"], found["error"]) == ("failed", running.FAILED_INSIDE)
    assert next(failures, None) is None


@pytest.mark.django_db
@pytest.mark.usefixtures("not_begun")
def test_what_differs_is_kept_as_a_file(cluster: MemoryStore, operator: Client, tmp_path: Path) -> None:
    """Who may observe downloads it, and `manage.py trace --state` predicts and compares again."""
    data = (DIRECTORY / "input-drop.case").read_bytes()
    ident = post(operator).json()["id"]
    assert operator.get(f"/api/observations/{ident}").json()["file"] is None
    assert operator.get(f"/api/observations/{ident}/file").status_code == 404
    Observation.objects.filter(pk=ident).update(kept=data, kept_bytes=len(data))
    address = operator.get(f"/api/observations/{ident}").json()["file"]
    file = tmp_path / "observation.nvz"
    file.write_bytes(operator.get(address).content)
    assert file.read_bytes() == data
    out = io.StringIO()
    call_command("trace", "--state", str(file), stdout=out)
    assert "nothing speaks against the others" in out.getvalue()
    out = io.StringIO()
    call_command("trace", "--state", str(file), "--json", stdout=out)
    assert json.loads(out.getvalue())["observation"]["contradictions"] == 0
    out = io.StringIO()
    call_command("trace", "--state", str(file), "--from", "p1", "--to", "10.244.0.4", "--json", stdout=out)
    assert "observation" not in json.loads(out.getvalue())
    file.write_bytes(data[:-20])
    err = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("trace", "--state", str(file), stderr=err)
    assert "damaged" in err.getvalue()


def test_a_disagreement_is_kept_if_its_file_says_the_same() -> None:
    """A file that judges otherwise would report nothing."""
    kept = read_recorded("delivered")
    state = kept.cluster()
    view = View(state, {})
    assert running._kept(view, list(state.nodes), kept.evidence, kept.flow) == {}
    missing = msgspec.structs.replace(kept.evidence, sightings=kept.evidence.sightings[1:])
    found = running._kept(view, list(state.nodes), missing, kept.flow)
    again = load_kept(found["kept"]).judged()[1]
    assert again.nearest.contradictions == 1
    assert running.found(again, missing) == (
        "differs",
        "The kernels did otherwise than predicted in 1 place, first on the way there at eth0 on "
        f"{kept.evidence.sender}.",
    )
