"""Lookups in nftables sets and maps.

Source: net/netfilter/nft_set_hash.c, nft_set_rbtree.c (__nft_rbtree_lookup), nft_set_pipapo.c
(Linux 6.18).
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from netviz.core.model.netfilter import NftSet, SetBody, SetElem
from netviz.core.sim.index import Index

NFT_SET_INTERVAL = 0x4


class SetIndex(msgspec.Struct, frozen=True):
    """A set's elements: exact ones by key, interval bounds in order, ranges (concatenations), the default."""

    exact: dict[bytes, SetElem]
    bounds: list[bytes]
    bound_elems: list[SetElem]
    ranges: list[SetElem]
    catchall: SetElem | None


def build_set(body: SetBody) -> SetIndex:
    """Index a set body for all kinds of lookup."""
    exact: dict[bytes, SetElem] = {}
    ranges: list[SetElem] = []
    catchall = None
    bounds: list[SetElem] = []
    for elem in body.elems:
        if elem.catchall:
            catchall = elem
        elif elem.key_end:
            ranges.append(elem)
        else:
            bounds.append(elem)
            if not elem.end:
                exact[elem.key] = elem
    # At equal keys the end of one interval comes before the start of the next.
    bounds.sort(key=lambda elem: (elem.key, not elem.end))
    return SetIndex(exact, [elem.key for elem in bounds], bounds, ranges, catchall)


set_index: Index[SetBody, SetIndex] = Index(build_set)


def lookup_set(record: NftSet, body: SetBody, key: bytes) -> SetElem | None:
    """Find the element that `key` matches, or the default element, or None."""
    index = set_index(body)
    found = None
    if record.flags & NFT_SET_INTERVAL:
        if index.ranges:
            found = next((elem for elem in index.ranges if _in_range(record, elem, key)), None)
        if found is None and index.bounds and len(record.fields) < 2:
            at = bisect_right(index.bounds, key[: record.key_len]) - 1
            if at >= 0 and not index.bound_elems[at].end:
                found = index.bound_elems[at]
        elif found is None:
            found = index.exact.get(key)
    else:
        found = index.exact.get(key)
    return found if found is not None else index.catchall


Words = tuple[bytes | None, ...]


def may_equal(data: bytes, words: Words) -> bool:
    """Tell whether a register that is known in part may hold `data`."""
    return all(
        known is None or known[: len(data) - at] == data[at : at + 4]
        for at, known in zip(range(0, len(data), 4), words, strict=False)
    )


def may_match(record: NftSet, body: SetBody, words: Words) -> bool:
    """Tell whether some element may match a key that is known in part."""
    for elem in body.elems:
        if elem.catchall or elem.end:
            return True
        if elem.key_end:
            if _may_be_in_range(record, elem, words):
                return True
        elif record.flags & NFT_SET_INTERVAL or may_equal(elem.key, words):
            return True
    return False


def _may_be_in_range(record: NftSet, elem: SetElem, words: Words) -> bool:
    at = 0
    for width in record.fields or (len(elem.key),):
        count = (width + 3) // 4
        known = [w for w in words[at // 4 : at // 4 + count] if w is not None]
        if len(known) == count:
            have = b"".join(known)[:width]
            if not elem.key[at : at + width] <= have <= elem.key_end[at : at + width]:
                return False
        at += count * 4
    return True


def _in_range(record: NftSet, elem: SetElem, key: bytes) -> bool:
    """Compare field by field: each field of a concatenation has its own range."""
    fields = record.fields or (len(key),)
    at = 0
    for width in fields:
        if not elem.key[at : at + width] <= key[at : at + width] <= elem.key_end[at : at + width]:
            return False
        at += (width + 3) // 4 * 4
    return True
