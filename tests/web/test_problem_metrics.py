"""Metrics of problems: by kind, with labels of which no cluster can make more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from lab.stack import ROOT
from netviz.problems import keeping
from netviz.problems.checks import KINDS
from netviz.problems.ledger import Ledger, Sight
from netviz.problems.models import Checking, Problem
from netviz.problems.shown import HARMS, STATES
from tests.web.test_problem_keeping import found, lead
from tests.web.test_problem_ledger import problem

pytestmark = pytest.mark.django_db


def samples(client: Client, name: str) -> dict[tuple[str, ...], float]:
    """A metric's values by its labels' values, in the order of the labels' names."""
    text = client.get("/metrics").content.decode()
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_problems_are_counted_by_kind_harm_and_decision(
    store: object, browser: Callable[[str], Client]
) -> None:
    client, leader, ledger = browser("viewer"), lead(), Ledger()
    assert samples(client, "netviz_problems") == {}
    known = "duplicate-address"
    assert known in KINDS
    wrong = [problem(f"node{n}", kind=known) for n in range(4)]
    odd = problem("x", kind="made-up-by-somebody", harm="something new")
    results = [
        {"name": "a", "result": "fail"},
        {"name": "b", "result": "unknown"},
        {"name": "c", "result": "pass", "denied": 12, "audited": 300, "differed": 1},
    ]
    keeping.write(leader, found(ledger, *wrong, odd), judged_at=timezone.now(), expected=3, results=results)
    Problem.objects.filter(node="node1").update(acknowledged_at=timezone.now())
    Problem.objects.filter(node="node2").update(muted_until=timezone.now() + timedelta(hours=1))
    assert samples(client, "netviz_problems") == {
        ("breaks traffic", known, "open"): 2,
        ("breaks traffic", known, "acknowledged"): 1,
        ("breaks traffic", known, "muted"): 1,
        ("other", "other", "open"): 1,
    }
    assert samples(client, "netviz_checks") == {("pass",): 1, ("fail",): 1, ("unknown",): 1, ("nothing",): 0}
    assert samples(client, "netviz_denied_pairs") == {(): 12}
    assert samples(client, "netviz_audited_pairs_total") == {(): 300}
    assert samples(client, "netviz_audit_differences_total") == {(): 1}
    assert samples(client, "netviz_checking") == {(state,): float(state == "current") for state in STATES}
    assert samples(client, "netviz_collectors_expected") == {(): 3}
    assert samples(client, "netviz_checking_judged_timestamp_seconds")[()] > 1e9
    keeping.write(leader, ledger.fold([], Sight(), 2000.0))
    assert samples(client, "netviz_problems") == {}, "what is gone is no problem"


def test_the_examples_for_prometheus_and_grafana_name_metrics_that_exist(
    store: object, browser: Callable[[str], Client]
) -> None:
    leader = lead()
    keeping.write(leader, found(Ledger(), problem(kind="duplicate-address")), judged_at=timezone.now())
    text = browser("viewer").get("/metrics").content.decode()
    known = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    rules, dashboard = (
        ROOT / "deploy" / name for name in ("prometheus-rules.yaml", "grafana-dashboard.json")
    )
    panels = json.loads(dashboard.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    queries += re.findall(r"^ +expr: (.+)$", rules.read_text(), re.MULTILINE)
    assert len(queries) > 20
    every = (name for query in queries for name in re.findall(r"\bnetviz_\w+", query))
    named = {name.removesuffix("_bucket") for name in every}
    assert named <= known, named - known
    harms = {
        harm
        for query in queries
        for text in re.findall(r'harm=~?"([^"]+)"', query)
        for harm in text.split("|")
    }
    assert harms <= set(HARMS)
    states = {
        one
        for query in queries
        for text in re.findall(r'checking{state=~?"([^"]+)"', query)
        for one in text.split("|")
    }
    assert states <= set(STATES)


def test_a_process_that_judges_no_more_is_seen(store: object, browser: Callable[[str], Client]) -> None:
    client = browser("viewer")
    assert samples(client, "netviz_checking")[("stopped",)] == 1
    lead()
    assert samples(client, "netviz_checking")[("first",)] == 1
    Checking.objects.update(hook_failures=4, hook_sent=2)
    assert samples(client, "netviz_webhook_failures_total") == {(): 4}
    assert samples(client, "netviz_webhook_alerts_total") == {(): 2}
