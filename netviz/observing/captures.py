"""Captures: packets at a link, or at every hop of a trace, for some seconds, as one pcapng file that is kept for a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from django.db.models.functions import Now
from django.utils import timezone

from netviz.core.model.addr import format_ip
from netviz.core.model.check import decoder_words
from netviz.core.model.ids import LinkKey
from netviz.core.observe import pcapng
from netviz.core.observe.capture_points import Hop, Planned, addresses_of, beside, hops_of, paths_of
from netviz.core.observe.drops import Drop
from netviz.core.observe.evidence import Source, place_name
from netviz.core.observe.explain import Explanation
from netviz.core.observe.gather import GONE, SILENT
from netviz.core.observe.headers import flags_text
from netviz.core.observe.heard import Heard, Way, follow
from netviz.core.observe.orders import (
    MOST_POINTS,
    Capture,
    Drops,
    Finish,
    Packets,
    Point,
    Refused,
    encode,
    read_report,
)
from netviz.core.plain import counted
from netviz.core.sim.render import proto_name
from netviz.core.sim.trace import pod_name
from netviz.ingest.reports import mailbox, order
from netviz.observing.conversation import CannotObserve
from netviz.observing.drops import EXPLAIN_S, SHOW_S, groups_json, shared_names
from netviz.observing.models import CapturePart, Observation
from netviz.observing.notify import announce
from netviz.observing.queue import Status
from netviz.observing.running import Run, packed_fields
from netviz.tracing.predict import CannotTrace
from netviz.tracing.request import BadRequest
from netviz.tracing.states import View, live
from netviz.tracing.views import find as find_trace

MOST_S, MOST_PACKETS, MOST_BYTES = 60, 10_000, 8 << 20
KEPT = timedelta(days=1)
MOST_WAYS = 20
BEGIN_S = 5.0
FINISH_S = 3.0
SHOW_EVERY_S = 0.5
_TURN_S = 0.2
NO_DROPS = "drops: its collector doesn't tell of them beside a capture"
NO_END = "the last packets: its collector didn't report its end"


class CaptureRequest(msgspec.Struct, rename={"max_bytes": "bytes"}):
    """What to capture: at every hop of a `trace`, by its id, or at a `link`, by its key. `full`: all bytes, not headers alone.

    `drops`: say too what the trace's nodes drop of it, and why.
    """

    trace: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    link: Annotated[str, msgspec.Meta(max_length=300)] | None = None
    seconds: Annotated[int, msgspec.Meta(ge=1, le=MOST_S)] = 10
    packets: Annotated[int, msgspec.Meta(ge=1, le=MOST_PACKETS)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MOST_BYTES)] = 1 << 20
    full: bool = False
    drops: bool = False


_decoder = msgspec.json.Decoder(CaptureRequest)


class Plan(msgspec.Struct, frozen=True):
    """Where to capture, and between which addresses, none for all; `paths` are those that a trace predicts."""

    title: str
    hops: tuple[Hop, ...]
    addrs: frozenset[bytes]
    paths: tuple[tuple[Planned, ...], ...] = ()

    @property
    def nodes(self) -> list[str]:
        """The nodes that have the devices."""
        return sorted({hop.node for hop in self.hops})


def parse_request(body: bytes) -> CaptureRequest:
    """Read a posted request. Raises: BadRequest."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequest(f"the request cannot be read: {decoder_words(err)}") from None
    if (request.trace is None) == (request.link is None):
        raise BadRequest("say either trace (its id) or link (its key)")
    if request.drops and request.trace is None:
        raise BadRequest("drops goes with a trace: what a whole node drops is a drop watch")
    return request


def plan_of(request: CaptureRequest, view: View) -> Plan:
    """Find the devices. Raises: CannotTrace."""
    if request.trace is not None:
        run = find_trace(request.trace)
        trace = run.result if run is not None else None
        if run is None or trace is None:
            raise CannotTrace(f"there is no trace {request.trace} with a result")
        hops = hops_of(trace)[:MOST_POINTS]
        if not hops:
            raise CannotTrace("the trace crosses no device")
        title = f"trace {run.pk}, {run.source} to {run.target}"
        return Plan(title, tuple(hops), addresses_of(trace), paths_of(trace, hops))
    try:
        key = LinkKey.parse(request.link or "")
    except ValueError:
        raise CannotTrace("a link's key is node:dev:ino:generation:ifindex") from None
    node = view.cluster.nodes.get(key.netns.node)
    ns = node.netns.get(key.netns) if node is not None else None
    link = ns.links.get(key.ifindex) if ns is not None else None
    if ns is None or link is None:
        raise CannotTrace(f"there is no link {request.link}")
    pod = pod_name(ns.netns)
    where = f"pod {pod} on {key.netns.node}" if pod else ns.netns.name or key.netns.node
    hop = Hop(place_name(key.netns), key.netns.node, link.ifname, where)
    return Plan(f"{link.ifname} in {where}", (hop,), frozenset())


