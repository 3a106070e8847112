"""The admin pages: enrol with a token shown once, approve, revoke, status that people can read, roles."""

from __future__ import annotations

import html
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from agents.__main__ import build_parser
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Netns
from netviz.core.state.delta import NetnsDelta, NodeDelta
from netviz.core.state.node import NodeState
from netviz.ingest.journal_record import pack
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.models import JournalEntry
from netviz.ingest.store import Position
from netviz.inventory.access import ADMINISTRATOR, OPERATOR, VIEWER, may, role_of
from netviz.inventory.models import ApiToken, Cluster, Collector, Node
from netviz.inventory.readable import ago, delay, share, size
from netviz.inventory.service import (
    TokenRefused,
    enrol,
    enrol_watcher,
    find_collector,
    make_api_token,
    revoke_collector,
    use_api_token,
)
from netviz.inventory.tokens import bearer_token, token_hash

pytestmark = pytest.mark.django_db
COLLECTORS = "/admin/inventory/collector/"
TOKEN = re.compile(r'<code class="token">([^<]+)</code>')


@pytest.fixture
def admin() -> Client:
    """A browser of somebody who is administrator by role, not a superuser."""
    user = User.objects.create_user("ada", password="correct horse battery", is_staff=True)
    user.groups.add(Group.objects.get(name=ADMINISTRATOR))
    client = Client()
    client.force_login(user)
    return client


