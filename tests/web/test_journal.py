"""The journal: once each, acknowledged when durable, without noise, bounded by age and size."""

from __future__ import annotations

import threading
import zlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import DatabaseError, OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.stack import wait_until
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Addr
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply, diff
from netviz.core.state.node import NodeState, SectionStatus
from netviz.ingest import journal as journal_module
from netviz.ingest import journal_cleaner
from netviz.ingest import keeper as keeper_module
from netviz.ingest.connections import Connection, connections
from netviz.ingest.faults import faults
from netviz.ingest.history import NoHistory, state_at
from netviz.ingest.journal import Journal
from netviz.ingest.journal import JournalChange as Entry
from netviz.ingest.journal_cleaner import clean
from netviz.ingest.journal_record import journaled, pack, summarise, unpack
from netviz.ingest.keeper import Keeper
from netviz.ingest.models import JournalEntry
from netviz.inventory.models import Cluster, Node
from netviz.inventory.service import enrol
from tests.core.strategies import NODE, node_states

KEY = NetnsKey("n1", 4, 1)
NOISE = Change((CtEntry(6, b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2, b"", b"", 0, 0),), ())


def sysctl(value: int) -> NodeDelta:
    return NodeDelta(netns=(NetnsDelta(KEY, sysctls=Change((Sysctl("net.a", value),), ())),))


def entry_of(change: Entry) -> JournalEntry | None:
    """The entry that a change becomes; None when it is noise."""
    delta = journal_module._delta(change)
    return journal_module._entry(change, delta) if delta is not None else None


