"""Learn at once that a file was written anew, replaced or removed, without polling."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

IN_CLOSE_WRITE, IN_MOVED_TO, IN_DELETE = 0x008, 0x080, 0x200
INOTIFY_BYTES = 65536
_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Call back when something in a file's directory was written, put in its place, or removed.

    A file that is replaced is another one each time, so it is the directory that must be watched.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, on_change: Callable[[], None]) -> None:
        """Begin. Raises: OSError when the directory isn't there, or no watch is left."""
        self._loop = loop
        self._on_change = on_change
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            directory = os.fsencode(os.path.dirname(os.path.abspath(path)))
            _checked(_libc.inotify_add_watch(self._fd, directory, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE))
        except OSError:
            os.close(self._fd)
            raise
        loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        os.read(self._fd, INOTIFY_BYTES)
        self._on_change()

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)


def _checked(result: int) -> int:
    if result < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))
    return result
