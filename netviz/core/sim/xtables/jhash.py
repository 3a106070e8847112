"""Jenkins' hash over words, where rules give its seed.

Source: include/linux/jhash.h, jhash_1word, jhash_3words; include/linux/kernel.h,
reciprocal_scale (Linux 6.18).
"""

from __future__ import annotations

INITVAL = 0xDEADBEEF
MASK = 0xFFFFFFFF


def _rol(word: int, shift: int) -> int:
    return (word << shift | word >> 32 - shift) & MASK


def _final(a: int, b: int, c: int) -> int:
    c = (c ^ b) - _rol(b, 14) & MASK
    a = (a ^ c) - _rol(c, 11) & MASK
    b = (b ^ a) - _rol(a, 25) & MASK
    c = (c ^ b) - _rol(b, 16) & MASK
    a = (a ^ c) - _rol(c, 4) & MASK
    b = (b ^ a) - _rol(a, 14) & MASK
    return (c ^ b) - _rol(b, 24) & MASK


def jhash_words(a: int, b: int, c: int, count: int, seed: int) -> int:
    """Hash one, two or three words (jhash_1word and its kin; `count` says which)."""
    start = INITVAL + (count << 2) + seed & MASK
    return _final(a + start & MASK, b + start & MASK, c + start & MASK)


def reciprocal_scale(value: int, modulus: int) -> int:
    """Scale a 32-bit number to the range below `modulus`."""
    return value * modulus >> 32