class Acks:
    """Remember what was said to be durable."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def durable(self, seq: int) -> None:
        self.seqs.append(seq)

    def entry(self, seq: int, what: NodeDelta | NodeState, epoch: int = 5) -> Entry:
        return Entry("n1", epoch, seq, 1000.0, what, 100, self.durable)


@pytest.mark.django_db(transaction=True)
def test_what_comes_twice_is_kept_once_and_all_of_it_acknowledged() -> None:
    acks, journal = Acks(), Journal()
    state = apply(NodeState("n1"), NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY)),)))
    journal.append(acks.entry(0, state))
    for seq in (1, 2, 2, 1, 3):
        journal.append(acks.entry(seq, sysctl(seq)))
    assert journal.queued_bytes == 600
    journal.start()
    try:
        wait_until(lambda: acks.seqs == [3], 300, "the journal writes")
        journal.append(acks.entry(3, sysctl(3)))
        journal.append(acks.entry(4, NodeDelta(netns=(NetnsDelta(KEY, conntrack=NOISE),))))
        wait_until(lambda: acks.seqs == [3, 4], 300, "noise is acknowledged")
    finally:
        journal.stop()
    assert journal.queued_bytes == 0
    kept = JournalEntry.objects.order_by("seq").values_list("seq", "kind")
    assert list(kept) == [(0, "snapshot"), (1, "delta"), (2, "delta"), (3, "delta")]
    assert threading.active_count() == 1 or not any(t.name == "journal" for t in threading.enumerate())


@pytest.mark.django_db(transaction=True)
def test_nothing_is_acknowledged_that_could_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    monkeypatch.setattr(journal_module, "MAX_QUEUED_BYTES", 150)
    real: Any = JournalEntry.objects.bulk_create
    failures = iter([True, True])

    def fail_twice(*args: Any, **kwargs: Any) -> Any:
        if next(failures, False):
            assert acks.seqs == []
            assert not journal.has_room()
            raise DatabaseError("the disk is full")
        return real(*args, **kwargs)

    monkeypatch.setattr(JournalEntry.objects, "bulk_create", fail_twice)
    acks, journal = Acks(), Journal()
    journal.append(acks.entry(1, sysctl(1)))
    assert journal.has_room()
    journal.append(acks.entry(2, sysctl(2)))
    journal.start()
    try:
        wait_until(lambda: acks.seqs == [2], 300, "the journal tries again")
        wait_until(journal.has_room, 300, "there is room again")
    finally:
        journal.stop()
    assert JournalEntry.objects.count() == 2
    assert not journal.failing


@pytest.mark.django_db(transaction=True)
def test_a_change_that_cannot_be_journaled_halts_its_own_connection_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuts: list[str] = []
    connection = Connection(1, lambda code, reason: cuts.append(code))
    connections.enter("n1", connection)
    bad, again, other, journal = Acks(), Acks(), Acks(), Journal()
    wrong = True

    def fails(delta: NodeDelta) -> str:
        if wrong and "net.bad" in str(delta):
            raise IndexError("no byte")
        return summarise(delta)

    monkeypatch.setattr(journal_module, "summarise", fails)
    poison = NodeDelta(netns=(NetnsDelta(KEY, sysctls=Change((Sysctl("net.bad", 1),), ())),))
    for seq, what in enumerate((sysctl(0), poison, sysctl(2))):
        journal.append(bad.entry(seq, what))
        journal.append(msgspec.structs.replace(other.entry(seq, sysctl(seq)), node="n2"))
    journal.start()
    try:
        wait_until(lambda: other.seqs == [2], 300, "the other node's changes are durable")
        assert bad.seqs == [0], "what cannot be journaled is not acknowledged, nor what stands on it"
        assert cuts == ["internal"]
        assert list(faults.standing()["n1"]) == ["journal"]
        journal.append(bad.entry(3, sysctl(3)))
        journal.append(msgspec.structs.replace(other.entry(3, sysctl(3)), node="n2"))
        wait_until(lambda: other.seqs == [2, 3], 300, "the other node goes on")
        assert bad.seqs == [0]
        wrong = False
        for seq, what in ((1, poison), (2, sysctl(2)), (3, sysctl(3))):
            journal.append(again.entry(seq, what))
        wait_until(lambda: again.seqs == [3], 300, "the next connection sends it again")
        assert "n1" not in faults.standing()
    finally:
        journal.stop()
        connections.leave("n1", connection)
    for node in ("n1", "n2"):
        kept = JournalEntry.objects.filter(node=node).order_by("seq").values_list("seq", flat=True)
        assert list(kept) == [0, 1, 2, 3]
    assert journal.queued_bytes == 0


@pytest.mark.django_db(transaction=True)
def test_the_journal_survives_what_nobody_thought_of_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_S", 0.01)
    acks, journal, failed = Acks(), Journal(), []
    write = journal._write

    def fails(entries: list[JournalEntry], digests: list[bytes]) -> bool:
        if len(failed) < 3:
            failed.append(journal.failing)
            raise ZeroDivisionError
        return write(entries, digests)

    monkeypatch.setattr(journal, "_write", fails)
    for seq in range(3):
        journal.append(acks.entry(seq, sysctl(seq)))
    journal.start()
    try:
        wait_until(lambda: acks.seqs == [2], 300, "it is written at last")
    finally:
        journal.stop()
    assert failed == [False, True, True]
    assert not journal.failing
    assert JournalEntry.objects.count() == 3
    assert journal.queued_bytes == 0


@pytest.mark.django_db(transaction=True)
def test_a_status_that_could_not_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    collector, _ = enrol("n1")
    keeper = Keeper()
    keeper.note(collector.pk, connected=True, version="1")

    def fail(noted: Any) -> None:
        keeper.note(collector.pk, version="2")
        raise OperationalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(keeper_module, "_update_collectors", fail)
        keeper._write()
    keeper._write()
    collector.refresh_from_db()
    assert (collector.connected, collector.version) == (True, "2")


def test_noise_is_left_out() -> None:
    mixed = NodeDelta(netns=(NetnsDelta(KEY, conntrack=NOISE, sysctls=sysctl(1).netns[0].sysctls),))
    assert journaled(mixed) == sysctl(1)
    assert journaled(NodeDelta(netns=(NetnsDelta(KEY, conntrack=NOISE),))) is None
    read_again = NodeDelta(status={"routes": SectionStatus(5.0)})
    assert journaled(read_again, NodeState(NODE, status={"routes": SectionStatus(4.0)})) is None
    failed = NodeDelta(status={"routes": SectionStatus(5.0, whole=False, reason="no permission")})
    assert journaled(failed, NodeState(NODE, status={"routes": SectionStatus(4.0)})) == failed
    assert journaled(NodeDelta(gone=(KEY,))) == NodeDelta(gone=(KEY,))
    introduced = NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY), conntrack=NOISE),))
    assert journaled(introduced) == NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY)),))


def test_a_packed_delta_is_read_again_and_summed_up() -> None:
    delta = NodeDelta(
        netns=(NetnsDelta(KEY, Netns(KEY), sysctls=Change((Sysctl("a", 1), Sysctl("b", 1)), ("c",))),),
        gone=(KEY,),
    )
    assert unpack(pack(delta)) == delta
    assert summarise(delta) == "namespaces +1 -1, sysctls +2 -1"
    assert summarise(NodeDelta(kernel="6.18")) == "node"


def fill(count: int, days_old: float, node: str = "n1", whole: int | None = 0) -> None:
    """Make entries of 100 bytes; the one numbered `whole` is a whole state."""
    at = timezone.now() - timedelta(days=days_old)
    JournalEntry.objects.bulk_create(
        JournalEntry(
            node=node,
            epoch=int(days_old * 10),
            seq=seq,
            kind="snapshot" if seq == whole else "delta",
            received_at=at,
            summary="",
            size=100,
            body=b"",
        )
        for seq in range(count)
    )


def left(**which: Any) -> list[int]:
    entries = JournalEntry.objects.filter(**which).order_by("id")
    return list(entries.values_list("seq", flat=True))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_cleaner, "CLEAN_ROWS", 7)
    enrol("n1")


@pytest.mark.usefixtures("small_steps")
@pytest.mark.django_db
def test_what_is_too_old_goes_up_to_the_newest_whole_state_that_is_too_old() -> None:
    fill(20, 9)
    fill(20, 8, whole=5)
    fill(20, 2)
    assert clean(7 * 86400, 1 << 30) == 25
    assert left(epoch=80) == list(range(5, 20))
    assert clean(7 * 86400, 1 << 30) == 0


@pytest.mark.usefixtures("small_steps")
@pytest.mark.django_db
def test_what_is_too_much_goes_oldest_first_and_never_a_newest_whole_state() -> None:
    fill(20, 3)
    fill(20, 2)
    fill(10, 1, node="n2")
    fill(20, 1)
    assert clean(7 * 86400, 4500) == 25
    assert left(epoch=20) == list(range(5, 20))
    assert clean(7 * 86400, 0) == 15
    assert (left(node="n1"), left(node="n2")) == (list(range(20)), list(range(10)))
    assert clean(7 * 86400, 0) == 0


@pytest.mark.usefixtures("small_steps")
@pytest.mark.django_db
def test_the_past_of_a_node_that_is_no_more_ends_with_its_age() -> None:
    fill(20, 9, node="n-gone")
    fill(20, 2, node="n-gone")
    assert clean(7 * 86400, 1 << 30) == 20


@pytest.mark.usefixtures("small_steps")
@pytest.mark.django_db
def test_changes_that_came_after_a_whole_state_of_their_run_stay_whatever_their_place() -> None:
    fill(20, 9, whole=None)
    JournalEntry.objects.filter(seq=0).update(kind="checkpoint")
    late = JournalEntry.objects.get(seq=0)
    late.pk, late.seq = None, 10
    late.save()
    assert clean(7 * 86400, 1 << 30) == 11
    assert left() == [*range(11, 20), 10]


def test_a_checkpoint_is_wanted_after_so_many_entries_and_where_none_is_known(
    monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    monkeypatch.setattr(journal_module, "CHECKPOINT_ENTRIES", 3)
    acks, journal = Acks(), Journal()
    state = apply(NodeState("n1"), NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY)),)))

    def written(seq: int, what: NodeDelta | NodeState, *, checkpoint: bool = False) -> bool:
        entry = acks.entry(seq, what)
        journal.append(msgspec.structs.replace(entry, checkpoint=checkpoint))
        journal._flush()
        return journal.wants_checkpoint("n1")

    assert written(7, sysctl(7))
    assert not written(7, state, checkpoint=True)
    assert [written(seq, sysctl(seq)) for seq in (8, 9, 10)] == [False, False, True]
    assert not written(10, state, checkpoint=True)
    assert not written(11, NodeDelta(netns=(NetnsDelta(KEY, conntrack=NOISE),)))
    monkeypatch.setattr(journal_module, "CHECKPOINT_EVERY_S", 0.0)
    assert written(12, sysctl(12))
    assert left(kind="checkpoint") == [7, 10]


def quiet(state: NodeState) -> NodeState:
    """The state without what the journal leaves out."""
    empty = NodeState(state.node)
    delta = journaled(diff(empty, state), empty)
    return msgspec.structs.replace(apply(NodeState(state.node), delta or NodeDelta()), status={})


@pytest.mark.django_db
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_going_back_to_any_entry_gives_the_state_then(data: st.DataObject) -> None:
    """Random runs of a collector, checkpoints at random places, a clock that is set back, and a cleaning."""
    JournalEntry.objects.all().delete()
    Cluster.objects.get_or_create(name="default")
    Node.objects.get_or_create(name=NODE, defaults={"cluster": Cluster.objects.get(name="default")})
    began, entries, history = timezone.now() - timedelta(days=10), [], []
    for epoch in range(data.draw(st.integers(1, 3))):
        state = data.draw(node_states())
        entries.append((epoch, 0, state, False))
        history.append(state)
        for seq in range(1, data.draw(st.integers(1, 6))):
            new = data.draw(node_states())
            entries.append((epoch, seq, diff(state, new), False))
            state = new
            history.append(state)
            if data.draw(st.booleans()):
                entries.append((epoch, seq, state, True))
                history.append(state)
    rows = []
    for number, (epoch, seq, what, checkpoint) in enumerate(entries):
        at = began + timedelta(days=number)
        change = Entry(NODE, epoch, seq, at.timestamp(), what, 0, print, checkpoint)
        if (row := entry_of(change)) is not None:
            row.save()
            rows.append((row, at, history[number]))
    clean(data.draw(st.integers(0, 12)) * 86400.0, data.draw(st.sampled_from([0, 500, 1 << 30])))
    kept = set(JournalEntry.objects.values_list("pk", flat=True))
    assert rows[-1][0].pk in kept
    first = next(row for row, _, _ in rows if row.pk in kept and row.kind != "delta")
    for row, at, state in rows:
        # A checkpoint stands for the change before it, too, as long as that is there to tell the time.
        known = row.pk in kept and (row.epoch, row.seq) == (first.epoch, first.seq)
        assert row.pk in kept or row.pk < first.pk
        if known or row.pk > first.pk:
            assert quiet(state_at(NODE, at)) == quiet(state)
        else:
            with pytest.raises(NoHistory):
                state_at(NODE, at)


@pytest.mark.django_db
def test_a_clock_that_was_set_back_leaves_no_hole() -> None:
    at = timezone.now()
    state = apply(NodeState("n1"), NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY)),)))
    for seq, what, shift_s in ((0, state, 0), (1, sysctl(1), 3600), (2, sysctl(2), 10)):
        entry = entry_of(Acks().entry(seq, what))
        assert entry is not None
        entry.received_at = at + timedelta(seconds=shift_s)
        entry.save()
    JournalEntry.objects.filter(seq=1).update(body=pack(NodeDelta(kernel="6.19")))
    found = state_at("n1", at + timedelta(seconds=20))
    assert found.kernel == "6.19"
    assert found.netns[KEY].sysctls["net.a"].value == 2


@pytest.mark.django_db
@pytest.mark.parametrize("body", [b"", b"no zlib", pack(NodeDelta())[:-5], zlib.compress(b"\xc1")])
def test_an_entry_that_cannot_be_read_is_named_and_the_admin_shows_the_page(
    body: bytes, admin_client: Client
) -> None:
    entry = entry_of(Acks().entry(0, apply(NodeState("n1"), NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY)),)))))
    assert entry is not None
    entry.body = body
    entry.save()
    with pytest.raises(NoHistory, match="entry 0 of node 'n1' in the journal cannot be read: "):
        state_at("n1", timezone.now() + timedelta(seconds=1))
    page = admin_client.get(reverse("admin:ingest_journalentry_change", args=[entry.pk]))
    assert "This entry cannot be read" in page.content.decode()


@pytest.mark.django_db
def test_a_wrong_record_that_an_earlier_version_journaled_is_left_out_and_ends() -> None:
    """It was let in once; reading it back says so, until the entry that mends it."""
    enrol(Node.objects.create(cluster=Cluster.objects.create(name="c"), name="n1"))
    wrong, right = Addr(2, b"", 24), Addr(2, b"\x0a\0\0\1", 24)
    deltas = (
        NodeDelta(netns=(NetnsDelta(KEY, Netns(KEY), addrs=Change((wrong,))),)),
        NodeDelta(netns=(NetnsDelta(KEY, addrs=Change((right,), (wrong.key,))),)),
    )
    start = timezone.now() - timedelta(seconds=10)
    for seq, delta in enumerate(deltas):
        JournalEntry.objects.create(
            node="n1",
            epoch=1,
            seq=seq,
            kind="delta" if seq else "snapshot",
            received_at=start + timedelta(seconds=seq),
            summary="",
            body=pack(delta),
            size=1,
        )
    before, after = state_at("n1", start), state_at("n1", start + timedelta(seconds=1))
    assert before.gaps.keys() == {"addrs"}
    assert not before.netns[KEY].addrs
    assert not after.gaps
    assert list(after.netns[KEY].addrs.values()) == [right]
