"""Ask the simulator about a probe."""

from __future__ import annotations

import msgspec

from lab.randomnet.model import Probe
from netviz.core.model.addr import pack_ip
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Flow, Trace
from netviz.core.state.node import ClusterState


def flow_of(state: ClusterState, probe: Probe) -> Flow:
    """Describe a probe as netviz's user would. Raises: EndpointError."""
    icmp = probe.proto == "icmp"
    flow = resolve_flow(
        state,
        probe.src,
        probe.dst,
        probe.proto,
        probe.sport,
        None if icmp else probe.dport,
        probe.size or None,
        probe.df,
    )
    if probe.bind:
        flow = msgspec.structs.replace(flow, src=pack_ip(probe.bind), bound=True)
    links = state.nodes[flow.src_netns.node].netns[flow.src_netns].links.values()
    oif = next((link.ifindex for link in links if link.ifname == probe.dev), 0)
    return msgspec.structs.replace(flow, ttl=probe.ttl, tos=probe.tos, mark=probe.mark, oif=oif)


def predict(state: ClusterState, probe: Probe) -> Trace:
    """Simulate a probe. Raises: EndpointError."""
    return simulate_in_context(state, flow_of(state, probe))
