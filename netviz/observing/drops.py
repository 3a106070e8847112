"""Drop watch: all drops of a node's kernel for some seconds, grouped, each group explained by tracing its flow."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from django.db.models.functions import Now

from netviz.core.model.addr import format_ip
from netviz.core.model.check import decoder_words
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.connections import owner_of
from netviz.core.observe.drops import UNNAMED, Drop, Group
from netviz.core.observe.evidence import Source, node_of
from netviz.core.observe.explain import Explanation, explain
from netviz.core.observe.gather import GONE, SILENT
from netviz.core.observe.orders import Drops, Finish, Refused, WatchDrops, encode, read_report
from netviz.core.plain import counted
from netviz.core.sim.endpoints import EndpointError, find_source, usable_addrs
from netviz.core.sim.render import proto_name
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import ClusterState, NetnsState
from netviz.ingest.reports import mailbox, order
from netviz.observing.conversation import CannotObserve
from netviz.observing.notify import announce
from netviz.observing.queue import Status
from netviz.observing.running import Run, packed_fields
from netviz.tracing.predict import CannotTrace, iso
from netviz.tracing.request import BadRequest, Name
from netviz.tracing.states import View, live

MOST_S = 30
BEGIN_S = 5.0
FINISH_S = 5.0
EXPLAIN_S = 3.0  # so long groups are explained, the largest first
SHOW_S = 0.3
_TURN_S = 0.2


class DropRequest(msgspec.Struct, rename={"target": "of"}):
    """What to watch: `of` is a node or a pod, as a trace's `from`."""

    target: Name
    seconds: Annotated[int, msgspec.Meta(ge=1, le=MOST_S)] = 10


_decoder = msgspec.json.Decoder(DropRequest)


def parse_request(body: bytes) -> DropRequest:
    """Read a posted request. Raises: BadRequest."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequest(f"the request cannot be read: {decoder_words(err)}") from None


def watched(request: DropRequest, view: View) -> NetnsState:
    """Find the namespace that is meant. Raises: CannotTrace."""
    try:
        found = find_source(view.cluster, request.target).ns
    except EndpointError as err:
        raise CannotTrace(str(err)) from None
    assert found is not None
    return found


def begin(pk: int, request: DropRequest) -> None:
    """Watch on a thread of its own."""
    threading.Thread(target=DropRun(pk, request).run, name=f"observation-{pk}", daemon=True).start()


class DropRun(Run):
    """One drop watch's run."""

    def __init__(self, pk: int, request: DropRequest) -> None:
        super().__init__(pk)
        self._request = request

    def _observe(self) -> dict[str, Any]:
        view = live()
        ns = watched(self._request, view)
        node = ns.key.node
        self._write(nodes=[node])
        self._await_turn()
        self._write(status=Status.RUNNING, started_at=Now())
        announce(self._pk)
        known: dict[Drop, Explanation] = {}
        report = self._conversation(view, node, lambda said: self._show(ns, said, known))
        # What the state didn't say then, it may say now: a rule may have come while the watch went on.
        known = {drop: found for drop, found in known.items() if found.is_explained}
        result = drops_json(live().cluster, ns, report, known)
        is_partial = any(one.lost or one.missing for one in report.sources)
        return {
            "status": Status.PARTIAL if is_partial else Status.DONE,
            "finding": "drops" if result["total"] else "none",
            "headline": headline(result, self._request.seconds),
            **packed_fields(result),
        }

    def _show(self, ns: NetnsState, report: Drops, known: dict[Drop, Explanation]) -> None:
        result = drops_json(live().cluster, ns, report, known, SHOW_S)
        self._progress(status=Status.RUNNING, **packed_fields(result))

    def _conversation(self, view: View, node: str, show: Any) -> Drops:
        """Have the collector watch. Raises: CannotObserve; redis.RedisError."""
        ident, seconds = str(self._pk), self._request.seconds
        mailbox.open(ident)
        try:
            order(node, ident, encode(WatchDrops(seconds + 20.0, shared_names(view.cluster, node))))
            report = self._hear(ident, node, BEGIN_S)
            if report is None:
                raise CannotObserve(f"{node} can't watch: {SILENT}")
            limit = time.monotonic() + seconds
            while (left_s := limit - time.monotonic()) > 0:
                said = self._hear(ident, node, min(left_s, _TURN_S))
                if said is not None:
                    report = said
                    show(report)
            order(node, ident, encode(Finish()))
            limit = time.monotonic() + FINISH_S
            while not report.over and (left_s := limit - time.monotonic()) > 0:
                report = self._hear(ident, node, min(left_s, _TURN_S)) or report
            return report if report.over else without_end(report, node)
        except BaseException:
            order(node, ident, encode(Finish()))
            raise
        finally:
            mailbox.close(ident)

    def _hear(self, ident: str, node: str, timeout_s: float) -> Drops | None:
        said = mailbox.take(ident, timeout_s)
        if said is None:
            return None
        if said.body is None:
            raise CannotObserve(f"{node} doesn't watch any more: {GONE}")
        try:
            report = read_report(said.body)
        except ValueError:
            raise CannotObserve(f"{node}'s collector said what this server doesn't understand") from None
        if isinstance(report, Refused):
            raise CannotObserve(f"{node} can't watch: {report.why}")
        return report if isinstance(report, Drops) else None


