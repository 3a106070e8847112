"""Bad state never raises: whatever records are missing or changed, there is a trace, and it is the same each time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.link import Link
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import Disposition, Flow
from netviz.core.sim.walk import simulate
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState
from tests.core.sim.build import Net, textbook
from tests.core.sim.nft import FORWARD, JUMP, POSTROUTING, chain, ct_state, dport, e, saddr, verdict


def ruled() -> Net:
    """Build the textbook cluster with rules, translation and IPv6 on its nodes."""
    net, made = textbook()
    for n in (1, 2):
        node, m = made[f"node-{n}"], 3 - n
        chain(node, "inner", (*saddr("10.1.1.11"), verdict(1)), (*dport(53), verdict(0)))
        chain(node, "forward", (*ct_state(2), verdict(1)), (verdict(JUMP, "inner"),), hook=FORWARD)
        chain(node, "post", (*saddr("10.1.1.12"), e("masq")), hook=POSTROUTING, priority=100, type="nat")
        node.addr("ens3", f"fd00:ff::{n}/64")
        node.addr("cni0", f"fd00:{n}::1/64")
        node.route(f"fd00:{m}::/64", f"fd00:ff::{m}", dev="ens3")
        for p in (1, 2):
            made[f"pod-{n}-{p}"].addr("eth0", f"fd00:{n}::1{p}/64")
            made[f"pod-{n}-{p}"].route("::/0", f"fd00:{n}::1", dev="eth0")
    return net


WHOLE = ruled().cluster()
FLOWS = [
    resolve_flow(WHOLE, src, dst, proto, dport=port)
    for src, dst in (
        ("pod-1-1", "pod-1-2"),
        ("pod-1-2", "pod-2-1"),
        ("node-1", "pod-2-2"),
        ("pod-2-1", "198.51.100.1"),
    )
    for proto, port in (("tcp", 80), ("udp", 53), ("icmp", None))
] + [resolve_flow(WHOLE, "fd00:1::11", "fd00:2::11", "tcp", dport=80)]

LINK_DAMAGE: list[dict[str, Any]] = [
    {"master": 77},
    {"master": 0},
    {"link": 77},
    {"link_nsid": 77},
    {"link_nsid": None},
    {"kind": "mystery"},
    {"kind": "macvlan"},
    {"kind": "vxlan"},
    {"flags": 0},
    {"ipv4": None, "ipv6": None},
    {"mac": b""},
    {"mtu": 0},
    {"port": None},
    {"arptype": 0xFFFE},
]


@st.composite
def damaged(draw: st.DrawFn) -> ClusterState:
    """Drop random records, sections and namespaces of a good state, and change random links."""
    nodes = {}
    for name, node in WHOLE.nodes.items():
        netns = {}
        for key, ns in node.netns.items():
            if draw(st.integers(0, 15)) == 0:
                continue
            netns[key] = draw(damaged_netns(ns))
        nodes[name] = msgspec.structs.replace(node, netns=netns)
    if draw(st.integers(0, 15)) == 0:
        nodes.pop(draw(st.sampled_from(sorted(nodes))))
    bodies = {d: b for d, b in WHOLE.bodies.items() if draw(st.integers(0, 15))}
    return ClusterState(nodes, bodies)


@st.composite
def damaged_netns(draw: st.DrawFn, ns: NetnsState) -> NetnsState:
    changes: dict[str, Any] = {}
    for section in draw(st.sets(st.sampled_from(SECTIONS), max_size=4)):
        records = dict(getattr(ns, section))
        if not records:
            continue
        keys = sorted(records, key=repr)
        for key in draw(st.sets(st.sampled_from(keys), max_size=len(keys))):
            if isinstance(records[key], Link) and draw(st.booleans()):
                records[key] = msgspec.structs.replace(records[key], **draw(st.sampled_from(LINK_DAMAGE)))
            else:
                del records[key]
        changes[section] = records
    return msgspec.structs.replace(ns, **changes)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(cluster=damaged(), flow=st.sampled_from(FLOWS))
def test_no_damage_raises_and_every_trace_is_repeated_exactly(cluster: ClusterState, flow: Flow) -> None:
    trace = simulate_in_context(cluster, flow)
    assert isinstance(trace.disposition, Disposition)
    shown = msgspec.json.encode(trace_json(trace))
    assert msgspec.json.encode(trace_json(simulate_in_context(cluster, flow))) == shown
    assert render_text(trace, detailed=True)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    cluster=damaged(),
    ends=st.sampled_from([("pod-1-1", "pod-2-1"), ("node-1", "pod-1-1"), ("10.1.1.11", "8.8.8.8")]),
)
def test_endpoints_of_damaged_states_are_found_or_refused_in_one_sentence(
    cluster: ClusterState, ends: tuple[str, str]
) -> None:
    try:
        said = simulate(cluster, resolve_flow(cluster, *ends, "tcp", dport=80)).disposition.value
    except EndpointError as err:
        said = str(err)
    assert said
    assert "\n" not in said


def test_an_empty_cluster_is_unknown() -> None:
    flow = FLOWS[0]
    assert simulate_in_context(ClusterState(), flow).disposition is Disposition.UNKNOWN


@pytest.mark.parametrize("damage", LINK_DAMAGE, ids=lambda d: next(iter(d)))
@pytest.mark.parametrize("device", ["veth-pod-1-1", "cni0", "ens3"])
def test_each_damage_to_each_link_of_the_path(damage: dict[str, Any], device: str) -> None:
    net, made = textbook()
    made["node-1"].change(device, **damage)
    trace = net.trace("pod-1-1", "pod-2-1", "tcp", 80)
    assert trace.branches[0].forward.hops
    assert trace.flow.dst == pack_ip("10.1.2.11")
