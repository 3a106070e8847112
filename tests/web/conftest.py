"""What the tests of the server share: a store of its own for each, and people with roles."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from django.contrib.auth.models import Group, User
from django.test import Client

from netviz.ingest.store import MemoryStore, set_store
from netviz.inventory.access import ROLES
from netviz.inventory.service import make_api_token


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Hash passwords in no time; nothing here depends on how slow that should be."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """An empty live state store that the server uses for the length of a test."""
    fresh = MemoryStore()
    set_store(fresh)
    yield fresh
    set_store(None)


@pytest.fixture
def served_here(store: MemoryStore, transactional_db: None) -> Iterator[str]:
    """host:port of the application behind real sockets, in a thread of this process, with this store."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        "netviz.asgi:application", lifespan="off", ws="websockets-sansio", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listener.close()
    assert not thread.is_alive()


@pytest.fixture
def person(db: None) -> Callable[[str], User]:
    """Make a user with a role; any other word makes one without."""

    def make(role: str) -> User:
        user = User.objects.create_user(f"a-{role}", password="correct horse battery")
        if role in ROLES:
            user.groups.add(Group.objects.get_or_create(name=role)[0])
        return user

    return make


@pytest.fixture
def token(person: Callable[[str], User]) -> Callable[[str], str]:
    """Make a user with a role and return an API token of theirs."""
    return lambda role: make_api_token(person(role), "test")[1]


@pytest.fixture
def browser(person: Callable[[str], User]) -> Callable[[str], Client]:
    """Make a user with a role and return a client that is logged in and checked for CSRF, as a browser is."""

    def make(role: str) -> Any:
        client = Client(enforce_csrf_checks=True)
        client.force_login(person(role))
        return client

    return make