def begin(pk: int, request: CaptureRequest) -> None:
    """Capture on a thread of its own."""
    threading.Thread(target=CaptureRun(pk, request).run, name=f"observation-{pk}", daemon=True).start()


class CaptureRun(Run):
    """One capture's run."""

    def __init__(self, pk: int, request: CaptureRequest) -> None:
        super().__init__(pk)
        self._request = request
        self._packets = self._bytes = self._parts = 0
        self._sources: dict[str, tuple[Source, ...]] = {}
        self._missing: dict[str, str] = {}
        self._over: set[str] = set()
        self._is_full = False
        self._captured: list[pcapng.Captured] = []
        self._drops: dict[str, Drops] = {}
        self._explained: dict[Drop, Explanation] = {}
        self._shown_s = 0.0

    def _observe(self) -> dict[str, Any]:
        view = live()
        plan = plan_of(self._request, view)
        self._write(nodes=plan.nodes)
        self._await_turn()
        self._write(status=Status.RUNNING, started_at=Now())
        announce(self._pk)
        amount = "all bytes" if self._request.full else "headers only"
        self._keep(pcapng.header([hop.interface for hop in plan.hops], "netviz", f"{plan.title}; {amount}"))
        self._converse(plan, view)
        if len(self._missing) == len(plan.nodes):
            raise CannotObserve("; ".join(f"{node}: {why}" for node, why in sorted(self._missing.items())))
        result = self._result(plan)
        is_partial = any(one["lost"] or one["missing"] for one in result["sources"])
        return {
            "status": Status.PARTIAL if is_partial else Status.DONE,
            "headline": f"{counted(self._packets, 'packet')} of {plan.title}"[:300],
            **packed_fields(result),
        }

    def _converse(self, plan: Plan, view: View) -> None:
        """Have the collectors capture until enough was seen, the time is over, or somebody stops it."""
        ident, request = str(self._pk), self._request
        mailbox.open(ident)
        try:
            for node in plan.nodes:
                points = tuple(
                    Point(number, hop.place, hop.dev)
                    for number, hop in enumerate(plan.hops)
                    if hop.node == node
                )
                wanted = Capture(
                    points,
                    request.seconds + 20.0,
                    request.packets,
                    request.max_bytes,
                    plan.addrs,
                    request.full,
                    request.drops,
                    shared_names(view.cluster, node) if request.drops else frozenset(),
                )
                order(node, ident, encode(wanted))
            limit = time.monotonic() + BEGIN_S
            while self._silent(plan) and time.monotonic() < limit:
                self._hear(ident, plan)
            for node in self._silent(plan):
                self._missing[node] = SILENT
            limit = time.monotonic() + request.seconds
            while (
                time.monotonic() < limit and self._open(plan) and not self._is_full and not self._is_stopped()
            ):
                self._hear(ident, plan)
                self._show(plan)
        finally:
            for node in plan.nodes:
                if node not in self._over:
                    order(node, ident, encode(Finish()))
            limit = time.monotonic() + FINISH_S
            while self._open(plan) and time.monotonic() < limit:
                self._hear(ident, plan)
            for node in self._open(plan):
                self._missing[node] = NO_END
            mailbox.close(ident)

    def _silent(self, plan: Plan) -> list[str]:
        return [node for node in plan.nodes if node not in self._sources and node not in self._missing]

    def _open(self, plan: Plan) -> list[str]:
        return [node for node in plan.nodes if node not in self._over and node not in self._missing]

    def _is_stopped(self) -> bool:
        return Observation.objects.filter(pk=self._pk, stopping=True).exists()

    def _hear(self, ident: str, plan: Plan) -> None:
        said = mailbox.take(ident, _TURN_S)
        if said is None:
            return
        if said.body is None:
            self._missing.setdefault(said.node, GONE)
            return
        try:
            report = read_report(said.body)
        except ValueError:
            self._missing[said.node] = "its collector said what this server doesn't understand"
            return
        if isinstance(report, Refused):
            self._missing.setdefault(said.node, report.why)
        elif isinstance(report, Packets):
            self._take(said.node, report, plan)
        elif isinstance(report, Drops):
            self._drops[said.node] = report

    def _take(self, node: str, report: Packets, plan: Plan) -> None:
        self._sources[node] = report.sources
        if report.over:
            self._over.add(node)
        blocks = []
        for one in report.packets:
            if self._packets >= self._request.packets or self._bytes >= self._request.max_bytes:
                self._is_full = True
                break
            if not 0 <= one.interface < len(plan.hops) or plan.hops[one.interface].node != node:
                continue
            self._packets += 1
            self._bytes += len(one.data)
            self._captured.append(one)
            blocks.append(pcapng.packet(one, plan.hops[one.interface].comment(out=one.out)))
        self._is_full = self._is_full or report.full
        if blocks:
            self._keep(b"".join(blocks))

    def _keep(self, data: bytes) -> None:
        CapturePart.objects.create(observation_id=self._pk, seq=self._parts, data=data)
        self._parts += 1

    def _show(self, plan: Plan) -> None:
        if time.monotonic() > self._shown_s + SHOW_EVERY_S:
            self._shown_s = time.monotonic()
            self._progress(status=Status.RUNNING, **packed_fields(self._result(plan, SHOW_S)))

    def _drops_json(self, explain_s: float) -> list[dict[str, Any]]:
        groups = [group for node in sorted(self._drops) for group in self._drops[node].groups]
        return groups_json(live().cluster, groups, self._explained, explain_s)

    def _result(self, plan: Plan, explain_s: float = EXPLAIN_S) -> dict[str, Any]:
        sources = [one for node in sorted(self._sources) for one in self._sources[node]]
        sources += [Source(node, "collector", missing=why) for node, why in sorted(self._missing.items())]
        for node in plan.nodes if self._request.drops else ():
            told = self._drops.get(node)
            sources += told.sources if told is not None else (Source(node, "drops", missing=NO_DROPS),)
            if told is not None and told.others:
                sources.append(Source(node, "drops, too many different ones", told.others))
        return {
            "title": plan.title,
            "packets": self._packets,
            "bytes": self._bytes,
            "full": self._is_full,
            "heard": heard_json(follow(self._captured, MOST_WAYS), plan.hops, plan.paths),
            "drops": self._drops_json(explain_s) if self._request.drops else None,
            "hops": [
                {"node": hop.node, "netns": hop.place, "dev": hop.dev, "where": hop.where}
                for hop in plan.hops
            ],
            "sources": [
                {"node": one.node, "name": one.name, "lost": one.lost, "missing": one.missing or None}
                for one in sources
            ],
        }


