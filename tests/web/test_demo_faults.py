"""The demo's faults on the page: a server with a lab has them, for operators, as the lab says; any other has none."""

from __future__ import annotations

import importlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import clear_url_caches

from lab import control
from netviz import urls
from netviz.inventory.service import make_api_token

ADDRESS = "/api/lab/faults"


class FakeLab:
    """Answers as `lab.faultdesk` does, of one fault, in a thread."""

    def __init__(self, path: Path) -> None:
        self.active: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._halt, halted = socket.socketpair()
        self._selector.register(halted, selectors.EVENT_READ, None)
        self._listener = control.listen(path)
        operations = {"list": self._list, "break": self._break, "mend": self._mend}
        control.serve(self._selector, self._listener, operations)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._halt.send(b"\0")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._halt.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data()

    def _list(self) -> dict[str, Any]:
        return {"network": "textbook", "faults": [], "active": self.active}

    def _break(self, name: str) -> dict[str, Any]:
        if name in self.active:
            raise RuntimeError(f"{name} is already in effect")
        self.active.append(name)
        return self._list()

    def _mend(self, name: str) -> dict[str, Any]:
        self.active.remove(name)
        return self._list()


@pytest.fixture
def lab(tmp_path: Path, settings: Any) -> Iterator[FakeLab]:
    """A server that has a lab."""
    deep = tmp_path / ("deep" * 20)  # longer than a socket's address may be
    deep.mkdir()
    settings.LAB_SOCKET = str(deep / "faults")
    fake = FakeLab(deep / "faults")
    _load_addresses()
    yield fake
    fake.end()
    settings.LAB_SOCKET = ""
    _load_addresses()


def _load_addresses() -> None:
    importlib.reload(urls)
    clear_url_caches()


def _caller(user: User, **token: Any) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_api_token(user, 'test', **token)[1]}"})


def _post(client: Client, body: object) -> Any:
    return client.post(ADDRESS, body, content_type="application/json")


def test_a_server_without_a_lab_has_neither_address_nor_button(browser: Callable[[str], Client]) -> None:
    client = browser("operator")
    assert client.get(ADDRESS).status_code == 404
    assert b"data-lab" not in client.get("/").content


def test_an_operator_breaks_and_mends(
    lab: FakeLab, person: Callable[[str], User], browser: Callable[[str], Client]
) -> None:
    operator = _caller(person("operator"))
    assert operator.get(ADDRESS).json() == {"network": "textbook", "faults": [], "active": []}
    assert _post(operator, {"break": "drop-rule"}).json()["active"] == ["drop-rule"]
    again = _post(operator, {"break": "drop-rule"})
    assert (again.status_code, again.json()) == (409, {"error": "drop-rule is already in effect"})
    assert _post(operator, {"mend": "drop-rule"}).json()["active"] == []
    assert b'data-lab="yes"' in browser("viewer").get("/").content


def test_a_viewer_sees_and_changes_nothing(lab: FakeLab, person: Callable[[str], User]) -> None:
    viewer = _caller(person("viewer"))
    assert viewer.get(ADDRESS).status_code == 200
    refused = _post(viewer, {"break": "drop-rule"})
    assert (refused.status_code, refused.json()) == (403, {"error": "this needs the role operator"})
    reader = _caller(person("operator"), scopes=["read"])
    assert _post(reader, {"break": "drop-rule"}).json() == {"error": "this token lacks the scope observe"}
    assert Client().get(ADDRESS).status_code == 401
    assert lab.active == []


@pytest.mark.parametrize("body", [[], {}, {"break": 1}, {"list": "x"}, {"break": "a", "mend": "b"}])
def test_anything_else_is_refused(lab: FakeLab, person: Callable[[str], User], body: object) -> None:
    assert _post(_caller(person("operator")), body).status_code == 400


def test_a_lab_that_ended_is_said(lab: FakeLab, person: Callable[[str], User], settings: Any) -> None:
    settings.LAB_SOCKET += "-gone"
    answer = _caller(person("operator")).get(ADDRESS)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("the demo's lab doesn't answer: ")
