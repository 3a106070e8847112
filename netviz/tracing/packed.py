"""A trace's JSON as it is kept: xz-compressed, since branches repeat most of each other.

A service with 20 endpoints has 20 branches and 1 MB of JSON. They repeat each other at a distance that zlib's
window of 32 kB doesn't span; xz's does, and its fastest level takes as long as zlib's default.
"""

from __future__ import annotations

import lzma
from typing import Any

import msgspec


def pack(result: dict[str, Any]) -> bytes:
    """Pack a trace's JSON object."""
    return lzma.compress(msgspec.json.encode(result), preset=0)


def unpack(packed: bytes) -> dict[str, Any]:
    """Read what `pack` made."""
    unpacked: dict[str, Any] = msgspec.json.decode(lzma.decompress(packed))
    return unpacked
