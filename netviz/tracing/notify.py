"""Tell the sockets that watch a trace that it changed. Watchers whom that doesn't reach look by themselves now and then."""

from __future__ import annotations

from netviz.groups import publish


def group_of(trace_id: int) -> str:
    """Name the group in which a trace's watchers are."""
    return f"trace.{trace_id}"


def announce(trace_id: int) -> None:
    """Say that a trace changed. Called from threads without an event loop."""
    publish(group_of(trace_id), {"type": "trace.changed"})
