"""A connection as a run knows it: a value, held by the run's memory under a number. Packets carry the number."""

from __future__ import annotations

from typing import Literal

import msgspec

from netviz.core.model.conntrack import IPS_CONFIRMED, IPS_SEEN_REPLY, IPS_TEMPLATE, CtEntry, CtTuple
from netviz.core.sim.packet import Packet

NO_PACKETS = ((0, 0), (0, 0))


class Conn(msgspec.Struct, frozen=True, gc=False):
    """A connection that the run made or took from the state: its two tuples and what was done to it.

    `unsure` says which translation chose a port that nobody can know: "source", "destination" or ""; `drawn`, that
    the first packet came with such a source port.
    `labels` is a bit mask, and `counted` (packets, bytes) of both directions; None where they aren't known.
    """

    orig: CtTuple
    reply: CtTuple
    status: int = 0
    mark: int = 0
    zone: int = 0
    seen_reply: bool = False
    tcp_state: int = 0
    unsure: str = ""
    drawn: bool = False
    confirmed: bool = False
    src_done: bool = False
    dst_done: bool = False
    labels: int | None = 0
    counted: tuple[tuple[int, int], tuple[int, int]] | None = NO_PACKETS

    @classmethod
    def from_entry(cls, entry: CtEntry) -> Conn:
        """Make a connection of an entry of the state."""
        return cls(
            entry.orig,
            entry.reply,
            entry.status,
            entry.mark,
            entry.zone,
            seen_reply=bool(entry.status & IPS_SEEN_REPLY),
            tcp_state=entry.tcp_state,
            confirmed=True,
            src_done=True,
            dst_done=True,
            labels=None,
            counted=None,
        )

    def but(self, **changes: object) -> Conn:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def with_packet(self, packet: Packet, reply: bool) -> Conn:
        """Count a packet. Source: net/netfilter/nf_conntrack_core.c, nf_ct_acct_add (Linux 6.18)."""
        seen = self.seen_reply or reply
        if self.counted is None:
            return self if seen == self.seen_reply else self.but(seen_reply=seen)
        orig, back = self.counted
        if reply:
            back = (back[0] + 1, back[1] + packet.length)
        else:
            orig = (orig[0] + 1, orig[1] + packet.length)
        return self.but(seen_reply=seen, counted=(orig, back))

    def tuple_of(self, reply: bool) -> CtTuple:
        """Return one direction's tuple."""
        return self.reply if reply else self.orig


def seen_conn(packet: Packet, conn: Conn | None) -> Conn | None:
    """Return what xtables sees as a packet's connection: a template where a rule has laid down how to track it.

    Source: net/netfilter/nf_conntrack_core.c, nf_ct_tmpl_alloc (Linux 6.18).
    """
    if conn is not None or not packet.template:
        return conn
    nobody = CtTuple(bytes(len(packet.src)), bytes(len(packet.src)), 0, 0, 0)
    return Conn(nobody, nobody, IPS_TEMPLATE | IPS_CONFIRMED, zone=packet.zone)


CtState = Literal["new", "established", "related", "untracked", "invalid"]


def ct_state(packet: Packet, conn: Conn | None) -> CtState:
    """Name the state of a packet of a connection as `ct state` does.

    Source: include/net/netfilter/nf_conntrack.h, nf_ct_get; nf_conntrack_core.c, resolve_normal_ct
    (Linux 6.18).
    """
    if packet.untracked:
        return "untracked"
    if conn is None:
        return "new" if packet.template else "invalid"
    if packet.ct_related:
        return "related"
    return "established" if packet.ct_reply or conn.seen_reply else "new"
