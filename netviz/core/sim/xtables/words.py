"""Small pieces of text that iptables-save writes."""

from __future__ import annotations


def quoted(text: str) -> str:
    """Put a text into quotes where iptables-save does."""
    if text and all(char.isalnum() or char in "_-" for char in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def bit_names(bits: int, table: tuple[tuple[int, str], ...]) -> str:
    """Name the bits that are set."""
    return ",".join(name for bit, name in table if bits & bit) or "NONE"


def span(low: int, high: int) -> str:
    """Write a range of numbers."""
    return str(low) if low == high else f"{low}:{high}"


def prefix_length(mask: bytes) -> int | None:
    """Return the prefix length of a mask, if it is one."""
    number, width = int.from_bytes(mask, "big"), len(mask) * 8
    ones = number.bit_count()
    return ones if number == ((1 << ones) - 1) << (width - ones) else None


def no(invert: bool | int) -> str:
    """Write an inversion."""
    return "! " if invert else ""


def masked(value: int, mask: int, full: int = 0xFFFFFFFF) -> str:
    """Write a value, and its mask where that is not whole."""
    return f"0x{value:x}" if mask == full else f"0x{value:x}/0x{mask:x}"
