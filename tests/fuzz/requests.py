"""Mutated HTTP requests against the whole Django application, over real states.

A request is taken or refused by a status below 500 (but for /healthz, whose 503 is its answer); an exception that reaches the client is a failure.
"""

from __future__ import annotations

import json
import logging
from random import Random
from typing import Any
from urllib.parse import quote

from django.contrib.auth.models import Group, User
from django.test import Client

from netviz.ingest.live_store import set_store
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import Position
from netviz.inventory.access import ROLES
from netviz.inventory.service import enrol, make_api_token
from tests.fuzz.mutate import TEXTS, any_value, damaged, mutate
from tests.fuzz.report import Report
from tests.fuzz.samples import clusters

METHODS = ("GET",) * 8 + ("POST",) * 6 + ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
TYPES = ("application/json",) * 4 + (
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
)
QUERIES = (
    "node",
    "pod",
    "q",
    "limit",
    "offset",
    "before",
    "at",
    "from",
    "to",
    "p",
    "o",
    "next",
    "status__exact",
    "_popup",
)


def run(total: int, seed: int) -> Report:
    """Send `total` requests. The database is the caller's, and empty."""
    report = Report("requests", total, seed)
    rng = Random(seed)
    logging.disable(logging.CRITICAL)
    store = MemoryStore()
    set_store(store)
    try:
        clients = [Client(raise_request_exception=True), *(_people())]
        paths = _paths(_show(store))
        while report.done < total:
            number = report.done
            method, path, options = _request(rng, paths)
            try:
                answer = rng.choice(clients).generic(method, path, **options)
                for _ in answer if answer.streaming else ():
                    pass
                outcome = f"{answer.status_code}"
                # A server whose threads don't run says so to whoever asks how it is.
                if answer.status_code >= 500 and (answer.status_code, path[:8]) != (503, "/healthz"):
                    report.wrong(number, f"{answer.status_code} from {method} {path.partition('?')[0]}", path)
            except Exception as err:  # noqa: BLE001
                report.fail(number, err)
                outcome = "failure"
            report.step(outcome)
    finally:
        set_store(None)
        logging.disable(logging.NOTSET)
    return report


def _people() -> list[Client]:
    clients = []
    for role in ROLES:
        user = User.objects.create_user(
            role, password="x", is_staff=True, is_superuser=role == "administrator"
        )
        user.groups.add(Group.objects.get_or_create(name=role)[0])
        client = Client(raise_request_exception=True)
        client.force_login(user)
        clients.append(client)
        token = make_api_token(user, "fuzz")
        secret = token[1] if isinstance(token, tuple) else token
        clients.append(Client(raise_request_exception=True, headers={"Authorization": f"Bearer {secret}"}))
    return clients


def _show(store: MemoryStore) -> list[str]:
    """Hold one cluster; returns the names and keys that requests may ask for."""
    words = []
    for capture, state in next(iter(clusters().values())):
        enrol(state.node)
        store.set_connected(state.node, True, 1.0)
        store.replace(state, Position(1, 1), 1.0)
        words += [state.node, *map(str, list(state.netns)[:3])]
        words += [
            f"{ns.netns.pod.namespace}/{ns.netns.pod.name}" for ns in state.netns.values() if ns.netns.pod
        ]
        del capture
    return words


def _paths(words: list[str]) -> list[tuple[str, list[str]]]:
    """Paths with a place for a word, each with words that fit."""
    plain = [
        "/", "/login/", "/logout/", "/healthz", "/metrics", "/api/topology", "/api/traces", "/api/nodes",
        "/api/search", "/api/services", "/api/policies", "/api/captures", "/api/changes", "/ws/agents", "/ws/topology",
        "/static/x.js", "/admin/", "/admin/login/", "/admin/inventory/collector/", "/admin/inventory/collector/add/",
        "/admin/inventory/node/", "/admin/inventory/auditentry/", "/admin/tracing/tracerun/",
        "/admin/ingest/journalentry/", "/admin/auth/user/", "/admin/inventory/apitoken/",
    ]  # fmt: skip
    with_word = [
        "/api/netns/{}", "/api/traces/{}", "/api/nodes/{}/state", "/api/nodes/{}", "/ws/traces/{}", "/{}",
        "/admin/inventory/collector/{}/change/", "/admin/tracing/tracerun/{}/change/", "/admin/{}/",
        "/admin/inventory/node/{}/delete/", "/static/{}", "/api/{}",
    ]  # fmt: skip
    return [(path, []) for path in plain] + [(path, [*words, "1", "0", "-1", "9" * 30]) for path in with_word]


def _word(rng: Random, words: list[str]) -> str:
    word = (
        rng.choice([*words, *TEXTS])
        if rng.randrange(3)
        else damaged(rng, rng.choice(words).encode()).decode("latin-1")
    )
    return (
        word
        if rng.randrange(8)
        else word.replace("4", rng.choice(("", "-", "99999999999999999999", "٤", "\x00")))
    )


def _request(rng: Random, paths: list[tuple[str, list[str]]]) -> tuple[str, str, dict[str, Any]]:
    path, words = rng.choice(paths)
    if words:
        path = path.format(quote(_word(rng, words), safe="/:" if rng.randrange(2) else ""))
    query = [
        f"{rng.choice(QUERIES)}={quote(str(any_value(rng) if rng.randrange(2) else _word(rng, words or ['n1'])))}"
        for _ in range(rng.randrange(3))
    ]
    options: dict[str, Any] = {"content_type": rng.choice(TYPES), "data": _body(rng)}
    if rng.randrange(6) == 0:
        options["headers"] = {
            rng.choice(("Authorization", "Cookie", "Accept-Encoding", "Origin", "Referer", "X-Forwarded-For", "Range", "If-None-Match")): (
                rng.choice(("Bearer nva_", "Basic ", "sessionid=", "gzip;q=", "http://", "bytes=", '"')) + _word(rng, ["x"])
            ).encode("ascii", "replace").decode().replace("\n", " ").replace("\r", " ")
        }  # fmt: skip
    return rng.choice(METHODS), path + ("?" + "&".join(query) if query else ""), options


def _body(rng: Random) -> bytes:
    tree = {
        "from": "default/web-1",
        "to": "10.0.0.1",
        "proto": "tcp",
        "dport": 80,
        "len": 60,
        "mode": "predict",
        "df": False,
    }
    match rng.randrange(6):
        case 0:
            return b""
        case 1:
            return rng.randbytes(rng.randrange(40))
        case 2:
            return damaged(rng, json.dumps(tree).encode())
        case 3:
            return b"--x\r\nContent-Disposition: form-data; name=" + rng.randbytes(9) + b"\r\n\r\nv\r\n--x--"
        case 4:
            return (
                b"username="
                + quote(_word(rng, ["root"])).encode()
                + b"&password="
                + rng.randbytes(5).hex().encode()
            )
        case _:
            return json.dumps(mutate(rng, dict(tree), rng.randrange(1, 4)), default=str).encode()
