"""kube-proxy's nftables mode as Kubernetes 1.31 wrote it: a chain for each endpoint, a chain that marks.

    web-1, api-1 - cni0 (node1) eth0 ---- underlay ---- eth0 (node2) cni0 - web-2, api-2

The states are two nodes' with that table on node1, held to real packets when they were taken.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition
from netviz.core.sim.words.step import why
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz

DATA = Path(__file__).resolve().parents[3] / "data/states/kube-proxy-1.31"
NODE1 = "172.30.0.11"
THERE = "endpoint 10.244.2.2:8080 (pod default/web-2 on node2)"
HERE = "endpoint 10.244.1.2:8080 (pod default/web-1 on node1)"
NEAR = "endpoint 10.244.1.3:8080 (pod default/api-1 on node1)"
SAID = [
    ("web-1", "10.96.0.1", "tcp", 80, f"service default/one, port http, {THERE}."),
    ("node1", "10.96.0.1", "tcp", 80, f"service default/one, port http, {THERE}, to be masqueraded."),
    ("node1", "10.96.0.1", "tcp", 80, "kube-proxy's masquerading of service traffic."),
    ("web-1", "10.96.0.5", "tcp", 80, f"service default/self, port http, {HERE}, to be masqueraded."),
    ("web-1", "10.96.0.3", "tcp", 80, "service default/none, port http, which has no endpoints."),
    ("web-1", "10.96.0.6", "udp", 53, f"service default/dns, port dns, {THERE}."),
    (
        "node2",
        NODE1,
        "tcp",
        30080,
        f"service default/one, port http, reached by its node port, {THERE}, to be masqueraded.",
    ),
    ("node2", NODE1, "tcp", 30083, f"service default/near, port http, reached by its node port, {NEAR}."),
    (
        "node2",
        "198.18.7.1",
        "tcp",
        80,
        "service default/two, port http, reached by an external address, endpoint",
    ),
    (
        "node1",
        "198.18.7.2",
        "tcp",
        80,
        "service default/guarded, port http, whose load balancer doesn't take this source.",
    ),
]


@pytest.fixture(scope="module")
def state() -> ClusterState:
    """Both nodes."""
    return join_captures([load_nvz((DATA / f"{name}.nvz").read_bytes()) for name in ("node1", "node2")])


@pytest.mark.parametrize(("src", "dst", "proto", "port", "words"), SAID)
def test_what_a_trace_says(
    state: ClusterState, src: str, dst: str, proto: str, port: int, words: str
) -> None:
    trace = simulate_in_context(state, resolve_flow(state, src, dst, proto, None, port))
    steps = [step for branch in trace.branches for hop in branch.forward.hops for step in hop.steps]
    assert any(f"That is {words}" in why(step) for step in steps)


def test_both_endpoints_are_branches(state: ClusterState) -> None:
    trace = simulate_in_context(state, resolve_flow(state, "web-1", "10.96.0.2", "tcp", None, 80))
    assert trace.disposition is Disposition.DELIVERED
    pods = {branch.forward.hops[-1].place.pod: branch.probability for branch in trace.branches}
    assert pods == {"default/web-1": pytest.approx(0.5), "default/api-2": pytest.approx(0.5)}
