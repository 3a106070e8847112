"""Reads a trace as people and programs get it, and wants it to make sense."""

from __future__ import annotations

import json
import re

import msgspec

from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import Trace

# What a template left unfilled, or a record that nobody wrote out, looks like.
UNREADABLE = re.compile(r"\{[a-z_]+\}|\bNone\b|\bb'|\bTri\.|<[a-z_.]+ object|\(\)|  |\.\.$")
SENTENCE = re.compile(r"[A-Z0-9:_.'$(-].*[.]|\S+ .*[.]", re.S)


def readable(trace: Trace) -> Trace:
    """Render a trace in every form; every step's sentence and evidence must be one. Returns it."""
    shown = json.loads(msgspec.json.encode(trace_json(trace)))
    for branch in shown["branches"]:
        paths = [branch["forward"], *([branch["reply"]] if branch["reply"] else [])]
        for step in (step for path in paths for hop in path["hops"] for step in hop["steps"]):
            assert SENTENCE.fullmatch(step["why"]), step["why"]
            for text in (
                step["why"],
                step["decision"],
                step["reason"] or "",
                step["evidence"].get("command", ""),
            ):
                assert not UNREADABLE.search(text), text
            assert step["check"] == [] or step["evidence"]["command"], step
    text = render_text(trace, detailed=True)
    assert len(text.splitlines()) > sum(len(hop.steps) for hop in trace.branches[0].forward.hops)
    return trace
