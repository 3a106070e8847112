"""Small files of every namespace, kept open and looked at often: what they say tells when a section is to be read.

For what the kernel announces no changes of. Reading from an open file takes one or two microseconds; reading the
section takes hundreds.
"""

from __future__ import annotations

import os

from agents.collectors.base import Host, NetnsHandle
from netviz.core.model.ids import NetnsKey


class WatchedFiles:
    """The part of a collector that keeps files open. It says which (`open_files`), and what counts in them (`said`)."""

    def __init__(self, section: str, look_s: float) -> None:
        """Have `section` read again when what a namespace's files say differs from `look_s` seconds before."""
        self._section = section
        self._look_s = look_s
        self._watched: dict[NetnsKey, tuple[NetnsHandle, list[int]]] = {}
        self._said: dict[NetnsKey, object] = {}

    def open_files(self, ns: NetnsHandle) -> list[int]:
        """Open the namespace's files. Raises: OSError."""
        raise NotImplementedError

    def said(self, files: list[int]) -> object:
        """Read what counts in the files. Raises: OSError."""
        raise NotImplementedError

    def files_of(self, ns: NetnsHandle) -> list[int] | None:
        """Return the namespace's open files; None where it isn't attached."""
        _, files = self._watched.get(ns.key, (None, None))
        return files

    async def start(self, host: Host) -> None:
        """Begin to look."""
        self._host = host
        host.call_at_tick(self._look_s, self._look)

    async def stop(self) -> None:
        """Close every file."""
        for ns, _ in list(self._watched.values()):
            self.detach(ns)

    def attach(self, ns: NetnsHandle) -> None:
        """Open the namespace's files. Raises: OSError."""
        files = self.open_files(ns)
        self._said[ns.key] = self.said(files)
        self._watched[ns.key] = (ns, files)

    def detach(self, ns: NetnsHandle) -> None:
        """Close the namespace's files."""
        _, files = self._watched.pop(ns.key, (None, []))
        self._said.pop(ns.key, None)
        for file in files:
            os.close(file)

    def _look(self) -> None:
        self._host.call_at_tick(self._look_s, self._look)
        for ns, files in self._watched.values():
            try:
                now = self.said(files)
            except OSError:  # the namespace is ending
                continue
            was, self._said[ns.key] = self._said[ns.key], now
            if now != was:
                self._host.dirty(ns, self._section)
