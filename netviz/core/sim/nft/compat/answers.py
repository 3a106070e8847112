"""Answers of matches as truth values."""

from __future__ import annotations

from netviz.core.sim.nft.context import Tri


def tri(value: bool) -> Tri:
    """Make a truth value of one that is known."""
    return Tri.TRUE if value else Tri.FALSE


def inverted(value: bool, invert: bool) -> Tri:
    """Answer, turned around where the rule says `!`."""
    return tri(value != invert)


def invert_known(answer: Tri, invert: bool) -> Tri:
    """Turn an answer around where the rule says `!`; what isn't known stays so."""
    return answer if answer is Tri.UNKNOWN else inverted(answer is Tri.TRUE, invert)
