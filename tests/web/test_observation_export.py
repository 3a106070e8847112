"""An observation to be pasted into a ticket or kept: text, Markdown, JSON, each with the page that shows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from netviz.core.observe.evidence import judge
from netviz.core.observe.render import observed_json
from netviz.core.sim.render import trace_json
from netviz.core.sim.walk import simulate
from netviz.observing.models import Observation
from netviz.observing.text import LEGEND
from netviz.tracing.packed import pack
from tests.live.observed_cases import read_recorded


@pytest.fixture
def reader(token: Callable[[str], str]) -> Client:
    """A program with a viewer's API token."""
    return Client(headers={"Authorization": f"Bearer {token('viewer')}"})


def kept(name: str) -> Observation:
    """An observation as it was recorded from a kernel."""
    case = read_recorded(name)
    cluster = case.cluster()
    trace = simulate(cluster, case.flow)
    judged = judge(cluster, trace, case.evidence)
    result = observed_json(trace_json(trace), judged, case.evidence, ("legacy | xtables",))
    return Observation.objects.create(
        request={"from": "p_1", "to": "p2", "proto": "tcp", "dport": 8080},
        source="p_1",
        target="p2",
        proto="tcp",
        status="done",
        nodes=["n1"],
        finding="agrees",
        headline="All was as predicted.",
        packed=pack(result),
    )


@pytest.mark.django_db
def test_the_three_forms(reader: Client) -> None:
    one = kept("forward-drop")
    link = f"http://testserver/#/trace/observation-{one.pk}?observation={one.pk}&show=both"
    said = {
        form: reader.get(f"/api/observations/{one.pk}/export?as={form}")
        for form in ("text", "markdown", "json")
    }
    names = [answer["Content-Disposition"].rpartition(".")[2] for answer in said.values()]
    assert names == ['txt"', 'md"', 'json"']
    text, markdown = said["text"].content.decode(), said["markdown"].content.decode()
    found = said["json"].json()
    assert found["link"] == link
    steps = [step for hop in found["trace"]["branches"][0]["forward"]["hops"] for step in hop["steps"]]
    assert text.startswith("Probe: tcp 8080, from p_1 to p2\n")
    assert text.endswith(f"{LEGEND}\n\n{link}\n")
    assert "NETFILTER_DROP" in text
    assert markdown.startswith("# p\\_1 to p2\n\n- **Probe:** tcp 8080")
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == 1 + len(steps)
    assert "NETFILTER\\_DROP" in rows[-1]
    assert "- not watched: legacy \\| xtables" in markdown
    assert markdown.endswith(f"{link}\n")


@pytest.mark.django_db
def test_one_that_saw_nothing_says_so(reader: Client) -> None:
    one = Observation.objects.create(
        request={"from": "a", "to": "b"},
        source="a",
        target="b",
        proto="tcp",
        status="failed",
        error="no luck",
    )
    for form in ("text", "markdown"):
        assert "no luck" in reader.get(f"/api/observations/{one.pk}/export?as={form}").content.decode()
    assert reader.get(f"/api/observations/{one.pk}/export?as=pdf").status_code == 400
    assert reader.get("/api/observations/999999/export").status_code == 404