def act(client: Client, page: str, action: str, *objects: Any, **more: str) -> str:
    """Select objects on a page and run an action."""
    fields = {"action": action, "_selected_action": [one.pk for one in objects], **more}
    answer = client.post(page, fields, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_every_page_opens_with_rows_search_and_filters(admin: Client) -> None:
    collector, _ = enrol("n1", approve=True)
    make_api_token(User.objects.get(), "grafana")
    key = NetnsKey("n1", 4, 1)
    delta = NodeDelta(netns=(NetnsDelta(key, Netns(key, "the-root")),))
    entry = JournalEntry.objects.create(
        node="n1",
        epoch=5,
        seq=0,
        kind="snapshot",
        received_at=timezone.now(),
        summary="namespaces +1",
        size=9,
        body=pack(delta),
    )
    for page in (
        "/admin/",
        "/admin/inventory/cluster/?q=default",
        "/admin/inventory/node/?q=n1&collectors__connected__exact=0",
        f"{COLLECTORS}?q=n1&status__exact=approved&connected__exact=0",
        f"{COLLECTORS}{collector.pk}/change/",
        "/admin/inventory/apitoken/?q=grafana",
        "/admin/ingest/journalentry/?q=n1&kind__exact=snapshot",
        f"/admin/ingest/journalentry/{entry.pk}/change/",
    ):
        answer = admin.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        assert ('id="result_list"' in text) == ("q=" in page), page
        assert token_not_shown(text)
    assert "the-root" in admin.get(f"/admin/ingest/journalentry/{entry.pk}/change/").content.decode()


def token_not_shown(text: str) -> bool:
    return not TOKEN.search(text) and not any(c.token_hash in text for c in Collector.objects.all())


def test_a_collector_is_shown_with_all_that_it_says_of_itself(admin: Client) -> None:
    collector, _ = enrol("n1", approve=True)
    Collector.objects.filter(pk=collector.pk).update(kernel="6.18.0-test", rss_bytes=3 << 20)
    text = admin.get(f"{COLLECTORS}{collector.pk}/change/").content.decode()
    assert "6.18.0-test" in text
    assert "3.0 MiB" in text
    assert 'name="_save"' not in text


def test_enrolling_shows_the_token_once(admin: Client) -> None:
    assert admin.get(f"{COLLECTORS}add/").status_code == 200
    answer = admin.post(f"{COLLECTORS}add/", {"node": "n9", "cluster": "prod", "approve": ""})
    assert "no-store" in answer["Cache-Control"]
    shown = TOKEN.search(answer.content.decode())
    assert shown is not None
    collector = find_collector(shown.group(1))
    assert collector is not None
    assert (collector.node.name, collector.node.cluster.name, collector.status) == ("n9", "prod", "enrolled")
    assert collector.token_hash == token_hash(shown.group(1))
    assert shown.group(1) not in admin.get(COLLECTORS).content.decode()


def test_enrolling_shows_a_command_that_works_as_it_stands(admin: Client, tmp_path: Path) -> None:
    answer = admin.post(
        f"{COLLECTORS}add/", {"node": "n9", "cluster": "c", "approve": "on"}, HTTP_HOST="localhost:8000"
    )
    text = answer.content.decode()
    found = re.search(r'<pre id="command-1"[^>]*>(.*?)</pre>', text, re.DOTALL)
    assert found is not None
    command = html.unescape(re.sub(r"<[^>]+>", "", found.group(1)))
    assert 'data-copy="command-1"' in text
    # Run with a stand-in for Python, that says what it was told and what the file had.
    stub = tmp_path / ".venv" / "bin" / "python"
    stub.parent.mkdir(parents=True)
    stub.write_text('#!/bin/sh\necho "$@"; stat -c %a n9.token; cat n9.token\n')
    stub.chmod(0o755)
    done = subprocess.run(["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    told, mode, token = done.stdout.splitlines()
    args = build_parser().parse_args(told.split()[2:])
    assert told.split()[:2] == ["-m", "agents"]
    assert (args.server, args.token_file, args.node) == ("http://localhost:8000", "n9.token", "n9")
    assert mode == "600"
    collector = find_collector(token)
    assert collector is not None
    assert collector.status == Collector.Status.APPROVED
    away = admin.post(f"{COLLECTORS}add/", {"node": "n8", "cluster": "c"}, HTTP_HOST="testserver")
    assert "--insecure-http" in away.content.decode()
    assert "--insecure-http" not in text


def test_many_nodes_are_enrolled_at_once(admin: Client) -> None:
    fields = {"node": "gw, w-[08-11]\ndb-[1-2].x", "cluster": "c", "approve": "on"}
    text = admin.post(f"{COLLECTORS}add/", fields).content.decode()
    collectors = [find_collector(token) for token in TOKEN.findall(text)]
    names = [one.node.name for one in collectors if one is not None and one.node is not None]
    assert names == ["gw", "w-08", "w-09", "w-10", "w-11", "db-1.x", "db-2.x"]
    for wrong in ("w-[1-9999]", "w-[3-1]", "ok a:b"):
        answer = admin.post(f"{COLLECTORS}add/", {**fields, "node": wrong}).content.decode()
        assert "errorlist" in answer, wrong
    assert Node.objects.count() == len(names)


def test_a_collector_is_approved_and_revoked_on_its_own_page(admin: Client) -> None:
    collector, _ = enrol("n1")
    page = f"{COLLECTORS}{collector.pk}/"

    def state() -> tuple[str, str]:
        collector.refresh_from_db()
        return collector.status, admin.get(f"{page}change/").content.decode()

    status, text = state()
    assert status == Collector.Status.ENROLLED
    assert "It waits for approval" in text
    assert 'class="waits">1<' in text
    enrol("n2", approve=True)
    assert admin.get("/api/collectors/waiting").json() == {
        "waiting": 1,
        "absent": 1,
        "collectors": [
            {"node": "n1", "cluster": None, "status": "enrolled"},
            {"node": "n2", "cluster": None, "status": "approved"},
        ],
    }
    assert admin.get(f"{page}approve/").status_code == 403
    admin.post(f"{page}approve/")
    status, text = state()
    assert status == Collector.Status.APPROVED
    assert 'class="waits"' not in text
    assert "Revoke this collector" in text
    assert "was approved already" in admin.post(f"{page}approve/", follow=True).content.decode()
    admin.post(f"{page}revoke/")
    status, text = state()
    assert status == Collector.Status.REVOKED
    assert "Approve again" in text
    assert "Revoke this collector" not in text
    vic = User.objects.create_user("vic", is_staff=True)
    vic.groups.add(Group.objects.get(name=OPERATOR))
    other = Client()
    other.force_login(vic)
    assert other.post(f"{page}approve/").status_code == 403
    assert "Approve again" not in other.get(f"{page}change/").content.decode()
    assert state()[0] == Collector.Status.REVOKED


def test_nodes_are_given_tokens_from_their_list(admin: Client) -> None:
    cluster = Cluster.objects.create(name="c")
    nodes = [Node.objects.create(cluster=cluster, name=f"n{n}") for n in range(3)]
    text = act(admin, "/admin/inventory/node/", "enrol_collectors", *nodes)
    collectors = [find_collector(token) for token in TOKEN.findall(text)]
    assert [c.node.name for c in collectors if c and c.status == "approved"] == ["n0", "n1", "n2"]


def test_approving_and_revoking(admin: Client) -> None:
    waiting, _ = enrol("n1")
    assert "1 approved" in act(admin, COLLECTORS, "approve", waiting)
    waiting.refresh_from_db()
    assert waiting.status == Collector.Status.APPROVED
    assert waiting.approved_at is not None
    asked = act(admin, COLLECTORS, "revoke", waiting)
    assert "Revoke 1 collector?" in asked
    waiting.refresh_from_db()
    assert waiting.status == Collector.Status.APPROVED, "it is asked first"
    assert "1 revoked" in act(admin, COLLECTORS, "revoke", waiting, sure="yes")
    assert "0 revoked" in act(admin, COLLECTORS, "revoke", waiting, sure="yes")
    waiting.refresh_from_db()
    assert (waiting.status, waiting.revoked_at is None) == (Collector.Status.REVOKED, False)
    assert "1 approved" in act(admin, COLLECTORS, "approve", waiting), "until it is approved again"
    assert "0 approved" in act(admin, COLLECTORS, "approve", waiting)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.revoked_at) == (Collector.Status.APPROVED, None)


def test_status_columns_are_readable(admin: Client) -> None:
    collector, _ = enrol("n1", approve=True)
    Collector.objects.filter(pk=collector.pk).update(
        connected=True,
        last_seen_at=timezone.now() - timedelta(seconds=5),
        version="0.1",
        lag_s=0.04,
        lost_events=3,
        shed_events=12,
        cpu=0.004,
        rss_bytes=40 << 20,
    )
    text = admin.get(COLLECTORS).content.decode()
    for words in ("approved", "5 s ago", "40 ms", "3 / 12", "0.4 %", "40.0 MiB"):
        assert words in text


def test_api_tokens_are_shown_once_and_revoked(admin: Client) -> None:
    ada = User.objects.get(username="ada")
    assert admin.get("/admin/inventory/apitoken/add/").status_code == 200
    answer = admin.post(
        "/admin/inventory/apitoken/add/", {"user": ada.pk, "name": "grafana", "scopes": ["read"]}
    )
    shown = TOKEN.search(answer.content.decode())
    assert shown is not None
    assert use_api_token(shown.group(1)).user == ada
    record = ApiToken.objects.get()
    assert record.last_used_at is not None
    assert "1 revoked" in act(admin, "/admin/inventory/apitoken/", "revoke", record)
    with pytest.raises(TokenRefused, match="revoked"):
        use_api_token(shown.group(1))


def test_an_inactive_user_s_token_opens_nothing(admin: Client) -> None:
    ada = User.objects.get(username="ada")
    _, token = make_api_token(ada, "x")
    User.objects.update(is_active=False)
    with pytest.raises(TokenRefused, match="deactivated"):
        use_api_token(token)


def test_the_journal_cannot_be_edited(admin: Client) -> None:
    assert admin.get("/admin/ingest/journalentry/add/").status_code == 403
    assert "delete_selected" not in admin.get("/admin/ingest/journalentry/").content.decode()


@pytest.mark.parametrize("role", [VIEWER, OPERATOR])
def test_who_may_not_administer_sees_and_changes_nothing(role: str) -> None:
    user = User.objects.create_user("vic", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    collector, _ = enrol("n1")
    client = Client()
    client.force_login(user)
    page = client.get(COLLECTORS)
    assert page.status_code == 200
    assert "Approve" not in page.content.decode()
    client.post(COLLECTORS, {"action": "approve", "_selected_action": [collector.pk]})
    collector.refresh_from_db()
    assert collector.status == Collector.Status.ENROLLED
    assert client.get(f"{COLLECTORS}add/").status_code == 403
    assert client.get("/admin/inventory/apitoken/").status_code == 403


def test_a_deleted_node_leaves_the_live_state(admin: Client, store: MemoryStore) -> None:
    collector, _ = enrol("n1", approve=True)
    store.set_connected("n1", True, 1.0)
    store.replace(NodeState("n1"), Position(5, 0), 1.0)
    page = f"/admin/inventory/node/{collector.node.pk}/delete/"
    assert admin.post(page, {"post": "yes"}).status_code == 302
    store.set_connected("n1", False, 2.0)
    store.set_durable("n1", Position(5, 0))
    assert store.node_revisions() == store.cluster().nodes == {}


def test_roles_build_on_each_other() -> None:
    nobody = User.objects.create_user("nobody")
    operator = User.objects.create_user("op")
    operator.groups.add(Group.objects.get(name=OPERATOR), Group.objects.get(name=VIEWER))
    root = User.objects.create_superuser("root")
    assert [role_of(user) for user in (nobody, operator, root)] == [None, OPERATOR, ADMINISTRATOR]
    assert [may(operator, role) for role in (VIEWER, OPERATOR, ADMINISTRATOR)] == [True, True, False]
    assert not may(nobody, VIEWER)
    operator.is_active = False
    assert role_of(operator) is None


def test_the_revoke_command_takes_all_of_a_node_s_collectors(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        enrol("n1", approve=True)
    call_command("revoke", "n1")
    assert capsys.readouterr().out == "2 revoked\n"
    with pytest.raises(CommandError, match="no node"):
        call_command("revoke", "n2")


def test_the_approve_command_approves_those_that_wait(capsys: pytest.CaptureFixture[str]) -> None:
    waiting, revoked = enrol("n1")[0], enrol("n1", approve=True)[0]
    revoke_collector(revoked)
    call_command("approve", "n1")
    assert capsys.readouterr().out == "1 approved\n"
    for collector, status in ((waiting, Collector.Status.APPROVED), (revoked, Collector.Status.REVOKED)):
        collector.refresh_from_db()
        assert collector.status == status
    with pytest.raises(CommandError, match="no such collector waits"):
        call_command("approve", "n1")
    enrol_watcher("lab")
    call_command("approve", "--watcher", "--cluster", "lab")
    assert capsys.readouterr().out == "1 approved\n"


def test_the_enrol_command_prints_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("enrol", "n1", cluster="lab")
    out = capsys.readouterr()
    collector = find_collector(out.out.strip())
    assert collector is not None
    assert collector.node.cluster.name == "lab"
    assert "approval" in out.err


def test_numbers_and_times_read_well() -> None:
    now = datetime.now(UTC)
    assert [ago(None), ago(now - timedelta(hours=5)), ago(now - timedelta(days=3))] == [
        "never",
        "5 h ago",
        "3 d ago",
    ]
    assert [size(5), size(5000), size(3 << 30)] == ["5 B", "4.9 KiB", "3.0 GiB"]
    assert [delay(0.0401), delay(2.5), share(1.5)] == ["40 ms", "2.5 s", "150.0 %"]


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("Bearer ", None), ("", None)],
)
def test_the_authorization_header(header: str, token: str | None) -> None:
    assert bearer_token(header) == token


def test_pages_carry_their_security_headers(admin: Client) -> None:
    answer = admin.get(COLLECTORS)
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r'<script>|<style|(src|href|action)="(https?:)?//', answer.content.decode())


@pytest.mark.parametrize("name", ["", "a:b", "-a", "a\nb", "a\x1b[2J", 'a"', "../a", "x" * 254, "\u0430"])
def test_a_node_has_a_name_that_its_collector_could_give_whoever_makes_it(admin: Client, name: str) -> None:
    """On any page and command: names stand in headers, files, logs and other people's terminals."""
    cluster = Cluster.objects.create(name="c")
    fields = {"name": name, "cluster": cluster.pk}
    assert "errorlist" in admin.post("/admin/inventory/node/add/", fields).content.decode()
    if "\n" not in name:  # there these are two names
        fields = {"node": name, "cluster": "c"}
        assert "errorlist" in admin.post(f"{COLLECTORS}add/", fields).content.decode()
    for command in (("enrol", "--", name), ("provision", "--user", "bob", "--", "n1", name)):
        with pytest.raises(CommandError, match="a node's name has 1 to 253 letters"):
            call_command(*command)
    assert not Node.objects.exists()
    assert not User.objects.filter(username="bob").exists()
