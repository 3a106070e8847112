"""The audit: everything that counts is in it, with who, how and from where; and nothing takes it out."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from netviz.inventory import append_only
from netviz.inventory.audit import record
from netviz.inventory.models import AppendOnlyError, AuditEntry, Collector, Node
from netviz.inventory.service import enrol, make_api_token, revoke_api_token
from netviz.tracing.models import TraceRun
from tests.web.served import Served
from tests.web.services import postgres_server

pytestmark = pytest.mark.django_db
ADDRESS = "192.0.2.33"


@pytest.fixture
def ada() -> Client:
    """An administrator's browser, at an address."""
    user = User.objects.create_user("ada", password="correct horse battery", is_staff=True)
    user.groups.add(Group.objects.get(name="administrator"))
    client = Client(REMOTE_ADDR=ADDRESS)
    client.force_login(user)
    AuditEntry.objects.filter()._raw_delete(AuditEntry.objects.db)
    return client


def kept() -> list[tuple[str, str]]:
    return [(entry.action, entry.target) for entry in AuditEntry.objects.order_by("pk")]


def test_collectors_on_pages(ada: Client) -> None:
    page = "/admin/inventory/collector/"
    ada.post(f"{page}add/", {"node": "n1", "cluster": "prod", "approve": ""})
    collector = Collector.objects.get()
    for action in ("approve", "revoke"):
        ada.post(page, {"action": action, "_selected_action": [collector.pk], "sure": "yes"})
    name = str(collector)
    ada.post(f"/admin/inventory/node/{Node.objects.get().pk}/delete/", {"post": "yes"})
    assert kept() == [
        ("cluster.add", "prod"),
        ("node.add", "n1"),
        ("collector.enrol", name),
        ("collector.approve", name),
        ("collector.revoke", name),
        ("node.delete", "n1"),
        ("collector.delete", name),
    ]
    assert {(entry.actor, entry.via, entry.address) for entry in AuditEntry.objects.all()} == {
        ("ada", "page", ADDRESS)
    }
    assert not Collector.objects.exists()


def test_users_roles_and_tokens_on_pages(ada: Client) -> None:
    ada.post(
        "/admin/auth/user/add/", {"username": "vic", "password1": "p4ssw0rd!x", "password2": "p4ssw0rd!x"}
    )
    vic = User.objects.get(username="vic")
    viewer = Group.objects.get(name="viewer")
    form = {
        "username": "vic",
        "is_active": "on",
        "is_staff": "on",
        "groups": [viewer.pk],
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    }
    assert ada.post(f"/admin/auth/user/{vic.pk}/change/", form).status_code == 302
    answer = ada.post(
        "/admin/inventory/apitoken/add/", {"user": vic.pk, "name": "grafana", "scopes": ["read"]}
    )
    assert answer.status_code == 200
    token = vic.api_tokens.get()
    ada.post("/admin/inventory/apitoken/", {"action": "revoke", "_selected_action": [token.pk]})
    ada.post(f"/admin/auth/user/{vic.pk}/delete/", {"post": "yes"})
    assert kept() == [
        ("user.add", "vic"),
        ("user.change", "vic"),
        ("user.change", "vic"),
        ("token.add", "grafana of vic"),
        ("token.revoke", "grafana of vic"),
        ("token.delete", "grafana of vic"),
        ("user.delete", "vic"),
    ]
    details = list(AuditEntry.objects.order_by("pk").values_list("detail", flat=True))
    assert details[1] == {"is_staff": ["False", "True"]}
    assert details[2] == {"groups added": ["viewer"]}
    assert details[3]["scopes"] == "['read']"
    text = json.dumps(details)
    assert vic.password not in text
    assert token.token_hash not in text


def test_a_new_password_is_noted_and_not_shown(ada: Client) -> None:
    vic = User.objects.create_user("vic", password="one")
    vic.set_password("two")
    vic.save()
    entry = AuditEntry.objects.get(action="user.change")
    assert entry.detail == {"password": "changed"}


def test_logins(person: Callable[[str], User]) -> None:
    person("viewer")
    client = Client(REMOTE_ADDR=ADDRESS)
    AuditEntry.objects.filter()._raw_delete(AuditEntry.objects.db)
    for password in ("wrong", "correct horse battery"):
        client.post("/login/", {"username": "a-viewer", "password": password})
    client.post("/logout/")
    assert kept() == [("login.failed", "a-viewer"), ("login.ok", "a-viewer"), ("login.end", "a-viewer")]
    rows = AuditEntry.objects.order_by("pk").values_list("actor", "via", "address")
    assert list(rows) == [("", "page", ADDRESS), ("a-viewer", "page", ADDRESS), ("a-viewer", "page", ADDRESS)]


