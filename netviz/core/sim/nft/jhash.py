"""Jenkins' hash as the kernel has it, on a little-endian machine.

Source: include/linux/jhash.h (Linux 6.18).
"""

from __future__ import annotations

JHASH_INITVAL = 0xDEADBEEF
U32 = 0xFFFFFFFF


def _rol(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & U32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Mix three words. Source: include/linux/jhash.h, __jhash_mix (Linux 6.18)."""
    a = (a - c) & U32 ^ _rol(c, 4)
    c = (c + b) & U32
    b = (b - a) & U32 ^ _rol(a, 6)
    a = (a + c) & U32
    c = (c - b) & U32 ^ _rol(b, 8)
    b = (b + a) & U32
    a = (a - c) & U32 ^ _rol(c, 16)
    c = (c + b) & U32
    b = (b - a) & U32 ^ _rol(a, 19)
    a = (a + c) & U32
    c = (c - b) & U32 ^ _rol(b, 4)
    b = (b + a) & U32
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """Mix the last words into a hash. Source: include/linux/jhash.h, __jhash_final (Linux 6.18)."""
    c = ((c ^ b) - _rol(b, 14)) & U32
    a = ((a ^ c) - _rol(c, 11)) & U32
    b = ((b ^ a) - _rol(a, 25)) & U32
    c = ((c ^ b) - _rol(b, 16)) & U32
    a = ((a ^ c) - _rol(c, 4)) & U32
    b = ((b ^ a) - _rol(a, 14)) & U32
    return ((c ^ b) - _rol(b, 24)) & U32


def jhash2(words: list[int], initval: int) -> int:
    """Hash 32-bit words. Source: include/linux/jhash.h, jhash2 (Linux 6.18)."""
    a = b = c = (JHASH_INITVAL + (len(words) << 2) + initval) & U32
    at = 0
    while len(words) - at > 3:
        a, b, c = _mix((a + words[at]) & U32, (b + words[at + 1]) & U32, (c + words[at + 2]) & U32)
        at += 3
    rest = [*words[at:], 0, 0, 0]
    if at == len(words):
        return c
    return _final((a + rest[0]) & U32, (b + rest[1]) & U32, (c + rest[2]) & U32)


def jhash(data: bytes, seed: int) -> int:
    """Hash bytes as a little-endian machine does. Source: include/linux/jhash.h, jhash (Linux 6.18)."""
    a = b = c = (JHASH_INITVAL + len(data) + seed) & U32
    rest = data
    while len(rest) > 12:
        words = [int.from_bytes(rest[i : i + 4], "little") for i in (0, 4, 8)]
        a, b, c = _mix((a + words[0]) & U32, (b + words[1]) & U32, (c + words[2]) & U32)
        rest = rest[12:]
    if not rest:
        return c
    padded = rest.ljust(12, b"\0")
    words = [int.from_bytes(padded[i : i + 4], "little") for i in (0, 4, 8)]
    return _final((a + words[0]) & U32, (b + words[1]) & U32, (c + words[2]) & U32)


def reciprocal_scale(value: int, modulus: int) -> int:
    """Scale a 32-bit number to the range below `modulus`. Source: include/linux/kernel.h (Linux 6.18)."""
    return value * modulus >> 32