def heard_json(heard: Heard, hops: Sequence[Hop], paths: Sequence[Sequence[Planned]] = ()) -> dict[str, Any]:
    """Describe which way the first packets went, beside the steps of the predicted one, and how many were sent again."""
    return {
        "ways": [
            {
                "proto": proto_name(way.headers.proto),
                "src": format_ip(way.headers.src),
                "sport": way.headers.sport,
                "dst": format_ip(way.headers.dst),
                "dport": way.headers.dport,
                "flags": flags_text(way.headers),
                "again": way.again,
                **_crossed_json(way, hops, paths),
            }
            for way in heard.ways
        ],
        "again": heard.again,
        "unfollowed": heard.unfollowed,
    }


def _crossed_json(way: Way, hops: Sequence[Hop], paths: Sequence[Sequence[Planned]]) -> dict[str, Any]:
    """Say where a packet was seen, in which step that is, and at which devices of that path it wasn't."""
    at = {(one.interface, one.out): one.at_ns for one in way.crossed}
    path = beside(at, paths)
    steps = {(one.hop, one.out): one.step for one in path}

    def crossing(number: int, out: bool) -> dict[str, Any]:
        hop = hops[number]
        return {"dev": hop.dev, "where": hop.where, "out": out, "step": steps.get((number, out))}

    return {
        "crossed": [{**crossing(one.interface, one.out), "ts_ns": one.at_ns} for one in way.crossed],
        "unseen": [crossing(one.hop, one.out) for one in path if (one.hop, one.out) not in at],
    }


def file_of(observation: Observation) -> bytes | None:
    """Return a capture's file as far as it is there; None of one that is none, or that is kept no more."""
    if observation.kind != Observation.Kind.CAPTURE or observation.created_at < timezone.now() - KEPT:
        return None
    parts = CapturePart.objects.filter(observation=observation).order_by("seq")
    data = b"".join(bytes(part) for part in parts.values_list("data", flat=True))
    return data or None


def stop(observation: Observation) -> None:
    """Stop a capture that runs; remove the file of one that has ended."""
    if not Observation.objects.filter(pk=observation.pk, finished_at=None).update(stopping=True):
        CapturePart.objects.filter(observation=observation).delete()


def delete_old() -> None:
    """Remove the files that are kept no more."""
    CapturePart.objects.filter(observation__created_at__lt=timezone.now() - KEPT).delete()


def posted_of(request: CaptureRequest) -> Mapping[str, Any]:
    """What was asked for, with its bounds."""
    found: dict[str, Any] = msgspec.to_builtins(request)
    return {name: value for name, value in found.items() if value is not None}
