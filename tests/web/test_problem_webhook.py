"""Problems told to a receiver: Alertmanager's payload, again until it is taken, once though a problem flaps."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.utils import timezone

from netviz.core.check.problem import Affects, Command, Where
from netviz.problems import keeping, webhook
from netviz.problems.leadership import Leadership
from netviz.problems.ledger import GRACE_S, Ledger, Sight
from netviz.problems.models import Checking, Problem
from netviz.problems.webhook import FIRE_AFTER_S, Webhook
from tests.web.test_problem_keeping import found, lead
from tests.web.test_problem_ledger import problem

pytestmark = pytest.mark.django_db(transaction=True)
WRONG = problem(
    where=Where("node1", "", "cni0", "node1:4:1:0"),
    affects=Affects(12, ("default/web-1",), 3),
    check=(Command("node1", "", "ip route get 10.244.2.7"),),
)


class Receiver:
    """A real HTTP server that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), json.loads(body)))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", receiver.url + "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                receiver.got.append(({}, {"followed": self.path}))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def statuses(self) -> list[list[str]]:
        return [[alert["status"] for alert in body["alerts"]] for _, body in self.got]


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    made = Receiver()
    settings.WEBHOOK_URL = f"{made.url}/hook"
    settings.WEBHOOK_TOKEN = "a secret"
    settings.EXTERNAL_URL = "https://netviz.example"
    yield made
    made.stop()


def hook() -> tuple[Leadership, Webhook]:
    leader = lead()
    return leader, Webhook(leader)


def stand(seconds: float = FIRE_AFTER_S + 1) -> None:
    """Let all problems be this old."""
    Problem.objects.update(found_at=timezone.now() - timedelta(seconds=seconds))


def test_what_stands_is_told_once_and_its_end_too(receiver: Receiver) -> None:
    leader, sender = hook()
    ledger = Ledger()
    keeping.write(leader, found(ledger, WRONG))
    stand(FIRE_AFTER_S - 5)
    sender.turn()
    assert receiver.got == [], "it may be over in a moment"
    stand()
    for _ in range(3):
        sender.turn()
    ((headers, body),) = receiver.got
    assert headers["Authorization"] == "Bearer a secret"
    assert headers["Content-Type"] == "application/json"
    row = Problem.objects.get()
    assert {
        name: body[name] for name in ("version", "status", "receiver", "truncatedAlerts", "externalURL")
    } == {
        "version": "4",
        "status": "firing",
        "receiver": "netviz",
        "truncatedAlerts": 0,
        "externalURL": "https://netviz.example",
    }
    assert set(body) == {
        *("version", "status", "receiver", "truncatedAlerts", "externalURL"),
        *("groupKey", "groupLabels", "commonLabels", "commonAnnotations", "alerts"),
    }
    (alert,) = body["alerts"]
    assert (
        alert["labels"]
        == body["commonLabels"]
        == {
            "alertname": "route-missing",
            "source": "netviz",
            "severity": "error",
            "harm": "breaks traffic",
            "certainty": "certain",
            "problem": str(row.pk),
            "node": "node1",
            "dev": "cni0",
        }
    )
    assert alert["annotations"] == {
        "summary": "node1 has no route to node2's pods",
        "description": "Packets are lost.",
        "affected": "12 pairs of pods, 4 pods",
        "check": "node1: ip route get 10.244.2.7",
    }
    assert (alert["startsAt"], alert["endsAt"]) == ("1970-01-01T00:16:40+00:00", "0001-01-01T00:00:00Z")
    assert alert["generatorURL"] == f"https://netviz.example/#/problems/{row.pk}"
    assert len(alert["fingerprint"]) == 16

    keeping.write(leader, ledger.fold([], Sight(), 2000.0))
    sender.turn()
    assert len(receiver.got) == 1, "that it is gone is not believed yet"
    keeping.write(leader, ledger.fold([], Sight(), 2000.0 + GRACE_S))
    sender.turn()
    sender.turn()
    last = receiver.got[-1][1]
    assert receiver.statuses() == [["firing"], ["resolved"]]
    assert (last["status"], last["alerts"][0]["endsAt"]) == ("resolved", "1970-01-01T00:33:20+00:00")
    assert last["alerts"][0]["fingerprint"] == alert["fingerprint"]
    assert Checking.objects.get().hook_sent == 2


def test_what_is_not_taken_is_sent_again_after_a_wait_that_doubles(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(webhook.time, "monotonic", lambda: now[0])
    leader, sender = hook()
    keeping.write(leader, found(Ledger(), WRONG))
    stand()
    receiver.answers = [500, 503, 404]
    sent_at = []
    for _ in range(200):
        before = len(receiver.got)
        sender.turn()
        if len(receiver.got) > before:
            sent_at.append(now[0])
        leader.take()
        now[0] += 0.5
    assert sent_at == [1000.0, 1001.0, 1003.0, 1007.0]
    row = Checking.objects.get()
    assert (row.hook_failures, row.hook_sent, row.hook_error) == (3, 1, "")


def test_a_receiver_that_is_not_there_is_waited_for(receiver: Receiver, settings: Any) -> None:
    settings.WEBHOOK_URL = "http://127.0.0.1:9/"
    leader, sender = hook()
    keeping.write(leader, found(Ledger(), WRONG))
    stand()
    sender.turn()
    assert "refused" in Checking.objects.get().hook_error
    assert Problem.objects.get().told == ""


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    leader, sender = hook()
    keeping.write(leader, found(Ledger(), WRONG))
    stand()
    receiver.answers = [302]
    sender.turn()
    assert [body.get("followed") for _, body in receiver.got] == [None]
    assert Checking.objects.get().hook_error == "it answered 302"


def test_a_problem_that_flaps_is_told_once(receiver: Receiver) -> None:
    leader, sender = hook()
    ledger = Ledger()
    keeping.write(leader, found(ledger, WRONG))
    stand()
    at_s = 2000.0
    for _ in range(10):
        sender.turn()
        keeping.write(leader, ledger.fold([], Sight(), at_s))
        sender.turn()
        keeping.write(leader, ledger.fold([WRONG], Sight(), at_s + 5))
        at_s += 10
    assert receiver.statuses() == [["firing"]]


def test_what_is_muted_is_not_told_and_what_was_told_is_resolved_nevertheless(receiver: Receiver) -> None:
    leader, sender = hook()
    ledger = Ledger()
    other = problem("node2")
    keeping.write(leader, found(ledger, WRONG, other))
    stand()
    Problem.objects.filter(node="node2").update(muted_until=timezone.now() + timedelta(hours=1))
    sender.turn()
    assert receiver.statuses() == [["firing"]]
    Problem.objects.update(muted_until=timezone.now() + timedelta(hours=1))
    keeping.write(leader, ledger.fold([], Sight(), 2000.0))
    keeping.write(leader, ledger.fold([], Sight(), 2100.0))
    sender.turn()
    assert receiver.statuses() == [["firing"], ["resolved"]]


def test_who_does_not_lead_tells_nobody(receiver: Receiver) -> None:
    leader, sender = hook()
    keeping.write(leader, found(Ledger(), WRONG))
    stand()
    leader._renewed_s = -100.0
    sender.turn()
    assert receiver.got == []
