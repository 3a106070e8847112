"""How the attributes of an nftables expression are read: data and verdicts."""

from __future__ import annotations

from typing import Any

import msgspec


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A verdict: NF_* or NFT_*, and the chain of a jump or goto."""

    code: int
    chain: str = ""


def data_of(value: Any) -> bytes:
    """Read a data attribute: bytes, or nested under "value"."""
    if isinstance(value, dict):
        value = value.get("value", b"")
    return bytes(value) if value is not None else b""


def verdict_of(value: Any) -> Verdict | None:
    """Read a verdict attribute."""
    if isinstance(value, dict):
        inner = value.get("verdict", value)
        if isinstance(inner, dict) and "code" in inner:
            return Verdict(int(inner["code"]), str(inner.get("chain", "")))
    return None
