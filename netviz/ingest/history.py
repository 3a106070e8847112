"""A node's state at an earlier time, folded from the journal.

The journal leaves out what changes all the time (conntrack, counters, sockets that take no new flow), and
the state says so: the status of these sections is `past`. Netfilter bodies are kept beside it, by their
digests (journal_bodies.py).
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from netviz.core.state.door import UNREADABLE, fold
from netviz.core.state.node import NodeState
from netviz.ingest.journal_record import PAST, unpack
from netviz.ingest.models import JournalEntry


class NoHistory(Exception):
    """The journal doesn't reach back that far, or cannot be read there; the message says which, and how far."""


class BadTime(ValueError):
    """A text that is no time; the message says how to write one."""


def parse_time(text: str) -> datetime:
    """Read a time, in UTC unless it says otherwise. Raises: BadTime."""
    try:
        parsed = parse_datetime(text)
    except ValueError:
        parsed = None
    if parsed is None:
        raise BadTime(f"{text!r} is not a time; write it like 2026-01-31T03:00:00")
    return parsed if timezone.is_aware(parsed) else timezone.make_aware(parsed)


def state_at(node: str, at: datetime) -> NodeState:
    """Fold the journal up to and including what was received last by `at`. Raises: NoHistory."""
    entries = JournalEntry.objects.filter(node=node)
    last = entries.filter(received_at__lte=at).order_by("-id").values("epoch", "seq").first()
    start = None
    if last is not None:
        # The order is the collector's own numbering: the server's clock may have been set meanwhile.
        entries = entries.filter(epoch=last["epoch"], seq__lte=last["seq"])
        start = entries.filter(kind__in=JournalEntry.WHOLE).order_by("-seq").first()
    if start is None:
        raise NoHistory(f"the journal has no state of node {node!r} at that time: {_reach(node)}")
    state = _folded(NodeState(node), start.seq, start.body)
    later = entries.filter(seq__gt=start.seq, kind=JournalEntry.Kind.DELTA).order_by("seq")
    for seq, body in later.values_list("seq", "body").iterator(chunk_size=500):
        state = _folded(state, seq, body)
    return _honest(state)


def _folded(state: NodeState, seq: int, body: bytes | memoryview) -> NodeState:
    """Fold one entry's body in. Raises: NoHistory."""
    try:
        return fold(state, unpack(bytes(body)))
    except (*UNREADABLE, KeyError) as err:
        raise NoHistory(f"entry {seq} of node {state.node!r} in the journal cannot be read: {err}") from None


def _honest(state: NodeState) -> NodeState:
    """Say of sections that an older journal left out altogether that they aren't known."""
    unkept = {
        name: msgspec.structs.replace(status, whole=False, reason="the journal didn't keep this section then")
        for name in PAST
        if (status := state.status.get(name)) is not None and not status.past
    }
    return msgspec.structs.replace(state, status={**state.status, **unkept}) if unkept else state


def _reach(node: str) -> str:
    whole = JournalEntry.objects.filter(node=node, kind__in=JournalEntry.WHOLE)
    oldest = whole.order_by("id").values_list("received_at", flat=True).first()
    return f"its first whole state is of {oldest:%Y-%m-%d %H:%M:%S} UTC" if oldest else "it has none"
