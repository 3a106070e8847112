"""GET /api/problems, and what people may do about one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.utils import timezone

from netviz.core.check.problem import Affects, Between, Command, Where
from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.trace import Flow
from netviz.ingest.models import JournalEntry
from netviz.inventory.models import AuditEntry
from netviz.problems import keeping
from netviz.problems.ledger import Ledger, Sight
from netviz.problems.models import Checking, Problem
from tests.web.test_problem_keeping import found, lead
from tests.web.test_problem_ledger import problem

pytestmark = pytest.mark.django_db
ROUTE = problem(
    where=Where("node1", "node1", "cni0", "node1:4:1:0"),
    affects=Affects(12, ("default/web-1", "default/web-2"), 3),
    check=(Command("node1", "", "ip route get 10.244.2.7"),),
    fix=(Command("node1", "", "ip route add 10.244.2.0/24 via 192.168.0.2"),),
    also=("node2 has no route back",),
    flow=Flow(NetnsKey("node1", 4, 10), pack_ip("10.244.1.2"), pack_ip("10.244.2.7"), 6, 40000, 8080),
)
RISK = problem("node2", kind="conntrack-full", severity="warning", harm="at risk", certainty="likely")
WIDE = problem("node3", affects=Affects(900, ("default/db",), 0))
RESULT = {"name": "pairs", "result": "fail", "judged": 144, "unit": "pairs", "reason": ""}


@pytest.fixture
def kept() -> dict[str, str]:
    """Three problems in the database: node -> id."""
    leader = lead()
    keeping.write(
        leader,
        found(Ledger(), ROUTE, RISK, WIDE),
        judged_at=timezone.now(),
        pods=12,
        pairs=144,
        classes=5,
        expected=3,
        away=[],
        results=[RESULT],
    )
    return {row.node: str(row.pk) for row in Problem.objects.all()}


def test_it_lists_what_is_wrong_the_worst_first(
    kept: dict[str, str], browser: Callable[[str], Client]
) -> None:
    body = browser("viewer").get("/api/problems").json()
    assert body["version"] == 1
    assert [one["id"] for one in body["problems"]] == [kept["node3"], kept["node1"], kept["node2"]]
    checked = body["checked"]
    assert {name: checked[name] for name in ("state", "pods", "pairs", "classes", "expected", "away")} == {
        "state": "current",
        "pods": 12,
        "pairs": 144,
        "classes": 5,
        "expected": 3,
        "away": [],
    }
    (check,) = checked["checks"]
    assert check == {**RESULT, "at": check["at"]}
    one = body["problems"][1]
    stable = {
        "id": kept["node1"],
        "kind": "route-missing",
        "severity": "error",
        "certainty": "certain",
        "headline": "node1 has no route to node2's pods",
        "consequence": "Packets are lost.",
        "since": "1970-01-01T00:16:40+00:00",
        "until": None,
        "state": "open",
        "affects": {"pairs": 12, "pods": ["default/web-1", "default/web-2"], "more": 3},
        "check": [{"node": "node1", "netns": "", "command": "ip route get 10.244.2.7"}],
        "fix": [{"node": "node1", "netns": "", "command": "ip route add 10.244.2.0/24 via 192.168.0.2"}],
        "also": ["node2 has no route back"],
        "trace": None,
    }
    assert {name: one[name] for name in stable} == stable
    assert one["where"] == {"node": "node1", "netns": "node1", "dev": "cni0", "key": "node1:4:1:0"}
    assert one["flow"] == {
        "from": "node1:4:10:0",
        "to": "10.244.2.7",
        "proto": "tcp",
        "dport": 8080,
        "len": 60,
        "df": False,
    }


@pytest.mark.parametrize(
    ("query", "nodes"),
    [
        ("node=node1", ["node1"]),
        ("kind=conntrack-full", ["node2"]),
        ("kind=nothing", []),
        ("state=open&limit=1", ["node3"]),
        ("state=muted", ["node2"]),
        ("state=acknowledged", []),
    ],
)
def test_it_is_cut_to_what_is_asked_for(
    kept: dict[str, str], browser: Callable[[str], Client], query: str, nodes: list[str]
) -> None:
    Problem.objects.filter(node="node2").update(muted_until=timezone.now() + timedelta(hours=1))
    body = browser("viewer").get(f"/api/problems?{query}").json()
    assert [one["where"]["node"] for one in body["problems"]] == nodes


@pytest.mark.parametrize("query", ["state=bad", "limit=0", "limit=many"])
def test_a_wrong_filter_is_refused_in_words(browser: Callable[[str], Client], query: str) -> None:
    answer = browser("viewer").get(f"/api/problems?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_what_is_over_is_history(kept: dict[str, str], browser: Callable[[str], Client]) -> None:
    leader = lead()
    ledger = Ledger(keeping.load())
    keeping.write(leader, ledger.fold([ROUTE, WIDE], Sight(), 2000.0))
    gone = browser("viewer").get("/api/problems?node=node2").json()["problems"]
    assert [(one["gone"], one["until"]) for one in gone] == [("1970-01-01T00:33:20+00:00", None)]
    keeping.write(leader, ledger.fold([ROUTE, WIDE], Sight(), 2100.0))
    client = Client(headers={})
    assert client.get("/api/problems").status_code == 401
    over = keeping.load()
    assert len(over) == 2


def test_nobody_ever_judged(browser: Callable[[str], Client]) -> None:
    body = browser("viewer").get("/api/problems").json()
    assert body["problems"] == []
    assert body["checked"]["state"] == "stopped"
    assert body["checked"]["checks"] == []


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"lease_until": None}, "stopped"),
        ({"judged_at": None}, "first"),
        ({"error": "ValueError: a bug"}, "failing"),
        ({"error": "ValueError: a bug", "judged_at": None}, "failing"),
        ({}, "current"),
    ],
)
def test_the_state_of_the_checking(
    kept: dict[str, str], browser: Callable[[str], Client], fields: dict[str, Any], state: str
) -> None:
    Checking.objects.update(**fields)
    assert browser("viewer").get("/api/problems").json()["checked"]["state"] == state


def test_a_run_that_takes_long_is_told(kept: dict[str, str], browser: Callable[[str], Client]) -> None:
    client = browser("viewer")
    for seconds, state in ((1, "current"), (10, "behind")):
        Checking.objects.update(judging_since=timezone.now() - timedelta(seconds=seconds))
        assert client.get("/api/problems").json()["checked"]["state"] == state


def post(client: Client, number: str, **body: Any) -> Any:
    client.get("/")
    headers = {"X-CSRFToken": client.cookies["csrftoken"].value}
    return client.post(f"/api/problems/{number}", body, content_type="application/json", headers=headers)


def test_acknowledge_mute_and_comment_are_kept_with_who_and_when(
    kept: dict[str, str], browser: Callable[[str], Client]
) -> None:
    client, number = browser("operator"), kept["node1"]
    version = Checking.objects.get().version
    assert (
        post(client, number, action="acknowledge", text="known since Friday").json()["state"]
        == "acknowledged"
    )
    until = (timezone.now() + timedelta(hours=2)).isoformat()
    muted = post(client, number, action="mute", until=until).json()
    assert (muted["state"], muted["muted"]["by"]) == ("muted", "a-operator")
    assert post(client, number, action="unmute").json()["state"] == "acknowledged"
    assert post(client, number, action="reopen").json()["state"] == "open"
    said = post(client, number, action="comment", text="the switch is being replaced").json()
    assert [(one["kind"], one["by"]) for one in said["remarks"]] == [
        ("found", ""),
        ("acknowledged", "a-operator"),
        ("muted", "a-operator"),
        ("unmuted", "a-operator"),
        ("reopened", "a-operator"),
        ("comment", "a-operator"),
    ]
    assert said["remarks"][-1]["text"] == "the switch is being replaced"
    assert Checking.objects.get().version == version + 5
    actions = (
        AuditEntry.objects.filter(action__startswith="problem.").order_by("pk").values_list("action", "actor")
    )
    assert actions[0] == ("problem.acknowledge", "a-operator")
    assert len(actions) == 5


def test_a_mute_ends_by_itself(kept: dict[str, str], browser: Callable[[str], Client]) -> None:
    Problem.objects.filter(node="node1").update(muted_until=timezone.now() - timedelta(seconds=1))
    one = browser("viewer").get(f"/api/problems/{kept['node1']}").json()
    assert (one["state"], one["muted"]) == ("open", None)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"action": "mute"}, "until"),
        ({"action": "mute", "until": "2001-01-01T00:00:00Z"}, "future"),
        ({"action": "mute", "until": "9001-01-01T00:00:00Z"}, "a year"),
        ({"action": "comment", "text": " "}, "text"),
        ({"action": "acknowledge", "until": "2001-01-01T00:00:00Z"}, "until"),
        ({"action": "delete"}, "cannot be read"),
        ({}, "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    kept: dict[str, str], browser: Callable[[str], Client], body: dict[str, Any], word: str
) -> None:
    answer = post(browser("operator"), kept["node1"], **body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert not AuditEntry.objects.filter(action__startswith="problem.").exists()


def test_a_viewer_decides_nothing(kept: dict[str, str], browser: Callable[[str], Client]) -> None:
    answer = post(browser("viewer"), kept["node1"], action="acknowledge")
    assert answer.status_code == 403
    assert Problem.objects.get(node="node1").acknowledged_at is None


@pytest.mark.parametrize("number", ["999999", "x", "1" * 30])
def test_there_is_no_such_problem(browser: Callable[[str], Client], number: str) -> None:
    assert browser("viewer").get(f"/api/problems/{number}").status_code == 404


def test_one_says_which_pairs_it_affects_from_when_on_and_what_it_began_with(
    kept: dict[str, str], browser: Callable[[str], Client]
) -> None:
    row = Problem.objects.get(pk=kept["node1"])
    affects = Affects(12, ("default/web-1",), 0, (Between("default/web-1", "node2, 3 pods", 12),))
    found = msgspec.structs.replace(row.found, affects=affects)
    Problem.objects.filter(pk=row.pk).update(
        body=msgspec.json.encode(found).decode(), curve=[[1000.0, 4], [1100.0, 12]]
    )
    assert row.began_at is not None
    entry = {"node": "node1", "epoch": 1, "kind": "delta", "size": 1, "body": b"", "seq": 1}
    JournalEntry.objects.create(
        **entry, summary="routes -1", received_at=row.began_at - timedelta(seconds=0.2)
    )
    JournalEntry.objects.create(
        **{**entry, "seq": 2}, summary="links +1", received_at=row.began_at + timedelta(seconds=9)
    )
    said = browser("viewer").get(f"/api/problems/{row.pk}").json()
    assert said["between"] == [{"source": "default/web-1", "target": "node2, 3 pods", "pairs": 12}]
    assert [one["pairs"] for one in said["curve"]] == [4, 12]
    assert said["curve"][0]["at"] == "1970-01-01T00:16:40+00:00"
    assert said["began_with"] == "routes -1"
