"""What the tests of the server share: a store of its own for each, and people with roles."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import uvicorn
from django.apps import AppConfig
from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.models.signals import post_migrate
from django.test import Client

from netviz.ingest.live_store import set_store
from netviz.ingest.memory_store import MemoryStore
from netviz.inventory import append_only
from netviz.inventory.access import ROLES
from netviz.inventory.service import make_api_token
from netviz.protocols import SERVER_OPTIONS


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Let tests that use transactions empty the audit after them; the triggers' own tests use a real one.

    They empty the roles' groups, too, which a migration had made: these are made anew each time.
    """
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        append_only.remove(editor, "inventory_auditentry")
    post_migrate.connect(make_roles)


@cache
def migration_of_roles() -> tuple[Any, Any]:
    """Give inventory's migration that makes the roles' groups, and the models as it knew them, which send no signals."""
    name = ("inventory", "0002_roles")
    migration = import_module(f"netviz.inventory.migrations.{name[1]}")
    return migration, MigrationLoader(connection).project_state(name).apps


def make_roles(sender: AppConfig, **signal: Any) -> None:
    """Make the roles' groups again; Django calls this after each emptying of the database."""
    if sender.label == "inventory":
        migration, models = migration_of_roles()
        migration.make_roles(models, None)


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


class Here:
    """The application behind real sockets, in a thread of this process, with a test's own store."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.listener.getsockname()
        self.server = uvicorn.Server(
            uvicorn.Config("netviz.asgi:application", lifespan="off", **SERVER_OPTIONS)
        )
        self._thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(60)
        self.listener.close()
        assert not self._thread.is_alive()


@pytest.fixture
def here(store: MemoryStore, transactional_db: None) -> Iterator[Here]:
    """A server in this process."""
    server = Here()
    yield server
    server.stop()


@pytest.fixture
def served_here(here: Here) -> str:
    """Its host:port."""
    return f"{here.address[0]}:{here.address[1]}"


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
