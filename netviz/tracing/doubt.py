"""What a trace rests on that may not be so any more: it is certain only while all that it read is fresh."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from netviz.core.sim.outcome import UNSURE
from netviz.core.sim.reads import Reads
from netviz.core.sim.trace import UNCERTAIN
from netviz.core.state.freshness import Stale, stale
from netviz.tracing.states import View

NAMES = {
    "addrs": "addresses",
    "conntrack": "connections",
    "fdb": "forwarding databases",
    "ipsets": "IP sets",
    "ipvs": "IPVS services",
    "neighs": "neighbours",
    "nft_chains": "rules",
    "nft_sets": "sets",
    "sysctls": "settings",
    "xt_chains": "rules",
}


def stale_in(view: View, reads: Reads, now_s: float) -> list[Stale]:
    """List the nodes of which something that was read may be older than promised, by name."""
    read: dict[str, set[str]] = {}
    for node, section in reads.sections():
        read.setdefault(node, set()).add(section)
    found = []
    for name in sorted(read):
        contact = view.inputs[name].contact if name in view.inputs else None
        if contact is not None and (one := stale(view.cluster.nodes[name], read[name], contact, now_s)):
            found.append(one)
    return found


def clock(at_s: float) -> str:
    """Write a time of today, in UTC; an older one with its date."""
    at = datetime.fromtimestamp(at_s, UTC)
    return f"{at:%H:%M:%S} UTC" if at.date() == datetime.now(UTC).date() else f"{at:%Y-%m-%d %H:%M} UTC"


def sentence(one: Stale) -> str:
    """Say what is stale, since when and why."""
    since, node = clock(one.since_s), one.node
    match one.why:
        case "not connected":
            return f"{node}'s collector is not connected: the state of {node} is of {since}."
        case "silent":
            return f"{node}'s collector has been silent since {since}: {_what(one.sections)} of {node} may have changed."
        case "behind":
            return f"{node}'s collector is behind: what changed on {node} since {since} isn't known yet."
        case "not compared":
            return f"{node}'s collector has not compared its state with the kernel since {since}."


def _what(sections: Iterable[str]) -> str:
    names = sorted({NAMES.get(section, section.replace("_", " ")) for section in sections})
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def doubt(result: dict[str, Any], found: list[Stale]) -> None:
    """Take certainty and outcome off a trace's JSON, and say in it which state is stale, since when and why."""
    if not found:
        return
    by_node = {one.node: one for one in found}
    for entry in result["state"]:
        if (one := by_node.get(entry["node"])) is not None:
            since = datetime.fromtimestamp(one.since_s, UTC).isoformat()
            entry["stale"] = {"since": since, "why": one.why, "sections": list(one.sections)}
    result["assumed"] += [sentence(one) for one in found]
    result["certainty"] = UNCERTAIN
    result["outcome"] = UNSURE
    result["headline"] = f"As of {clock(min(one.since_s for one in found))}: {result['headline']}"
