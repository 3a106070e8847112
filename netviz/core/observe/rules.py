"""Chains' verdicts, and the states of connections, beside what nftables said of the probe's packet.

A message names table, chain and handle, and its headers the packet, so nothing has to be joined. A chain is visible where
the packet was heard of by the table that has it traced: base chains of the families inet, ip and ip6 in the IP hooks. A
tunnel's packet is heard of apart from what it carries.

Our table has chains just after connection tracking (`TRACKED`), and since Linux 6.16 messages say the connection's state.
Older kernels don't, and then nothing is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from netviz.core.model.netfilter import NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6
from netviz.core.observe.sighting import RuleEvent
from netviz.core.sim.steps import Conntrack, Encap, HookVerdict, Origin, Receive
from netviz.core.sim.trace import Path, Step

_FAMILIES = (NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6)
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_SURE = ("accept", "drop")
# Source: include/uapi/linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT.
_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}


class Ruled(msgspec.Struct, frozen=True):
    """What was heard of a chain's verdict; `why` says how it differs."""

    status: Literal["agree", "disagree", "not_seen"]
    why: str = ""
    event: RuleEvent | None = None


def ruled(step: Step, place: str, heard: list[RuleEvent], entry: str) -> Ruled | None:
    """Lay a step beside what was heard of its packet, and take that off the list; None where the chain isn't visible.

    `heard` is of one direction, all places, in the order of each. `entry` is the hook by which the packet came to the step,
    "prerouting" or "output": what wasn't known for the probe's there isn't traced.
    """
    what = step.what
    if not isinstance(what, HookVerdict) or what.chain is None or what.chain.legacy:
        return None
    chain = what.chain.chain
    here = _of_step(step, place, heard)
    own = any(event.own and event.chain.endswith(entry) for event in here)
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
    if chain.type == "nat" and step.packet.innermost is not step.packet:
        # They are asked for a connection's first packet, and a tunnel's port, drawn by a hash, tells which that is.
        return None
    return Ruled("not_seen")


def entered_by(step: Step, before: str) -> str:
    """Return the hook by which the packet came to a step: "prerouting" or "output"; `before` is that of the step before."""
    what = step.what
    if isinstance(what, (Origin, Encap)):
        return "output"
    if isinstance(what, Receive):
        return "prerouting"
    if not isinstance(what, HookVerdict) or what.hook not in _HOOKS or what.hook == "postrouting":
        return before
    return "output" if what.hook == "output" else "prerouting"


def unordered(path: Path) -> frozenset[int]:
    """Return the steps of nftables' chains that a legacy table's of the same priority may precede, by their numbers.

    Which comes first is the one that was registered later, and nothing tells which that is.
    Source: net/netfilter/core.c, nf_hook_entries_grow (Linux 6.18).
    """
    groups: dict[tuple[int, str, int], list[tuple[int, bool]]] = {}
    for number, hop in enumerate(path.hops):
        for step in hop.steps:
            what = step.what
            if isinstance(what, HookVerdict) and what.chain is not None:
                group = groups.setdefault((number, what.hook, what.chain.chain.priority), [])
                group.append((step.seq, what.chain.legacy))
    mixed = [group for group in groups.values() if any(legacy for _, legacy in group)]
    return frozenset(seq for group in mixed for seq, legacy in group if not legacy)


def tracked(step: Step, place: str, heard: list[RuleEvent]) -> Ruled | None:
    """Lay the state of a packet's connection beside what was heard, and take that off the list; None where it isn't told."""
    if not isinstance(step.what, Conntrack) or step.action not in _STATES:
        return None
    found = next((one for one in _of_step(step, place, heard) if one.own and one.ct_state), None)
    if found is None:
        return None
    heard[:] = [one for one in heard if one is not found]
    state = next((name for name, bit in _STATES.items() if found.ct_state & bit), str(found.ct_state))
    differs = state != step.action
    return Ruled("disagree" if differs else "agree", f"the connection is {state}" if differs else "", found)


def _of_step(step: Step, place: str, heard: Sequence[RuleEvent]) -> list[RuleEvent]:
    """Return what was heard in a place of a step's packet: of the tunnel's where it is wrapped, else of the probe's own."""
    is_wrapped = step.packet.innermost is not step.packet
    return [event for event in heard if event.place == place and event.frame.encapsulated == is_wrapped]


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
