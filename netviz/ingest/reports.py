"""Orders to collectors about observations, and what they report, whichever process holds the collector's connection.

    order(node, id, body)     to the node's collector, by the channel layer; a hint like any other message there
    mailbox.deliver(...)      from the collector's socket
    mailbox.take(id, ...)     by who runs the observation

In one process a queue for each observation; with Redis a list, which goes by itself.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import NamedTuple

import msgspec
import redis
from django.conf import settings

from netviz.groups import publish
from netviz.ingest.looks import group_of

# How much of one observation waits to be read; what comes beyond is lost, and its collector's end never heard of.
MAX_WAITING = 2000
KEEP_S = 120


class Said(NamedTuple):
    """A node's report; None: its collector's connection ended. `at_ns` is the server's wall clock when it was heard."""

    node: str
    body: bytes | None
    at_ns: int


def order(node: str, ident: str, body: bytes) -> None:
    """Send an order to a node's collector. Called from threads without an event loop."""
    publish(group_of(node), {"type": "collector.ordered", "id": ident, "body": body})


class Mailbox:
    """Reports of observations, until they are taken. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, queue.Queue[Said]] = {}
        self._redis: redis.Redis | None = None

    def open(self, ident: str) -> None:
        """Begin to keep what is said of an observation."""
        if not settings.REDIS_URL:
            with self._lock:
                self._queues[ident] = queue.Queue(MAX_WAITING)

    def close(self, ident: str) -> None:
        """Keep nothing more."""
        if settings.REDIS_URL:
            self._client().delete(_key(ident))
            return
        with self._lock:
            self._queues.pop(ident, None)

    def deliver(self, ident: str, node: str, body: bytes | None) -> None:
        """Take what a node said. May block with Redis. Raises: redis.RedisError."""
        said = Said(node, body, time.time_ns())
        if settings.REDIS_URL:
            client, key = self._client(), _key(ident)
            if client.rpush(key, msgspec.msgpack.encode(said)) > MAX_WAITING:
                client.rpop(key)
            client.expire(key, KEEP_S)
            return
        with self._lock:
            waiting = self._queues.get(ident)
        if waiting is not None and not waiting.full():
            waiting.put_nowait(said)

    def take(self, ident: str, timeout_s: float) -> Said | None:
        """Return the next report, None when there is none in time. Raises: redis.RedisError."""
        if settings.REDIS_URL:
            found = self._client().blpop([_key(ident)], timeout=max(timeout_s, 0.01))
            if found is None:
                return None
            assert isinstance(found[1], bytes)
            return msgspec.msgpack.decode(found[1], type=Said)
        with self._lock:
            waiting = self._queues.get(ident)
        if waiting is None:
            return None
        try:
            return waiting.get(timeout=max(timeout_s, 0.0)) if timeout_s > 0 else waiting.get_nowait()
        except queue.Empty:
            return None

    def _client(self) -> redis.Redis:
        with self._lock:
            if self._redis is None:
                self._redis = redis.Redis.from_url(
                    settings.REDIS_URL, socket_timeout=10, socket_connect_timeout=5
                )
            return self._redis


def _key(ident: str) -> str:
    return f"netviz:observation:{ident}"


mailbox = Mailbox()
