"""What of a delta goes into the journal, how it is packed, and how it is summed up for people."""

from __future__ import annotations

import zlib
from collections import Counter

import msgspec

from netviz.core.state.delta import NetnsDelta, NodeDelta

# Sections that change all the time and tell no history.
NOISE = ("conntrack", "sockets", "counters")
_SILENT = dict.fromkeys(NOISE)
_SECTIONS = tuple(name for name in NetnsDelta.__struct_fields__ if name not in ("key", "netns", *NOISE))
SUMMARY_CHARS = 200

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(NodeDelta)


def without_noise(delta: NodeDelta) -> NodeDelta | None:
    """Leave out what isn't journaled; None when nothing remains. A section's new status alone is noise too."""
    netns = []
    for change in delta.netns:
        if any(getattr(change, name) is not None for name in NOISE):
            change = msgspec.structs.replace(change, **_SILENT)
            if change.netns is None and all(getattr(change, name) is None for name in _SECTIONS):
                continue
        netns.append(change)
    if not netns and not delta.gone and delta.kernel is None and delta.boot_id is None:
        return None
    return msgspec.structs.replace(delta, netns=tuple(netns))


def pack(delta: NodeDelta) -> bytes:
    """Pack a delta for the database."""
    return zlib.compress(_encoder.encode(delta), 1)


def unpack(body: bytes) -> NodeDelta:
    """Read what `pack` made."""
    return _decoder.decode(zlib.decompress(body))


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
    words.extend(name + _counts(put[name], drop[name]) for name in _SECTIONS if put[name] or drop[name])
    return (", ".join(words) or "node")[:SUMMARY_CHARS]


def _counts(put: int, drop: int) -> str:
    return (f" +{put}" if put else "") + (f" -{drop}" if drop else "")
