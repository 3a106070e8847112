"""A steady stream of datagrams from one pod to another, each answered: what is lost is counted."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from lab import netns
from lab.echo import PORT

EVERY_S = 0.02
# A busy machine answers late.
LAST_S = 5.0


class Stream:
    """A thread that sends, as a context manager; afterwards `sent` and `answered` say how it went."""

    def __init__(self, name: str, source: Path, address: str) -> None:
        self.name = name
        self.sent = 0
        self._seen: set[bytes] = set()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._sock = netns.open_socket(source, family, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._target = (address, PORT)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stream {name}", daemon=True)

    @property
    def answered(self) -> int:
        """How many datagrams were answered."""
        return len(self._seen)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._halt.set()
        self._thread.join()
        self._sock.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            while not self._halt.is_set():
                self.sent += 1
                with suppress(OSError):
                    self._sock.sendto(b"%08d" % self.sent, self._target)
                self._hear(selector, time.monotonic() + EVERY_S)
            until = time.monotonic() + LAST_S
            while self.answered < self.sent and time.monotonic() < until:
                self._hear(selector, min(until, time.monotonic() + EVERY_S))

    def _hear(self, selector: selectors.BaseSelector, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if selector.select(left):
                with suppress(OSError):
                    self._seen.add(self._sock.recv(2048)[-8:])
