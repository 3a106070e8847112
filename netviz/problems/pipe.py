"""What the server and its checking process say to each other, over a pair of sockets: frames of MessagePack.

The server sends what changed in its live state, batch by batch; the process answers each with `Taken`, and gets
the next one only then. What changes meanwhile waits in the server as it is there anyway, so a process that is busy
holds up nobody and costs no memory. Either end is over when the other one is: a dead server leaves no process behind.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import msgspec

from netviz.core.state.delta import NodeDelta

_LENGTH = struct.Struct(">I")


class _Message(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all messages."""


class Begin(_Message, frozen=True, tag="begin"):
    """A node's whole state follows, in `Part`s: the first one changes an empty state."""

    node: str


class Part(_Message, frozen=True, tag="part"):
    """One change of a node's state, or one part of a whole one."""

    node: str
    delta: NodeDelta


class Stands(_Message, frozen=True, tag="stands"):
    """All parts of a node were sent. This is its revision, when it was received (Unix seconds), and its collector."""

    node: str
    revision: int
    received_at_s: float
    connected: bool


class Heard(_Message, frozen=True, tag="heard"):
    """When each collector was heard last (Unix seconds), and how old the oldest change is that it hasn't sent (s)."""

    at: dict[str, tuple[float, float]]


class Gone(_Message, frozen=True, tag="gone"):
    """The server holds the node no more."""

    node: str


class Bodies(_Message, frozen=True, tag="bodies"):
    """Netfilter bodies that were wanted, each encoded as the store keeps it."""

    bodies: tuple[bytes, ...]


class Told(_Message, frozen=True, tag="told"):
    """The batch is whole: what was sent is the live state of a moment."""


class Taken(_Message, frozen=True, tag="taken"):
    """The process has taken a batch in; `wanted` are the digests of bodies that it lacks then."""

    wanted: tuple[bytes, ...] = ()


FromServer = Begin | Part | Stands | Heard | Gone | Bodies | Told
_encode = msgspec.msgpack.Encoder().encode
_from_server: msgspec.msgpack.Decoder[FromServer] = msgspec.msgpack.Decoder(FromServer)
_taken: msgspec.msgpack.Decoder[Taken] = msgspec.msgpack.Decoder(Taken)


class Closed(Exception):
    """The other end is gone."""


class Pipe:
    """One end. Each direction belongs to one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._file = sock.makefile("rb")

    def send(self, message: _Message) -> None:
        """Send one message; waits while the other end doesn't read. Raises: Closed."""
        data = _encode(message)
        try:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError as err:
            raise Closed from err

    def from_server(self) -> FromServer:
        """Wait for the server's next message. Raises: Closed."""
        return _from_server.decode(self._next())

    def taken(self) -> Taken:
        """Wait for the process's next answer. Raises: Closed."""
        return _taken.decode(self._next())

    def close(self) -> None:
        """End both directions: whoever waits on either is woken."""
        with suppress(OSError):  # the other end was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._socket.close()

    def _next(self) -> bytes:
        data = self._read(_LENGTH.size)
        return self._read(_LENGTH.unpack(data)[0])

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except (OSError, ValueError) as err:
            raise Closed from err
        if len(data) < size:
            raise Closed
        return data
