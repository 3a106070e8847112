"""An observation's JSON as text for a terminal or a ticket: prediction and what was seen of it, a line a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
    branch = trace["branches"][seen["nearest"]]
    if len(trace["branches"]) > 1:
        numbers = ", ".join(str(number + 1) for number in seen["taken"]) or "none"
        yield f"branch {numbers} of {len(trace['branches'])} was taken"
    for title, path in (("forward", branch["forward"]), ("reply", branch["reply"])):
        if path is not None:
            yield from _path(title, path, seen)
    yield ""
    for source in seen["sources"]:
        if source["lost"]:
            yield f"lost: {source['lost']} of {source['name']} on {source['node']}"
        if source["missing"]:
            yield f"not watched: {source['missing']}"
    for sentence in seen["cannot"]:
        yield f"not watched: {sentence}"
    yield LEGEND


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
    where = f"{one['dev'] or ''} on {one['node']}".strip() if one["node"] else "somewhere"
    if one["drop_reason"]:
        return f"    +             dropped after {where}: {one['drop_reason']}"
    if one["rule"]:
        rule = one["rule"]
        return f"    +             {rule['verdict']} by {rule['table']} {rule['chain']} on {one['node']}"
    return f"    +             {'sent by' if one['out'] else 'received by'} {where}"
