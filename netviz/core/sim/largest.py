"""The largest packet that passes each way: from the limits that a trace's own packets met.

A packet that was too large shows the limits only up to where it ended: a smaller one is followed then, as large as
that place allows. Every other trace costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from netviz.core.sim.trace import Branch, Disposition, Flow, Limit, Path

PASSED = (Disposition.DELIVERED, Disposition.NO_LISTENER, Disposition.LEFT_NETWORK)
MAX_SMALLER = 8

Largest = tuple[Limit | None, Limit | None]


def largest_of(flow: Flow, branches: list[Branch], walk: Callable[[Flow], list[Branch]]) -> Largest:
    """Return the smallest limit of all branches, forward and in reply. `walk` follows a flow of another length."""
    for _ in range(MAX_SMALLER):
        refused = _too_big(branches)
        if refused is None or not 0 < refused.bytes < flow.length:
            break
        flow = msgspec.structs.replace(flow, length=refused.bytes)
        branches = walk(flow)
    forward = _smallest(branch.forward for branch in branches)
    if forward is None:
        return None, None
    return forward, _smallest(branch.reply for branch in branches if branch.forward.disposition in PASSED)


def _too_big(branches: list[Branch]) -> Limit | None:
    """Return where a packet was too large for what followed, forward or in reply."""
    for branch in branches:
        for path in (branch.forward, branch.reply):
            if path is not None and path.reason == "PKT_TOO_BIG":
                return path.limit
    return None


def _smallest(paths: Iterable[Path | None]) -> Limit | None:
    """Return the smallest limit of paths that all pass; None where one doesn't."""
    found: Limit | None = None
    for path in paths:
        if path is None or path.disposition not in PASSED or path.limit is None:
            return None
        if found is None or path.limit.bytes < found.bytes:
            found = path.limit
    return found
