"""Work inside network namespaces, from which every thread always comes back.

A socket belongs to the namespace in which it was opened, for good, so entering is needed only to
open sockets and to read /proc/sys/net. The collectors' own threads do it themselves, since handing a
job to another thread costs more than the job. The event loop's thread never leaves its namespace: one
thread enters for it and for all others. A thread enters, runs a function, and returns to where it started
before it does anything else. If it ever cannot return, it ends with an error for every later caller
rather than do work in the wrong place.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from agents.kernel import Kernel

T = TypeVar("T")


class _Here(threading.local):
    """Where the calling thread is: the descriptor of a namespace, if it may enter by itself, else None."""

    fd: int | None = None
    lost: OSError | None = None


class NetnsThread:
    """Run functions inside namespaces: on the calling thread where that was allowed, else on the one that is here."""

    def __init__(self, kernel: Kernel | None = None, *, inline: bool = False) -> None:
        """With `inline` there is no thread, and the calling one may enter: for a program without other work.

        `kernel` is what is asked inside, by all who enter; None for the one that this runs on.
        """
        self.kernel = kernel or Kernel()
        self._home = self.kernel.open_here()
        self._here = _Here()
        self._jobs: queue.SimpleQueue[tuple[int, Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._broken: OSError | None = None
        self._thread: threading.Thread | None = None
        if inline:
            self.allow_here()
        else:
            self._thread = threading.Thread(target=self._main, name="netns", daemon=True)
            self._thread.start()

    def allow_here(self) -> None:
        """Let the calling thread enter by itself from now on. It must be in the namespace where this began."""
        self._here.fd = self._home

    def run(self, fd: int, fn: Callable[[], T]) -> T:
        """Run `fn` inside the namespace `fd` and return what it returns. Any thread. Raises: OSError, what `fn` raises.

        What runs inside may run more there, which costs nothing where the thread enters by itself.
        """
        if self._here.fd is not None:
            return self._run_here(self._here.fd, fd, fn)
        if self._thread is None:
            raise RuntimeError("only the thread that made an inline NetnsThread may enter by it")
        if not self._thread.is_alive():
            raise self._broken or RuntimeError("the namespace thread has stopped")
        future: Future[T] = Future()
        self._jobs.put((fd, fn, future))
        return future.result()

    def close(self) -> None:
        """Stop the thread and wait for it. Nobody may enter any more."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
        os.close(self._home)

    def _run_here(self, outside: int, fd: int, fn: Callable[[], T]) -> T:
        if self._here.lost is not None:
            raise self._here.lost
        if fd == outside:
            return fn()
        self.kernel.enter(fd)
        self._here.fd = fd
        try:
            return fn()
        finally:
            try:
                self.kernel.enter(outside)
            except OSError as err:
                self._here.lost = OSError(err.errno, f"cannot return to the own namespace: {err.strerror}")
                raise self._here.lost from None
            self._here.fd = outside

    def _main(self) -> None:
        self.allow_here()
        try:
            while (job := self._jobs.get()) is not None:
                fd, fn, future = job
                try:
                    future.set_result(self.run(fd, fn))
                except BaseException as err:  # noqa: BLE001 - handed to the caller whole
                    future.set_exception(err)
                if self._here.lost is not None:
                    self._broken = self._here.lost
                    return
        finally:
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job[2].set_exception(self._broken or RuntimeError("the namespace thread has stopped"))
