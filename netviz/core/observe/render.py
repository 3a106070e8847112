"""An observation beside its prediction, as JSON and as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netviz.core.model.addr import format_mac
from netviz.core.observe.evidence import Evidence, node_of, place_name
from netviz.core.observe.latency import Latency, at_ns, latencies
from netviz.core.observe.match import Extra, Match, Observation, PathMatch
from netviz.core.observe.sighting import RuleEvent, Sighting
from netviz.core.plain import plain
from netviz.core.sim.outcome import outcome_of
from netviz.core.sim.render import OUTCOMES, render_flow
from netviz.core.sim.trace import Path, Trace, display_name, pod_name
from netviz.core.sim.words.step import decision, why
from netviz.core.state.node import ClusterState


def observed_json(
    found: dict[str, Any], observation: Observation, evidence: Evidence, cannot: Sequence[str] = ()
) -> dict[str, Any]:
    """Fill what was observed into a trace's JSON: `observed` in each step of the nearest branch, the whole in `observation`.

    `cannot` says in sentences what no source here can see. Times are of the sender's wall clock, in ns.
    """
    nearest = observation.nearest
    for number, branch in enumerate(found["branches"]):
        branch["taken"] = _taken(number, observation)
    branch = found["branches"][nearest.number]
    _fill(branch["forward"]["hops"], nearest.forward, evidence)
    if nearest.reply is not None:
        _fill(branch["reply"]["hops"], nearest.reply, evidence)
    found["observation"] = {
        "sources": [
            {"node": one.node, "name": one.name, "lost": one.lost, "missing": one.missing or None}
            for one in evidence.sources
        ],
        "clock_uncertainty_ns": evidence.apart_ns,
        "sent_ns": evidence.began_ns,
        "told": evidence.told or None,
        "nearest": nearest.number,
        "taken": list(observation.taken),
        "contradictions": nearest.contradictions,
        "counts": counts(observation),
        "extra": [
            _extra_json(extra, direction, evidence)
            for direction, path in (("forward", nearest.forward), ("reply", nearest.reply))
            for extra in (path.extra if path is not None else ())
        ],
        "cannot": list(cannot),
    }
    return found


def _taken(number: int, observation: Observation) -> bool | None:
    """Say whether a branch was taken; None where what was seen doesn't tell."""
    if number not in observation.taken:
        return False
    return True if len(observation.taken) == 1 else None


def counts(observation: Observation) -> dict[str, int]:
    """Count the nearest branch's steps by what was seen of them; "cannot" are those that no source would show."""
    found: Counter[str] = Counter()
    for path in (observation.nearest.forward, observation.nearest.reply):
        for match in path.matches if path is not None else ():
            found[match.status if match.visible else "cannot"] += 1
        found["extra"] += len(path.extra) if path is not None else 0
    return dict(found)


def _fill(hops: list[dict[str, Any]], path: PathMatch, evidence: Evidence) -> None:
    by_seq = {match.step.seq: match for match in path.matches}
    took = latencies(path, evidence)
    for hop in hops:
        for step in hop["steps"]:
            step["observed"] = _match_json(by_seq[step["seq"]], evidence, took.get(step["seq"]))


def _match_json(match: Match, evidence: Evidence, took: Latency | None) -> dict[str, Any]:
    return {
        "match": match.status,
        "visible": match.visible,
        "ts_ns": at_ns(match, evidence),
        "latency_ns": took.ns if took is not None else None,
        "latency_uncertainty_ns": took.uncertainty_ns if took is not None else None,
        "point": _point(match),
        "drop_reason": (match.event.reason or None) if match.event is not None else None,
        "why": match.why or None,
        "rule": _rule_json(match.rule),
        "headers": _headers_json(match.sighting),
    }


def _point(match: Match) -> str | None:
    """Name what showed a step."""
    if match.event is not None and match.event.frees:
        return match.event.point
    if match.rule is not None:
        return "nftables trace"
    if match.by:
        return match.by
    return "packet socket" if match.sighting is not None else None


def _headers_json(sighting: Sighting | None) -> dict[str, Any] | None:
    """Give the headers as they were seen."""
    if sighting is None:
        return None
    frame = sighting.frame
    return {
        "src": frame.src,
        "sport": frame.sport,
        "dst": frame.dst,
        "dport": frame.dport,
        "ttl": frame.ttl,
        "len": frame.length,
        "smac": format_mac(frame.smac),
        "dmac": format_mac(frame.dmac),
    }


def _rule_json(rule: RuleEvent | None) -> dict[str, Any] | None:
    if rule is None:
        return None
    return {
        "table": rule.table,
        "chain": rule.chain,
        "handle": rule.handle or None,
        "verdict": rule.verdict,
    }


def _extra_json(extra: Extra, direction: str, evidence: Evidence) -> dict[str, Any]:
    sighting, rule = extra.sighting, extra.rule
    place = sighting.place if sighting is not None else rule.place if rule is not None else None
    return {
        "direction": direction,
        "after": extra.after,
        "ts_ns": at_ns(extra, evidence),
        "node": node_of(place) if place is not None else None,
        "netns": place,
        "dev": sighting.dev if sighting is not None else None,
        "out": sighting.out if sighting is not None else None,
        "drop_reason": extra.event.reason if extra.event is not None else None,
        "rule": _rule_json(rule),
        "headers": _headers_json(sighting),
    }


