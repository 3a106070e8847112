"""The trace history in the admin pages: search, filters, the path to read; nobody edits it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from netviz.core.sim.render import trace_json
from netviz.tracing.models import TraceRun
from netviz.tracing.packed import pack
from tests.core.sim.build import textbook

pytestmark = pytest.mark.django_db
LIST = "/admin/tracing/tracerun/"


@pytest.fixture
def admin(person: Callable[[str], User]) -> Client:
    """An administrator in the admin pages."""
    user = person("administrator")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def runs(person: Callable[[str], User]) -> list[TraceRun]:
    """Two traces of different people, ends, times."""
    net = textbook()[0]
    operator, viewer = person("operator"), person("viewer")
    made = []
    for user, source, proto, port in ((operator, "pod-1-1", "tcp", 80), (viewer, "pod-1-2", "tcp", 99)):
        result = trace_json(net.trace(source, "pod-2-1", proto, port))
        made.append(
            TraceRun.objects.create(
                user=user,
                request={"from": source, "to": "pod-2-1", "proto": proto, "dport": port},
                source=source,
                target="pod-2-1",
                proto=proto,
                status="done",
                disposition=result["disposition"],
                packed=pack(result),
            )
        )
    TraceRun.objects.filter(pk=made[1].pk).update(created_at=timezone.now() - timedelta(days=3))
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1]),
        ("?q=pod-1-2", [1]),
        ("?q=a-operator", [0]),
        ("?q=pod-2-1", [0, 1]),
        ("?q=no_listener", [1]),
        ("?disposition=DELIVERED", [0]),
        ("?disposition__exact=NO_LISTENER", [1]),
        ("?proto=udp", []),
        ("?source=pod-1-1", [0]),
        ("?target=pod-2-1", [0, 1]),
    ],
)
def test_search_and_filters(admin: Client, runs: list[TraceRun], query: str, found: list[int]) -> None:
    shown = admin.get(LIST + query).context["cl"].result_list
    assert {run.pk for run in shown} == {runs[index].pk for index in found}


def test_filters_by_user_and_date(admin: Client, runs: list[TraceRun]) -> None:
    assert runs[1].user is not None
    by_user = admin.get(f"{LIST}?user__id__exact={runs[1].user.pk}").context["cl"].result_list
    assert [run.pk for run in by_user] == [runs[1].pk]
    today = timezone.now().strftime("%Y-%m-%d 00:00:00+00:00").replace("+", "%2B")
    by_date = admin.get(f"{LIST}?created_at__gte={today}").context["cl"].result_list
    assert [run.pk for run in by_date] == [runs[0].pk]


def test_the_path_can_be_read(admin: Client, runs: list[TraceRun]) -> None:
    page = admin.get(f"{LIST}{runs[1].pk}/change/")
    text = page.content.decode()
    assert '<b class="nv-no_listener">NO_LISTENER</b>' in text
    assert "default/pod-1-2" in text
    assert "Reply: DELIVERED" in text
    assert "veth-pod-1-2" in text
    assert "style=" not in text.split('class="nv-trace"')[1].split("</fieldset>")[0]


def test_a_trace_leads_to_the_map(admin: Client, runs: list[TraceRun]) -> None:
    link = f'href="/#/trace/{runs[0].pk}"'
    assert link in admin.get(LIST).content.decode()
    assert link in admin.get(f"{LIST}{runs[0].pk}/change/").content.decode()


def test_nobody_edits_history(admin: Client, runs: list[TraceRun]) -> None:
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(f"{LIST}{runs[0].pk}/change/", {"source": "else"}).status_code == 403
    assert admin.post(f"{LIST}{runs[0].pk}/delete/", {"post": "yes"}).status_code == 302
    assert list(TraceRun.objects.values_list("pk", flat=True)) == [runs[1].pk]


def test_only_administrators_see_it(person: Callable[[str], User], runs: list[TraceRun]) -> None:
    user: Any = User.objects.get(username="a-operator")
    user.is_staff = True
    user.save()
    client = Client()
    client.force_login(user)
    assert client.get(LIST).status_code == 403


def test_the_admin_pages_are_netvizs_own_and_lead_to_the_map(admin: Client) -> None:
    text = admin.get("/admin/").content.decode()
    assert ">netviz</a>" in text
    assert '<a href="/">Map</a>' in text
    assert "Django administration" not in text
