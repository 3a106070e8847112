"""API tokens: what they open and what not, their scopes and ends, and sockets cut with the right to them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from netviz.ingest.memory_store import MemoryStore
from netviz.inventory import sockets
from netviz.inventory.models import ApiToken
from netviz.inventory.service import TokenRefused, make_api_token, revoke_api_token, use_api_token
from netviz.tracing.models import TraceRun
from tests.web.sockets import Socket

pytestmark = pytest.mark.django_db
Person = Callable[[str], User]


def bearer(token: str) -> Client:
    """A program that checks for CSRF nothing less than a browser does."""
    return Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {token}"})


def test_an_administrator_s_token_opens_neither_the_admin_nor_a_page(token: Callable[[str], str]) -> None:
    client = bearer(token("administrator"))
    answer = client.post(
        "/admin/auth/user/add/", {"username": "mallory", "password1": "p4ssw0rd!x", "password2": "p4ssw0rd!x"}
    )
    assert answer.status_code == 403
    assert not User.objects.filter(username="mallory").exists()
    for page in ("/admin/", "/admin/auth/user/", "/"):
        answer = client.get(page)
        assert answer.status_code == 302
        assert "login" in answer["Location"]


def test_a_token_beside_a_session_takes_no_check_from_a_page(browser: Callable[[str], Client]) -> None:
    client: Any = browser("administrator")
    _, secret = make_api_token(User.objects.get(username="a-administrator"), "x")
    answer = client.post(
        "/admin/auth/group/add/", {"name": "more"}, headers={"Authorization": f"Bearer {secret}"}
    )
    assert answer.status_code == 403
    assert not Group.objects.filter(name="more").exists()


def test_a_refusal_names_the_scope_that_is_missing(store: MemoryStore, person: Person) -> None:
    user = person("operator")
    reads = bearer(make_api_token(user, "x", scopes=["read"])[1])
    traces = bearer(make_api_token(user, "x", scopes=["trace"])[1])
    assert reads.get("/api/topology").status_code == 200
    refused = reads.post("/api/traces", data="{}", content_type="application/json")
    assert (refused.status_code, refused.json()["error"]) == (403, "this token lacks the scope trace")
    assert traces.post("/api/traces", data="{}", content_type="application/json").status_code == 400
    for path in ("/api/topology", "/api/traces", "/metrics"):
        refused = traces.get(path)
        assert (refused.status_code, refused.json()["error"]) == (403, "this token lacks the scope read")


def test_a_token_never_may_more_than_its_user(store: MemoryStore, person: Person) -> None:
    user = person("operator")
    with pytest.raises(ValueError, match="administer"):
        make_api_token(user, "x", scopes=["read", "administer"])
    client = bearer(make_api_token(user, "x", scopes=["read", "trace"])[1])
    user.groups.set([Group.objects.get(name="viewer")])
    refused = client.post("/api/traces", data="{}", content_type="application/json")
    assert (refused.status_code, refused.json()["error"]) == (403, "this needs the role operator")
    assert client.get("/api/topology").status_code == 200


def test_an_ended_token_opens_nothing_and_says_so(store: MemoryStore, person: Person) -> None:
    soon = timezone.now() + timedelta(hours=1)
    record, secret = make_api_token(person("viewer"), "x", expires_at=soon)
    assert bearer(secret).get("/api/topology").status_code == 200
    ApiToken.objects.filter(pk=record.pk).update(expires_at=timezone.now())
    refused = bearer(secret).get("/api/topology")
    assert refused.status_code == 401
    assert "this token ended at" in refused.json()["error"]


def test_the_last_use_is_written_once_a_minute(person: Person, django_assert_num_queries: Any) -> None:
    record, secret = make_api_token(person("viewer"), "x")
    with django_assert_num_queries(2):
        use_api_token(secret)
    with django_assert_num_queries(1):
        use_api_token(secret)
    ApiToken.objects.filter(pk=record.pk).update(last_used_at=timezone.now() - timedelta(seconds=61))
    with django_assert_num_queries(2):
        use_api_token(secret)
    record.refresh_from_db()
    assert record.last_used_at is not None
    assert timezone.now() - record.last_used_at < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        ("viewer", ["read"]),
        ("operator", ["read", "trace", "observe"]),
        ("administrator", ["read", "trace", "observe", "administer"]),
        ("nobody", []),
    ],
)
def test_tokens_from_before_keep_what_they_could_do(person: Person, role: str, scopes: list[str]) -> None:
    record, _ = make_api_token(person(role), "x")
    ApiToken.objects.update(scopes=[])
    importlib.import_module("netviz.inventory.migrations.0003_token_scopes").give_scopes(apps, None)
    record.refresh_from_db()
    assert (record.scopes, record.expires_at) == (scopes, None)


@pytest.mark.parametrize(
    ("scopes", "expires", "complaint"),
    [
        (["administer"], "", "role doesn&#x27;t have: administer"),
        ([], "", "This field is required"),
        (["read"], "2020-01-01", "this is in the past"),
    ],
)
def test_the_form_makes_no_token_that_may_too_much(
    browser: Callable[[str], Any], person: Person, scopes: list[str], expires: str, complaint: str
) -> None:
    client = browser("administrator")
    User.objects.filter(username="a-administrator").update(is_staff=True)
    vic = person("viewer")
    csrf = str(client.get("/admin/inventory/apitoken/add/").context["csrf_token"])
    fields = {"user": vic.pk, "name": "n", "scopes": scopes, "csrfmiddlewaretoken": csrf}
    fields |= {"expires_at_0": expires, "expires_at_1": "00:00:00"} if expires else {}
    answer = client.post("/admin/inventory/apitoken/add/", fields)
    assert complaint in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_the_token_command(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    person("operator")
    call_command(
        "token",
        "make",
        "a-operator",
        "grafana\x1b[2J\n9  x",
        "--scope",
        "trace",
        "--scope",
        "read",
        "--days",
        "2",
    )
    secret = capsys.readouterr().out.strip()
    record = use_api_token(secret)
    assert record.scopes == ["read", "trace"]
    assert timedelta(days=1.9) < record.expires_at - timezone.now() <= timedelta(days=2)
    call_command("token", "list")
    listed = capsys.readouterr().out
    assert r"grafana\x1b[2J\n9  x  read,trace  ends 2" in listed, "one line, and nothing for the terminal"
    assert secret not in listed
    call_command("token", "revoke", str(record.pk))
    with pytest.raises(TokenRefused, match="revoked"):
        use_api_token(secret)
    for words, complaint in (
        (["make", "nobody-here", "x"], "no user"),
        (["make", "a-operator", "x", "--scope", "administer"], "administer"),
        (["make", "a-operator", "x", "--days", "0"], "--days"),
        (["revoke", "999"], "no token 999"),
    ):
        with pytest.raises(CommandError, match=complaint):
            call_command("token", *words)


def revoked(user: User, record: ApiToken) -> None:
    revoke_api_token(record)


def ended(user: User, record: ApiToken) -> None:
    ApiToken.objects.filter(pk=record.pk).update(expires_at=timezone.now())


def deleted(user: User, record: ApiToken) -> None:
    record.delete()


def deactivated(user: User, record: ApiToken) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def without_role(user: User, record: ApiToken) -> None:
    user.groups.clear()


def rescoped(user: User, record: ApiToken) -> None:
    ApiToken.objects.filter(pk=record.pk).update(scopes=["trace"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws/topology", "/ws/traces/{}"])
@pytest.mark.parametrize("end", [revoked, ended, deleted, deactivated, without_role, rescoped])
async def test_sockets_are_cut_within_a_second(
    store: MemoryStore,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    end: Callable[[User, ApiToken], None],
) -> None:
    assert sockets.LOOK_EVERY_S <= 0.5
    monkeypatch.setattr(sockets, "LOOK_EVERY_S", 0.05)
    user = await sync_to_async(person)("operator")
    run = await TraceRun.objects.acreate(user=user, request={}, source="a", target="b", proto="tcp")
    record, secret = await sync_to_async(make_api_token)(user, "x")
    _, other = await sync_to_async(make_api_token)(await sync_to_async(person)("viewer"), "x")
    cut, kept = (Socket(path.format(run.pk), token=one) for one in (secret, other))
    for socket in (cut, kept):
        assert await socket.connect()
        await socket.read()
    await sync_to_async(end)(user, record)
    closing = await cut.output()
    assert (closing["type"], closing["code"]) == ("websocket.close", 4403)
    assert await kept.is_quiet()
    await kept.close()


@pytest.mark.django_db(transaction=True)
async def test_a_token_without_read_opens_no_socket(store: MemoryStore, person: Person) -> None:
    user = await sync_to_async(person)("operator")
    _, secret = await sync_to_async(make_api_token)(user, "x", scopes=["trace"])
    assert not await Socket("/ws/topology", token=secret).connect()


@pytest.mark.django_db(transaction=True)
async def test_sockets_stay_open_while_the_database_is_away_and_are_cut_when_it_is_back(
    store: MemoryStore, person: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sockets, "LOOK_EVERY_S", 0.02)
    looks: list[bool] = []
    really = sockets.still_valid

    def away_at_first(credentials: Any) -> Any:
        looks.append(True)
        if len(looks) <= 3:
            raise OperationalError("the database is away")
        return really(credentials)

    monkeypatch.setattr(sockets, "still_valid", away_at_first)
    record, secret = await sync_to_async(make_api_token)(await sync_to_async(person)("viewer"), "x")
    socket = Socket("/ws/topology", token=secret)
    assert await socket.connect()
    await socket.read()
    await sync_to_async(revoke_api_token)(record)
    assert (await socket.output())["code"] == 4403
    assert len(looks) > 3
    assert len([line for line in caplog.messages if "cannot look whether" in line]) == 1
