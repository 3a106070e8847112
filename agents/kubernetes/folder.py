"""The API's lists out of a folder that somebody keeps up to date, as a cluster's objects: `--objects DIR`.

For a cluster without an API server (the lab), or one that nobody may be given a token of. What can't be read leaves what
is held as it is, and says why. Whoever replaces a list writes beside it and renames: half a list is none.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from agents.file_watch import FileWatch
from agents.kubernetes.objects import ObjectsSource
from agents.source import Sink
from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.wire.kubernetes.files import read_lists
from netviz.core.wire.nvz import NvzError

log = logging.getLogger(__name__)

# A list is replaced after the other: what comes within so long is one change.
SETTLE_S = 0.1
# The folder may be another one by now, or not be watchable.
POLL_S = 10.0
REASON_CHARS = 300


class Folder(ObjectsSource):
    """The objects as the lists in a folder say them."""

    def __init__(self, cluster: str, directory: Path, sink: Sink | None = None) -> None:
        super().__init__(cluster, sink)
        self._directory = directory
        self._cluster = cluster
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Read the lists whenever one is another one, until cancelled."""
        watch: FileWatch | None = None
        with suppress(OSError):
            watch = FileWatch(asyncio.get_running_loop(), str(self._directory / "objects"), self._changed.set)
        try:
            while True:
                self._changed.clear()
                self.read()
                self.ready.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), POLL_S)
                await asyncio.sleep(SETTLE_S)
        finally:
            if watch is not None:
                watch.close()

    def read(self) -> None:
        """Read all lists, and tell what is new. `read_at_s` is when they were read."""
        at_ns = time.time_ns()
        try:
            found = read_lists(self._cluster, list(_bodies(self._directory)))
        except NvzError as err:
            log.warning("the lists cannot be read: %s", err)
            self._tell(NodeDelta(), self._stale(str(err)), at_ns)
            return
        status = {
            name: msgspec.structs.replace(one, read_at_s=at_ns / 1e9 // POLL_S * POLL_S)
            for name, one in found.status.items()
        }
        self._tell(diff(msgspec.structs.replace(self._state, status={}), _bare(found)), status, at_ns)

    def _stale(self, reason: str) -> dict[str, SectionStatus]:
        known = self._state.status or read_lists(self._cluster, ()).status
        return {
            name: msgspec.structs.replace(one, whole=False, reason=reason[:REASON_CHARS])
            for name, one in known.items()
        }


def _bare(state: NodeState) -> NodeState:
    return msgspec.structs.replace(state, status={})


def _bodies(directory: Path) -> Iterator[tuple[str, bytes]]:
    try:
        for path in sorted(directory.iterdir()):
            if path.name.endswith((".json", ".json.gz")):
                body = path.read_bytes()
                yield path.name, gzip.decompress(body) if path.suffix == ".gz" else body
    except (OSError, EOFError, zlib.error) as err:
        name = os.path.basename(getattr(err, "filename", None) or directory)
        raise NvzError(f"{name}: {getattr(err, 'strerror', None) or err}") from None
