"""A namespace's connections as JSON: each with the request that traces it, and whether a new one would fare otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from netviz.core.model.addr import format_endpoint, format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.connections import (
    Connection,
    connections_of,
    free_port,
    owner_of,
    request_of,
    untold,
)
from netviz.core.observe.standing import Standing, standing
from netviz.core.sim.render import proto_name
from netviz.core.sim.services import service_at
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import ClusterState
from netviz.tracing.states import View

MOST_ROWS = 500
# Connections that differ in their source port alone are judged once; of so many sorts, within so long.
MOST_SORTS = 200
LONGEST_S = 3.0
NOT_JUDGED = "there are too many sorts of connections to hold each against a new one"


def connections_json(view: View, key: NetnsKey) -> dict[str, Any] | None:
    """Describe the connections of a namespace, those first that a new one would differ from, what is closing last; None of no such namespace."""
    cluster = view.cluster
    node = cluster.nodes.get(key.node)
    ns = node.netns.get(key) if node is not None else None
    if ns is None:
        return None
    found = connections_of(cluster, ns)
    judge = _judge(cluster, found)
    rows = [(one, judge(one)) for one in found]
    rows.sort(key=lambda row: (row[1].result != "otherwise", row[0].is_closing))
    shown = view.inputs.get(key.node)
    return {
        "connections": [_row(cluster, one, stands) for one, stands in rows[:MOST_ROWS]],
        "left_off": max(0, len(rows) - MOST_ROWS),
        "otherwise": sum(stands.result == "otherwise" for _, stands in rows),
        "missing": untold(cluster, ns),
        "age_s": round(max(0.0, time.time() - shown.at_s), 1) if shown is not None else None,
    }


def _judge(cluster: ClusterState, found: list[Connection]) -> Callable[[Connection], Standing]:
    known: dict[tuple[object, ...], Standing] = {}
    port, limit = free_port(found), time.monotonic() + LONGEST_S

    def judge(one: Connection) -> Standing:
        if one.sort not in known:
            if len(known) >= MOST_SORTS or time.monotonic() > limit:
                return Standing("unknown", NOT_JUDGED)
            known[one.sort] = standing(cluster, one, port)
        return known[one.sort]

    return judge


def _row(cluster: ClusterState, one: Connection, stands: Standing) -> dict[str, Any]:
    icmp = proto_name(one.orig.proto) == "icmp"
    entry = one.entry
    return {
        "proto": proto_name(one.orig.proto),
        "side": one.side,
        "state": one.state,
        "from": _end(cluster, one.orig.src, None if icmp else one.orig.sport),
        "to": _end(cluster, one.orig.dst, None if icmp else one.orig.dport)
        | {"service": _service(cluster, one)},
        "answered_by": _end(cluster, *one.target) if one.is_redirected else None,
        "seen_as": format_ip(one.reply.dst) if one.is_masked else None,
        "socket": one.has_socket,
        "entry": None
        if entry is None or one.at is None
        else {"node": one.at.node, "netns": str(one.at), "mark": entry.mark, "zone": entry.zone},
        "trace": request_of(cluster, one),
        "now": stands.result,
        "why": stands.why or None,
    }


def _end(cluster: ClusterState, addr: bytes, port: int | None) -> dict[str, Any]:
    holder = owner_of(cluster, addr)
    name = None
    if holder is not None:
        name = pod_name(holder.netns) or (holder.key.node if holder.netns.root else holder.netns.name) or None
    text = format_ip(addr) if port is None else format_endpoint(addr, port)
    return {"addr": text, "name": name}


def _service(cluster: ClusterState, one: Connection) -> str | None:
    found = service_at(cluster, one.orig.dst, one.orig.proto, one.orig.dport)
    return f"{found.namespace}/{found.name}" if found is not None else None
