"""How the live state lies in Redis.

    netviz:nodes          hash: node -> Meta (owner, revision, base revision, position, status)
    netviz:base:NODE      the node's whole state at the base revision
    netviz:log:NODE       list: the deltas since, one a revision
    netviz:bodies         hash: digest -> netfilter body
    netviz:changes        channel: names of nodes that changed
    netviz:memory         a random word: another one, or none, and Redis has lost what it held
    netviz:alive:OWNER    the owner lives (redis_leases.py); its nodes are connected no longer than that

`netviz:base:NODE` and the values of `netviz:bodies` and `netviz:log:NODE` are MessagePack, as on the wire,
the base compressed with zlib; what is read of them goes through the door (core/state/door.py).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping

import msgspec
import redis

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.door import UNREADABLE, read_body, read_delta
from netviz.core.state.node import NodeState
from netviz.core.wire.messages import AgentStatus

log = logging.getLogger("netviz.store")

PREFIX = "netviz"
NODES, BODIES, CHANGES = f"{PREFIX}:nodes", f"{PREFIX}:bodies", f"{PREFIX}:changes"
MEMORY = f"{PREFIX}:memory"


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """What Redis says of a node beside its state. `revision - base` deltas are in its log."""

    owner: str
    revision: int = 0
    base: int = 0
    position: tuple[int, int] | None = None
    durable: tuple[int, int] | None = None
    received_at_s: float = 0.0
    connected: bool = False
    version: str = ""
    status: AgentStatus | None = None


_encode = msgspec.msgpack.Encoder().encode
decode_meta = msgspec.msgpack.Decoder(Meta).decode


def parse_body(raw: bytes | None) -> Body | None:
    try:
        return None if raw is None else read_body(raw)
    except UNREADABLE as err:
        log.error("cannot read a netfilter body from Redis: %s", err)
        return None


def base_key(node: str) -> str:
    """Name the key of a node's base."""
    return f"{PREFIX}:base:{node}"


def log_key(node: str) -> str:
    """Name the key of a node's log."""
    return f"{PREFIX}:log:{node}"


# A node's meta, and its whole state or the deltas that came since what is written.
Work = tuple[Meta, str, NodeState | list[NodeDelta]]


def write_nodes(
    client: redis.Redis, bodies: Mapping[bytes, Body], work: Iterable[Work], forgotten: Iterable[str]
) -> None:
    """Write bodies and nodes, remove others, and tell of both, at one moment."""
    pipe = client.pipeline(transaction=True)
    for digest, body in bodies.items():
        pipe.hset(BODIES, digest, _encode(body))
    for meta, node, what in work:
        if isinstance(what, NodeState):
            pipe.set(base_key(node), zlib.compress(_encode(diff(NodeState(node), what)), 1))
            pipe.delete(log_key(node))
        elif what:
            pipe.rpush(log_key(node), *map(_encode, what))
        pipe.hset(NODES, node, _encode(meta))
    for node in forgotten:
        pipe.hdel(NODES, node)
        pipe.delete(base_key(node), log_key(node))
    for node in [*(node for _, node, _ in work), *forgotten]:
        pipe.publish(CHANGES, node)
    pipe.execute()


def read_node(
    client: redis.Redis, node: str, *, whole: bool, start: int
) -> tuple[Meta, NodeDelta | None, list[NodeDelta]]:
    """Read a node's meta, base (if `whole`) and log as they are at one moment."""
    pipe = client.pipeline(transaction=True)
    pipe.hget(NODES, node)
    pipe.lrange(log_key(node), start, -1)
    if whole:
        pipe.get(base_key(node))
    answers = pipe.execute()
    meta = decode_meta(answers[0]) if answers[0] is not None else Meta("")
    base = read_delta(zlib.decompress(answers[2])) if whole and answers[2] is not None else None
    return meta, base, [read_delta(raw) for raw in answers[1]]