def test_traces_by_page_and_by_token(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from netviz.tracing import service

    monkeypatch.setattr(service, "resolve", lambda *_: None)
    monkeypatch.setattr(service, "work_out", lambda _: ({"status": "done", "disposition": "DELIVERED"}, None))
    monkeypatch.setattr("netviz.tracing.tasks.send", lambda *args: None)
    body = '{"from": "default/web-1", "to": "10.0.0.1"}'
    assert ada.post("/api/traces", data=body, content_type="application/json").status_code == 202
    record_, secret = make_api_token(User.objects.get(username="ada"), "ci")
    program = Client(headers={"Authorization": f"Bearer {secret}"}, REMOTE_ADDR="192.0.2.50")
    assert program.post("/api/traces", data=body, content_type="application/json").status_code == 202
    by_page, by_token = AuditEntry.objects.filter(action="trace.start").order_by("pk")
    assert (by_page.actor, by_page.via, by_page.address) == ("ada", "page", ADDRESS)
    assert (by_token.actor, by_token.via, by_token.address) == ("ada", "api", "192.0.2.50")
    assert by_token.detail["token"] == record_.token_hint
    assert by_token.target == "default/web-1 to 10.0.0.1 (tcp)"
    ada.post(
        "/admin/tracing/tracerun/",
        {
            "action": "delete_selected",
            "_selected_action": [run.pk for run in TraceRun.objects.all()],
            "post": "yes",
        },
    )
    assert AuditEntry.objects.filter(action="trace.delete", actor="ada").count() == 2


def test_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SUDO_USER", "bob")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.77 50000 192.0.2.1 22")
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    call_command("enrol", "n1")
    call_command("revoke", "n1")
    call_command("provision", "--user", "root2", "--role", "viewer")
    rows = set(AuditEntry.objects.values_list("actor", "via", "address"))
    assert rows == {("bob as root", "command", "192.0.2.77")}
    actions = {action for action, _ in kept()}
    assert actions >= {
        "node.add",
        "collector.enrol",
        "collector.revoke",
        "user.add",
        "user.change",
        "token.add",
    }


def test_an_act_and_its_entry_stand_or_fall_together(monkeypatch: pytest.MonkeyPatch) -> None:
    enrol("n1")
    user = User.objects.create_user("vic")
    held, _ = make_api_token(user, "x")

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("netviz.inventory.audit.record", fails)
    with pytest.raises(OSError, match="no space"):
        call_command("revoke", "n1")
    assert Collector.objects.get().status == Collector.Status.ENROLLED
    with pytest.raises(OSError, match="no space"):
        revoke_api_token(held)
    held.refresh_from_db()
    assert held.revoked_at is None


