"""Matches of xtables, in three truth values.

Each match is a function of the context and the decoded payload, in a module by what it looks at. A match that
is not there, or of another revision, is UNKNOWN; so is one whose answer depends on what the state doesn't
hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.model.netfilter import NFPROTO_BRIDGE
from netviz.core.sim.nft.compat import ebtables, match_chance, match_flow, match_headers, match_place
from netviz.core.sim.nft.compat.ipset import match_set
from netviz.core.sim.nft.context import Context, Tri
from netviz.core.sim.xtables.decode import decode_match

MATCHES: dict[str, Callable[[Context, Any], Tri]] = {
    **match_headers.MATCHES,
    **match_flow.MATCHES,
    **match_place.MATCHES,
    **match_chance.MATCHES,
    "set": match_set,
}


def evaluate_match(ctx: Context, attrs: dict[str, Any]) -> Tri:
    """Evaluate a match expression (name, rev, info)."""
    name = attrs.get("name", "")
    if name == "comment":
        return Tri.TRUE
    if ctx.family == NFPROTO_BRIDGE and name in ebtables.MATCHES:
        return ebtables.evaluate(ctx, name, attrs.get("info", b""))
    handler = MATCHES.get(name)
    decoded = decode_match(name, attrs.get("rev", 0), attrs.get("info", b""))
    return Tri.UNKNOWN if decoded is None or handler is None else handler(ctx, decoded)