def shared_names(cluster: ClusterState, node: str) -> frozenset[str]:
    """Names of devices that other nodes on the node's kernel have: emulated nodes share theirs."""
    return frozenset(
        link.ifname
        for name in sharing(cluster, node)
        for ns in cluster.nodes[name].netns.values()
        for link in ns.links.values()
    )


def sharing(cluster: ClusterState, node: str) -> list[str]:
    """The other nodes on a node's kernel."""
    state = cluster.nodes.get(node)
    if state is None or not state.boot_id:
        return []
    return sorted(
        name for name, one in cluster.nodes.items() if name != node and one.boot_id == state.boot_id
    )


def drops_json(
    cluster: ClusterState,
    ns: NetnsState,
    report: Drops,
    known: dict[Drop, Explanation],
    explain_s: float = EXPLAIN_S,
) -> dict[str, Any]:
    """Describe what was dropped; of a pod what is known to be its own. `known` keeps what was explained already."""
    whole = ns.netns.root
    own = frozenset(usable_addrs(ns))
    shown = [one for one in report.groups if whole or _is_of(one.last, ns.key, own)]
    open_ = sum(one.count for one in report.groups if not one.last.place)
    return {
        "of": pod_name(ns.netns) or ns.key.node,
        "node": ns.key.node,
        "netns": str(ns.key),
        "groups": groups_json(cluster, shown, known, explain_s),
        "total": sum(one.count for one in shown) + (report.others if whole else 0),
        "not_listed": report.others,
        "unplaced": open_,
        "copies": report.copies,
        "shared_with": sharing(cluster, ns.key.node),
        "sources": [
            {"node": one.node, "name": one.name, "lost": one.lost, "missing": one.missing or None}
            for one in report.sources
        ],
    }


def groups_json(
    cluster: ClusterState, groups: Sequence[Group], known: dict[Drop, Explanation], explain_s: float
) -> list[dict[str, Any]]:
    """Describe groups, and explain so long why, the first first. `known` keeps what was explained already."""
    limit = time.monotonic() + explain_s
    return [_group(cluster, one, _explained(cluster, one, known, limit)) for one in groups]


def _is_of(drop: Drop, key: NetnsKey, own: frozenset[bytes]) -> bool:
    headers = drop.headers
    return drop.place == str(key) or (headers is not None and not own.isdisjoint((headers.src, headers.dst)))


def _explained(
    cluster: ClusterState, group: Group, known: dict[Drop, Explanation], limit: float
) -> Explanation | None:
    drop = msgspec.structs.replace(group.last, at_ns=0)
    if drop not in known and time.monotonic() < limit:
        known[drop] = explain(cluster, drop)
    return known.get(drop)


def _group(cluster: ClusterState, group: Group, explained: Explanation | None) -> dict[str, Any]:
    drop, headers = group.last, group.last.headers
    return {
        "reason": drop.reason,
        "count": group.count,
        "first": iso(group.first_ns / 1e9),
        "last": iso(drop.at_ns / 1e9),
        "never": drop.never,
        "place": _place(cluster, drop) if drop.place else None,
        "flow": None
        if headers is None
        else {
            "proto": proto_name(headers.proto),
            "src": format_ip(headers.src),
            "sport": headers.sport,
            "dst": format_ip(headers.dst),
            "dport": headers.dport,
            "from": _name(cluster, headers.src),
            "to": _name(cluster, headers.dst),
        },
        "explained": None if explained is None else explained.is_explained,
        "why": None if explained is None else explained.text,
        "check": [] if explained is None else list(explained.check),
        "trace": None if explained is None else explained.request,
    }


def _place(cluster: ClusterState, drop: Drop) -> Mapping[str, Any]:
    key = NetnsKey.parse(drop.place)
    node = cluster.nodes.get(key.node)
    ns = node.netns.get(key) if node is not None else None
    pod = pod_name(ns.netns) if ns is not None else ""
    return {
        "node": node_of(drop.place),
        "netns": drop.place,
        "pod": pod or None,
        "dev": drop.dev,
        "out": drop.out,
    }


def _name(cluster: ClusterState, addr: bytes) -> str | None:
    owner = owner_of(cluster, addr)
    if owner is None:
        return None
    return pod_name(owner.netns) or (owner.key.node if owner.netns.root else owner.netns.name) or None


def without_end(report: Drops, node: str) -> Drops:
    """Say of a report that it isn't the last: what was dropped after it isn't known."""
    late = Source(node, "collector", missing=f"the end of the watch: {node}'s collector didn't report it")
    return msgspec.structs.replace(report, sources=(*report.sources, late))


def headline(result: Mapping[str, Any], seconds: int) -> str:
    """Say in a sentence what was dropped, and why there may be more."""
    lost = sum(one["lost"] for one in result["sources"])
    unnamed = sum(one["count"] for one in result["groups"] if one["reason"] == UNNAMED)
    said = f"{counted(result['total'] - unnamed, 'drop')} of {result['of']} seen in {seconds} s"
    if unnamed:
        said += f", and {unnamed} for which the kernel names no reason"
    if not result["total"]:
        said = f"No drop of {result['of']} was seen in {seconds} s"
    if result["shared_with"] and any(not one["place"] for one in result["groups"]):
        said += ", some perhaps of other nodes on its kernel"
    if lost:
        return f"{said}; {lost} {'event or frame was' if lost == 1 else 'events or frames were'} lost, so there may be more."
    if any(one["missing"] for one in result["sources"]):
        return f"{said}; not everything was watched, so there may be more."
    return f"{said}."
