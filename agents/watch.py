"""Learn at once that a namespace may have come or gone, without polling.

- A bind mount: /proc/self/mountinfo polls as exceptional when the mount table changes. asyncio only
  watches for readable, so an epoll instance of our own, which watches for the exception, is watched.
- A process: its pidfd becomes readable when it ends. Only namespaces that nothing but processes
  hold need one: the collector must let go of those at once. (Where `--proc` numbers processes
  otherwise than the collector's own pid namespace, and where the kernel refuses, there are no pidfds
  to be had: `unwatched` says that there are such processes to look after.)
- A namespace that a process made for itself: nothing tells. A veth's arrival hints at it, and /proc
  is read through every few seconds.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Iterable

from agents.collectors.base import NetnsHandle
from netviz.core.model.ids import NetnsKey


class MountWatch:
    """Call back when the mount table of the collector's mount namespace changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        """Begin. Raises: OSError."""
        self._loop = loop
        self._on_change = on_change
        self._mountinfo = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._mountinfo, select.EPOLLPRI)
        loop.add_reader(self._epoll.fileno(), self._readable)

    def _readable(self) -> None:
        self._epoll.poll(0)
        self._on_change()

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        os.close(self._mountinfo)


def _numbers_as_we_do(proc: str) -> bool:
    try:
        return os.readlink(f"{proc}/self") == str(os.getpid())
    except OSError:
        return False


class ProcessWatch:
    """Call back when the process that holds a namespace open ends."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, proc: str | None, on_exit: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_exit = on_exit
        self._same_pids = proc is not None and _numbers_as_we_do(proc)
        self._fds: dict[NetnsKey, tuple[int, int]] = {}
        self.unwatched = False

    def follow(self, handles: Iterable[NetnsHandle]) -> None:
        """Watch one process of each namespace that only processes hold, and no others."""
        held = {
            ns.key: ns.infra_pid
            for ns in handles
            if ns.infra_pid and not any(holder.kind == "mount" for holder in ns.holders)
        }
        wanted = held if self._same_pids else {}
        self.unwatched = bool(held) and not self._same_pids
        for key, (pid, _fd) in list(self._fds.items()):
            if wanted.get(key) != pid:
                self._stop(key)
        for key, pid in wanted.items():
            if key not in self._fds:
                self._start(key, pid)

    def _start(self, key: NetnsKey, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._loop.call_soon(self._on_exit)
            return
        except OSError:  # no such call (before 5.3), a seccomp filter, no descriptors left
            self.unwatched = True
            return
        self._fds[key] = (pid, fd)
        self._loop.add_reader(fd, self._ended, key)

    def _ended(self, key: NetnsKey) -> None:
        self._stop(key)
        self._on_exit()

    def _stop(self, key: NetnsKey) -> None:
        _pid, fd = self._fds.pop(key)
        self._loop.remove_reader(fd)
        os.close(fd)

    def close(self) -> None:
        """Stop watching."""
        for key in list(self._fds):
            self._stop(key)
