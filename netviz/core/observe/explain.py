"""Why the kernel dropped a packet, by the state: its flow is traced, and the trace ends there for the same reason, or not."""

from __future__ import annotations

from typing import Any

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.observe.connections import owner_of
from netviz.core.observe.drops import Drop
from netviz.core.observe.evidence import place_name
from netviz.core.observe.headers import Headers
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import DEFAULT_LENGTHS, DEFAULT_SPORT
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.outcome import last_step
from netviz.core.sim.packet import ICMP_ECHO, ICMPV6_ECHO_REQUEST, IPPROTO_ICMP, IPPROTO_ICMPV6
from netviz.core.sim.render import proto_name
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Disposition, Flow, Path, Step, Trace
from netviz.core.sim.words.step import checks, why
from netviz.core.state.node import ClusterState

_ECHOES = {IPPROTO_ICMP: ICMP_ECHO, IPPROTO_ICMPV6: ICMPV6_ECHO_REQUEST}


class Explanation(msgspec.Struct, frozen=True):
    """`is_explained`: by the state such a packet is dropped there for that reason, and `text` says why; else it says what is known.

    `check` are commands that show it; `request` traces the flow, None where its sender isn't known.
    """

    is_explained: bool
    text: str
    check: tuple[dict[str, Any], ...] = ()
    request: dict[str, object] | None = None


def explain(cluster: ClusterState, drop: Drop) -> Explanation:
    """Trace a dropped packet's flow: as the packet itself, and as an answer."""
    headers = drop.headers
    if drop.never:
        return Explanation(
            False,
            "no device was seen to carry it, as when a packet is dropped where it is sent: its flow isn't known",
        )
    if headers is None:
        return Explanation(False, "which packet it was isn't known")
    other = None
    for forward in (False, True) if headers.answers else (True, False):
        flow = _flow(cluster, headers, forward)
        if flow is None:
            continue
        trace = simulate_in_context(cluster, flow)
        for branch in trace.branches:
            path = branch.forward if forward else branch.reply
            step = last_step(path) if path is not None else None
            if path is not None and step is not None and _is_it(path, step, drop):
                return Explanation(True, why(step), tuple(checks(step, path.hops[-1])), _request(trace))
        other = other or trace
    if other is None:
        return Explanation(False, "who sent it isn't known")
    return Explanation(
        False, f"the state doesn't say why; traced by it now: {headline_of(other)}", request=_request(other)
    )


def _is_it(path: Path, step: Step, drop: Drop) -> bool:
    if place_name(path.hops[-1].netns) != drop.place:
        return False
    if path.disposition is Disposition.REJECTED and isinstance(step.what, HookVerdict):
        return drop.reason == "NETFILTER_DROP"
    return drop.reason in (step.reason, path.reason)


def _flow(cluster: ClusterState, headers: Headers, forward: bool) -> Flow | None:
    """Make the flow that a packet is of; not `forward`: of which it is an answer. None where its sender isn't known."""
    src, dst, sport, dport = headers.src, headers.dst, headers.sport, headers.dport
    proto = proto_name(headers.proto)
    if proto == "icmp":
        if (headers.dport >> 8 == _ECHOES[headers.proto]) != forward:
            return None
    elif not forward:
        sport, dport = dport, sport
    if not forward:
        src, dst = dst, src
    sender = owner_of(cluster, src)
    length = DEFAULT_LENGTHS.get((proto, 6 if len(src) == 16 else 4))
    if sender is None or length is None:
        return None
    to_port = None if proto == "icmp" else dport
    known = sport > 0
    return Flow(
        sender.key,
        src,
        dst,
        headers.proto,
        sport if known else DEFAULT_SPORT,
        to_port,
        length,
        own_sport=known,
    )


def _request(trace: Trace) -> dict[str, object]:
    flow = trace.flow
    request: dict[str, object] = {
        "from": trace.origin.pod or format_ip(flow.src),
        "to": format_ip(flow.dst),
        "proto": proto_name(flow.proto),
    }
    if flow.own_sport:
        request["sport"] = flow.sport
    return request if flow.dport is None else request | {"dport": flow.dport}