def test_the_orm_adds_only() -> None:
    entry = record("a.b", "c", more=1)
    entry.target = "d"
    for attempt in (
        entry.save,
        entry.delete,
        lambda: AuditEntry.objects.update(target="d"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: AuditEntry.objects.bulk_update([entry], ["target"]),
        lambda: AuditEntry.objects.update_or_create(pk=entry.pk, defaults={"target": "d"}),
        lambda: AuditEntry.objects.bulk_create(
            [entry], update_conflicts=True, update_fields=["target"], unique_fields=["id"]
        ),
    ):
        with pytest.raises(AppendOnlyError):
            attempt()
    assert kept() == [("a.b", "c")]


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """A database as the migrations make it, with one entry."""
    served = Served(tmp_path / "var")
    served.manage("enrol", "n1")
    return tmp_path / "var" / "netviz.sqlite3"


def test_sqlite_adds_only(sqlite_file: Path) -> None:
    with closing(sqlite3.connect(sqlite_file)) as database:
        before = database.execute("SELECT * FROM inventory_auditentry").fetchall()
        assert len(before) == 3
        for statement in (
            "UPDATE inventory_auditentry SET actor = 'x'",
            "DELETE FROM inventory_auditentry",
            "INSERT OR REPLACE INTO inventory_auditentry SELECT id, at, 'x', via, address, action, target, detail "
            "FROM inventory_auditentry",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="can only be added to"):
                database.execute(statement)
        assert database.execute("SELECT * FROM inventory_auditentry").fetchall() == before


def test_postgresql_adds_only(tmp_path: Path) -> None:
    with postgres_server() as url:
        served = Served(tmp_path / "var", NETVIZ_DATABASE_URL=url)
        served.manage("enrol", "n1")
        with psycopg.connect(url, autocommit=True) as database:
            for statement in (
                "UPDATE inventory_auditentry SET actor = 'x'",
                "DELETE FROM inventory_auditentry",
                "TRUNCATE inventory_auditentry",
                "INSERT INTO inventory_auditentry SELECT * FROM inventory_auditentry "
                "ON CONFLICT (id) DO UPDATE SET actor = 'x'",
            ):
                with pytest.raises(psycopg.errors.RaiseException, match="can only be added to"):
                    database.execute(statement)
            count = database.execute("SELECT count(*) FROM inventory_auditentry").fetchone()
            assert count == (3,)


def test_the_protection_can_be_taken_away_by_going_back() -> None:
    record("a.b")
    with connection.cursor() as cursor:
        editor = SimpleNamespace(connection=connection, execute=cursor.execute)
        append_only.install(editor, "inventory_auditentry")
        append_only.remove(editor, "inventory_auditentry")
        cursor.execute("DELETE FROM inventory_auditentry")
    assert kept() == []


def test_the_admin_searches_filters_and_exports(ada: Client) -> None:
    record("login.failed", "=HYPERLINK(1)")
    record("collector.revoke", "n1")
    record("collector.revoke", "n2", reason="left")
    page = "/admin/inventory/auditentry/"
    text = ada.get(f"{page}?q=n2&action=collector.revoke").content.decode()
    assert "1 audit entry" in text
    assert "export/csv?q=n2&amp;action=collector.revoke" in text
    answer = ada.get(f"{page}export/jsonl?action=collector.revoke")
    assert [json.loads(line)["target"] for line in answer.content.splitlines()] == ["n2", "n1"]
    assert "attachment" in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(ada.get(f"{page}export/csv").content.decode())))
    assert [row["target"] for row in rows] == ["n2", "n1", "'=HYPERLINK(1)"]
    assert json.loads(rows[0]["detail"]) == {"reason": "left"}
    assert ada.get(f"{page}export/xml").status_code == 404


def test_the_admin_changes_nothing(ada: Client) -> None:
    entry = record("a.b")
    page = "/admin/inventory/auditentry/"
    assert ada.get(f"{page}{entry.pk}/change/").status_code == 200
    assert 'name="_save"' not in ada.get(f"{page}{entry.pk}/change/").content.decode()
    for address in (f"{page}add/", f"{page}{entry.pk}/delete/"):
        assert ada.post(address, {"post": "yes"}).status_code == 403
    assert "delete_selected" not in ada.get(page).content.decode()
    superuser = Client()
    superuser.force_login(User.objects.create_superuser("root"))
    assert superuser.post(f"{page}{entry.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_administrators_see_it(role: str) -> None:
    user = User.objects.create_user("vic", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    for page in ("", "export/csv", "export/jsonl"):
        assert client.get(f"/admin/inventory/auditentry/{page}").status_code == 403


def test_more_than_can_be_exported_is_said(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netviz.inventory.audit_admin.MAX_EXPORT", 1)
    for _ in range(2):
        record("a.b")
    answer = ada.get("/admin/inventory/auditentry/export/csv?action=a.b", follow=True)
    assert "more than 1 entries" in answer.content.decode()


def test_the_audit_command(capsys: pytest.CaptureFixture[str]) -> None:
    record("login.failed", "bob\x1b[31m\n")
    record("collector.revoke", "n1", origin=None, actor="ada")
    call_command("audit")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "collector.revoke" in lines[0]
    assert "by ada (command line" in lines[0]
    assert "bob\\x1b[31m\\n" in lines[1]
    call_command("audit", "--json", "--action", "login", "--since", "1h")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["target"] == "bob\x1b[31m\n"
    call_command("audit", "--since", "2999-01-01", "--actor", "ada")
    assert capsys.readouterr().out == ""
    for since in ("yesterday", "2026-13-01", "99999999d"):
        with pytest.raises(CommandError, match="--since"):
            call_command("audit", "--since", since)


def test_a_name_too_long_or_strange_is_kept_as_far_as_it_goes() -> None:
    entry = record("a.b", "x\0" + "y" * 2000)
    assert entry.target.startswith("x\N{SYMBOL FOR NULL}y")
    assert len(entry.target) == 600
