"""How the lab's processes talk: one JSON object a line over a Unix stream socket in the cluster's directory."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

Operations = Mapping[str, Callable[..., object]]


class ControlError(Exception):
    """The other process refused a request, or is gone."""


def listen(path: Path) -> socket.socket:
    """Listen at `path`, however long it is (addresses are bounded by 108 bytes; descriptors aren't)."""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
        sock.listen(16)
        sock.setblocking(False)
        return sock
    finally:
        os.close(directory)


def connect(path: Path, timeout_s: float = 60.0) -> Client:
    """Connect to the process that listens at `path`. Raises: OSError."""
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{path.name}")
        except OSError:
            sock.close()
            raise
        return Client(sock)
    finally:
        os.close(directory)


class Client:
    """The asking side: one request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")

    def call(self, op: str, **args: Any) -> Any:
        """Ask, wait, and return the result. Raises: ControlError."""
        try:
            self._sock.sendall(json.dumps({"op": op, **args}).encode() + b"\n")
            line = self._file.readline()
        except OSError as error:
            raise ControlError(f"{op}: {error}") from error
        if not line:
            raise ControlError(f"{op}: the process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ControlError(f"{op}: {answer['error']}")
        return answer["result"]

    def peer_pid(self) -> int:
        """Return the listening process's pid as this PID namespace numbers it (0 if it can't)."""
        data = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("iII", data)[0])

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._sock.close()


def serve(selector: selectors.BaseSelector, listener: socket.socket, operations: Operations) -> None:
    """Answer the requests that come to `listener`, one at a time, from the selector's loop.

    The selector's data are callbacks. What an operation raises for a reason goes back as the error.
    """

    def accept() -> None:
        conn, _ = listener.accept()
        lines = conn.makefile("rb")

        def answer() -> None:
            # A client sends one request and waits, so a readable connection is a whole line or its end.
            line = b""
            with suppress(OSError):
                line = lines.readline()
            if not line:
                selector.unregister(conn)
                lines.close()
                conn.close()
                return
            request = json.loads(line)
            try:
                reply = {"result": operations[request.pop("op")](**request)}
            except (OSError, RuntimeError, KeyError) as error:
                reply = {"error": str(error)}
            with suppress(OSError):
                conn.sendall(json.dumps(reply).encode() + b"\n")

        selector.register(conn, selectors.EVENT_READ, answer)

    selector.register(listener, selectors.EVENT_READ, accept)


def on_child_exit(selector: selectors.BaseSelector, reap: Callable[[], None]) -> None:
    """Call `reap` from the selector's loop after children ended."""
    wake, notify = socket.socketpair()
    wake.setblocking(False)
    notify.setblocking(False)
    signal.set_wakeup_fd(notify.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    def woken(keep: socket.socket = notify) -> None:
        with suppress(BlockingIOError):
            wake.recv(4096)
        reap()

    selector.register(wake, selectors.EVENT_READ, woken)
