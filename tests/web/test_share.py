"""Equal parts of held states are kept once, and nothing else changes."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given

from netviz.core.model.devconf import Ipv4Conf
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Route
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import NodeDelta, apply, diff, section_of
from netviz.core.state.node import NetnsState, NodeState
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.share import MAX_RECORDS, Shared
from netviz.ingest.store import Position
from tests.core.strategies import node_states

PODS = 30


def node(name: str) -> NodeState:
    """A node whose pods differ by their link's address and by one route, and by nothing else."""

    def namespace(number: int) -> NetnsState:
        own = bytes([10, 1, 2, number])
        link = Link(2, "eth0", kind="veth", mac=b"\2\0" + own, ipv4=Ipv4Conf(forwarding=1, rp_filter=2))
        routes = [Route(255, bytes([127, 0, 0, n]), 32) for n in range(1, 10)]
        return NetnsState(
            Netns(NetnsKey(name, 4, number)),
            links=section_of([link]),
            routes=section_of([*routes, Route(254, own, 32)]),
            sysctls=section_of([Sysctl(f"net.ipv4.setting_{n}", n) for n in range(20)]),
        )

    namespaces = [namespace(number) for number in range(PODS)]
    return NodeState(name, netns={ns.key: ns for ns in namespaces})


def arrived(state: NodeState) -> NodeState:
    """The state as a snapshot's frames bring it: all of it made anew."""
    encoded = msgspec.msgpack.encode(diff(NodeState(state.node), state))
    return apply(NodeState(state.node), msgspec.msgpack.decode(encoded, type=NodeDelta))


@given(node_states(), node_states())
def test_a_shared_state_is_equal_to_what_came(one: NodeState, other: NodeState) -> None:
    shared = Shared(max_known=20)
    for state in (one, other, arrived(one)):
        assert shared.state(state) == state


def test_namespaces_share_what_is_equal() -> None:
    store = MemoryStore()
    for name in ("a", "b"):
        store.replace(arrived(node(name)), Position(1, 0), 0.0)
    first, *others = [ns for state in store.cluster().nodes.values() for ns in state.netns.values()]
    local = next(iter(first.routes))
    for ns in others:
        assert ns.sysctls is first.sysctls
        assert ns.routes[local] is first.routes[local]
        assert ns.links[2].ipv4 is first.links[2].ipv4


def test_a_second_node_of_the_same_kind_costs_a_fraction() -> None:
    states = [node(name) for name in ("a", "b", "c")]
    tracemalloc.start()
    try:
        made = [arrived(state) for state in states]
        alone = tracemalloc.get_traced_memory()[0]
        made.clear()
        store, before = MemoryStore(), tracemalloc.get_traced_memory()[0]
        for state in states:
            store.replace(arrived(state), Position(1, 0), 0.0)
        together = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert together < alone / 2


@pytest.mark.parametrize("count", [MAX_RECORDS, MAX_RECORDS + 1])
def test_only_small_sections_are_gone_through(count: int) -> None:
    shared = Shared()

    def one(name: str) -> NetnsState:
        key = NetnsKey(name, 4, 1)
        records = section_of([Sysctl(f"net.{number}", 1) for number in range(count)])
        return shared.state(NodeState(name, netns={key: NetnsState(Netns(key), sysctls=records)})).netns[key]

    assert (one("a").sysctls is one("b").sysctls) == (count <= MAX_RECORDS)
