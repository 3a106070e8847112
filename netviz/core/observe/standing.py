"""Whether a connection would be treated otherwise if it began now.

A connection keeps what was decided when it began: the entry of connection tracking holds its translation, and rules
accept what is established. So its own packet is traced, and the first packet of a new one beside it; where the ends differ,
a rule, a route, an endpoint or a listener has changed since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from netviz.core.model.addr import format_endpoint, format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.connections import Connection, flow_of, owner_of
from netviz.core.sim.context import with_context
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.listeners import connected
from netviz.core.sim.packet import Packet
from netviz.core.sim.trace import Branch, Disposition, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState

Result = Literal["same", "otherwise", "unknown"]


class Standing(msgspec.Struct, frozen=True):
    """How a connection stands: `why` in a sentence where it isn't the same."""

    result: Result
    why: str = ""


class _End(NamedTuple):
    """Where and how a course ends, but for the source port."""

    disposition: Disposition
    reason: str
    netns: NetnsKey | None
    src: bytes
    target: tuple[bytes, int]
    reply: tuple[Disposition, str] | None


def standing(cluster: ClusterState, one: Connection, port: int) -> Standing:
    """Compare a connection with a new one from source port `port`, which no known connection has."""
    flow = flow_of(cluster, one)
    if flow is None:
        return Standing("unknown", f"who has {format_ip(one.orig.src)} isn't known")
    if one.is_closing:
        return Standing("unknown", "it is closing or closed")
    kept = simulate(cluster, flow)
    new = simulate(cluster, msgspec.structs.replace(flow, sport=port, own_sport=False))
    kept_ends, new_ends = _ends(cluster, kept), _ends(cluster, new)
    for trace, ends in ((kept, kept_ends), (new, new_ends)):
        if any(end.disposition is Disposition.UNKNOWN for end in ends):
            return Standing("unknown", _headline(cluster, trace))
    if set(kept_ends) <= set(new_ends):
        return Standing("same")
    return Standing("otherwise", _why(cluster, one, (kept, kept_ends), (new, new_ends)))


def _ends(cluster: ClusterState, trace: Trace) -> Mapping[_End, None]:
    return dict.fromkeys(_end(cluster, branch) for branch in trace.branches)


def _end(cluster: ClusterState, branch: Branch) -> _End:
    path, reply = branch.forward, branch.reply
    if not path.hops:
        return _End(path.disposition, path.reason, None, b"", (b"", 0), None)
    netns, packet = path.hops[-1].netns, path.hops[-1].steps[-1].packet
    back = (reply.disposition, reply.reason) if reply is not None else None
    disposition, reason = path.disposition, path.reason
    if disposition is Disposition.NO_LISTENER and _has_socket(cluster, netns, packet):
        disposition, reason = Disposition.DELIVERED, ""  # nothing listens any more, but this one was accepted
    return _End(disposition, reason, netns, packet.src, (packet.dst, packet.dport), back)


def _has_socket(cluster: ClusterState, netns: NetnsKey, packet: Packet) -> bool:
    node = cluster.nodes.get(netns.node)
    ns = node.netns.get(netns) if node is not None else None
    return ns is not None and packet.tuple() in connected(ns.sockets)


def _why(
    cluster: ClusterState,
    one: Connection,
    kept: tuple[Trace, Mapping[_End, None]],
    new: tuple[Trace, Mapping[_End, None]],
) -> str:
    (kept_trace, kept_ends), (new_trace, new_ends) = kept, new
    goes = list(dict.fromkeys(format_endpoint(*end.target) for end in new_ends))
    passes, would_pass = _pass(kept_ends), _pass(new_ends)
    if one.is_redirected and one.target not in {end.target for end in new_ends}:
        said = f"its entry translates {format_endpoint(one.orig.dst, one.orig.dport)} to {format_endpoint(*one.target)}"
        if owner_of(cluster, one.target[0]) is None and not passes:
            said += ", an address that no known namespace has"
        rest = (
            f"would go to {' or '.join(goes[:3])}"
            if would_pass
            else f"would fail: {_headline(cluster, new_trace)}"
        )
        return f"{said}; a new connection {rest}"
    if passes and not would_pass:
        return f"it passes as it began; a new connection would fail: {_headline(cluster, new_trace)}"
    if would_pass and not passes:
        return f"it fails: {_headline(cluster, kept_trace)}; a new connection would pass"
    if one.is_masked and {end.src for end in kept_ends} != {end.src for end in new_ends}:
        sources = " or ".join(sorted({format_ip(end.src) for end in new_ends})[:3])
        return f"it comes from {format_ip(one.reply.dst)}; a new connection would come from {sources}"
    return f"it: {_headline(cluster, kept_trace)}; a new connection: {_headline(cluster, new_trace)}"


def _headline(cluster: ClusterState, trace: Trace) -> str:
    return headline_of(with_context(cluster, trace))


def _pass(ends: Mapping[_End, None]) -> bool:
    """Tell whether all courses arrive, and are answered where answers are known."""
    return all(
        end.disposition in (Disposition.DELIVERED, Disposition.LEFT_NETWORK)
        and (end.reply is None or end.reply[0] is not Disposition.DROPPED)
        for end in ends
    )
