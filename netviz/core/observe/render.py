"""An observation beside its prediction, as JSON and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netviz.core.observe.evidence import Evidence
from netviz.core.observe.match import Extra, Match, Observation, PathMatch
from netviz.core.observe.sighting import Clocks, RuleEvent, Sighting
from netviz.core.plain import plain
from netviz.core.sim.outcome import outcome_of
from netviz.core.sim.render import OUTCOMES, render_flow, trace_json
from netviz.core.sim.trace import Path, Trace
from netviz.core.sim.words.step import decision, why


def observation_json(
    trace: Trace, observation: Observation, evidence: Evidence, cannot: Sequence[str]
) -> dict[str, Any]:
    """Render the trace's JSON with `observed` in each step of the nearest branch, and the whole in `observation`.

    `cannot` says in sentences what can't be seen here. Times are wall clock, in ns.
    """
    found = trace_json(trace)
    nearest = observation.nearest
    branch = found["branches"][nearest.number]
    _fill(branch["forward"]["hops"], nearest.forward, evidence.clocks)
    if nearest.reply is not None:
        _fill(branch["reply"]["hops"], nearest.reply, evidence.clocks)
    found["observation"] = {
        "told": evidence.told or None,
        "nearest": nearest.number,
        "taken": list(observation.taken),
        "contradictions": nearest.contradictions,
        "extra": [
            _extra_json(extra, evidence.clocks)
            for path in (nearest.forward, nearest.reply)
            for extra in (path.extra if path is not None else ())
        ],
        "lost": evidence.lost,
        "clock_uncertainty_ns": evidence.clocks.uncertainty_ns,
        "cannot": list(cannot),
    }
    return found


def _fill(hops: list[dict[str, Any]], path: PathMatch, clocks: Clocks) -> None:
    by_seq = {match.step.seq: match for match in path.matches}
    for hop in hops:
        for step in hop["steps"]:
            step["observed"] = _match_json(by_seq[step["seq"]], clocks)


def _match_json(match: Match, clocks: Clocks) -> dict[str, Any]:
    return {
        "status": match.status,
        "visible": match.visible,
        "why": match.why or None,
        "at_ns": _at_ns(match, clocks),
        "reason": (match.event.reason or None) if match.event is not None else None,
        "rule": _rule_json(match.rule),
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


def _at_ns(match: Match | Extra, clocks: Clocks) -> int | None:
    """Return when: of a drop when it was freed, else when the frame was seen."""
    if match.event is not None and match.event.frees:
        return clocks.wall_ns(match.event.at_ns)
    return match.sighting.at_ns if match.sighting is not None else None


def _extra_json(extra: Extra, clocks: Clocks) -> dict[str, Any]:
    sighting = extra.sighting
    return {
        "after": extra.after,
        "at_ns": _at_ns(extra, clocks),
        "netns": sighting.place if sighting is not None else None,
        "dev": sighting.dev if sighting is not None else None,
        "out": sighting.out if sighting is not None else None,
        "reason": extra.event.reason if extra.event is not None else None,
        "rule": _rule_json(extra.rule),
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
    for source, count in evidence.lost.items():
        if count:
            yield f"lost: {count} of {source}"
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
    at_ns = _at_ns(match, evidence.clocks)
    rule = match.rule
    if rule is not None:
        reason = f"rule {rule.handle} {rule.verdict}" if rule.kind == "rule" else f"policy {rule.verdict}"
    if at_ns is None:
        return f"heard {reason}"
    after_us = (at_ns - evidence.clocks.wall_ns(evidence.sending.began_ns)) / 1000
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
