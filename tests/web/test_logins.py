"""Logins: who guesses waits, longer and longer; nobody else does. Failures are logged, counted, kept."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from netviz.inventory import throttle
from netviz.inventory.address import address_of_socket, party_of
from netviz.inventory.models import AuditEntry, Budget
from netviz.inventory.service import make_api_token
from netviz.inventory.throttle import LONGEST_WAIT_S, charge, login_accounts, succeeded
from tests.web.served import Served
from tests.web.sockets import Socket

pytestmark = pytest.mark.django_db
Person = Callable[[str], User]
RIGHT = "correct horse battery"
ATTACKER, ELSEWHERE = "198.51.100.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the throttle's clock, so that a slow machine ends no wait; what is returned lets seconds pass."""
    now = [timezone.now()]
    monkeypatch.setattr(throttle.timezone, "now", lambda: now[0])

    def pass_s(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    return pass_s


def login(client: Client, name: str, password: str, address: str = ATTACKER, **headers: str) -> Any:
    return client.post(
        "/login/", {"username": name, "password": password}, REMOTE_ADDR=address, headers=headers
    )


def guess(times: int, name: str, address: str = ATTACKER) -> list[int]:
    return [login(Client(), name, f"wrong {n}", address).status_code for n in range(times)]


def test_a_guesser_waits_longer_and_longer(person: Person, clock: Callable[[float], None]) -> None:
    name = person("viewer").username
    assert guess(8, name) == [200] * 5 + [429] * 3
    waits = []
    for _ in range(12):
        refused = login(Client(), name, "wrong")
        assert refused.status_code == 429
        wait_s = int(refused["Retry-After"])
        assert "Too many wrong passwords. Try again in" in refused.content.decode()
        waits.append(wait_s)
        clock(wait_s)
        assert login(Client(), name, "wrong").status_code == 200
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, LONGEST_WAIT_S, LONGEST_WAIT_S]
    # The right password isn't looked at either, until the wait is over; then all is forgotten.
    assert login(Client(), name, RIGHT).status_code == 429
    clock(LONGEST_WAIT_S)
    assert login(Client(), name, RIGHT).status_code == 302
    assert guess(2, name) == [200] * 2


def test_thirty_guesses_are_not_looked_at_but_logged_counted_and_kept(
    person: Person,
    clock: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
    token: Callable[[str], str],
) -> None:
    name = person("viewer").username
    checked = 0
    for number in range(30):
        clock(1.2)
        checked += login(Client(), name, f"wrong {number}").status_code == 200
    assert checked <= 10
    assert AuditEntry.objects.filter(action="login.failed", target=name, address=ATTACKER).count() == checked
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        len([line for line in lines if "wrong name or password: 'a-viewer'" in line.getMessage()]) == checked
    )
    assert len([line for line in lines if "has to wait" in line.getMessage()]) == 30 - checked
    metrics = (
        Client(headers={"Authorization": f"Bearer {token('operator')}"}).get("/metrics").content.decode()
    )
    counted = {
        word: float(line.rpartition(" ")[2])
        for word in ("failed", "throttled")
        for line in metrics.splitlines()
        if line.startswith(f'netviz_logins_total{{result="{word}"}}')
    }
    assert counted["failed"] >= checked
    assert counted["throttled"] >= 30 - checked


def test_nobody_locks_a_colleague_out(person: Person) -> None:
    name = person("viewer").username
    bob = Client()
    assert login(bob, name, RIGHT, ATTACKER).status_code == 302
    bob.post("/logout/")
    for n in range(8):
        guess(8, name, f"198.51.100.{n}")
    guess(8, name, ATTACKER)
    # From elsewhere; and from the guesser's own address, in the browser that was logged in before.
    assert login(Client(), name, RIGHT, ELSEWHERE).status_code == 302
    assert login(Client(), name, RIGHT, ATTACKER).status_code == 429
    assert login(bob, name, RIGHT, ATTACKER).status_code == 302


