"""pcapng, as far as a capture needs it: a section, a description for each interface, packets with comments.

Source: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface description), 4.3 (enhanced packet), 3.5
(options). Little-endian; times in ns.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101
SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
_MAGIC = 0x1A2B3C4D
_END, _COMMENT = 0, 1
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_SHB_APPLICATION = 4
_EPB_FLAGS = 2
_INBOUND, _OUTBOUND = 1, 2
NANOSECONDS = 9


class Interface(msgspec.Struct, frozen=True):
    """An interface: its name, and in words where it is."""

    name: str
    description: str
    linktype: int = LINKTYPE_ETHERNET


class Captured(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A packet at an interface, by its number: `at_ns` since 1970, `length` in bytes before it was cut to `data`."""

    interface: int
    at_ns: int
    out: bool
    length: int
    data: bytes


def header(interfaces: Iterable[Interface], application: str, comment: str) -> bytes:
    """Write the section's header and the interfaces' descriptions."""
    body = struct.pack("<IHHq", _MAGIC, 1, 0, -1)
    options = [(_COMMENT, comment.encode()), (_SHB_APPLICATION, application.encode())]
    return _block(SECTION, body + _options(options)) + b"".join(map(_interface, interfaces))


def _interface(one: Interface) -> bytes:
    options = [
        (_IF_NAME, one.name.encode()),
        (_IF_DESCRIPTION, one.description.encode()),
        (_IF_TSRESOL, bytes([NANOSECONDS])),
    ]
    return _block(INTERFACE, struct.pack("<HHI", one.linktype, 0, 0) + _options(options))


def packet(one: Captured, comment: str = "") -> bytes:
    """Write a packet."""
    flags = struct.pack("<I", _OUTBOUND if one.out else _INBOUND)
    options = [*([(_COMMENT, comment.encode())] if comment else []), (_EPB_FLAGS, flags)]
    high, low = one.at_ns >> 32, one.at_ns & 0xFFFFFFFF
    length = max(one.length, len(one.data))
    body = struct.pack("<IIIII", one.interface, high, low, len(one.data), length) + _padded(one.data)
    return _block(PACKET, body + _options(options))


def _options(options: Iterable[tuple[int, bytes]]) -> bytes:
    made = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options]
    return b"".join(made) + struct.pack("<HH", _END, 0)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def read_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Read the blocks of a file: type and body. Raises: ValueError for what is damaged."""
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise ValueError("a block is cut")
        kind, total = struct.unpack_from("<II", data, at)
        if total < 12 or total % 4 or at + total > len(data):
            raise ValueError(f"a block of {total} bytes")
        if struct.unpack_from("<I", data, at + total - 4)[0] != total:
            raise ValueError("a block's two lengths differ")
        yield kind, data[at + 8 : at + total - 4]
        at += total
