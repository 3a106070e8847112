"""What a real kernel said to the collector, in a file: requests with their answers, events, files.

A recording is of one node, in phases. In each phase every namespace was read whole; `events` are what the kernel
announced in a namespace on the way from the phase before. `tools` is what the distribution's own programs
(`ip -j`, `nft -j`, `ss`, ...) said at the same time: what the collector makes of the answers is laid beside it.
"""

from __future__ import annotations

import lzma
import struct
from functools import cache
from pathlib import Path

import msgspec

from agents.netlink.nsid import RTM_GETNSID
from agents.netlink.wire import HEADER, NETLINK_ROUTE, attr, attrs

FILE = Path(__file__).parents[1] / "data" / "netlink" / "node.msgpack.xz"
ROOT = "root"  # the name of the node's own namespace
_NETNSA_FD = 3


class Question(msgspec.Struct, frozen=True, array_like=True):
    """One request: the netlink protocol, the message's type, and its body without what differs from run to run."""

    proto: int
    type: int
    body: bytes


class Option(msgspec.Struct, frozen=True, array_like=True):
    """One request for an option of a raw socket, as legacy xtables are read by: family, option, the buffer's beginning."""

    family: int
    option: int
    data: bytes


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One datagram that the kernel announced to those who listen to these groups."""

    proto: int
    groups: tuple[int, ...]
    data: bytes


class Place(msgspec.Struct):
    """One namespace in one phase. `answers` are datagrams with sequence number 0; a file maps to None if it isn't there."""

    answers: list[tuple[Question, list[bytes]]] = []
    options: list[tuple[Option, bytes]] = []
    files: dict[str, bytes | None] = {}
    events: list[Event] = []
    tools: dict[str, str] = {}


class Phase(msgspec.Struct):
    """One phase: its name, and the namespaces by name."""

    name: str
    places: dict[str, Place] = {}


class Recording(msgspec.Struct):
    """One node's recording: which kernel it was, and the phases in order."""

    kernel: str
    phases: list[Phase] = []


@cache
def read_recording(path: Path = FILE) -> Recording:
    """Read a recording, which nobody may change."""
    return msgspec.msgpack.decode(lzma.decompress(path.read_bytes()), type=Recording)


def write_recording(recording: Recording, path: Path = FILE) -> None:
    """Write a recording."""
    path.write_bytes(lzma.compress(msgspec.msgpack.encode(recording), preset=9))


def question(
    proto: int, data: bytes, name_of: dict[tuple[int, int], str], ident: object
) -> tuple[Question, int]:
    """Make of a request as sent what it asks for, and its sequence number.

    A descriptor of a namespace (RTM_GETNSID) becomes its name: `ident` gives its (dev, ino), `name_of` the name.
    """
    assert callable(ident)
    _length, kind, _flags, seq, _pid = HEADER.unpack_from(data)
    body = data[HEADER.size :]
    if proto == NETLINK_ROUTE and kind == RTM_GETNSID:
        fd = attrs(body, 4).get(_NETNSA_FD)
        if fd is not None:
            body = body[:4] + attr(_NETNSA_FD, name_of[ident(struct.unpack("=I", fd)[0])].encode())
    return Question(proto, kind, body), seq


def numbered(datagram: bytes, seq: int) -> bytes:
    """Give every message of a datagram a sequence number."""
    out = bytearray(datagram)
    offset = 0
    while offset + HEADER.size <= len(out):
        length, kind, flags, _seq, pid = HEADER.unpack_from(out, offset)
        HEADER.pack_into(out, offset, length, kind, flags, seq, pid)
        offset += max((length + 3) & ~3, HEADER.size)
    return bytes(out)
