"""Tell the sockets that follow an observation that it changed. Who isn't reached looks by itself now and then."""

from __future__ import annotations

from netviz.groups import publish


def group_of(pk: int) -> str:
    """Name the group in which an observation's watchers are."""
    return f"observation.{pk}"


def announce(pk: int) -> None:
    """Say that an observation changed. Called from threads without an event loop."""
    publish(group_of(pk), {"type": "observation.changed"})
