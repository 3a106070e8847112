"""This process's live state store, chosen by NETVIZ_REDIS_URL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.redis_store import RedisStore
from netviz.ingest.store import Store

T = TypeVar("T")

_store: Store | None = None
_store_lock = threading.Lock()


def get_store() -> Store:
    """Return this process's store."""
    global _store
    if _store is None:
        with _store_lock:
            if _store is None:
                _store = _make_store()
    return _store


def set_store(store: Store | None) -> None:
    """Put another store in its place (tests); None makes a new one at the next use."""
    global _store
    with _store_lock:
        _store = store


def one_per_store(make: Callable[[Store], T]) -> Callable[[], T]:
    """Return what gives this process's one thing that `make` makes of its store; another store has another one."""
    lock = threading.Lock()
    made: list[tuple[Store, T]] = []

    def get() -> T:
        store = get_store()
        with lock:
            if not made or made[0][0] is not store:
                made[:] = [(store, make(store))]
            return made[0][1]

    return get


def _forget_store() -> None:
    global _store, _store_lock
    _store, _store_lock = None, threading.Lock()


def _make_store() -> Store:
    if settings.REDIS_URL:
        # A forked worker has none of the store's threads: it makes a store of its own.
        os.register_at_fork(after_in_child=_forget_store)
        return RedisStore(settings.REDIS_URL)
    return MemoryStore()
