"""Traces as JSON (the stable shape) and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netviz.core.model.addr import format_endpoint, format_ip
from netviz.core.plain import plain
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.outcome import Outcome, outcome_of
from netviz.core.sim.packet import PROTO_NAMES, Packet
from netviz.core.sim.trace import Branch, Flow, Hop, Limit, Origin, Path, Step, Trace
from netviz.core.sim.words.choice import choices
from netviz.core.sim.words.evidence import evidence_of
from netviz.core.sim.words.step import assumed_text, checks, decision, limit_text, own_command, reason, why

VERSION = 1
OUTCOMES: Mapping[Outcome, str] = {
    "good": "good",
    "broken": "broken",
    "breaks-contract": "breaks the contract",
    "uncertain": "uncertain",
}


def trace_json(trace: Trace, state: Sequence[Mapping[str, Any]] = (), enter: str = "") -> dict[str, Any]:
    """Render a trace as the stable JSON object.

    `state` describes the inputs: a mapping with node, revision, age_s and complete for each node.
    `enter` is as for `checks`.
    """
    flow = trace.flow
    return {
        "version": VERSION,
        "flow": {
            "from": {
                "node": trace.origin.node,
                "netns": trace.origin.netns,
                "pod": trace.origin.pod or None,
                "outside": trace.origin.outside,
            },
            "src": format_ip(flow.src),
            "sport": flow.sport,
            "dst": format_ip(flow.dst),
            "dport": flow.dport,
            "proto": proto_name(flow.proto),
            "len": flow.length,
            "df": flow.df,
            "service": None if trace.service is None else msgspec.to_builtins(trace.service),
        },
        "disposition": trace.disposition.value,
        "reason": trace.reason,
        "certainty": trace.certainty,
        "outcome": outcome_of(trace),
        "headline": headline_of(trace),
        "branches": [
            _branch_json(branch, choice, enter)
            for branch, choice in zip(trace.branches, choices(trace), strict=True)
        ],
        "state": [dict(entry) for entry in state],
        "assumed": [assumed_text(one) for one in trace.assumed],
        "largest": {
            "forward": _limit_json(trace.largest[0]),
            "reply": _limit_json(trace.largest[1]),
        },
    }


def _limit_json(limit: Limit | None) -> dict[str, object] | None:
    if limit is None:
        return None
    at = limit.at.netns
    return {
        "bytes": limit.bytes,
        "dev": limit.dev,
        "node": at.node,
        "netns": str(at),
        "silent": limit.silent,
    }


def proto_name(proto: int) -> str:
    """Name a protocol as the command line does: ICMPv6 is "icmp" too."""
    return "icmp" if proto == 58 else PROTO_NAMES.get(proto, str(proto))


def _branch_json(branch: Branch, choice: str, enter: str) -> dict[str, Any]:
    reply, packets = branch.reply, _Packets()
    return {
        "probability": branch.probability,
        "choice": choice or None,
        "disposition": branch.forward.disposition.value,
        "reason": branch.forward.reason,
        "forward": {"hops": [_hop_json(hop, packets, enter) for hop in branch.forward.hops]},
        "reply": None
        if reply is None
        else {
            "disposition": reply.disposition.value,
            "reason": reply.reason,
            "hops": [_hop_json(hop, packets, enter) for hop in reply.hops],
        },
    }


class _Packets:
    """A trace's packets as shown, each once: steps that change nothing share theirs."""

    def __init__(self) -> None:
        self._shown: dict[int, dict[str, object]] = {}

    def fields(self, packet: Packet) -> dict[str, object]:
        found = self._shown.get(id(packet))
        if found is None:
            found = self._shown[id(packet)] = packet.fields()
        return found

    def diff(self, before: Packet | None, after: Packet) -> dict[str, list[object]]:
        """Return the fields that a step changed: field -> [before, after]."""
        if before is None or before is after:
            return {}
        was, now = self.fields(before), self.fields(after)
        if was == now:
            return {}
        return {name: [was[name], value] for name, value in now.items() if was[name] != value}


def _hop_json(hop: Hop, packets: _Packets, enter: str) -> dict[str, Any]:
    return {
        "node": hop.netns.node,
        "netns": hop.place.key,
        "pod": hop.place.pod or None,
        "steps": [_step_json(step, hop, packets, enter) for step in hop.steps],
    }


