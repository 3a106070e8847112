"""`.nvz` files: one node's whole state in a file, or a cluster's objects, for `snapshot`, `trace` and support cases.

A magic, then zlib-compressed MessagePack of `Capture`: the difference from an empty state, and the
netfilter bodies that it refers to.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from functools import cache

import msgspec

from netviz.core.model.bounds import NodeName, Seconds
from netviz.core.model.netfilter import Body, encode_body, encoded_digest
from netviz.core.state.bodies import Encoded, EncodedBodies
from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.door import UNREADABLE, fold, read_delta, sift
from netviz.core.state.node import BODY_SECTIONS, ClusterState, NodeState
from netviz.core.state.objects import cluster_of
from netviz.core.wire.codec import compress_little, inflate
from netviz.core.wire.errors import RemoteProtocolError

MAGIC = b"netviz\x01\n"
# What a file may inflate to: real ones are 10 to 40 times as large as their file.
MAX_INFLATION = 128
MIN_INFLATED_BYTES = 16 << 20
MAX_STATE_BYTES = 1 << 30


class NvzError(ValueError):
    """The bytes are not a readable `.nvz` file; the message says why in one line."""


class Capture(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file holds. `taken_at_s` is Unix seconds; `bodies` are encoded canonically."""

    node: NodeName
    taken_at_s: Seconds
    delta: NodeDelta
    bodies: tuple[msgspec.Raw, ...] = ()


@cache  # made by those who read files alone: it takes as long as a hundred namespaces do
def _decoder() -> msgspec.msgpack.Decoder[Capture]:
    return msgspec.msgpack.Decoder(Capture)


class _LooseCapture(msgspec.Struct):
    node: NodeName
    taken_at_s: Seconds
    delta: msgspec.Raw
    bodies: tuple[msgspec.Raw, ...] = ()


def _max_inflated(file_bytes: int) -> int:
    return min(MAX_STATE_BYTES, max(MIN_INFLATED_BYTES, MAX_INFLATION * file_bytes))


def _read(raw: bytes) -> Capture:
    """Decode a capture, without records that break a bound. Raises: ValueError, RecursionError."""
    try:
        capture = _decoder().decode(raw)
    except UNREADABLE:
        loose = msgspec.msgpack.decode(raw, type=_LooseCapture)
        return Capture(loose.node, loose.taken_at_s, read_delta(loose.delta), loose.bodies)
    return msgspec.structs.replace(capture, delta=sift(capture.delta))


def dump_nvz(state: NodeState, bodies: Iterable[Body], taken_at_s: float) -> bytes:
    """Encode a node's state and the bodies that it refers to."""
    encoded = tuple(msgspec.Raw(encode_body(body)) for body in bodies)
    capture = Capture(state.node, taken_at_s, diff(NodeState(state.node), state), encoded)
    raw = msgspec.msgpack.encode(capture)
    data = MAGIC + zlib.compress(raw, 6)
    # Huffman codes alone make it 8 times smaller at most, so that it may be read.
    return data if len(raw) <= _max_inflated(len(data)) else MAGIC + compress_little(raw)


def dump_node(cluster: ClusterState, node: str, taken_at_s: float) -> bytes:
    """Encode one node of a cluster. Raises: KeyError."""
    state = cluster.nodes[node]
    digests = {
        record.body
        for ns in state.netns.values()
        for section in BODY_SECTIONS
        for record in getattr(ns, section).values()
        if record.body
    }
    bodies = [cluster.bodies[digest] for digest in sorted(digests) if digest in cluster.bodies]
    return dump_nvz(state, bodies, taken_at_s)


def load_nvz(data: bytes) -> tuple[Capture, NodeState]:
    """Decode a file. Raises: NvzError."""
    if not data.startswith(MAGIC):
        raise NvzError("not a netviz state file")
    try:
        raw = inflate(memoryview(data)[len(MAGIC) :], _max_inflated(len(data)))
    except RemoteProtocolError as err:
        raise NvzError(f"the file is damaged or no netviz state file ({err})") from None
    try:
        capture = _read(raw)
        if strangers := list(_strangers(capture)):
            raise NvzError(f"the file contradicts itself (it is of {capture.node!r}, and has {strangers[0]})")
        return capture, fold(NodeState(capture.node), capture.delta)
    except KeyError as err:
        raise NvzError(f"the file contradicts itself ({err.args[0]})") from None
    except NvzError:
        raise
    except UNREADABLE as err:
        raise NvzError(f"the file is damaged ({err})") from None


def _strangers(capture: Capture) -> Iterator[str]:
    """What isn't of the file's own source: others' namespaces, or a cluster's objects of a node."""
    is_cluster = cluster_of(capture.node) is not None
    yield from (str(one.key) for one in capture.delta.netns if is_cluster or one.key.node != capture.node)
    if capture.delta.objects is not None and not is_cluster:
        yield "a cluster's objects"


def join_captures(files: Iterable[tuple[Capture, NodeState]]) -> ClusterState:
    """Make one cluster of several sources' files. Raises: NvzError when one comes twice."""
    nodes: dict[str, NodeState] = {}
    clusters: dict[str, NodeState] = {}
    bodies: dict[bytes, Encoded] = {}
    for capture, state in files:
        cluster = cluster_of(state.node)
        held, name = (nodes, state.node) if cluster is None else (clusters, cluster)
        if name in held:
            raise NvzError(f"two files hold the state of {'node' if cluster is None else 'cluster'} {name!r}")
        held[name] = state
        for raw in capture.bodies:
            view = memoryview(raw)
            bodies[encoded_digest(view)] = view
    return ClusterState(nodes, EncodedBodies(bodies), clusters)
