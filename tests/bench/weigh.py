"""The memory of a cluster's state as the server holds it, alone in a process: `python -m tests.bench.weigh NODES PODS`.

Each node's snapshot is decoded from its frames, as the server does it, and taken into a store. Prints MiB: what the process
grew by.
"""

from __future__ import annotations

import gc
import os
import sys

import django

from netviz.core.state.delta import apply, diff
from netviz.core.state.node import NodeState
from netviz.core.wire.codec import decode_frame, encode_frame
from netviz.core.wire.messages import SnapshotPart
from netviz.core.wire.split import split_delta
from tests.bench.machine import rss_bytes
from tests.bench.racks import build_node


def main() -> None:
    """Weigh."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
    django.setup()
    from netviz.ingest.memory_store import MemoryStore
    from netviz.ingest.store import Position

    nodes, pods = map(int, sys.argv[1:])
    store, before = MemoryStore(), rss_bytes(os.getpid())
    for node in range(nodes):
        made = build_node(node, nodes, pods)
        state = NodeState(made.node)
        for part in split_delta(diff(state, made)):
            message = decode_frame(encode_frame(SnapshotPart(0, part)))
            assert isinstance(message, SnapshotPart)
            state = apply(state, message.delta)
        store.replace(state, Position(1, 1), 1.0)
    gc.collect()
    print(f"{(rss_bytes(os.getpid()) - before) / 2**20:.1f}")


if __name__ == "__main__":
    main()
