"""What must be true however it came: kernel equals state, journal equals acknowledgements, traces end once."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from netviz.core.state.delta import NetnsDelta, NodeDelta
from tests.chaos.witness import ACK, DELTA, SNAPSHOT, Record

# Of these the journal keeps only what starts new flows, and of status only what is new.
PAST = ("conntrack", "counters", "kernel_stats", "rule_counters", "sockets")
CHANGES = tuple(name for name in NetnsDelta.__struct_fields__ if name not in ("key", *PAST))
ROWS = (
    "select seq, kind, body from ingest_journalentry where node = '{node}' and epoch = {epoch} "
    "and kind <> 'checkpoint' order by seq, id"
)


class Journaled(NamedTuple):
    """What was found in the journal: faults in words, and how much was looked at."""

    wrong: list[str]
    acknowledged: int
    rows: int


def lasting(delta: NodeDelta) -> NodeDelta:
    """What of a delta has to be in the journal as it is."""
    kept = [msgspec.structs.replace(change, **dict.fromkeys(PAST)) for change in delta.netns]
    netns = tuple(one for one in kept if any(getattr(one, name) is not None for name in CHANGES))
    return msgspec.structs.replace(delta, netns=netns, status={})


def judge_journal(node: str, records: Iterable[Record], rows: Any) -> Journaled:
    """Hold one node's journal against what its collectors were told. `rows`: runs a query."""
    by_epoch: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        by_epoch[record.epoch].append(record)
    wrong: list[str] = []
    acknowledged = looked_at = 0
    for epoch, told in by_epoch.items():
        found = [(seq, kind, bytes(body)) for seq, kind, body in rows(ROWS.format(node=node, epoch=epoch))]
        looked_at += len(found)
        acknowledged += max((record.seq + 1 for record in told if record.kind == ACK), default=0)
        wrong += [f"{node} {epoch:x}: {words}" for words in _judge_epoch(told, found)]
    return Journaled(wrong, acknowledged, looked_at)


def _judge_epoch(told: list[Record], rows: list[tuple[int, str, bytes]]) -> Iterator[str]:
    sent = {(record.seq, record.kind): record for record in told if record.kind != ACK}
    for key, times in Counter((seq, kind) for seq, kind, _ in rows).items():
        if times > 1:
            yield f"{key[1]} {key[0]} is there {times} times"
    for seq, kind, body in rows:
        record = sent.get((seq, kind))
        if record is None:
            yield f"{kind} {seq} was never sent"
        elif kind == DELTA:
            row = msgspec.msgpack.decode(zlib.decompress(body), type=NodeDelta)
            if lasting(row) != lasting(record.delta):
                yield f"delta {seq} is wrong: {lasting(row)} instead of {lasting(record.delta)}"
    there = {(seq, kind) for seq, kind, _ in rows}
    snapshots = sorted(seq for seq, kind in there if kind == SNAPSHOT)
    before = -1
    for ack in (record.seq for record in told if record.kind == ACK):
        for seq in range(before + 1, ack + 1):
            if any(seq <= snapshot <= ack for snapshot in snapshots):
                continue  # it stands for all before it
            if (record := sent.get((seq, DELTA))) is None:
                yield f"snapshot {seq} was acknowledged and is missing"
            elif (seq, DELTA) not in there and lasting(record.delta) != NodeDelta():
                yield f"delta {seq} was acknowledged and is missing"
        before = max(before, ack)


def judge_traces(accepted: Iterable[int], rows: Any) -> list[str]:
    """Every accepted trace has ended, once; nothing else is unfinished either."""
    ended = dict(rows("select trace, count(*) from chaos_ended group by trace"))
    wrong = [f"trace {pk} ended {ended.get(pk, 0)} times" for pk in accepted if ended.get(pk) != 1]
    wrong += [f"trace {pk} ended {times} times" for pk, times in ended.items() if times != 1]
    tries = rows("select id, attempts from tracing_tracerun where attempts > 2")
    wrong += [f"trace {pk} was begun {attempts} times" for pk, attempts in tries]
    return sorted(set(wrong))


def unfinished(rows: Any) -> int:
    """How many traces aren't at their end."""
    query = "select count(*) from tracing_tracerun where status in ('queued', 'running')"
    return int(rows(query)[0][0])


# A row each time that a trace comes to an end: an update that would end it again is seen.
SQLITE_TRIGGERS = """
create table chaos_ended (trace integer not null);
create trigger chaos_ended_once after update of status, packed, error on tracing_tracerun
when new.status in ('done', 'failed')
begin insert into chaos_ended values (new.id); end;
"""
POSTGRES_TRIGGERS = """
create table chaos_ended (trace bigint not null);
create function chaos_note() returns trigger as $$
begin insert into chaos_ended values (new.id); return new; end $$ language plpgsql;
create trigger chaos_ended_once after update of status, packed, error on tracing_tracerun
for each row when (new.status in ('done', 'failed')) execute function chaos_note();
"""
