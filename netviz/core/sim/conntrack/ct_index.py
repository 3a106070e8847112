"""Indexes over a namespace's conntrack entries, by what they are looked for otherwise than by their original tuple."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import msgspec

from netviz.core.model.conntrack import IPS_DST_NAT, IPS_SEEN_REPLY, IPS_SRC_NAT, CtEntry, CtTuple
from netviz.core.sim.index import Index


class Others(msgspec.Struct, frozen=True):
    """A namespace's entries by what else they are looked for than by their original tuple.

    `replies`: translated ones by (zone, reply tuple). `sources`: those with a translated source by
    (zone, proto, source, source port). `helped`: the addresses of those that a helper watches.
    """

    replies: dict[tuple[int, CtTuple], CtEntry]
    sources: dict[tuple[int, int, bytes, int], list[CtEntry]]
    helped: dict[bytes, CtEntry]


def build_others(entries: Mapping[Any, CtEntry]) -> Others:
    """Index a namespace's entries."""
    index = Others({}, {}, {})
    for entry in entries.values():
        if entry.status & (IPS_SRC_NAT | IPS_DST_NAT):
            index.replies[entry.zone, entry.reply] = entry
            if entry.status & IPS_SRC_NAT:
                key = (entry.zone, entry.proto, entry.osrc, entry.osport)
                index.sources.setdefault(key, []).append(entry)
        if entry.helper:
            for addr in (entry.osrc, entry.odst, entry.rsrc, entry.rdst):
                index.helped[addr] = entry
    return index


others: Index[Mapping[Any, CtEntry], Others] = Index(build_others)


Portless = dict[tuple[int, bytes, bytes, int], dict[Hashable, tuple[CtEntry, bool]]]


def build_portless(entries: Mapping[Any, CtEntry]) -> Portless:
    """Map both directions of every entry, without the source port, to entries that differ in what they do to a packet.

    The flag tells that the packet is one of the reply's direction.
    """
    found: Portless = {}
    for entry in entries.values():
        translated = entry.status & (IPS_SRC_NAT | IPS_DST_NAT)
        does = (entry.status & IPS_SEEN_REPLY, translated, entry.mark, entry.reply if translated else None)
        there = found.setdefault((entry.proto, entry.osrc, entry.odst, entry.odport), {})
        there.setdefault(does, (entry, False))
        back = found.setdefault((entry.proto, entry.rsrc, entry.rdst, entry.rdport), {})
        back.setdefault(("reply", *does), (entry, True))
    return found


def is_plain(entry: CtEntry, reply: bool) -> bool:
    """Tell whether an entry does to a packet what a new one does that translates nothing."""
    changed = entry.status & (IPS_SEEN_REPLY | IPS_SRC_NAT | IPS_DST_NAT)
    return not (reply or changed or entry.mark)


portless: Index[Mapping[Any, CtEntry], Portless] = Index(build_portless)


def entry_key(t: CtTuple, zone: int) -> tuple[int, bytes, bytes, int, int, int]:
    """Return the key of the entry with an original tuple."""
    return (t.proto, t.src, t.dst, t.sport, t.dport, zone)
