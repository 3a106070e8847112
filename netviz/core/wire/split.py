"""Large deltas and lists of bodies in pieces of bounded size.

A piece is a delta of its own, to be applied in order: first what ended and the namespaces' own
records, then sections, drops before puts, then a cluster's objects, and the sections' status last, so that "whole" is never
said of a state that hasn't arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, ObjectsDelta
from netviz.core.state.node import SECTIONS
from netviz.core.state.objects import OBJECT_SECTIONS

PIECE_BYTES = 256 << 10

_encode = msgspec.msgpack.Encoder().encode


def split_delta(delta: NodeDelta, piece_bytes: int = PIECE_BYTES) -> Iterator[NodeDelta]:
    """Cut a delta into pieces of about `piece_bytes` encoded, at least one; a single record is never cut.

    Applying the pieces in order gives what applying `delta` gives.
    """
    pending: list[NetnsDelta] = []
    size = 0
    head = NodeDelta(gone=delta.gone, kernel=delta.kernel, boot_id=delta.boot_id)
    for change in delta.netns:
        for piece in _split_netns(change, piece_bytes):
            piece_size = len(_encode(piece))
            if pending and size + piece_size > piece_bytes:
                yield msgspec.structs.replace(head, netns=tuple(pending))
                head, pending, size = NodeDelta(), [], 0
            pending.append(piece)
            size += piece_size
    *parts, last = _split_objects(delta.objects, piece_bytes)
    for part in parts:
        yield msgspec.structs.replace(head, netns=tuple(pending), objects=part)
        head, pending = NodeDelta(), []
    yield msgspec.structs.replace(head, netns=tuple(pending), objects=last, status=delta.status)


def _split_objects(delta: ObjectsDelta | None, piece_bytes: int) -> Iterator[ObjectsDelta | None]:
    if delta is None or len(_encode(delta)) <= piece_bytes:
        yield delta
        return
    for section in OBJECT_SECTIONS:
        change = getattr(delta, section)
        if change is not None:
            for part in _split_change(change, piece_bytes):
                yield ObjectsDelta(**{section: part})


def _split_netns(delta: NetnsDelta, piece_bytes: int) -> Iterator[NetnsDelta]:
    if len(_encode(delta)) <= piece_bytes:
        yield delta
        return
    if delta.netns is not None:
        yield NetnsDelta(delta.key, delta.netns)
    for section in SECTIONS:
        change = getattr(delta, section)
        if change is not None:
            for part in _split_change(change, piece_bytes):
                yield msgspec.structs.replace(NetnsDelta(delta.key), **{section: part})


def _split_change(change: Change[Any, Any], piece_bytes: int) -> Iterator[Change[Any, Any]]:
    for keys in _chunks(change.drop, piece_bytes):
        yield Change((), keys)
    for records in _chunks(change.put, piece_bytes):
        yield Change(records, ())


def _chunks(items: tuple[Any, ...], piece_bytes: int) -> Iterator[tuple[Any, ...]]:
    """Halve `items` until each part encodes within `piece_bytes` or is one item."""
    if len(items) > 1 and len(_encode(items)) > piece_bytes:
        middle = len(items) // 2
        yield from _chunks(items[:middle], piece_bytes)
        yield from _chunks(items[middle:], piece_bytes)
    elif items:
        yield items


def split_bodies(bodies: tuple[Body, ...], piece_bytes: int = PIECE_BYTES) -> Iterator[tuple[Body, ...]]:
    """Cut a list of bodies into lists of about `piece_bytes` encoded; a single body is never cut."""
    return _chunks(bodies, piece_bytes)
