"""Indexes live as long as what they are made of: a state that nobody holds takes them with it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any
from weakref import ref

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.l2 import NUD_REACHABLE, Fdb, Neigh
from netviz.core.model.l3 import Nexthop, Route
from netviz.core.model.netfilter import SetBody, SetElem
from netviz.core.model.socket import Socket
from netviz.core.sim.conntrack.ct_index import others, portless
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.index import Index
from netviz.core.sim.link.cluster_index import candidates, cluster_index
from netviz.core.sim.listeners import connected, listeners
from netviz.core.sim.nft.sets import set_index
from netviz.core.sim.node_index import bridge_fdb, ports_of, vxlan_fdb
from netviz.core.sim.route.fib import route_index
from netviz.core.sim.route.rp_filter import custom_local_routes
from netviz.core.sim.trace import Disposition
from netviz.core.sim.walk import simulate
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply, section_of
from netviz.core.state.node import ClusterState, NetnsState
from netviz.core.state.section import Section
from tests.core.sim.build import textbook
from tests.core.sim.nft import FORWARD, chain, ct_state, verdict

STATES, SETTLED = 10_000, 500


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing be freed but by the last reference to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def entry(number: int) -> CtEntry:
    ends = number.to_bytes(4, "big"), pack_ip("10.0.0.1")
    return CtEntry(6, *ends, number % 60000, 80, *reversed(ends), 80, number % 60000)


def route(number: int) -> Route:
    return Route(254, b"\xac" + number.to_bytes(3, "big"), 32, nexthops=(Nexthop(2),))


def test_an_index_ends_with_its_section(no_collector: None) -> None:
    section = section_of([entry(1), entry(2)])
    index = ref(section)
    assert len(others(section).replies) == 0
    assert others(section) is others(section)
    del section
    assert index() is None


def test_equal_sections_share_their_indexes() -> None:
    one, other = section_of([route(1), route(2)]), section_of([route(1), route(2)])
    assert one is not other
    assert route_index(one) is route_index(other)
    assert route_index(section_of([route(1)])) is not route_index(one)


def test_what_is_shared_ends_with_the_last_that_shares_it(no_collector: None) -> None:
    class Made:
        pass

    index: Index[Section[Any, Any], Made] = Index(lambda _section: Made())
    one, other = section_of([route(7)]), section_of([route(7)])
    made = ref(index(one))
    assert index(other) is made()
    del one
    assert index(other) is made()
    del other
    assert made() is None


def test_an_index_of_a_body_ends_with_the_body(no_collector: None) -> None:
    body = SetBody((SetElem(b"key"),))
    index = set_index(body)
    assert set_index(body) is index
    held = sys.getrefcount(index)
    del body
    assert sys.getrefcount(index) == held - 1


def test_what_is_no_section_has_no_index() -> None:
    with pytest.raises(TypeError):
        ports_of({})


def test_the_index_of_a_cluster_holds_no_state(no_collector: None) -> None:
    state = textbook(2, 1)[0].cluster()
    assert [node.node for node in candidates(state.nodes, "pod-2-1")] == ["node-2"]
    index = cluster_index(state.nodes)
    nodes = [ref(node) for node in state.nodes.values()]
    del state
    assert [node() for node in nodes] == [None, None]
    assert {name: seen() for name, seen in index.seen.items()} == {"node-1": None, "node-2": None}


def successive(start: ClusterState) -> Iterator[ClusterState]:
    """Change connections, routes, neighbours, sockets and MACs of a cluster's node, again and again."""
    node = start.nodes["node-1"]
    key = next(ns.key for ns in node.netns.values() if ns.netns.root)
    for number in range(1, STATES + 1):
        mac = number.to_bytes(6, "big")
        fdb, old_fdb = (
            Fdb(2, mac, state=NUD_REACHABLE, master=3),
            Fdb(2, (number - 1).to_bytes(6, "big"), master=3),
        )
        delta = NetnsDelta(
            key,
            conntrack=Change((entry(number),), (entry(number - 20).key,) if number > 20 else ()),
            routes=Change((route(number),), (route(number - 1).key,)),
            neighs=Change(
                (Neigh(2, number.to_bytes(4, "big"), mac, NUD_REACHABLE),),
                (Neigh(2, (number - 1).to_bytes(4, "big"), b"", 0).key,),
            ),
            sockets=Change((Socket(6, bytes(4), number % 60000, cookie=1),), ()),
            fdb=Change((fdb,), (old_fdb.key,)),
        )
        node = apply(node, NodeDelta((delta,)))
        start = msgspec.structs.replace(start, nodes={**start.nodes, "node-1": node})
        yield start


def indexed(ns: NetnsState) -> list[tuple[Index[Any, Any], Any]]:
    return [
        *((index, ns.conntrack) for index in (others, portless)),
        *((index, ns.routes) for index in (route_index, custom_local_routes)),
        *((index, ns.sockets) for index in (listeners, connected)),
        *((index, ns.fdb) for index in (bridge_fdb, vxlan_fdb)),
    ]


def test_memory_is_flat_over_successive_states() -> None:
    """All that is looked up in each, and a trace through each fifth, leave nothing after ten thousand."""
    net, made = textbook(1, 2)
    chain(made["node-1"], "forward", (*ct_state(8), verdict(1)), hook=FORWARD)
    seen, settled = [], 0
    for number, state in enumerate(successive(net.cluster()), 1):
        seen.append(ref(state.nodes["node-1"]))
        root = state.nodes["node-1"].root
        assert root is not None
        for index, section in indexed(root):
            index(section)
        assert list(candidates(state.nodes, "pod-1-1")) == [state.nodes["node-1"]]
        if number % 5 == 0:
            flow = resolve_flow(state, "node-1", "pod-1-1", "icmp")
            assert simulate(state, flow).disposition is Disposition.DELIVERED
        if number == SETTLED:
            gc.collect()
            settled = sys.getallocatedblocks()
    gc.collect()
    assert [node() for node in seen if node() is not None] == [state.nodes["node-1"]]
    assert sys.getallocatedblocks() - settled - (STATES - SETTLED) < 100  # without the references
