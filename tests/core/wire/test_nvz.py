"""State files: bounds on what they may inflate to, and records that break a bound."""

from __future__ import annotations

import zlib

import msgspec
import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Addr
from netviz.core.model.netfilter import ChainBody, NftExpr, NftRuleBody
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.state.node import NodeState
from netviz.core.wire.nvz import MAGIC, MIN_INFLATED_BYTES, NvzError, dump_nvz, join_captures, load_nvz

KEY = NetnsKey("n1", 4, 1)


def state(**sections: object) -> NodeState:
    return apply(NodeState("n1"), NodeDelta((NetnsDelta(KEY, Netns(KEY, root=True), **sections),)))


def test_a_file_that_inflates_too_much_is_refused_in_one_line() -> None:
    bomb = MAGIC + zlib.compress(bytes(MIN_INFLATED_BYTES * 4), 9)
    with pytest.raises(NvzError, match=r"inflates to over \d+ bytes") as caught:
        load_nvz(bomb)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: MAGIC + b"zz"]
)
def test_a_damaged_file_is_refused_in_one_line(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(NvzError, match="damaged"):
        load_nvz(damage(dump_nvz(state(), (), 1.0)))


def test_what_is_written_can_always_be_read() -> None:
    """Also what compresses far better than any real state."""
    sysctls = tuple(Sysctl(f"{'net.' * 200}{number:06d}", 0) for number in range(30_000))
    made = state(sysctls=Change(sysctls))
    data = dump_nvz(made, (), 1.0)
    assert load_nvz(data)[1] == made


def test_a_wrong_record_in_a_file_is_left_out_and_said() -> None:
    _, read = load_nvz(dump_nvz(state(addrs=Change((Addr(2, b"", 24), Addr(3, bytes(4), 8)))), (), 1.0))
    assert list(read.netns[KEY].addrs) == [(3, bytes(4), 8, b"")]
    assert read.gaps.keys() == {"addrs"}


def test_a_wrong_body_in_a_file_counts_as_missing() -> None:
    body = ChainBody((NftRuleBody((NftExpr("cmp", {"data": None}),)),))
    cluster = join_captures([load_nvz(dump_nvz(state(), (body,), 1.0))])
    (digest,) = cluster.bodies
    assert cluster.bodies.get(digest) is None


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(NvzError, match="not a netviz state file"):
        load_nvz(b"PK\x03\x04")
    with pytest.raises(NvzError, match="damaged"):
        load_nvz(MAGIC + zlib.compress(msgspec.msgpack.encode({"node": 5}), 6))


def test_a_file_that_has_another_nodes_namespaces_is_refused() -> None:
    other = msgspec.structs.replace(state(), node="n2")
    with pytest.raises(NvzError, match="contradicts itself"):
        load_nvz(dump_nvz(other, (), 1.0))
