"""Chains' verdicts beside what nftables said of the probe's packet.

A message names table, chain and handle, and its headers the packet, so nothing has to be joined. A chain is visible where
the packet was heard of by the table that has it traced: base chains of the families inet, ip and ip6 in the IP hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from netviz.core.model.netfilter import NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6
from netviz.core.observe.sighting import RuleEvent
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Step

_FAMILIES = (NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6)
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_SURE = ("accept", "drop")


class Ruled(msgspec.Struct, frozen=True):
    """What was heard of a chain's verdict; `why` says how it differs."""

    status: Literal["agree", "disagree", "not_seen"]
    why: str = ""
    event: RuleEvent | None = None


def ruled(step: Step, place: str, heard: list[RuleEvent]) -> Ruled | None:
    """Lay a step beside what was heard of its packet, and take that off the list; None where the chain isn't visible.

    `heard` is of one direction, all places, in the order of each.
    """
    what = step.what
    if not isinstance(what, HookVerdict) or what.chain is None or what.chain.legacy:
        return None
    chain = what.chain.chain
    here = [event for event in heard if event.place == place]
    own = any(event.own for event in here)
    if (
        chain.family not in _FAMILIES
        or what.hook not in _HOOKS
        or not own
        or step.action.startswith("assume")
    ):
        return None
    mine = [e for e in here if (e.family, e.table) == (chain.family, chain.table)]
    if what.hit is not None:
        within, handle, kind = what.hit.within, what.hit.handle, "rule"
    else:
        within, handle, kind = chain.name, 0, "policy"
    found = next((e for e in mine if (e.chain, e.handle, e.kind) == (within, handle, kind)), None)
    if found is not None:
        heard[:] = [one for one in heard if one is not found]
        differs = step.action in _SURE and found.verdict in _SURE and found.verdict != step.action
        return Ruled(
            "disagree" if differs else "agree", f"nftables says {found.verdict}" if differs else "", found
        )
    other = _other(mine, (chain.name, within))
    if other is not None:
        heard[:] = [one for one in heard if one is not other]
        by = f"rule {other.handle}" if other.kind == "rule" else "the policy"
        return Ruled("disagree", f"{other.verdict} by {by} of chain {other.chain}", other)
    return Ruled("not_seen")


def _other(mine: Sequence[RuleEvent], chains: tuple[str, str]) -> RuleEvent | None:
    """Return what decided in one of the chains instead."""
    return next((event for event in mine if event.chain in chains and event.decides), None)


def unpredicted(said: Sequence[RuleEvent], left: Sequence[RuleEvent]) -> list[RuleEvent]:
    """Return the verdicts, of all that was `said`, that no step took from what is `left`.

    What repeats a verdict that a step took is of a copy, or of the packet sent again.
    """
    taken = {_verdict(one) for one in said if not any(one is other for other in left)}
    return [one for one in left if one.decides and not one.own and _verdict(one) not in taken]


def _verdict(event: RuleEvent) -> tuple[object, ...]:
    """Return what an event says of a chain, whichever packet it is of."""
    return (event.place, event.family, event.table, event.chain, event.kind, event.handle, event.verdict)
