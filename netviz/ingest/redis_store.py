"""The live state store for many processes: each holds a mirror, Redis carries the changes between them.

Every process reads its own mirror (a `MemoryStore`), so a read costs what it costs on one machine.
The process that has a node's collector owns the node: it changes its mirror at once, and a thread
brings the changes to Redis in batches. All other processes follow. How it lies there says
redis_records.py.

After many deltas the owner writes a new base instead of the next delta. When Redis was away or has
lost what it held, or a node has a new owner, the owner writes a base too: nothing has to be remembered
for it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import redis

from netviz.core.model.netfilter import Body, body_digest
from netviz.core.state.delta import NodeDelta
from netviz.core.state.door import fold, settle
from netviz.core.state.node import NodeState
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.redis_leases import RENEW_EVERY_S, Leases
from netviz.ingest.redis_outbox import Batch, Outbox
from netviz.ingest.redis_records import (
    BODIES,
    CHANGES,
    MEMORY,
    NODES,
    Meta,
    decode_meta,
    parse_body,
    read_node,
    write_nodes,
)
from netviz.ingest.store import CollectorReport, Position

log = logging.getLogger("netviz.store")

WRITE_EVERY_S = 0.02
LOOK_EVERY_S = 2.0
SWEEP_EVERY_S = 600.0
RETRY_S = 1.0
REWRITTEN_WITHIN_S = 10.0


class _Followed(NamedTuple):
    """Who owns a node that this process follows, and whether that one says it is connected."""

    owner: str
    connected: bool


class RedisStore(MemoryStore):
    """A mirror that follows Redis, and tells it of the nodes that this process owns."""

    def __init__(self, url: str) -> None:
        super().__init__()
        # redis-py's annotations leave open whether answers are bytes or text. They are bytes.
        self._redis: Any = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
        self._me = uuid.uuid4().hex
        self._leases = Leases(self._redis, self._me)
        self._owned = Outbox(self._me, self._held.__getitem__)
        self._followed: dict[str, _Followed] = {}
        self._unused: set[bytes] = set()
        self._unreadable: set[str] = set()
        self._memory: bytes | None = None
        self._lasts_until_s = 0.0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._restored = not self._leases.any()
        self._refresh_all()
        self._threads = [
            threading.Thread(target=self._live_forever, name="store-leases", daemon=True),
            threading.Thread(target=self._write_forever, name="store-writer", daemon=True),
            threading.Thread(target=self._follow_forever, name="store-follower", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def restored(self) -> bool:
        """What Redis held at the start was left by processes of which none lives."""
        return self._restored

    def close(self) -> None:
        """Write what waits and end the threads."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(10)
        self._redis.close()

    # What the owner of a node does.

    def replace(self, state: NodeState, position: Position, now_s: float) -> None:
        """Take a snapshot in."""
        with self._lock:
            super().replace(state, position, now_s)
            self._own(state.node)
            self._owned.rewrite(state.node)
        self._wake.set()

    def fold(self, node: str, delta: NodeDelta, position: Position, now_s: float) -> NodeState:
        """Fold a delta in; return the state that it changed. Raises: KeyError when it doesn't fit it."""
        with self._lock:
            before = super().fold(node, delta, position, now_s)
            self._own(node)
            self._owned.append(node, delta)
        self._wake.set()
        return before

    def set_connected(self, node: str, connected: bool, now_s: float) -> None:
        """Note that a node's collector came to or left this process."""
        with self._lock:
            if connected or node in self._owned:
                super().set_connected(node, connected, now_s)
                self._own(node)
                self._mark(node)

    def set_durable(self, node: str, position: Position) -> None:
        """Note what is durable."""
        with self._lock:
            super().set_durable(node, position)
            if node in self._owned:
                self._mark(node)

    def report(self, node: str, report: CollectorReport, now_s: float) -> None:
        """Note what a collector says of itself."""
        with self._lock:
            super().report(node, report, now_s)
            if node in self._owned:
                self._mark(node)

    def put_bodies(self, bodies: Iterable[Body]) -> None:
        """Keep bodies that some node refers to."""
        bodies = list(bodies)
        with self._lock:
            super().put_bodies(bodies)
            self._owned.add_bodies({body_digest(body): body for body in bodies})
        self._wake.set()

    def forget(self, node: str) -> None:
        """Drop a node for which no collector may speak any more, here and in Redis."""
        with self._lock:
            super().forget(node)
            self._owned.forget(node)
        self._wake.set()

    def _own(self, node: str) -> None:
        self._owned.own(node)
        self._followed.pop(node, None)

    def _mark(self, node: str) -> None:
        self._owned.mark(node)
        self._wake.set()

    # The writer's thread.

    def _write_forever(self) -> None:
        last = False
        while not last:
            self._wake.wait()
            self._wake.clear()
            last = self._stopping.wait(WRITE_EVERY_S)
            try:
                self._write()
            except Exception as err:
                if isinstance(err, redis.RedisError):
                    log.error("cannot write the live state to Redis, trying again: %s", err)
                else:
                    log.exception("writing the live state to Redis failed, trying again")
                self._stopping.wait(RETRY_S)

    def _write(self) -> None:
        with self._lock:
            batch = self._owned.take()
        try:
            self._send(batch)
        except Exception:
            with self._lock:
                self._owned.put_back(batch)
            self._wake.set()
            raise

    def _send(self, batch: Batch) -> None:
        if batch.work:
            # Nobody sees what this process owns before it sees that it lives.
            self._leases.renew()
        write_nodes(self._redis, *batch)

    # The leases' thread.

    def _live_forever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._live()
            except redis.RedisError as err:
                log.debug("cannot look which servers live: %s", err)  # the follower says it aloud
            except Exception:
                log.exception("looking which servers live failed, trying again")
            self._judge_owners()
            self._stopping.wait(RENEW_EVERY_S)
        with suppress(redis.RedisError):
            self._leases.release()

    def _live(self) -> None:
        with self._lock:
            owning, owners = bool(self._owned), {one.owner for one in self._followed.values()}
        if owning:
            self._leases.renew()
        self._leases.look(owners)

    def _judge_owners(self) -> None:
        """Let the nodes of owners that died or came back be known as lost or connected."""
        with self._lock:
            for node, (owner, connected) in self._followed.items():
                held = self._held.get(node)
                alive = connected and self._leases.seen(owner)
                if held is not None and held.connected != alive:
                    MemoryStore.set_connected(self, node, alive, held.received_at_s)

    # The follower's thread.

    def _follow_forever(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(CHANGES)
                    self._refresh_all()
                    self._follow(channel)
            except redis.RedisError as err:
                log.error("cannot follow the live state in Redis, trying again: %s", err)
                self._stopping.wait(RETRY_S)
            except Exception:
                log.exception("following the live state in Redis failed, trying again")
                self._stopping.wait(RETRY_S)

    def _follow(self, channel: redis.client.PubSub) -> None:
        looked_at = swept_at = time.monotonic()
        while not self._stopping.is_set():
            message = channel.get_message(timeout=0.5)
            if message is not None:
                self._refresh([message["data"].decode()])
            if time.monotonic() - looked_at >= LOOK_EVERY_S:
                looked_at = time.monotonic()
                self._refresh_all()
            if time.monotonic() - swept_at >= SWEEP_EVERY_S:
                swept_at = time.monotonic()
                self._sweep_bodies()

    def _refresh_all(self) -> None:
        self._notice_loss()
        metas: Mapping[bytes, bytes] = self._redis.hgetall(NODES)
        for raw_node, raw in metas.items():
            self._follow_raw(raw_node.decode(), raw)
        known = {raw_node.decode() for raw_node in metas}
        with self._lock:
            if self._owned.rewrite_missing(known):
                self._wake.set()
        if time.monotonic() >= self._lasts_until_s:
            for node in [node for node in self._followed if node not in known]:
                self._followed.pop(node)
                MemoryStore.forget(self, node)
        self._fetch_bodies()

    def _notice_loss(self) -> None:
        """Write everything anew when Redis has lost what it held: what was written since may lack its base."""
        self._redis.set(MEMORY, uuid.uuid4().bytes, nx=True)
        memory: bytes | None = self._redis.get(MEMORY)
        if memory != self._memory is not None:
            log.warning("Redis has lost what it held: writing the nodes of this process anew")
            # What is followed stays until its owners have noticed, too.
            self._lasts_until_s = time.monotonic() + REWRITTEN_WITHIN_S
            with self._lock:
                self._owned.add_bodies(self.cluster().bodies)
                self._owned.rewrite_all()
            self._wake.set()
        self._memory = memory

    def _refresh(self, nodes: list[str]) -> None:
        for node in nodes:
            raw: bytes | None = self._redis.hget(NODES, node)
            if raw is not None:
                self._follow_raw(node, raw)
            elif node in self._followed:
                self._followed.pop(node)
                MemoryStore.forget(self, node)
        self._fetch_bodies()

    def _follow_raw(self, node: str, raw: bytes) -> None:
        """Follow a node; one that cannot be read is named once, and takes no other with it."""
        try:
            self._follow_node(node, decode_meta(raw))
            self._unreadable.discard(node)
        except redis.RedisError:
            raise
        except Exception:
            if node not in self._unreadable:
                self._unreadable.add(node)
                log.exception("cannot read node %s from Redis", node)

    def _follow_node(self, node: str, meta: Meta) -> None:
        """Bring the mirror of a node that another process owns up to what Redis holds."""
        if meta.owner == self._me:
            return
        with self._lock:
            if node in self._owned:
                if self._held[node].connected and self._owned.whole_waits(node):
                    # This process has just taken the node over and not yet said so.
                    return
                self._owned.disown(node)
            held = self._held.get(node)
            known = self._followed.get(node)
            followed = held is not None and known is not None and known.owner == meta.owner
            revision = held.revision if held is not None and followed else -1
        if meta.position is not None and revision != meta.revision:
            meta = self._catch_up(node, revision, meta)
        connected = meta.connected and self._leases.alive(meta.owner)
        with self._lock:
            if node in self._owned:
                return
            self._followed[node] = _Followed(meta.owner, meta.connected)
            if meta.durable is not None:
                MemoryStore.set_durable(self, node, Position(*meta.durable))
            if meta.status is not None:
                report = CollectorReport(meta.version, meta.status)
                MemoryStore.report(self, node, report, meta.received_at_s)
            MemoryStore.set_connected(self, node, connected, meta.received_at_s)

    def _catch_up(self, node: str, revision: int, meta: Meta) -> Meta:
        """Read the deltas after `revision`, or the whole node when its base is newer; return its meta then."""
        if revision >= meta.base:
            now, _, deltas = read_node(self._redis, node, whole=False, start=revision - meta.base)
            same_log = (now.owner, now.base) == (meta.owner, meta.base)
            if same_log and now.position is not None and revision + len(deltas) == now.revision:
                with self._lock:
                    if node not in self._owned:
                        for delta in deltas:
                            delta = settle(self._held[node].state, delta)
                            MemoryStore.fold(self, node, delta, Position(*now.position), now.received_at_s)
                return now
        now, base, deltas = read_node(self._redis, node, whole=True, start=0)
        if base is None or now.position is None:
            return now
        state = fold(NodeState(node), base)
        for delta in deltas:
            state = fold(state, delta)
        with self._lock:
            if node not in self._owned:
                self.mirror(state, now.revision, Position(*now.position), now.received_at_s)
        return now

    def _sweep_bodies(self) -> None:
        """Remove bodies that nothing referred to at two sweeps in a row."""
        unused: set[bytes] = {digest for digest in self._redis.hkeys(BODIES) if not self.refers_to(digest)}
        if dropped := unused & self._unused:
            self._redis.hdel(BODIES, *dropped)
        self._unused = unused - dropped

    def _fetch_bodies(self) -> None:
        wanted = self.wanted_bodies()
        if wanted:
            found: list[bytes | None] = self._redis.hmget(BODIES, wanted)
            MemoryStore.put_bodies(self, [body for raw in found if (body := parse_body(raw)) is not None])