def render_observation(
    trace: Trace,
    observation: Observation,
    evidence: Evidence,
    cannot: Sequence[str],
    names: Mapping[str, str],
) -> str:
    """Render both side by side: a line a step. `names` has the namespaces' names for people by their keys."""
    return "\n".join(map(plain, _lines(trace, observation, evidence, cannot, names))) + "\n"


def names_of(cluster: ClusterState) -> dict[str, str]:
    """Name a cluster's namespaces for people: their node and pod, by their keys."""
    return {
        place_name(key): f"{key.node} / {pod_name(ns.netns) or display_name(ns.netns) or key}"
        for node in cluster.nodes.values()
        for key, ns in node.netns.items()
    }


def _lines(
    trace: Trace,
    observation: Observation,
    evidence: Evidence,
    cannot: Sequence[str],
    names: Mapping[str, str],
) -> Iterator[str]:
    nearest = observation.nearest
    branch = trace.branches[nearest.number]
    yield render_flow(trace)
    yield f"predicted: {OUTCOMES[outcome_of(trace)]}, {trace.disposition.value} {trace.reason}".rstrip()
    yield f"observed: {_summary(trace, observation)}; the sender was told {evidence.told or 'nothing'}"
    yield from _path_lines("forward", branch.forward, nearest.forward, evidence, names)
    if nearest.reply is not None and branch.reply is not None:
        yield from _path_lines("reply", branch.reply, nearest.reply, evidence, names)
    yield ""
    for source in evidence.sources:
        if source.lost:
            yield f"lost: {source.lost} of {source.name} on {source.node}"
        if source.missing:
            yield f"not watched: {source.missing}"
    for sentence in cannot:
        yield f"not watched: {sentence}"


def _summary(trace: Trace, observation: Observation) -> str:
    """Say in words how both compare."""
    if not observation.taken:
        return f"differs from the prediction in {observation.nearest.contradictions} places"
    matches = [
        match
        for path in (observation.nearest.forward, observation.nearest.reply)
        for match in (path.matches if path is not None else ())
    ]
    agreed = sum(match.status == "agree" for match in matches)
    said = f"{agreed} of {len(matches)} steps seen as predicted, nothing speaks against the others"
    if len(trace.branches) > 1:
        numbers = ", ".join(str(number + 1) for number in observation.taken)
        said += f" (branch {numbers} of {len(trace.branches)})"
    return said


def _path_lines(
    title: str, path: Path, found: PathMatch, evidence: Evidence, names: Mapping[str, str]
) -> Iterator[str]:
    yield ""
    yield f"{title}: {path.disposition.value} {path.reason}".rstrip()
    by_seq = {match.step.seq: match for match in found.matches}
    yield from (_extra_line(extra, names) for extra in found.extra if extra.after == 0)
    for hop in path.hops:
        yield f"  {hop.netns.node} / {hop.place.pod or hop.place.name or hop.netns}"
        for step in hop.steps:
            match = by_seq[step.seq]
            dev = f" {step.dev}" if step.dev else ""
            yield f"    {step.seq:3} {_mark(match, evidence):26} {step.kind:9}{dev:12} {decision(step):18} {why(step)}"
            yield from (_extra_line(extra, names) for extra in found.extra if extra.after == step.seq)


def _mark(match: Match, evidence: Evidence) -> str:
    match match.status:
        case "not_seen":
            return "NOT SEEN" if match.visible else "-"
        case "disagree":
            return f"DIFFERS: {match.why}"
        case "lost":
            return "unknown, events were lost"
        case "ambiguous":
            return "ambiguous: this packet or another"
    reason = match.event.reason if match.event is not None else ""
    seen_ns = at_ns(match, evidence)
    rule = match.rule
    if rule is not None:
        reason = f"rule {rule.handle} {rule.verdict}" if rule.kind == "rule" else f"policy {rule.verdict}"
    if seen_ns is None:
        return f"by {match.by}" if match.by else f"heard {reason}"
    after_us = (seen_ns - evidence.began_ns) / 1000
    return f"seen {after_us:+.0f} us {reason}".rstrip()


def _extra_line(extra: Extra, names: Mapping[str, str]) -> str:
    if extra.event is not None:
        return f"        NOT PREDICTED: dropped for {extra.event.reason}"
    if extra.rule is not None:
        rule = extra.rule
        by = f"rule {rule.handle}" if rule.kind == "rule" else "the policy"
        where = names.get(rule.place, rule.place)
        return f"        NOT PREDICTED: {rule.verdict} by {by} of chain {rule.table} {rule.chain} in {where}"
    assert extra.sighting is not None
    return f"        NOT PREDICTED: {_where(extra.sighting, names)}"


def _where(sighting: Sighting, names: Mapping[str, str]) -> str:
    direction = "sent by" if sighting.out else "received by"
    return f"{direction} {sighting.dev} in {names.get(sighting.place, sighting.place)}"
