"""An observation's JSON as text for a terminal, and as text or Markdown for a ticket: prediction and what was seen of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from netviz.core.plain import counted, joined

MARKS = {
    "agree": "✓",
    "disagree": "≠",
    "ambiguous": "?",
    "not_seen": "○",
    "lost": "?",
}
CANNOT = "–"
LEGEND = "✓ seen as predicted  ≠ differs  ○ should have been seen  ? ambiguous or lost  – can't be seen  + not predicted"


def lines_of(found: dict[str, Any]) -> Iterator[str]:
    """Write an observation that has a trace."""
    trace, request = found["trace"], found["request"]
    seen = trace["observation"]
    yield f"{request['from']} to {request['to']}: {trace['headline']}"
    yield f"observed: {found['headline'] or found['status']}"
    yield f"the sender was told: {seen['told'] or 'nothing'}"
    for number, one in enumerate(seen.get("probes", ()), 1):
        told = f"the sender was told {one['told'] or 'nothing'}"
        yield f"  probe {number}: " + (one["error"] or f"{told}; {one['headline']}")
    branch = trace["branches"][seen["nearest"]]
    if len(trace["branches"]) > 1:
        numbers = ", ".join(str(number + 1) for number in seen["taken"]) or "none"
        yield f"branch {numbers} of {len(trace['branches'])} was taken"
    for title, path in (("forward", branch["forward"]), ("reply", branch["reply"])):
        if path is not None:
            yield from _path(title, path, seen)
    yield ""
    yield from _gaps(seen)
    yield LEGEND


def _gaps(seen: dict[str, Any]) -> Iterator[str]:
    for source in seen["sources"]:
        if source["lost"]:
            yield f"lost: {source['lost']} of {source['name']} on {source['node']}"
        if source["missing"]:
            yield f"not watched: {source['missing']}"
    for sentence in seen["cannot"]:
        yield f"not watched: {sentence}"


def _path(title: str, path: dict[str, Any], seen: dict[str, Any]) -> Iterator[str]:
    extra = [one for one in seen["extra"] if one["direction"] == title]
    yield ""
    yield f"{title}:"
    yield from (_extra(one) for one in extra if one["after"] == 0)
    for hop in path["hops"]:
        yield f"  {hop['pod'] or hop['node']} on {hop['node']}"
        for step in hop["steps"]:
            yield _step(step, seen["sent_ns"])
            yield from (_extra(one) for one in extra if one["after"] == step["seq"])


def _step(step: dict[str, Any], sent_ns: int) -> str:
    observed = step["observed"]
    mark = MARKS[observed["match"]] if observed["visible"] else CANNOT
    after = f"{(observed['ts_ns'] - sent_ns) / 1e6:8.3f} ms" if observed["ts_ns"] is not None else " " * 11
    dev = step["dev"] or ""
    why = f" ({observed['why']})" if observed["why"] else ""
    reason = f" [{observed['drop_reason']}]" if observed["drop_reason"] else ""
    return f"    {mark} {after} {step['kind']:9} {dev:15} {step['why']}{reason}{why}"


def _extra(one: dict[str, Any]) -> str:
    return f"    +             {_extra_words(one)}"


def _extra_words(one: dict[str, Any]) -> str:
    where = f"{one['dev'] or ''} on {one['node']}".strip() if one["node"] else "somewhere"
    if one["drop_reason"]:
        return f"dropped after {where}: {one['drop_reason']}"
    if one["rule"]:
        rule = one["rule"]
        return f"{rule['verdict']} by {rule['table']} {rule['chain']} on {one['node']}"
    return f"{'sent by' if one['out'] else 'received by'} {where}"


def ticket_lines(found: dict[str, Any]) -> Iterator[str]:
    """Write an observation as text for a ticket: which it is, then as for a terminal."""
    yield from (f"{name}: {value}" for name, value in _about(found))
    yield ""
    if found["trace"] is None:
        yield f"{found['status']}: {found['error'] or 'nothing was seen yet'}"
    else:
        yield from lines_of(found)


def markdown_of(found: dict[str, Any]) -> Iterator[str]:
    """Write an observation as Markdown for a ticket: facts, then a table for each direction."""
    trace, request = found["trace"], found["request"]
    yield f"# {_escaped(request['from'])} to {_escaped(request['to'])}"
    yield ""
    yield from (f"- **{name}:** {_escaped(value)}" for name, value in _about(found))
    if trace is None:
        yield f"- **Result:** {_escaped(found['error'] or 'nothing was seen yet')}"
        return
    seen = trace["observation"]
    yield f"- **Predicted:** {_escaped(trace['headline'])}"
    yield f"- **Observed:** {_escaped(found['headline'] or found['status'])}"
    yield f"- **The sender was told:** {_escaped(seen['told'] or 'nothing')}"
    branch = trace["branches"][seen["nearest"]]
    for title, path in (("forward", branch["forward"]), ("reply", branch["reply"])):
        if path is not None:
            yield from _table(title, path, seen)
    gaps = [*_gaps(seen)]
    if gaps:
        yield ""
        yield from (f"- {_escaped(gap)}" for gap in gaps)
    yield ""
    yield LEGEND


def _about(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Say which observation it is."""
    request = found["request"]
    ports = f" {request['dport']}" if request.get("dport") is not None else ""
    yield "Probe", f"{request.get('proto', 'tcp')}{ports}, from {request['from']} to {request['to']}"
    yield (
        "Observation",
        f"{found['id']}, {found['started'] or found['created']}, by {found['user'] or 'nobody'}",
    )
    yield "Watched", ", ".join(found["nodes"]) or "no node"


