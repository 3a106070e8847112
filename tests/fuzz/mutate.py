"""Damage, drawn from a seeded generator: of bytes, and of decoded values of any shape."""

from __future__ import annotations

from random import Random
from typing import Any

NUMBERS = (
    -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 254, 255, 256,
    4095, 4096, 65535, 65536, (1 << 24), (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63,
    (1 << 64) - 1, -(1 << 31), -(1 << 31) - 1, -(1 << 63),
)  # fmt: skip
FLOATS = (0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e300, 1.5)
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 20, 24, 32, 33, 64, 65, 256)
TEXTS = (
    "", "a", "eth0", "lo", "\x00", "\x1b[2J", "a\nb", "\u202e", "x" * 16, "y" * 61, "z" * 5000, "%s%n", "../../etc",
    "bridge", "veth", "vxlan", "KUBE-SERVICES", "filter", "nat", "*", "-", "0", "default/web-1", "漢字",
)  # fmt: skip


def any_value(rng: Random) -> Any:
    """A value of any type that MessagePack has."""
    match rng.randrange(8):
        case 0 | 1:
            return rng.choice(NUMBERS)
        case 2:
            return rng.randbytes(rng.choice(LENGTHS))
        case 3:
            return rng.choice(TEXTS)
        case 4:
            return rng.choice(FLOATS)
        case 5:
            return rng.choice((None, True, False))
        case 6:
            return [any_value(rng) for _ in range(rng.randrange(4))]
        case _:
            return {rng.choice(TEXTS): any_value(rng) for _ in range(rng.randrange(3))}


def like(rng: Random, value: Any) -> Any:
    """Another value of the same type, mostly at the edge of something."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = rng.choice((value - 1, value + 1, value ^ (1 << rng.randrange(33)), rng.choice(NUMBERS)))
        return min(max(near, -(1 << 63)), (1 << 64) - 1)
    if isinstance(value, bytes):
        return damaged(rng, value) if rng.randrange(2) else rng.randbytes(rng.choice(LENGTHS))
    if isinstance(value, str):
        return rng.choice((rng.choice(TEXTS), value + rng.choice(TEXTS), value[:-1]))
    if isinstance(value, float):
        return rng.choice(FLOATS)
    return any_value(rng)


def _leaves(value: Any, found: list[tuple[Any, Any]]) -> None:
    """Every place that holds a value: (container, key or index)."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for at, one in items:
        found.append((value, at))
        if isinstance(one, dict | list):
            _leaves(one, found)


def mutate(rng: Random, tree: Any, times: int) -> Any:
    """Damage a tree of dicts and lists in place, in some places."""
    for _ in range(times):
        found: list[tuple[Any, Any]] = []
        _leaves(tree, found)
        if not found:
            return tree
        holder, at = rng.choice(found)
        match rng.randrange(12):
            case 0:
                holder[at] = any_value(rng)
            case 1:
                del holder[at]
            case 2 if isinstance(holder, list):
                holder.insert(at, holder[at] if rng.randrange(2) else any_value(rng))
            case 3 if isinstance(holder, dict):
                holder[rng.choice(TEXTS)] = any_value(rng)
            case 4:
                other, where = rng.choice(found)
                if (isinstance(other, dict) and where in other) or (
                    isinstance(other, list) and where < len(other)
                ):
                    value = other[where]
                    # A copy of a part: a value that is right elsewhere.
                    holder[at] = value if not isinstance(value, dict | list) else any_value(rng)
            case _:
                holder[at] = like(rng, holder[at])
    return tree


def damaged(rng: Random, data: bytes) -> bytes:
    """Damage bytes: flip, cut, insert, repeat."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(5):
            case 0 if out:
                out[at - 1] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at - 1] = rng.randrange(256)
            case 2:
                del out[at : at + rng.randrange(1, 9)]
            case 3:
                out[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                out[at:at] = out[at : at + rng.randrange(1, 33)]
    return bytes(out)
