"""The page's shell and the login: who gets in, and that nothing comes from another host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from netviz.topology import views


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A built bundle, as far as the page's view looks."""
    monkeypatch.setattr(views.finders, "find", lambda name: name)


@pytest.mark.django_db
def test_a_stranger_is_sent_to_the_login_and_back(person: Callable[[str], User], bundle: None) -> None:
    person("viewer")
    client = Client()
    answer = client.get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/")
    login = client.get(answer["Location"])
    assert b'name="username"' in login.content
    wrong = client.post("/login/", {"username": "a-viewer", "password": "wrong", "next": "/"})
    assert b'role="alert"' in wrong.content
    right = client.post("/login/", {"username": "a-viewer", "password": "correct horse battery", "next": "/"})
    assert (right.status_code, right["Location"]) == (302, "/")
    assert b'data-user="a-viewer"' in client.get("/").content


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_the_shell_tells_the_bundle_who_looks(browser: Callable[[str], Any], bundle: None, role: str) -> None:
    answer = browser(role).get("/")
    text = answer.content.decode()
    assert f'data-role="{role}"' in text
    assert 'data-csrf="' in text
    assert '<script type="module" src="/static/dist/app.js"></script>' in text
    assert "<noscript>" in text
    assert "'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]


@pytest.mark.django_db
def test_a_missing_bundle_is_said_with_what_to_do(
    browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.finders, "find", lambda name: None)
    text = browser("viewer").get("/").content.decode()
    assert "make setup" in text
    assert "<script" not in text


@pytest.mark.django_db
def test_a_user_without_a_role_is_told_so(browser: Callable[[str], Any], bundle: None) -> None:
    answer = browser("nobody").get("/")
    assert answer.status_code == 403
    assert b"no role here yet" in answer.content
    assert b"data-csrf" not in answer.content


@pytest.mark.django_db
def test_logging_out_takes_a_post(browser: Callable[[str], Any], bundle: None) -> None:
    client = browser("viewer")
    assert client.get("/logout/").status_code == 405
    token = client.get("/").context["csrf_token"]
    assert client.post("/logout/", headers={"X-CSRFToken": str(token)})["Location"] == "/login/"
    assert client.get("/").status_code == 302
