"""A trace is certain only while all that it read is fresh: else it says which state isn't, since when, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from django.test import Client

from netviz.core.model.netfilter import RuleCount, RuleCounters
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.wire.messages import AgentStatus
from netviz.ingest import looks
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import CollectorReport
from tests.core.sim.build import textbook
from tests.core.sim.nft import ACCEPT, FORWARD, chain, daddr, e, verdict
from tests.web.states import show

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


def nodes() -> dict[str, NodeState]:
    """The textbook cluster's nodes; sockets are read every 5 s, all else is compared once a minute."""
    found = {}
    for name, node in textbook(3)[0].cluster().nodes.items():
        status = {
            section: SectionStatus(1.0, max_age_s=5.0 if section == "sockets" else 60.0)
            for section in node.status
        }
        found[name] = msgspec.structs.replace(node, status=status)
    return found


def trace(client: Client) -> dict[str, Any]:
    request = {"from": "pod-1-1", "to": "pod-2-1", "dport": 80}
    answer = client.post("/api/traces", data=json.dumps(request), content_type="application/json")
    assert answer.status_code == 202, answer.content
    found: dict[str, Any] = answer.json()["trace"]
    assert found["disposition"] == "DELIVERED", found["reason"]
    return found


def stale_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["node"]: entry["stale"] for entry in found["state"] if "stale" in entry}


def test_where_all_is_fresh_it_is_certain(store: MemoryStore, operator: Client) -> None:
    for node in nodes().values():
        show(store, node)
    found = trace(operator)
    assert (found["certainty"], found["assumed"], stale_of(found)) == ("certain", [], {})
    at = [datetime.fromisoformat(entry["at"]).timestamp() for entry in found["state"]]
    assert all(abs(time.time() - one) < 60 for one in at)


def test_a_collector_that_is_gone(store: MemoryStore, operator: Client) -> None:
    for name, node in nodes().items():
        show(store, node, silent_s=120 if name == "node-2" else 0)
    store.set_connected("node-2", False, time.time())
    found = trace(operator)
    assert (found["certainty"], found["outcome"]) == ("unknown", "uncertain")
    assert found["headline"].startswith("As of ")
    (sentence,) = found["assumed"]
    assert sentence.startswith("node-2's collector is not connected: the state of node-2 is of ")
    stale = stale_of(found)
    assert list(stale) == ["node-2"]
    assert stale["node-2"]["why"] == "not connected"
    assert abs(time.time() - 120 - datetime.fromisoformat(stale["node-2"]["since"]).timestamp()) < 60
    assert {"links", "routes", "sockets"} <= set(stale["node-2"]["sections"])


def test_a_collector_that_is_silent_is_late_with_what_it_reads_often(
    store: MemoryStore, operator: Client
) -> None:
    """It counts as connected for another few seconds, but sockets are to be read every 5."""
    for name, node in nodes().items():
        show(store, node, silent_s=40 if name == "node-2" else 0)
    found = trace(operator)
    assert (found["certainty"], stale_of(found)["node-2"]["sections"]) == ("unknown", ["sockets"])
    assert "node-2's collector has been silent since " in found["assumed"][0]
    assert found["assumed"][0].endswith(": sockets of node-2 may have changed.")


def test_a_node_that_it_did_not_read_is_of_no_matter(store: MemoryStore, operator: Client) -> None:
    for node in nodes().values():
        show(store, node)
    store.set_connected("node-3", False, time.time())
    assert trace(operator)["certainty"] == "certain"


def test_a_collector_that_is_behind(store: MemoryStore, operator: Client) -> None:
    for node in nodes().values():
        show(store, node)
    store.report("node-1", CollectorReport("1", AgentStatus(lag_s=90.0)), time.time())
    found = trace(operator)
    assert found["certainty"] == "unknown"
    assert found["assumed"][0].startswith("node-1's collector is behind: what changed on node-1 since ")


def test_a_collector_that_compares_nothing_any_more(store: MemoryStore, operator: Client) -> None:
    """It says that it is there, but its state hasn't been held against the kernel for long."""
    for name, node in nodes().items():
        show(store, node, silent_s=600 if name == "node-1" else 0)
    store.report("node-1", CollectorReport("1", AgentStatus()), time.time())
    found = trace(operator)
    assert found["certainty"] == "unknown"
    assert found["assumed"][0].startswith(
        "node-1's collector has not compared its state with the kernel since "
    )


def test_what_the_deciding_rule_counted_is_shown_and_watched(
    store: MemoryStore, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(looks, "_told", looks._Told())
    monkeypatch.setattr(looks, "publish", lambda _group, message: told.append(message))
    net, made = textbook(3)
    rules = chain(
        made["node-1"], "forward", (*daddr("10.1.2.11"), e("counter"), verdict(ACCEPT)), hook=FORWARD
    )
    counted = RuleCounters(2, "t", "forward", rules=rules.body, counts=(RuleCount(0, 7, 420),), at_s=1.7e9)
    made["node-1"].add("rule_counters", counted)
    cluster = net.cluster()
    for node in cluster.nodes.values():
        show(store, node)
    store.put_bodies(cluster.bodies.values())
    found = trace(operator)
    steps = [step for hop in found["branches"][0]["forward"]["hops"] for step in hop["steps"]]
    (evidence,) = [step["evidence"] for step in steps if step["kind"] == "netfilter"]
    assert (evidence["packets"], evidence["bytes"]) == (7, 420)
    assert datetime.fromisoformat(evidence["counted_at"]).timestamp() == 1.7e9
    assert [(one["netns"], one["deciding"]) for one in told] == [(str(made["node-1"].key), True)]