def _step_json(step: Step, hop: Hop, packets: _Packets, enter: str) -> dict[str, Any]:
    check, evidence = checks(step, hop, enter), evidence_of(step)
    own = own_command(check, hop)
    if own:
        evidence["command"] = own
    return {
        "seq": step.seq,
        "kind": step.kind,
        "dev": step.dev,
        "packet": packets.fields(step.packet),
        "diff": packets.diff(step.before, step.packet),
        "decision": decision(step),
        "reason": reason(step),
        "evidence": evidence,
        "why": why(step),
        "check": check,
        "certainty": step.certainty,
        "observed": None,
    }


def render_text(trace: Trace, detailed: bool = False, headline: str = "", notes: Sequence[str] = ()) -> str:
    """Render a trace for a terminal: one line a step, or with `detailed` its evidence and changes too.

    `headline` is what it comes to, where whoever asks knows more of that; `notes` are what else is to be said of it.
    """
    return "\n".join(map(plain, _lines(trace, detailed, headline, notes))) + "\n"


def _lines(trace: Trace, detailed: bool, headline: str, notes: Sequence[str]) -> Iterator[str]:
    yield render_flow(trace)
    if trace.service is not None:
        yield service_text(trace)
    yield f"{trace.disposition.value}{_because(trace.reason)} ({trace.certainty})"
    yield f"{OUTCOMES[outcome_of(trace)]}: {headline or headline_of(trace)}"
    yield from notes
    for one in trace.assumed:
        yield f"assumed: {assumed_text(one)}"
    for direction, limit in zip(("forward", "in reply"), trace.largest, strict=True):
        if limit is not None:
            yield f"largest packet {direction}: {limit_text(limit)}"
    named = zip(trace.branches, choices(trace), strict=True)
    for number, (branch, choice) in enumerate(named, 1):
        if choice:
            chance = "" if branch.probability is None else f", probability {branch.probability:.3g}"
            yield ""
            yield f"branch {number} of {len(trace.branches)}{chance}: {choice}"
        yield from _path_lines("forward", branch.forward, detailed)
        if branch.reply is not None:
            yield from _path_lines("reply", branch.reply, detailed)


def render_flow(trace: Trace) -> str:
    """Say in a line what was traced, and from where."""
    return f"{_flow_text(trace.flow)} from {_origin_text(trace.origin)}"


def service_text(trace: Trace) -> str:
    """Say whose service the target is."""
    service = trace.service
    assert service is not None
    port = (
        f", port {service.port}" if service.port else "" if service.has_port else ", which has no such port"
    )
    return f"{format_ip(trace.flow.dst)} is service {service.namespace}/{service.name} ({service.by}){port}"


def _flow_text(flow: Flow) -> str:
    def endpoint(addr: bytes, port: int | None) -> str:
        return format_ip(addr) if port is None else format_endpoint(addr, port)

    dont_fragment = ", DF" if flow.df else ""
    source = endpoint(flow.src, flow.sport if flow.dport is not None else None)
    return (
        f"{proto_name(flow.proto)} {source} > {endpoint(flow.dst, flow.dport)}, {flow.length} bytes"
        f"{dont_fragment}"
    )


def _origin_text(origin: Origin) -> str:
    if origin.outside:
        return f"outside, by {origin.node}"
    name = origin.pod or origin.name
    return f"{name} on {origin.node}" if name != origin.node else origin.node


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _path_lines(title: str, path: Path, detailed: bool) -> Iterator[str]:
    yield ""
    yield f"{title}: {path.disposition.value}{_because(path.reason)}"
    for hop in path.hops:
        yield f"  {hop.netns.node} / {hop.place.pod or hop.place.name or hop.netns}"
        for step in hop.steps:
            dev = f" {step.dev}" if step.dev else ""
            yield f"    {step.seq:3} {step.kind:9}{dev:12} {decision(step):18} {why(step)}"
            if detailed:
                yield from _detail_lines(step, hop)


def _detail_lines(step: Step, hop: Hop) -> Iterator[str]:
    indent = " " * 8
    for name, (before, after) in step.diff.items():
        yield f"{indent}{name}: {before} -> {after}"
    for name, value in evidence_of(step).items():
        yield f"{indent}{name}: {value}"
    for check in checks(step, hop):
        yield f"{indent}check on {check['node']}: {check['command']}"
