"""The contract of a pod network, as flows: what is asked of each, and what a trace says of it.

Every pod reaches every pod, at an address and by a port on which something listens, and by ICMP, without its addresses
rewritten; a pod reaches its node, and the node its pods; what goes to the internet leaves with the node's address where
the cluster masquerades. What a network policy denies is counted, and is no problem.

This is one module of what is demanded; others (services, policies) give flows and judge traces in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from netviz.core.check.paths.names import own_addrs
from netviz.core.check.problem import Judgement
from netviz.core.model.addr import format_ip, pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Pod
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.kubernetes.policy import denied_by_policy
from netviz.core.sim.listeners import plain
from netviz.core.sim.outcome import BREAKS, BROKEN, GOOD, UNSURE, Outcome, failing_path, last_step, outcome_of
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.trace import Disposition, Flow, Trace
from netviz.core.sim.walk import TOO_LONG
from netviz.core.state.node import ClusterState, NetnsState

# Addresses that stand for the internet: of no network in use (RFC 5737, RFC 3849), so no rule is about them alone.
INTERNET = (pack_ip("203.0.113.1"), pack_ip("2001:db8::203:1"))
DENIED: Judgement = "denied"
UNDECIDED: Judgement = "undecided"
WORST: tuple[Judgement, ...] = (BROKEN, BREAKS, UNSURE, UNDECIDED, DENIED, GOOD)


class Demand(msgspec.Struct, frozen=True):
    """One flow that is asked for: from a namespace to an address of `target` (None: the internet), by protocol and port."""

    source: NetnsState
    target: NetnsState | None
    addr: bytes
    proto: Literal["icmp", "tcp", "udp"]
    port: int | None = None

    @property
    def key(self) -> tuple[NetnsKey, bytes, str, int | None]:
        """What tells it apart in one state."""
        return self.source.key, self.addr, self.proto, self.port

    def flow(self, cluster: ClusterState) -> Flow | None:
        """Make the flow as a user's trace would; None where the source has no address of the family."""
        try:
            return resolve_flow(
                cluster, str(self.source.key), format_ip(self.addr), self.proto, dport=self.port
            )
        except EndpointError:
            return None


def families(ns: NetnsState) -> dict[int, bytes]:
    """Return the first address of each family by which others know a namespace: length -> address."""
    found: dict[int, bytes] = {}
    for addr in own_addrs(ns):
        found.setdefault(len(addr), addr)
    return found


def between(source: NetnsState, target: NetnsState, ports: bool = True) -> list[Demand]:
    """List what is asked from one namespace to another."""
    ours, found = families(source), []
    for width, addr in families(target).items():
        if width not in ours:
            continue
        found.append(Demand(source, target, addr, "icmp"))
        for name, proto in (("tcp", IPPROTO_TCP), ("udp", IPPROTO_UDP)) if ports else ():
            port = lowest_port(target, proto, addr)
            if port is not None:
                found.append(Demand(source, target, addr, name, port))  # type: ignore[arg-type]
    return found


def to_internet(source: NetnsState) -> list[Demand]:
    """List what is asked from a pod to the internet."""
    ours = families(source)
    return [Demand(source, None, addr, "icmp") for addr in INTERNET if len(addr) in ours]


def leads_on(root: NetnsState, addr: bytes) -> bool:
    """Tell whether a node itself has a route to an address: where it has none, its pods are asked for nothing there."""
    return not lookup_route(root, RouteFlow(addr)).error


def lowest_port(ns: NetnsState, proto: int, addr: bytes) -> int | None:
    """Return the lowest port on which a namespace listens at an address; None where it listens on none."""
    ports = [
        s.sport
        for s in ns.sockets.values()
        if s.proto == proto
        and s.takes_new
        and not s.ifindex
        and not s.dport
        and _takes(plain(s.src), s.v6only, addr)
    ]
    return min(ports, default=None)


def _takes(bound: bytes, v6only: bool, addr: bytes) -> bool:
    if any(bound):
        return bound == addr
    return len(bound) == len(addr) or (len(bound) == 16 and not v6only)


def judge(demand: Demand, trace: Trace) -> Judgement:
    """Say what a trace of an asked flow comes to."""
    found: Outcome = outcome_of(trace)
    if found == UNSURE and trace.branches[-1].forward.reason == TOO_LONG:
        return UNDECIDED
    if found == BROKEN and is_denied(trace):
        return DENIED
    if found in (GOOD, BREAKS) and demand.target is not None and not arrives_at(trace, demand.target):
        return BROKEN
    return found


def arrives_at(trace: Trace, target: NetnsState) -> bool:
    """Tell whether all courses end in the namespace that is meant, and not in another with its address."""
    return all(
        branch.forward.hops and branch.forward.hops[-1].netns == target.key
        for branch in trace.branches
        if branch.forward.disposition is Disposition.DELIVERED
    )


def is_denied(trace: Trace) -> bool:
    """Tell whether every failing course ends in a policy agent's chain, which saw the packet as it was sent."""
    paths = [path for branch in trace.branches if (path := failing_path(trace, branch)) is not None]
    ends = [last_step(path) for path in paths]
    own = (trace.flow.src, trace.flow.dst)
    return bool(ends) and all(
        end is not None and denied_by_policy(end) and end.packet.src in own for end in ends
    )


def leaves_as(trace: Trace) -> bytes | None:
    """Return the source with which a packet leaves the known network; None where it doesn't."""
    found = {
        end.packet.src
        for branch in trace.branches
        if branch.forward.disposition is Disposition.LEFT_NETWORK
        and (end := last_step(branch.forward)) is not None
    }
    return next(iter(found)) if len(found) == 1 else None


def worst(verdicts: Iterable[Judgement]) -> Judgement:
    """Return the worst of some verdicts; `good` of none."""
    found = set(verdicts)
    return next((one for one in WORST if one in found), GOOD)


def pod_name(pod: Pod | None) -> str:
    """Name a pod as NAMESPACE/NAME."""
    return f"{pod.namespace}/{pod.name}" if pod is not None else ""
