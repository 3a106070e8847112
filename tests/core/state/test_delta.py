"""The law of deltas: `apply(a, diff(a, b)) == b`, for every record type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import (
    Change,
    NetnsDelta,
    NodeDelta,
    apply,
    apply_section,
    diff,
    diff_netns,
    diff_section,
    section_of,
)
from netviz.core.state.node import SECTIONS, NetnsState, NodeState, SectionStatus
from netviz.core.state.section import EMPTY
from tests.core.strategies import KEYS, NODE, node_states, record_types, struct

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(NodeDelta).decode


@given(node_states(), node_states())
def test_a_difference_leads_from_one_state_to_the_other(a: NodeState, b: NodeState) -> None:
    assert apply(a, diff(a, b)) == b


@given(node_states(), node_states())
def test_a_difference_survives_the_wire(a: NodeState, b: NodeState) -> None:
    assert apply(a, decode(encode(diff(a, b)))) == b


@given(node_states(), node_states())
def test_applying_a_difference_twice_changes_nothing_more(a: NodeState, b: NodeState) -> None:
    delta = diff(a, b)
    once = apply(a, delta)
    assert apply(once, delta) == once


@given(node_states())
def test_equal_states_do_not_differ(a: NodeState) -> None:
    assert diff(a, a).empty
    assert diff(a, decode_state(a)).empty


def decode_state(state: NodeState) -> NodeState:
    """Build an equal state of other objects."""
    return apply(NodeState(NODE), decode(encode(diff(NodeState(NODE), state))))


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_follows_the_law(name: str) -> None:
    kind = record_types()[name]

    @given(st.lists(struct(kind), max_size=4), st.lists(struct(kind), max_size=4))
    def law(old: list[Any], new: list[Any]) -> None:
        a, b = section_of(old), section_of(new)
        change = diff_section(a, b)
        assert (a if change is None else apply_section(a, change)) == b
        assert (change is None) == (a == b)

    law()


def test_every_record_type_has_a_key_of_hashable_values() -> None:
    @given(st.data())
    def keys(data: st.DataObject) -> None:
        for kind in record_types().values():
            hash(data.draw(struct(kind)).key)

    keys()


def test_what_did_not_change_is_the_same_object() -> None:
    netns = NetnsState(Netns(KEYS[0]), sysctls=section_of([Sysctl("net.a", 1)]))
    other = NetnsState(Netns(KEYS[2]))
    state = NodeState(NODE, netns={KEYS[0]: netns, KEYS[2]: other})
    put = Change((Sysctl("net.a", 1),), ("net.gone",))
    after = apply(state, NodeDelta(netns=(NetnsDelta(KEYS[0], sysctls=put),)))
    assert after.netns[KEYS[0]] is netns
    assert after.netns[KEYS[2]] is other
    assert after.status is state.status


def test_a_namespace_that_was_never_introduced_is_refused() -> None:
    delta = NodeDelta(netns=(NetnsDelta(KEYS[0], sysctls=Change((Sysctl("a", 1),), ())),))
    with pytest.raises(KeyError, match="never introduced"):
        apply(NodeState(NODE), delta)


def test_states_of_two_nodes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different nodes"):
        diff(NodeState("a"), NodeState("b"))


def test_a_status_cannot_vanish() -> None:
    with pytest.raises(ValueError, match="cannot vanish"):
        diff(NodeState(NODE, status={"links": SectionStatus()}), NodeState(NODE))


def test_a_namespace_may_end_and_its_number_be_used_again_in_one_delta() -> None:
    old, new = KEYS[0], NetnsKey(NODE, KEYS[0].dev, KEYS[0].ino, 7)
    state = NodeState(NODE, netns={old: NetnsState(Netns(old))})
    after = apply(state, NodeDelta(gone=(old,), netns=(NetnsDelta(new, Netns(new)),)))
    assert list(after.netns) == [new]


def test_an_emptied_section_and_node_are_the_shared_empty_mapping() -> None:
    state = NodeState(NODE, netns={KEYS[0]: NetnsState(Netns(KEYS[0]), sysctls=section_of([Sysctl("a", 1)]))})
    drop = NodeDelta(netns=(NetnsDelta(KEYS[0], sysctls=Change((), ("a",))),))
    assert apply(state, drop).netns[KEYS[0]].sysctls is EMPTY
    assert apply(state, NodeDelta(gone=(KEYS[0],))).netns is EMPTY


def test_an_unchanged_namespace_gives_no_delta() -> None:
    netns = NetnsState(Netns(KEYS[0]))
    assert diff_netns(netns, netns) is None
    assert diff_netns(netns, NetnsState(Netns(KEYS[0]))) is None
