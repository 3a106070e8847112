"""How fresh a node's sections are: whether each is as recent as its collector promises, and since when it isn't.

A collector that works compares each section with the kernel within the section's own bound (`SectionStatus.max_age_s`)
and tells of changes at once. So a section is fresh as long as the collector is connected, is heard, keeps up with what
it has to tell, and goes on comparing. All times here are Unix seconds by the server's clock: a node's may be another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from netviz.core.state.node import NodeState, SectionStatus

# A connected collector says something every 10 s, and comparing takes as long as it takes: no sooner is it late.
SILENT_S = 25.0
LATE_S = 30.0


class Contact(msgspec.Struct, frozen=True):
    """What the server knows of a node's collector.

    `heard_at_s` is when it said anything last, `compared_at_s` when it last said that it had compared all with the
    kernel, `lag_s` the age of the oldest change that it hasn't sent yet.
    """

    connected: bool
    heard_at_s: float
    compared_at_s: float
    lag_s: float = 0.0


class Stale(msgspec.Struct, frozen=True):
    """Why sections of a node may be older than they promise to be, and since when."""

    node: str
    why: Literal["not connected", "silent", "behind", "not compared"]
    since_s: float
    sections: tuple[str, ...]


def stale(node: NodeState, read: Iterable[str], contact: Contact, now_s: float) -> Stale | None:
    """Find which of the sections that were read may be older than promised; None where all are fresh."""
    sections = tuple(sorted(read))
    if not sections:
        return None
    if not contact.connected:
        return Stale(node.node, "not connected", contact.heard_at_s, sections)
    bounds = {section: node.status.get(section, SectionStatus()).max_age_s for section in sections}
    silent_s = now_s - contact.heard_at_s
    if late := tuple(name for name, bound_s in bounds.items() if silent_s > max(bound_s, SILENT_S)):
        return Stale(node.node, "silent", contact.heard_at_s, late)
    if late := tuple(name for name, bound_s in bounds.items() if contact.lag_s > max(bound_s, SILENT_S)):
        return Stale(node.node, "behind", now_s - contact.lag_s, late)
    rounds = (status.max_age_s for name, status in node.status.items() if name != "rule_counters")
    round_s = max(rounds, default=0.0)  # rules' counters decide nothing, and may be read seldomer
    if round_s and now_s - contact.compared_at_s > 2 * round_s + LATE_S:
        return Stale(node.node, "not compared", contact.compared_at_s, sections)
    return None
