"""The ledger: what it tells is exactly what changed, and folds to its own state."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agents.bodies import EncodedBody
from agents.collectors.base import NetnsHandle, Reading
from agents.enter import NetnsThread
from agents.ledger import Ledger
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import NexthopObject
from netviz.core.model.netfilter import ChainBody, NftChain, NftExpr, NftRuleBody, body_digest
from netviz.core.model.netns import Gap, Pod
from netviz.core.state.delta import Change, NetnsDelta, apply
from netviz.core.state.node import NodeState

NO_THREAD: NetnsThread = None  # type: ignore[assignment]


def handle(ino: int, dev: int = 4) -> NetnsHandle:
    return NetnsHandle(NetnsKey("n", dev, ino), -1, NO_THREAD, root=ino == 1)


HANDLES = [handle(1), handle(2), handle(0, dev=0)]
records = st.builds(NexthopObject, id=st.integers(1, 4), oif=st.integers(0, 2))
steps = st.one_of(
    st.tuples(st.just("describe"), st.integers(0, 2)),
    st.tuples(st.just("remove"), st.integers(0, 2)),
    st.tuples(st.just("put"), st.integers(0, 2), records),
    st.tuples(st.just("drop"), st.integers(0, 2), st.integers(1, 4)),
    st.tuples(st.just("replace"), st.integers(0, 2), st.lists(records, max_size=4, unique_by=lambda r: r.id)),
    st.tuples(st.just("flush")),
)


def _do(ledger: Ledger, model: dict[NetnsKey, dict[int, NexthopObject]], step: tuple[Any, ...]) -> None:
    key = HANDLES[step[1]].key
    match step:
        case ("describe", number):
            ledger.describe(HANDLES[number])
            model.setdefault(key, {})
        case ("remove", _):
            ledger.remove(key)
            model.pop(key, None)
        case ("put", _, record):
            ledger.change(NetnsDelta(key=key, nexthops=Change((record,))))
            if key in model:
                model[key][record.id] = record
        case ("drop", _, record_key):
            ledger.change(NetnsDelta(key=key, nexthops=Change((), (record_key,))))
            model.get(key, {}).pop(record_key, None)
        case ("replace", _, found):
            ledger.replace(key, Reading({"nexthops": found}))
            if key in model:
                model[key] = {r.id: r for r in found}


@given(st.lists(steps, max_size=30))
def test_told_changes_fold_to_the_state_and_to_the_truth(sequence: list[tuple[Any, ...]]) -> None:
    ledger = Ledger("n")
    model: dict[NetnsKey, dict[int, NexthopObject]] = {}
    follower = NodeState("n")
    for step in [*sequence, ("flush",)]:
        if step[0] == "flush":
            delta = ledger.flush()
            follower = apply(follower, delta)
            assert follower == ledger.state
            assert {key: dict(ns.nexthops) for key, ns in follower.netns.items()} == model
            assert ledger.flush().empty
        else:
            _do(ledger, model, step)
            for key, section in model.items():
                assert dict(ledger.section(key, "nexthops")) == section
                assert ledger.lookup(key, "nexthops", 1) == section.get(1)


def test_what_came_and_went_is_not_told() -> None:
    ledger = Ledger("n")
    ledger.describe(HANDLES[0])
    ledger.flush()
    key = HANDLES[0].key
    ledger.change(NetnsDelta(key=key, nexthops=Change((NexthopObject(1),))))
    ledger.change(NetnsDelta(key=key, nexthops=Change((), (1,))))
    assert ledger.pending
    assert ledger.flush().empty


def test_a_gap_makes_a_section_not_whole_until_it_is_read() -> None:
    ledger = Ledger("n")
    for each in HANDLES:
        ledger.describe(each)
    ledger.set_gaps(HANDLES[1].key, (), {"routes": "no"})
    ledger.set_gaps(HANDLES[2].key, (), {"rules": "only by its veth peer"})
    ledger.flush()
    assert ledger.state.netns[HANDLES[1].key].netns.gaps == (Gap("routes", "no"),)
    assert (ledger.status("routes").whole, ledger.status("routes").reason) == (False, "no")
    assert ledger.status("rules").whole
    ledger.replace(HANDLES[1].key, Reading({"routes": []}))
    assert ledger.status("routes").whole
    ledger.set_gaps(HANDLES[1].key, (), {"routes": "no"})
    ledger.remove(HANDLES[1].key)
    assert ledger.status("routes").whole


def test_bodies_are_kept_as_long_as_something_refers_to_them() -> None:
    ledger = Ledger("n")
    ledger.describe(HANDLES[0])
    key = HANDLES[0].key
    body = ChainBody((NftRuleBody((NftExpr("counter"),)),))
    digest = body_digest(body)
    chain = NftChain(2, "t", "c", body=digest)
    ledger.replace(
        key,
        Reading({"nft_chains": [chain]}, bodies={digest: EncodedBody(digest, msgspec.msgpack.encode(body))}),
    )
    ledger.flush()
    ledger.prune_bodies()
    assert ledger.bodies([digest, b"unknown"]) == [body] == ledger.all_bodies()
    ledger.replace(key, Reading({"nft_chains": []}))
    ledger.flush()
    ledger.prune_bodies()
    assert ledger.bodies([digest]) == []


def test_a_pod_is_told_once_and_taken_back() -> None:
    ledger = Ledger("n")
    ledger.describe(HANDLES[0])
    key = HANDLES[0].key
    pod = Pod("p", "default")
    ledger.replace(key, Reading({}, pod=pod))
    assert ledger.flush().netns[0].netns is not None
    ledger.set_pod(key, pod)
    assert ledger.flush().empty
    ledger.replace(key, Reading({}))
    assert ledger.record(key).pod == pod
    ledger.replace(key, Reading({}, pod=None))
    ledger.flush()
    assert ledger.state.netns[key].netns.pod is None