def _table(title: str, path: dict[str, Any], seen: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## {title.capitalize()}"
    yield ""
    yield "| | ms | where | step | device | what |"
    yield "| --- | ---: | --- | --- | --- | --- |"
    extra = [one for one in seen["extra"] if one["direction"] == title]
    yield from (_extra_row(one) for one in extra if one["after"] == 0)
    for hop in path["hops"]:
        for step in hop["steps"]:
            yield _step_row(hop, step, seen["sent_ns"])
            yield from (_extra_row(one) for one in extra if one["after"] == step["seq"])


def _step_row(hop: dict[str, Any], step: dict[str, Any], sent_ns: int) -> str:
    observed = step["observed"]
    mark = MARKS[observed["match"]] if observed["visible"] else CANNOT
    after = f"{(observed['ts_ns'] - sent_ns) / 1e6:.3f}" if observed["ts_ns"] is not None else ""
    said = [step["why"], observed["drop_reason"] or "", observed["why"] or ""]
    cells = [mark, after, hop["pod"] or hop["node"], step["kind"], step["dev"] or ""]
    return _row([*cells, "; ".join(part for part in said if part)])


def _extra_row(one: dict[str, Any]) -> str:
    return _row(["+", "", one["node"] or "", "not predicted", one["dev"] or "", _extra_words(one)])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Take literally what Markdown takes for its own, and keep to one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", " ".join(text.split()))


def drop_lines(found: dict[str, Any]) -> Iterator[str]:
    """Write what a drop watch saw, a paragraph for each group."""
    seen = found["drops"]
    yield found["headline"] or found["error"] or found["status"]
    if seen is None:
        return
    yield from _groups(seen["groups"])
    yield ""
    yield from drop_gaps(seen)


def _groups(groups: Sequence[dict[str, Any]]) -> Iterator[str]:
    for group in groups:
        yield ""
        yield f"{group['count']:6} {group['reason']:20} {_drop_place(group)}"
        if (flow := group["flow"]) is not None:
            yield f"       {flow['proto']} {_drop_end(flow, 'src', 'sport', 'from')} > {_drop_end(flow, 'dst', 'dport', 'to')}"
        if group["why"]:
            yield f"       {'by the state: ' if group['explained'] else ''}{group['why']}"
        for check in group["check"]:
            yield f"       check on {check['node']}: {check['command']}"


def drop_gaps(seen: dict[str, Any]) -> Iterator[str]:
    """Say what a drop watch doesn't know."""
    if seen["not_listed"]:
        yield f"{counted(seen['not_listed'], 'drop')} more not listed: there were too many different ones"
    if seen["unplaced"]:
        shared = f" (also that of {joined(seen['shared_with'])})" if seen["shared_with"] else ""
        which = "which packet it was" if seen["unplaced"] == 1 else "which packets they were"
        yield f"of {counted(seen['unplaced'], 'drop')} of this kernel{shared} it isn't known {which}"
    for source in seen["sources"]:
        if source["lost"]:
            yield f"lost: {source['lost']} of {source['name']} on {source['node']}"
        if source["missing"]:
            yield f"not watched: {source['missing']}"


def _drop_place(group: dict[str, Any]) -> str:
    place = group["place"]
    if place is None:
        return "at no device that was watched" if group["never"] else "place not known"
    where = f"{place['pod']} on {place['node']}" if place["pod"] else place["node"]
    return f"{'after being sent by' if place['out'] else 'after'} {place['dev']} in {where}"


def _drop_end(flow: dict[str, Any], addr: str, port: str, name: str) -> str:
    with_port = f"{flow[addr]}:{flow[port]}" if flow[port] and flow["proto"] != "icmp" else flow[addr]
    return f"{with_port} ({flow[name]})" if flow[name] else with_port


def capture_lines(found: dict[str, Any]) -> Iterator[str]:
    """Write what a capture heard: which way the first packets went, and what was sent again; older ones tell less."""
    seen = found["capture"]
    yield found["headline"] or found["error"] or found["status"]
    if seen is None:
        return
    heard = seen["heard"]
    for way in heard["ways"]:
        ports = way["sport"] or way["dport"]
        src, dst = way["src"], way["dst"]
        if ports and way["proto"] != "icmp":
            src, dst = f"{src}:{way['sport']}", f"{dst}:{way['dport']}"
        again = f", sent again {counted(way['again'], 'time')}" if way["again"] else ""
        yield ""
        yield f"{way['proto']} {src} > {dst} {way['flags']}".rstrip() + again
        began_ns = way["crossed"][0]["ts_ns"]
        for one in way["crossed"]:
            yield f"  {(one['ts_ns'] - began_ns) / 1e6:+9.3f} ms  {_crossing(one)}"
        yield from (f"     not seen   {_crossing(one)}" for one in way.get("unseen", ()))
    if (dropped := seen.get("drops")) is not None:
        yield ""
        yield "dropped of it:" if dropped else "no drop of it was seen"
        yield from _groups(dropped)
    yield ""
    yield f"packets sent again: {heard['again']}; frames that can't be followed from device to device: {heard['unfollowed']}"
    for source in seen["sources"]:
        if source["lost"]:
            yield f"lost: {source['lost']} of {source['name']} on {source['node']}"
        if source["missing"]:
            yield f"not watched: {source['missing']}"
    yield "times are by each node's own clock"


def _crossing(one: dict[str, Any]) -> str:
    step = f" (step {one['step']})" if one.get("step") is not None else ""
    return f"{'sent by' if one['out'] else 'received by':11} {one['dev']} in {one['where']}{step}"
