"""Payloads of extensions by name and revision: None where one isn't known or is too short."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from netviz.core.sim.xtables.decode_matches import MATCHES
from netviz.core.sim.xtables.decode_targets import BY_FAMILY, TARGETS


def _decode(decoder: Callable[[bytes], Any] | None, info: bytes) -> Any:
    if decoder is None:
        return None
    try:
        return decoder(info)
    except (struct.error, IndexError, ValueError, TypeError):
        return None


def decode_match(name: str, rev: int, info: bytes) -> Any:
    """Decode a match's payload; None where it isn't known."""
    return _decode(MATCHES.get((name, rev)), info)


def decode_target(name: str, rev: int, info: bytes, ipv6: bool) -> Any:
    """Decode a target's payload; None where it isn't known."""
    by_family = BY_FAMILY.get((name, ipv6)) if rev == 0 else None
    return _decode(by_family or TARGETS.get((name, rev)), info)
