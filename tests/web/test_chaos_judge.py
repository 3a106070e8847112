"""The judge of `make chaos` sees what is missing, wrong or double, and nothing where all is well."""

from __future__ import annotations

import random
import zlib
from typing import Any

import msgspec
import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Sysctl
from netviz.core.model.socket import Socket
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.wire.codec import encode_message, make_frame
from netviz.core.wire.messages import Delta
from tests.chaos.faults import MANY, ONE, deck
from tests.chaos.judge import judge_journal, judge_traces
from tests.chaos.witness import ACK, DELTA, SNAPSHOT, Record

EPOCH = 7
KEY = NetnsKey("n1", 4, 1)
Row = tuple[int, str, bytes]


def change(value: int) -> NodeDelta:
    return NodeDelta(netns=(NetnsDelta(KEY, sysctls=Change((Sysctl("net.a", value),), ())),))


def sent(seq: int, delta: NodeDelta) -> Record:
    return Record(DELTA, EPOCH, seq, make_frame(encode_message(Delta(EPOCH, seq, 0, delta))))


def row(seq: int, delta: NodeDelta, kind: str = DELTA) -> Row:
    return seq, kind, zlib.compress(msgspec.msgpack.encode(delta))


NOISE = NodeDelta(netns=(NetnsDelta(KEY, sockets=Change((Socket(6, b"\0\0\0\0", 80, cookie=5),), ())),))
TOLD = [
    Record(SNAPSHOT, EPOCH, 0),
    *(sent(seq, change(seq)) for seq in (1, 2)),
    sent(3, NOISE),
    Record(ACK, EPOCH, 2),
    Record(ACK, EPOCH, 3),
    sent(4, change(4)),  # not acknowledged: it may be there or not
]
ROWS = [row(0, NodeDelta(), SNAPSHOT), row(1, change(1)), row(2, change(2))]


def judge(rows: list[Row], told: list[Record] = TOLD) -> list[str]:
    return judge_journal("n1", told, lambda query: rows).wrong


def test_a_sound_journal_is_sound() -> None:
    assert judge(ROWS) == []
    assert judge([*ROWS, row(4, change(4))]) == []
    found = judge_journal("n1", TOLD, lambda query: ROWS)
    assert (found.acknowledged, found.rows) == (4, 3)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*ROWS[:1], ROWS[2]], "delta 1 was acknowledged and is missing"),
        (ROWS[1:], "snapshot 0 was acknowledged and is missing"),
        ([*ROWS, ROWS[2]], "delta 2 is there 2 times"),
        ([*ROWS[:2], row(2, change(9))], "delta 2 is wrong"),
        ([*ROWS, row(9, change(9))], "delta 9 was never sent"),
    ],
)
def test_what_is_wrong_is_found(rows: list[Row], words: str) -> None:
    (found,) = judge(rows)
    assert words in found


def test_a_snapshot_stands_for_what_was_acknowledged_with_it_and_for_nothing_earlier() -> None:
    told = [*TOLD, Record(SNAPSHOT, EPOCH, 5), Record(ACK, EPOCH, 5)]
    later = [*ROWS, row(5, NodeDelta(), SNAPSHOT)]
    assert judge(later, told) == []
    (found,) = judge([one for one in later if one[0] != 2], told)
    assert "delta 2 was acknowledged" in found


def test_traces_that_end_twice_or_never_are_found() -> None:
    def rows(query: str) -> list[tuple[Any, ...]]:
        return [] if "attempts" in query else [(1, 1), (2, 2), (4, 1)]

    assert judge_traces([1, 2, 3], rows) == ["trace 2 ended 2 times", "trace 3 ended 0 times"]
    assert judge_traces([1, 4], lambda query: [(4, 3)] if "attempts" in query else [(1, 1), (4, 1)]) == [
        "trace 4 was begun 3 times"
    ]


@pytest.mark.parametrize("faults", [ONE, MANY])
def test_a_seed_draws_the_same_faults_again_and_every_kind_of_them(faults: Any) -> None:
    drawn = [deck(faults, 40, random.Random(5)) for _ in range(2)]
    assert drawn[0] == drawn[1] != deck(faults, 40, random.Random(6))
    assert set(drawn[0]) == set(faults)