def test_a_known_browser_answers_for_its_own_failures(person: Person) -> None:
    name = person("viewer").username
    bob = Client()
    assert login(bob, name, RIGHT).status_code == 302
    bob.post("/logout/")
    assert [login(bob, name, "wrong").status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert login(Client(), name, RIGHT).status_code == 302


def test_a_made_up_cookie_is_no_known_browser(person: Person) -> None:
    name = person("viewer").username
    guess(6, name)
    forger = Client()
    forger.cookies["netviz_known"] = "eyJhLXZpZXdlciI6IngifQ:1:bad"
    assert login(forger, name, RIGHT).status_code == 429


def test_a_name_under_attack_gives_new_addresses_one_try_and_refuses_none(person: Person) -> None:
    name = person("viewer").username
    for n in range(5):
        guess(4, name, f"198.51.100.{n}")
    assert guess(3, name, ELSEWHERE) == [200, 429, 429]
    assert login(Client(), name, RIGHT, "203.0.113.10").status_code == 302


def test_a_site_s_many_ipv6_networks_are_one_guesser_of_such_a_name(person: Person) -> None:
    """A /48, as anybody gets for the asking, has 65,536 networks to guess from."""
    name = person("viewer").username
    statuses = [guess(1, name, f"2001:db8:1:{n:x}::1")[0] for n in range(24)]
    assert statuses == [200] * 21 + [429] * 3
    assert guess(1, name, "2001:db8:2::1") == [200]
    assert login(Client(), name, RIGHT, "2001:db8:3::1").status_code == 302


def test_one_address_that_tries_many_names_waits() -> None:
    statuses = [guess(1, f"name-{n}")[0] for n in range(55)]
    assert statuses == [200] * 50 + [429] * 5
    assert guess(1, "name-1", ELSEWHERE) == [200]


def test_somebody_s_own_logins_buy_no_guesses(person: Person, clock: Callable[[float], None]) -> None:
    mine = login_accounts("mallory", ATTACKER)
    for n in range(50):
        assert charge(login_accounts(f"name-{n}", ATTACKER)) == 0
    clock(1)
    assert charge(mine) == 0
    succeeded(mine)
    assert charge(login_accounts("name-51", ATTACKER)) == 0
    assert charge(login_accounts("name-52", ATTACKER)) == 2


def test_a_neighbour_in_the_same_ipv6_network_is_the_same_party() -> None:
    assert party_of("2001:db8::1") == party_of("2001:db8::ffff:0:0:9") != party_of("2001:db8:0:1::1")
    assert party_of("192.0.2.1") != party_of("192.0.2.2")


def test_old_failures_are_forgotten(clock: Callable[[float], None]) -> None:
    for n in range(3):
        charge(login_accounts(f"name-{n}", ATTACKER))
    clock(86_401)
    charge(login_accounts("name-9", ELSEWHERE))
    assert Budget.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_attempts_at_the_same_time_share_one_budget() -> None:
    results: list[int] = []

    def attempt() -> None:
        results.append(charge(login_accounts("bob", ATTACKER)))
        connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The fifth failure brings a wait of a second: a slow machine lets one more through.
    assert len(results) == 20
    assert 5 <= results.count(0) <= 8


def test_the_admin_s_login_is_the_same(person: Person, browser: Callable[[str], Client]) -> None:
    user = person("administrator")
    User.objects.filter(pk=user.pk).update(is_staff=True)

    def post(password: str, client: Client) -> Any:
        fields = {"username": user.username, "password": password, "next": "/admin/auth/user/"}
        return client.post("/admin/login/", fields, REMOTE_ADDR=ATTACKER)

    ada = Client()
    answer = post(RIGHT, ada)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/auth/user/")
    ada.post("/logout/")
    assert [post("wrong", Client()).status_code for _ in range(6)] == [200] * 5 + [429]
    assert post(RIGHT, Client()).status_code == 429
    assert post(RIGHT, ada).status_code == 302
    assert AuditEntry.objects.filter(action="login.failed").count() == 5
    assert browser("operator").get("/admin/", follow=True).status_code == 403


def test_wrong_tokens_wait_by_address_and_right_ones_do_not(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    _, right = make_api_token(person("viewer"), "x")

    def get(token: str, address: str = ATTACKER) -> Any:
        return Client(headers={"Authorization": f"Bearer {token}"}).get("/api/traces", REMOTE_ADDR=address)

    statuses = [get(f"nva_wrong{n}").status_code for n in range(55)]
    assert statuses[:50] == [401] * 50
    assert 429 in statuses[50:]
    assert int(get("nva_wrong")["Retry-After"]) >= 1
    assert get(right).status_code == 200
    assert get("nva_wrong", ELSEWHERE).status_code == 401
    assert AuditEntry.objects.filter(action="token.refused", via="api", address=ATTACKER).count() == 50
    assert any(
        "refused an API token from 198.51.100.7: the token is unknown" in line for line in caplog.messages
    )
    assert "nva_wrong" not in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/ws/topology", "/ws/traces/1", "/ws/agents"])
async def test_wrong_tokens_at_sockets_are_logged_and_kept(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(52):
        assert not await Socket(path, token="nva_wrong").connect()
    kept = AuditEntry.objects.filter(
        action="token.refused", via="api", detail={"reason": "the token is unknown"}
    )
    assert 50 <= await kept.acount() <= 51
    assert len([line for line in caplog.messages if "the token is unknown" in line]) == await kept.acount()


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.5", "192.0.2.1"),
        ("10.0.0.2", "203.0.113.5", "203.0.113.5"),
        ("10.0.0.2", "203.0.113.5:4711", "203.0.113.5"),
        ("10.0.0.2", "1.2.3.4, 203.0.113.5", "203.0.113.5"),
        ("10.0.0.2", "1.2.3.4, 203.0.113.5, 10.0.0.3", "203.0.113.5"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("10.0.0.2", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.2", "::ffff:203.0.113.5", "203.0.113.5"),
        ("10.0.0.2", "rubbish" * 40, ""),
    ],
)
async def test_the_address_behind_proxies(peer: str, forwarded: str, found: str) -> None:
    seen: list[str] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(address_of_socket(scope))

    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    scope: Any = {"type": "websocket", "client": (peer, 1), "headers": headers}
    nothing: Any = None
    await ProxyHeadersMiddleware(look, ["10.0.0.0/8"])(scope, nothing, nothing)
    assert seen == [found]


def test_a_real_server_behind_a_proxy_keeps_the_caller_s_address(tmp_path: Path) -> None:
    served = Served(tmp_path, NETVIZ_TRUSTED_PROXIES="127.0.0.1")
    served.start()
    try:
        for forwarded in ("203.0.113.5", "1.2.3.4, 203.0.113.6"):
            headers = {"Authorization": "Bearer nva_wrong", "X-Forwarded-For": forwarded}
            request = urllib.request.Request(f"{served.url}/api/topology", headers=headers)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(request, timeout=300)
        kept = [json.loads(line) for line in served.manage("audit", "--json").splitlines()]
    finally:
        served.stop()
    assert [(entry["action"], entry["address"]) for entry in kept] == [
        ("token.refused", "203.0.113.6"),
        ("token.refused", "203.0.113.5"),
    ]


def test_a_strange_name_reaches_no_log_line_raw(caplog: pytest.LogCaptureFixture) -> None:
    login(Client(), "bob\n2026 INFO all is well\x1b[31m", "wrong")
    assert all(char.isprintable() for line in caplog.messages for char in line)
