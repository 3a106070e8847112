"""The rules of the past: bodies stand in the journal once, by their digest, as long as an entry may refer to them."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from django.core.management import call_command
from django.utils import timezone

from netviz.core.model.netfilter import ChainBody, NftChain, body_digest
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition
from netviz.core.sim.walk import simulate
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.state.node import SECTIONS, ClusterState, SectionStatus
from netviz.core.wire.nvz import join_captures, load_nvz
from netviz.ingest import journal_bodies
from netviz.ingest.history import state_at
from netviz.ingest.journal import Journal
from netviz.ingest.journal import JournalChange as Entry
from netviz.ingest.journal_bodies import bodies_of, clean_bodies
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.models import JournalBody, JournalEntry
from netviz.ingest.store import Position
from tests.core.sim.build import textbook
from tests.core.sim.nft import DROP, FORWARD, chain, daddr, verdict

pytestmark = pytest.mark.django_db(transaction=True)


def cluster() -> ClusterState:
    """The textbook cluster, whose first node drops what goes to pod-2-1."""
    net, parts = textbook()
    chain(parts["node-1"], "forward", (*daddr("10.1.2.11"), verdict(DROP)), hook=FORWARD)
    made = net.cluster()
    whole = dict.fromkeys(SECTIONS, SectionStatus(1.0))
    nodes = {name: msgspec.structs.replace(state, status=whole) for name, state in made.nodes.items()}
    return msgspec.structs.replace(made, nodes=nodes)


def keep(journal: Journal, store: MemoryStore, made: ClusterState, seq: int = 0) -> None:
    """Let the store and the journal have every node's whole state."""
    for state in made.nodes.values():
        store.replace(state, Position(1, seq), time.time())
        journal.append(Entry(state.node, 1, seq, time.time(), state, 100, lambda seq: None))
    journal._flush()


def test_a_past_trace_meets_the_rules_of_then(store: MemoryStore, tmp_path: Path) -> None:
    made, journal = cluster(), Journal()
    keep(journal, store, made)
    assert JournalBody.objects.count() == 0, "the bodies haven't come yet"
    store.put_bodies(made.bodies.values())
    journal._flush()
    assert JournalBody.objects.count() == len(made.bodies)
    files = []
    for name in made.nodes:
        out = tmp_path / f"{name}.nvz"
        call_command("rewind", name, "--out", str(out), verbosity=0)
        files.append(load_nvz(out.read_bytes()))
    past = join_captures(files)
    found = simulate(past, resolve_flow(past, "pod-1-1", "pod-2-1", dport=80))
    assert (found.disposition, found.certainty) == (Disposition.DROPPED, "certain")
    out = io.StringIO()
    now = timezone.now().isoformat()
    call_command("trace", "--at", now, "--from", "pod-1-1", "--to", "pod-2-1", "--json", stdout=out)
    shown = json.loads(out.getvalue())
    assert (shown["disposition"], shown["certainty"]) == ("DROPPED", "certain")
    assert [(one["node"], one["complete"]) for one in shown["state"]] == [
        ("node-1", False),
        ("node-2", False),
    ]
    assert len(shown["assumed"]) <= 1


@pytest.mark.parametrize(
    ("at", "words"), [("yesterday", "is not a time"), ("2001-01-01T00:00:00", "the journal is empty")]
)
def test_a_past_that_is_not_there_is_said_in_a_line(at: str, words: str) -> None:
    err = io.StringIO()
    with pytest.raises(SystemExit) as status:
        call_command("trace", "--at", at, "--from", "a", "--to", "b", stderr=err)
    assert status.value.code == 2
    assert words in err.getvalue()
    assert err.getvalue().count("\n") == 1


def test_bodies_are_kept_once_for_all_nodes_and_survive_the_server(store: MemoryStore) -> None:
    made, journal = cluster(), Journal()
    store.put_bodies(())
    keep(journal, store, made)
    store.put_bodies(made.bodies.values())
    journal._flush()
    other = msgspec.structs.replace(made.nodes["node-1"])
    journal.append(Entry("node-9", 1, 0, time.time(), other, 100, lambda seq: None))
    journal._flush()
    Journal()._bodies.keep(made.bodies)  # another run of the server finds them kept
    assert JournalBody.objects.count() == len(made.bodies)
    assert {body_digest(body) for body in bodies_of(made.nodes["node-1"])} == set(made.bodies)


def test_what_nothing_refers_to_any_more_is_not_waited_for(store: MemoryStore) -> None:
    made, journal = cluster(), Journal()
    keep(journal, store, made)
    assert journal._bodies.waits
    for name in made.nodes:
        store.forget(name)
    journal._flush()
    assert not journal._bodies.waits


def test_bodies_go_with_the_last_entry_that_may_refer_to_them(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, journal = cluster(), Journal()
    keep(journal, store, made)
    store.put_bodies(made.bodies.values())
    journal._flush()
    JournalBody.objects.update(seen_at=timezone.now() - timedelta(days=1))
    JournalEntry.objects.update(received_at=timezone.now() - timedelta(days=1))
    assert clean_bodies() == 0
    (digest,) = made.bodies
    monkeypatch.setattr(journal_bodies, "SEEN_STEP_S", 0.0)
    journal._bodies.keep([digest])  # referred to again
    JournalEntry.objects.update(received_at=timezone.now() - timedelta(minutes=1))
    assert clean_bodies() == 0
    JournalEntry.objects.update(received_at=timezone.now() + timedelta(minutes=1))
    assert clean_bodies() == 1


def test_a_changed_chain_keeps_both_its_rules(store: MemoryStore) -> None:
    made, journal = cluster(), Journal()
    keep(journal, store, made)
    store.put_bodies(made.bodies.values())
    journal._flush()
    before = made.nodes["node-1"]
    key, ns = next((key, ns) for key, ns in before.netns.items() if ns.nft_chains)
    old = next(iter(ns.nft_chains.values()))
    empty = ChainBody(())
    new: NftChain = msgspec.structs.replace(old, body=body_digest(empty))
    delta = NodeDelta(netns=(NetnsDelta(key, nft_chains=Change((new,), ())),))
    store.fold("node-1", delta, Position(1, 1), time.time())
    journal.append(Entry("node-1", 1, 1, time.time() + 1, delta, 100, lambda seq: None, before=before))
    journal._flush()
    then = state_at("node-1", datetime.now(UTC))
    assert {body_digest(body) for body in bodies_of(then)} == set(made.bodies)
