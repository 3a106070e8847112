"""An observation as one file: the states that it was predicted from, the flow, and all that was seen; so it can be judged again.

A magic, then zlib-compressed MessagePack of `Kept`. It is written where kernels did otherwise than predicted, to report that
and to become a test.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import msgspec

from netviz.core.observe.evidence import Evidence, judge
from netviz.core.observe.match import Observation
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.trace import Flow, Trace
from netviz.core.state.door import UNREADABLE
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.codec import inflate
from netviz.core.wire.errors import RemoteProtocolError
from netviz.core.wire.nvz import MAX_STATE_BYTES, Capture, NvzError, dump_node, join_captures, load_nvz

MAGIC = b"netviz-observed\x01\n"


class Kept(msgspec.Struct, frozen=True):
    """What a file holds: `states` are `.nvz` files."""

    states: tuple[bytes, ...]
    flow: Flow
    evidence: Evidence

    def captures(self) -> list[tuple[Capture, NodeState]]:
        """Read the states. Raises: NvzError."""
        return [load_nvz(state) for state in self.states]

    def cluster(self) -> ClusterState:
        """Join the states. Raises: NvzError."""
        return named(join_captures(self.captures()))

    def judged(self) -> tuple[Trace, Observation]:
        """Predict again, and lay what was seen beside it. Raises: NvzError."""
        cluster = self.cluster()
        trace = simulate_in_context(cluster, self.flow)
        return trace, judge(cluster, trace, self.evidence)


def kept_of(cluster: ClusterState, nodes: Iterable[str], flow: Flow, evidence: Evidence, at_s: float) -> Kept:
    """Keep an observation with the states of some nodes, and of the clusters; `at_s` is of when they are, in Unix seconds."""
    names = [name for name in sorted(nodes) if name in cluster.nodes]
    return Kept(tuple(dump_node(cluster, name, at_s) for name in names), flow, evidence)


def dump_kept(kept: Kept) -> bytes:
    """Encode a file."""
    return MAGIC + zlib.compress(msgspec.msgpack.encode(kept), 9)


def is_kept(data: bytes) -> bool:
    """Tell whether bytes are of such a file."""
    return data.startswith(MAGIC)


def load_kept(data: bytes) -> Kept:
    """Decode a file. Raises: NvzError."""
    if not is_kept(data):
        raise NvzError("not an observation's file")
    try:
        return msgspec.msgpack.decode(inflate(memoryview(data)[len(MAGIC) :], MAX_STATE_BYTES), type=Kept)
    except (*UNREADABLE, RemoteProtocolError) as err:
        raise NvzError(f"the file is damaged ({err})") from None
