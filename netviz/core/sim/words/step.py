"""A step in words: its sentence, the commands that check it, its decision and reason.

Each family's module has three tables by (kind, cause or action): WHY are sentences, UNKNOWN names for what isn't known,
COMMANDS what to run where the step was taken; "" stands for the rest of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.plain import quoted
from netviz.core.sim.steps import Assumption, Neighbour, Place, RouteLookup, SocketLookup
from netviz.core.sim.trace import CERTAIN, MAX_MOVES, Disposition, Hop, Limit, Step
from netviz.core.sim.words import conn, encap, hook, inet, link, neigh, opaque, route
from netviz.core.sim.words.show import Templates, command, sentence

FAMILIES = (opaque, link, encap, route, inet, neigh, hook, conn)
WHY: Templates = {key: text for family in FAMILIES for key, text in family.WHY.items()}
UNKNOWN: Templates = {key: text for family in FAMILIES for key, text in family.UNKNOWN.items()}
ASSUMED: Templates = {**hook.ASSUMED, **conn.ASSUMED}
COMMANDS: Templates = {
    key: text for family in FAMILIES if hasattr(family, "COMMANDS") for key, text in family.COMMANDS.items()
}
_WHY, _UNKNOWN, _ASSUMED = (
    {key: sentence(text, key[0]) for key, text in table.items()} for table in (WHY, UNKNOWN, ASSUMED)
)
_COMMANDS = {
    key: command(text, key[0])
    for key in WHY
    if (text := COMMANDS.get(key) or COMMANDS.get((key[0], ""))) is not None
}
NOT_READ = "section not read"
# What checks a decision in other places than where it was taken.
ELSEWHERE: dict[type, Callable[[Any], Iterable[tuple[Place, str]]]] = {
    Neighbour: neigh.elsewhere,
    SocketLookup: inet.elsewhere,
}


def _key(step: Step) -> tuple[type, str]:
    what = step.what
    return type(what), what.cause or what.action


def why(step: Step) -> str:
    """Say in a sentence what was decided and on which ground, and what that means in Kubernetes' terms."""
    if step.what.cause == NOT_READ:
        said = f"This namespace's {step.what.section} could not be read: {step.what.missing}."
    else:
        said = _WHY[_key(step)](step)
    return f"{said} {step.meaning}" if step.meaning else said


def decision(step: Step) -> str:
    """Return what was decided, in a word or two."""
    what = step.what
    if isinstance(what, RouteLookup) and what.action == "via" and what.nexthop is not None:
        return f"via {format_ip(what.nexthop.gateway)}"
    return step.action


def reason(step: Step) -> str:
    """Return the kernel's drop reason, the error that is sent, or what isn't known."""
    if step.reason or step.certainty == CERTAIN:
        return step.reason
    if step.what.cause == NOT_READ:
        return f"{step.what.section} not read"
    key = _key(step)
    write = _UNKNOWN.get(key) if step.what.action == "unknown" else _ASSUMED.get(key)
    return write(step) if write is not None else ""


def end_reason(disposition: Disposition, last: Step | None) -> str:
    """Name what a path that is unknown, or goes round, ends with."""
    if last is not None and disposition is Disposition.UNKNOWN:
        return reason(last)
    if last is not None and disposition is Disposition.LOOP and last.action == "loop":
        return f"{last.dev} on {last.node}"
    return f"more than {MAX_MOVES} moves" if disposition is Disposition.LOOP else ""


def assumed_text(assumed: Assumption) -> str:
    """Say what a trace rests on."""
    if assumed.what == "no tcx":
        return (
            f"Whether tcx programs stand at links of {assumed.node} isn't known, its collector could not ask: none is "
            "taken to."
        )
    if assumed.what == "comes in here":
        return (
            f"What is outside of the cluster isn't known: the packet is taken to come in by {assumed.dev} of"
            f" {assumed.node}, and the answer to reach its sender from there."
        )
    return f"No connection of {assumed.node} at that time is kept: the packet is taken for the first of a new flow."


def limit_text(limit: Limit) -> str:
    """Say how large a packet may be, by which link, and whether larger ones vanish."""
    silent = "; larger ones are dropped there silently" if limit.silent else ""
    return f"{limit.bytes} bytes, by {limit.dev} on {limit.at.netns.node}{silent}"


def checks(step: Step, hop: Hop, enter: str = "") -> list[dict[str, Any]]:
    """List the commands that check a step by hand, each with the machine and the namespace that it is for.

    A command is written as it is run on that node, outside of the namespace. `enter` is what runs one in a place
    instead, where that isn't nsenter: `{name}` in it stands for the namespace's name, or the node's for its own.
    """
    write = _COMMANDS.get(_key(step))
    found = [_check(hop.place, enter, write(step))] if write is not None else []
    if (elsewhere := ELSEWHERE.get(type(step.what))) is not None:
        found += [_check(place, enter, command) for place, command in elsewhere(step.what)]
    return found


def own_command(found: list[dict[str, Any]], hop: Hop) -> str:
    """Return the command among `checks` that is for the step's own namespace, or "": it is the first."""
    return found[0]["command"] if found and found[0]["netns"] == hop.place.key else ""


def _check(place: Place, enter: str, command: str) -> dict[str, Any]:
    prefix = place.enter
    if enter and place.name:
        prefix = f"{enter.format(name=quoted(place.name))} "
    return {"node": place.netns.node, "netns": place.key, "command": prefix + command}
