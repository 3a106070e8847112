"""Who may call what: roles, tokens, sessions with CSRF; every refusal is JSON with one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from netviz.ingest.memory_store import MemoryStore

pytestmark = pytest.mark.django_db

READ = ["/api/topology", "/api/netns/a:4:1:0", "/api/traces", "/api/traces/1"]


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("header", ["", "Bearer nva_wrong", "Bearer ", "Basic YTpi"])
def test_strangers_get_401(store: MemoryStore, path: str, header: str) -> None:
    answer = Client(headers={"Authorization": header} if header else {}).get(path)
    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", READ)
def test_a_user_without_a_role_gets_403(store: MemoryStore, browser: Callable[[str], Any], path: str) -> None:
    answer = browser("nobody").get(path)
    assert answer.status_code == 403
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("path", READ)
def test_a_viewer_reads(store: MemoryStore, browser: Callable[[str], Any], path: str) -> None:
    assert browser("viewer").get(path).status_code in (200, 404)


def test_a_viewer_may_not_trace(store: MemoryStore, token: Callable[[str], str]) -> None:
    client = Client(headers={"Authorization": f"Bearer {token('viewer')}"})
    answer = client.post("/api/traces", data="{}", content_type="application/json")
    assert answer.status_code == 403
    assert "operator" in answer.json()["error"]


def test_a_session_needs_the_csrf_token_and_an_api_token_does_not(
    store: MemoryStore, browser: Callable[[str], Any], token: Callable[[str], str]
) -> None:
    client = browser("administrator")
    refused = client.post("/api/traces", data="{}", content_type="application/json")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["error"]
    csrf = str(client.get("/").context["csrf_token"])
    taken = client.post(
        "/api/traces", data="{}", content_type="application/json", headers={"X-CSRFToken": csrf}
    )
    assert taken.status_code == 400
    program = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {token('operator')}"})
    assert program.post("/api/traces", data="{}", content_type="application/json").status_code == 400


@pytest.mark.parametrize("path", [*READ, "/healthz", "/metrics"])
def test_wrong_methods_are_refused_as_json(browser: Callable[[str], Any], path: str) -> None:
    client = Client()
    answer = client.delete(path)
    assert answer.status_code == 405
    assert answer["Allow"] in ("GET", "GET, POST")
    assert list(answer.json()) == ["error"]


def test_unknown_addresses_are_json_below_api_and_a_page_elsewhere() -> None:
    assert Client().get("/api/nothing").json() == {"error": "there is nothing at this address"}
    page = Client().get("/nothing")
    assert page.status_code == 404
    assert page["Content-Type"].startswith("text/html")


def test_a_name_that_is_not_the_servers_is_refused_in_words() -> None:
    for path in ("/", "/api/topology"):
        answer = Client(headers={"host": "somewhere.example"}).get(path)
        assert answer.status_code == 400
        assert "NETVIZ_ALLOWED_HOSTS" in answer.content.decode()
