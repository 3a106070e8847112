"""Every address and every socket, for everybody: who is let in, and how the others are refused.

The addresses are taken from the URL resolver and the sockets from the router, so one that has no line
here fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from netviz.asgi import websocket
from netviz.ingest.memory_store import MemoryStore
from netviz.inventory.access import ROLES, SCOPES
from netviz.inventory.models import ApiToken, AuditEntry, Cluster, Collector, Node
from netviz.inventory.service import enrol, make_api_token, revoke_api_token, revoke_collector
from netviz.observing.models import Observation
from netviz.problems.models import Problem, Remark
from netviz.tracing.models import TraceRun
from tests.web.sockets import Socket

METRICS_TOKEN = "of Prometheus alone"


@dataclass
class Somebody:
    """One who calls: by a session, by a token, or as nobody."""

    session: str = ""
    dead_session: str = ""
    token: str = ""
    scopes: frozenset[str] = frozenset()
    headers: dict[str, str] = field(default_factory=dict)

    def client(self, address: str, *, csrf: bool = True) -> Client:
        """A browser or program of theirs; with `csrf` it does what the page does."""
        client = Client(enforce_csrf_checks=True, REMOTE_ADDR=address, headers=dict(self.headers))
        if cookie := self.session or self.dead_session:
            client.cookies["sessionid"] = cookie
        if csrf:
            client.cookies["csrftoken"] = "a" * 32
            client.defaults["HTTP_X_CSRFTOKEN"] = "a" * 32
        return client


def session_of(user: User) -> Somebody:
    client = Client()
    client.force_login(user)
    held = {"viewer": {"read"}, "operator": set(SCOPES) - {"administer"}, "administrator": set(SCOPES)}
    role = next((group.name for group in user.groups.all()), "")
    return Somebody(session=client.cookies["sessionid"].value, scopes=frozenset(held.get(role, ())))


def holder_of(token: str, *scopes: str) -> Somebody:
    return Somebody(token=token, scopes=frozenset(scopes), headers={"Authorization": f"Bearer {token}"})


def everybody() -> dict[str, Somebody]:
    """One of each kind. Tokens are an administrator's, so that their scopes alone decide."""
    users = {}
    for name in (*ROLES, "nobody", "deactivated"):
        users[name] = User.objects.create_user(name, is_staff=name == "administrator")
        if name in ROLES:
            users[name].groups.add(Group.objects.get_or_create(name=name)[0])
    users["deactivated"].groups.add(Group.objects.get_or_create(name="administrator")[0])
    admin = users["administrator"]

    def token(*scopes: str, user: User = admin) -> tuple[ApiToken, str]:
        return make_api_token(user, "+".join(scopes), scopes=scopes)

    ended, revoked = token(*SCOPES), token(*SCOPES)
    ApiToken.objects.filter(pk=ended[0].pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    revoke_api_token(revoked[0])
    deactivated = token(*SCOPES, user=users["deactivated"])
    closed = session_of(users["deactivated"])
    User.objects.filter(pk=users["deactivated"].pk).update(is_active=False)
    old = session_of(admin)
    Session.objects.filter(pk=old.session).update(expire_date=timezone.now())
    waiting, gone = enrol("n1")[1], enrol("n1", approve=True)
    revoke_collector(gone[0])
    return {
        "anonymous": Somebody(),
        **{f"session of {name}": session_of(users[name]) for name in (*ROLES, "nobody")},
        "ended session of an administrator": Somebody(dead_session=old.session),
        "deactivated administrator's session": Somebody(dead_session=closed.session),
        **{f"token {scope}": holder_of(token(scope)[1], scope) for scope in SCOPES},
        "token with all": holder_of(token(*SCOPES)[1], *SCOPES),
        "token of a viewer": holder_of(token("read", user=users["viewer"])[1], "read"),
        "ended token": holder_of(ended[1]),
        "revoked token": holder_of(revoked[1]),
        "token of a deactivated user": holder_of(deactivated[1]),
        "unknown token": holder_of("nva_unknown"),
        "metrics token": holder_of(METRICS_TOKEN),
        "collector's token": holder_of(enrol("n1", approve=True)[1]),
        "waiting collector's token": holder_of(waiting),
        "revoked collector's token": holder_of(gone[1]),
    }


def is_valid(name: str) -> bool:
    """Tell whether somebody is known to the API: the others get 401."""
    return name.startswith(("session", "token")) and name != "token of a deactivated user"


# What an answer says to one caller: that they are let in, or how they are refused.
Judge = Callable[[str, Somebody, Any], bool]


def public(name: str, who: Somebody, answer: Any) -> bool:
    """For everybody."""
    return answer.status_code in (200, 503) or (bool(who.session) and answer.status_code == 302)


def scope(wanted: str) -> Judge:
    """For programs and the page: JSON, with one sentence when refused."""

    def judge(name: str, who: Somebody, answer: Any) -> bool:
        if wanted in who.scopes:
            return answer.status_code in (200, 202, 400, 404)
        if not is_valid(name):
            return answer.status_code == 401 and list(answer.json()) == ["error"]
        by_role = who.session or (name == "token of a viewer" and SCOPES[wanted] != "viewer")
        missing = f"needs the role {SCOPES[wanted]}" if by_role else f"lacks the scope {wanted}"
        return answer.status_code == 403 and missing in answer.json()["error"]

    return judge


def metrics(name: str, who: Somebody, answer: Any) -> bool:
    """The scope read, or the token for nothing else."""
    return answer.status_code == 200 if name == "metrics token" else scope("read")(name, who, answer)


def page(name: str, who: Somebody, answer: Any) -> bool:
    """For people, by session; a token is nothing here."""
    if not who.session:
        return answer.status_code == 302 and answer["Location"].startswith("/login/")
    return answer.status_code == (200 if who.scopes else 403)


def admin(name: str, who: Somebody, answer: Any) -> bool:
    """For an administrator's session."""
    if name == "session of administrator":
        return answer.status_code in (200, 302, 400, 403, 404, 405) and "/login/" not in answer.get(
            "Location", ""
        )
    return answer.status_code in (403, 405) or (
        answer.status_code == 302 and answer["Location"].startswith("/admin/login/")
    )


def admin_login(name: str, who: Somebody, answer: Any) -> bool:
    """The login page; who is logged in and has no right to the admin is told so."""
    if not who.session:
        return answer.status_code == 200
    return answer.status_code == (302 if name == "session of administrator" else 403)


def admin_logout(name: str, who: Somebody, answer: Any) -> bool:
    """It ends an administrator's session; the others are sent to where they are asked to log in."""
    if name == "session of administrator":
        return answer.status_code == 405
    return answer.status_code == 302 and answer["Location"] == "/admin/"


def wrong_method(name: str, who: Somebody, answer: Any) -> bool:
    """Nothing for anybody."""
    return answer.status_code == 405


def logout(name: str, who: Somebody, answer: Any) -> bool:
    """For everybody; it ends a session where there is one."""
    return answer.status_code == 302 and answer["Location"] == "/login/"


@dataclass(frozen=True)
class Line:
    """One address: how its methods judge."""

    get: Judge
    post: Judge
    path: str = ""


READ = Line(scope("read"), wrong_method)
# The admin's addresses are one line: whatever is registered there is for an administrator's session.
ADMIN = Line(admin, admin)
MATRIX = {
    "": Line(page, wrong_method),
    "login/": Line(public, public),
    "logout/": Line(wrong_method, logout),
    "admin/login/": Line(admin_login, admin_login),
    "admin/logout/": Line(admin_logout, admin_logout),
    "healthz": Line(public, wrong_method),
    "metrics": Line(metrics, wrong_method),
    "api/collectors/waiting": READ,
    "api/topology": READ,
    "api/rates": Line(scope("read"), wrong_method, "api/rates?nodes=n1"),
    "api/search": READ,
    "api/services": READ,
    "api/services/<str:namespace>/<str:name>": Line(scope("read"), wrong_method, "api/services/shop/web"),
    "api/workloads": READ,
    "api/workloads/<str:kind>/<str:namespace>/<str:name>": Line(
        scope("read"), wrong_method, "api/workloads/Deployment/shop/web"
    ),
    "api/namespaces": READ,
    "api/policies": READ,
    "api/policies/<str:home>/<str:name>": Line(scope("read"), wrong_method, "api/policies/locked/x"),
    "api/policy-preview": Line(wrong_method, scope("read")),
    "api/why": READ,
    "api/trace-tables": Line(wrong_method, scope("trace")),
    "api/namespaces/<str:name>": Line(scope("read"), wrong_method, "api/namespaces/shop"),
    "api/netns/<str:key>": Line(scope("read"), wrong_method, "api/netns/n1:4:1:0"),
    "api/netns/<str:key>/connections": Line(scope("read"), wrong_method, "api/netns/n1:4:1:0/connections"),
    "api/netns/<str:key>/match": Line(scope("read"), wrong_method, "api/netns/n1:4:1:0/match"),
    "api/nodes/<str:name>/state": READ,
    "api/traces": Line(scope("read"), scope("trace")),
    "api/traces/<str:trace_id>": READ,
    "api/captures": Line(wrong_method, scope("observe")),
    "api/captures/<str:observation_id>": Line(scope("observe"), wrong_method),
    "api/drops": Line(wrong_method, scope("observe")),
    "api/observations": Line(scope("read"), scope("observe")),
    "api/observations/<str:observation_id>": READ,
    "api/observations/<str:observation_id>/file": Line(scope("observe"), wrong_method),
    "api/observations/<str:observation_id>/export": READ,
    "api/problems": READ,
    "api/problems/<str:problem_id>": Line(scope("read"), scope("triage")),
}


def patterns(inside: Any, prefix: str = "") -> Iterator[str]:
    """All addresses that the resolver knows, as they are written."""
    for one in inside:
        if isinstance(one, URLPattern):
            yield prefix + str(one.pattern)
        else:
            yield from patterns(one.url_patterns, prefix + str(one.pattern))


ADDRESSES = list(patterns(get_resolver().url_patterns))


def line_of(pattern: str) -> Line | None:
    return MATRIX.get(pattern) or (ADMIN if pattern.startswith("admin/") else None)


def path_of(pattern: str) -> str:
    """An address that matches."""
    line = MATRIX.get(pattern)
    if line is not None and line.path:
        return "/" + line.path
    text = pattern.replace("(?P<url>.*)$", "nothing").replace("^", "").replace("$", "")
    text = re.sub(r"\(\?P<app_label>(\w+)[^)]*\)", r"\1", text)
    return "/" + re.sub(r"<[^>]+>", "1", text)


def test_every_address_has_a_line_and_every_line_an_address() -> None:
    assert [pattern for pattern in ADDRESSES if line_of(pattern) is None] == []
    assert set(MATRIX) <= set(ADDRESSES)
    assert line_of("api/new") is line_of("new/") is None
    assert len([pattern for pattern in ADDRESSES if pattern.startswith("admin/")]) > 50


def census() -> tuple[int, ...]:
    """What a request without the right to it may not change."""
    kinds = (User, Group, ApiToken, Collector, Node, Cluster, TraceRun, Observation, Problem, Remark)
    return tuple(kind._default_manager.count() for kind in kinds)


@pytest.mark.django_db
def test_http(store: MemoryStore, settings: Any) -> None:
    settings.METRICS_TOKEN = METRICS_TOKEN
    people = everybody()
    before = census()
    wrong = []
    for number, (name, who) in enumerate(people.items()):
        for pattern in ADDRESSES:
            line, path = line_of(pattern), path_of(pattern)
            assert line is not None
            for method, judge in (("get", line.get), ("post", line.post)):
                if "logout" in pattern and method == "post" and who.session:
                    continue  # would end the session that the other lines need; test_audit logs out
                body = {"data": "{}", "content_type": "application/json"} if method == "post" else {}
                answer = getattr(who.client(f"192.0.2.{number}"), method)(path, **body)
                if not judge(name, who, answer):
                    wrong.append(f"{name}: {method} {path}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert census() == before


@pytest.mark.django_db
def test_a_session_changes_nothing_without_the_csrf_token(store: MemoryStore) -> None:
    people = {name: who for name, who in everybody().items() if who.session}
    before = census()
    wrong = []
    for name, who in people.items():
        for pattern in ADDRESSES:
            if line_of(pattern).post is wrong_method:  # type: ignore[union-attr]
                continue
            answer = who.client("192.0.2.1", csrf=False).post(path_of(pattern))
            refused = answer.status_code == 403 or answer.get("Location", "").startswith("/admin/login/")
            if not refused:
                wrong.append(f"{name}: {path_of(pattern)}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert census() == before
    assert not AuditEntry.objects.filter(action="login.end").exists()


# Who may open a socket: those with the scope read, or an approved collector.
SOCKETS = {
    "ws/topology": lambda name, who: "read" in who.scopes,
    "ws/traces/<str:trace_id>": lambda name, who: "read" in who.scopes,
    "ws/observations/<str:observation_id>": lambda name, who: "read" in who.scopes,
    "ws/agents": lambda name, who: name == "collector's token",
    "": lambda name, who: False,
}


@pytest.mark.django_db(transaction=True)
async def test_sockets(store: MemoryStore, settings: Any) -> None:
    settings.METRICS_TOKEN = METRICS_TOKEN
    routes = [str(route.pattern) for route in websocket.routes]
    assert set(routes) == set(SOCKETS)
    people = await sync_to_async(everybody)()
    run = await TraceRun.objects.acreate(request={}, source="a", target="b", proto="tcp")
    await Observation.objects.acreate(pk=run.pk, request={}, source="a", target="b", proto="tcp")
    wrong = []
    for name, who in people.items():
        for pattern in routes:
            path = "/" + re.sub(r"<[^>]+>", str(run.pk), pattern)
            for origin in ("", "http://localhost", "http://elsewhere.example"):
                # A collector is no page, and nobody else's page opens anything.
                may = SOCKETS[pattern](name, who) and not (
                    origin.endswith("elsewhere.example") or (origin and pattern == "ws/agents")
                )
                socket = Socket(path, token=who.token, cookie=who.session or who.dead_session, origin=origin)
                opened = await socket.connect()
                if opened:
                    await socket.close()
                if opened is not may:
                    wrong.append(f"{name}: {path} from {origin or 'a program'}: {opened}")
    assert not wrong, "\n".join(wrong)
