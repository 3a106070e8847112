"""`.nvz` files: one node's whole state in a file, for `snapshot`, `trace` and support cases.

A magic, then zlib-compressed MessagePack of `Capture`: the difference from an empty state, and the
netfilter bodies that it refers to.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import cache

import msgspec

from netviz.core.model.netfilter import Body, encode_body, encoded_digest
from netviz.core.state.bodies import Encoded, EncodedBodies
from netviz.core.state.delta import NodeDelta, apply, diff
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.errors import UNREADABLE

MAGIC = b"netviz\x01\n"
MAX_STATE_BYTES = 2 << 30


class NvzError(ValueError):
    """The bytes are not a readable `.nvz` file; the message says why in one line."""


class Capture(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file holds. `taken_at_s` is Unix seconds; `bodies` are encoded canonically."""

    node: str
    taken_at_s: float
    delta: NodeDelta
    bodies: tuple[msgspec.Raw, ...] = ()


@cache  # made by those who read files alone: it takes as long as a hundred namespaces do
def _decoder() -> msgspec.msgpack.Decoder[Capture]:
    return msgspec.msgpack.Decoder(Capture)


def dump_nvz(state: NodeState, bodies: Iterable[Body], taken_at_s: float) -> bytes:
    """Encode a node's state and the bodies that it refers to."""
    encoded = tuple(msgspec.Raw(encode_body(body)) for body in bodies)
    capture = Capture(state.node, taken_at_s, diff(NodeState(state.node), state), encoded)
    return MAGIC + zlib.compress(msgspec.msgpack.encode(capture), 6)


def load_nvz(data: bytes) -> tuple[Capture, NodeState]:
    """Decode a file. Raises: NvzError."""
    if not data.startswith(MAGIC):
        raise NvzError("not a netviz state file")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data[len(MAGIC) :], MAX_STATE_BYTES)
    except zlib.error:
        raise NvzError("the file is damaged (cannot inflate it)") from None
    if not inflater.eof:
        raise NvzError("the file is truncated or too large")
    try:
        capture = _decoder().decode(raw)
        return capture, apply(NodeState(capture.node), capture.delta)
    except KeyError as err:
        raise NvzError(f"the file contradicts itself ({err.args[0]})") from None
    except UNREADABLE as err:
        raise NvzError(f"the file is damaged ({err})") from None


def join_captures(files: Iterable[tuple[Capture, NodeState]]) -> ClusterState:
    """Make one cluster of several nodes' files. Raises: NvzError when a node comes twice."""
    nodes: dict[str, NodeState] = {}
    bodies: dict[bytes, Encoded] = {}
    for capture, state in files:
        if state.node in nodes:
            raise NvzError(f"two files hold the state of node {state.node!r}")
        nodes[state.node] = state
        for raw in capture.bodies:
            view = memoryview(raw)
            bodies[encoded_digest(view)] = view
    return ClusterState(nodes, EncodedBodies(bodies))
