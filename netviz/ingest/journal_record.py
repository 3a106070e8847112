"""What of a delta goes into the journal, how it is packed, and how it is summed up for people."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.socket import Socket
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.state.door import read_delta
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import OBJECT_SECTIONS
from netviz.core.state.section import EMPTY

# Sections that change all the time: what is kept of them is only what the first packet of a new flow meets.
NOT_KEPT = ("conntrack", "counters", "kernel_stats", "rule_counters")
PAST = (*NOT_KEPT, "sockets")
_SECTIONS = tuple(name for name in NetnsDelta.__struct_fields__ if name not in ("key", "netns", *NOT_KEPT))
SUMMARY_CHARS = 200

_encoder = msgspec.msgpack.Encoder()


def journaled(delta: NodeDelta, before: NodeState | None = None) -> NodeDelta | None:
    """Leave out what isn't journaled; None when nothing remains. What remains says of its status that it is past.

    `before` is the state that the delta changes, where it is known: it tells whether a socket that went took
    new flows, and whether a status says anything new but its time.
    """
    netns = []
    for change in delta.netns:
        if any(getattr(change, name) is not None for name in PAST):
            sockets = _taking_new(change.sockets, _sockets(before, change.key))
            change = msgspec.structs.replace(change, **dict.fromkeys(NOT_KEPT), sockets=sockets)
            if change.netns is None and all(getattr(change, name) is None for name in _SECTIONS):
                continue
        netns.append(change)
    news = any(
        before is None or _says_new(before.status.get(name), now) for name, now in delta.status.items()
    )
    said = (netns, delta.gone, delta.kernel is not None, delta.boot_id is not None, delta.objects, news)
    if not any(said):
        return None
    status = {
        name: msgspec.structs.replace(now, past=True) if name in PAST else now
        for name, now in delta.status.items()
    }
    return msgspec.structs.replace(delta, netns=tuple(netns), status=status)


def _sockets(state: NodeState | None, key: NetnsKey) -> Mapping[Any, Socket] | None:
    if state is None:
        return None
    ns = state.netns.get(key)
    return ns.sockets if ns is not None else EMPTY


def _taking_new(
    change: Change[Socket, int] | None, known: Mapping[Any, Socket] | None
) -> Change[Socket, int] | None:
    if change is None:
        return None
    put = tuple(socket for socket in change.put if socket.takes_new)
    ended = (*change.drop, *(socket.key for socket in change.put if not socket.takes_new))
    if known is not None:
        ended = tuple(key for key in ended if key in known and known[key].takes_new)
    return Change(put, ended) if put or ended else None


def _says_new(was: SectionStatus | None, now: SectionStatus) -> bool:
    return was is None or (was.whole, was.reason) != (now.whole, now.reason)


def pack(delta: NodeDelta) -> bytes:
    """Pack a delta for the database."""
    return zlib.compress(_encoder.encode(delta), 1)


def unpack(body: bytes) -> NodeDelta:
    """Read what `pack` made, without what breaks a bound: an earlier version may have let it in.

    Raises: ValueError, RecursionError.
    """
    try:
        data = zlib.decompress(body)
    except zlib.error as err:
        raise ValueError(str(err)) from None
    return read_delta(data)


def summarise(delta: NodeDelta) -> str:
    """Say in a few words what a delta changes: `2 namespaces, routes +1 -2`."""
    put: Counter[str] = Counter()
    drop: Counter[str] = Counter()
    records = 0
    for change in delta.netns:
        records += change.netns is not None
        for name in _SECTIONS:
            if (section := getattr(change, name)) is not None:
                put[name] += len(section.put)
                drop[name] += len(section.drop)
    words = []
    if records or delta.gone:
        words.append("namespaces" + _counts(records, len(delta.gone)))
    for name in OBJECT_SECTIONS if delta.objects is not None else ():
        if (section := getattr(delta.objects, name)) is not None:
            put[name] += len(section.put)
            drop[name] += len(section.drop)
    shown = dict.fromkeys((*_SECTIONS, *OBJECT_SECTIONS))
    words.extend(name + _counts(put[name], drop[name]) for name in shown if put[name] or drop[name])
    return (", ".join(words) or "node")[:SUMMARY_CHARS]


def _counts(put: int, drop: int) -> str:
    return (f" +{put}" if put else "") + (f" -{drop}" if drop else "")
