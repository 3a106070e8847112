"""What belongs to a cluster and to no node keeps the same laws as what belongs to a node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.base import Record
from netviz.core.model.kubernetes import (
    Cidr,
    Condition,
    Endpoint,
    EndpointSlice,
    KubeNamespace,
    KubeNode,
    KubePod,
    KubeService,
    NetworkPolicy,
    PolicyPeer,
    PolicyRule,
    Requirement,
    Selector,
    ServicePort,
)
from netviz.core.state.delta import Change, NodeDelta, ObjectsDelta, apply, diff
from netviz.core.state.door import MAX_NAMED, MAX_REFUSED, fold, read_delta, settle, sift
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import NO_OBJECTS, Objects, cluster_of, cluster_source
from netviz.core.wire.split import split_delta
from tests.core.strategies import CLUSTER, NODE, cluster_sources, object_types, struct

EMPTY = NodeState(CLUSTER)
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(NodeDelta).decode
V4 = pack_ip("10.0.0.1")


def put(section: str, *records: Record) -> NodeDelta:
    return NodeDelta(objects=ObjectsDelta(**{section: Change(records)}))


def read(delta: NodeDelta, state: NodeState = EMPTY) -> NodeState:
    """Take a delta through the door and into a state."""
    return fold(state, read_delta(encode(delta)))


@given(cluster_sources(), cluster_sources())
def test_a_difference_leads_from_one_state_to_the_other(a: NodeState, b: NodeState) -> None:
    assert apply(a, diff(a, b)) == b
    assert apply(a, decode(encode(diff(a, b)))) == b
    assert diff(a, a).empty


@given(cluster_sources(), cluster_sources(), st.sampled_from([1, 200, 1 << 20]))
def test_pieces_make_the_whole_and_say_last_how_it_is(a: NodeState, b: NodeState, size: int) -> None:
    delta, state = diff(a, b), a
    pieces = list(split_delta(delta, size))
    for piece in pieces:
        assert not piece.status or piece is pieces[-1]
        state = apply(state, piece)
    assert state == b


@settings(max_examples=15)
@given(st.data())
def test_every_record_is_kept_by_its_key_and_goes_by_it(data: st.DataObject) -> None:
    for section, kind in object_types().items():
        record = data.draw(struct(kind))
        held = apply(EMPTY, put(section, record))
        assert getattr(held.objects, section) == {record.key: record}
        gone = NodeDelta(objects=ObjectsDelta(**{section: Change((), (record.key,))}))
        assert apply(held, decode(encode(gone))).objects == NO_OBJECTS


def test_what_does_not_change_is_shared() -> None:
    held = apply(EMPTY, put("kube_nodes", KubeNode("n1")))
    more = apply(held, put("services", KubeService("shop", "web")))
    assert more.objects.kube_nodes is held.objects.kube_nodes
    assert apply(more, put("services", KubeService("shop", "web"))).objects is more.objects
    with pytest.raises(TypeError):
        more.objects.services["x"] = None  # type: ignore[index]


WRONG: list[tuple[str, Record]] = [
    ("kube_nodes", KubeNode("n1", addresses=(b"\x0a\0\0",))),
    ("kube_nodes", KubeNode("n1", pod_cidrs=(Cidr(V4, 33),))),
    ("kube_nodes", KubeNode("n1", conditions=(Condition("Ready", "Maybe"),))),
    ("kube_namespaces", KubeNamespace("x" * 254)),
    ("kube_pods", KubePod("shop", "web-1", ips=(b"",))),
    ("services", KubeService("shop", "web", type="Cloud")),
    ("services", KubeService("shop", "web", ports=(ServicePort(70_000),))),
    ("services", KubeService("shop", "web", ports=(ServicePort(80, "ICMP"),))),
    ("endpoint_slices", EndpointSlice("shop", "web-1", endpoints=(Endpoint((V4, bytes(5))),))),
    ("network_policies", NetworkPolicy("shop", "p", Selector((), (Requirement("a", "Near"),)))),  # type: ignore[arg-type]
    (
        "network_policies",
        NetworkPolicy("shop", "p", ingress=(PolicyRule((PolicyPeer(block=Cidr(V4, 40)),)),)),
    ),
]


@pytest.mark.parametrize(("section", "record"), WRONG)
def test_a_record_that_breaks_a_bound_is_left_out_and_named(section: str, record: Record) -> None:
    state = read(put(section, record))
    assert state.objects != NO_OBJECTS
    assert getattr(state.objects, section) == {}
    (one,) = state.objects.refused.values()
    assert one.section == section
    assert state.gaps[section] == one.words
    assert not msgspec.structs.replace(state, status={section: SectionStatus()}).complete


def test_what_cannot_be_read_takes_nothing_else_with_it_and_ends_when_it_is_told_right() -> None:
    """One record of many has a number for a name, another section is no list of records at all."""
    web, api = KubeService("shop", "web"), KubeService("shop", "api")
    told: Any = {
        "objects": {
            "services": [[msgspec.to_builtins(web), {"namespace": "shop", "name": 7}, {"namespace": 1}], []],
            "kube_pods": 5,
            "kube_nodes": [[{"name": "n1"}], []],
        }
    }
    held = apply(EMPTY, put("services", api))
    state = fold(held, read_delta(encode(told)))
    assert state.objects.services == {web.key: web, api.key: api}
    assert state.objects.kube_nodes == {"n1": KubeNode("n1")}
    assert {(one.section, one.record) for one in state.objects.refused.values()} == {
        ("services", "shop,7"),
        ("services", ""),
        ("kube_pods", ""),
    }
    mended = read(put("services", KubeService("shop", "7")), state)
    assert ("services", "shop,7") not in mended.objects.refused


def test_refusals_are_bounded() -> None:
    bad = [KubePod("shop", f"web-{number}", ips=(b"",)) for number in range(MAX_NAMED + 10)]
    state = read(put("kube_pods", *bad))
    assert len(state.objects.refused) == MAX_NAMED + 1
    for turn in range(20):
        again = [KubePod(f"shop{turn}", f"web-{number}", ips=(b"",)) for number in range(MAX_NAMED)]
        delta = sift(put("kube_pods", *again))
        state = apply(state, settle(state, delta))
    assert len(state.objects.refused) <= MAX_REFUSED + 1


def test_a_clusters_source_is_told_from_a_node_by_its_name() -> None:
    assert cluster_of(cluster_source("prod/eu")) == "prod/eu"
    assert cluster_of("node-1") is None
    assert cluster_of(NODE) is None
    assert Objects() == NO_OBJECTS
