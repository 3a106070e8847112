"""A branch in its own words: what it was that went otherwise in the others, such as the endpoint that was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netviz.core.model.addr import format_ip
from netviz.core.sim.steps import HookVerdict, Nat, Neighbour, RouteLookup, Transmit
from netviz.core.sim.trace import Branch, Disposition, ServiceName, Step, Trace
from netviz.core.sim.words.show import endpoint, show
from netviz.core.sim.words.step import decision, why

MAX_SENTENCE = 120
Place = tuple[Step, Sequence[Step]]


def choices(trace: Trace) -> list[str]:
    """Name what sets each branch apart, in their order; "" where there is one branch alone."""
    branches, service = trace.branches, trace.service
    if len(branches) < 2:
        return [""] * len(branches)
    walks = [list(_steps(branch)) for branch in branches]
    keys = [[_key(step) for step, _ in walk] for walk in walks]
    return [
        _name(branch, walk, _partings(i, keys), service)
        for i, (branch, walk) in enumerate(zip(branches, walks, strict=True))
    ]


def _steps(branch: Branch) -> Iterator[Place]:
    """List a branch's steps, forward and in reply, each with those that follow it in its hop."""
    for path in (branch.forward, branch.reply):
        for hop in path.hops if path is not None else ():
            for at, step in enumerate(hop.steps):
                yield step, hop.steps[at:]


def _key(step: Step) -> tuple[object, ...]:
    what = step.what
    hit = (
        (what.hit.within, what.hit.handle) if isinstance(what, HookVerdict) and what.hit is not None else None
    )
    peer = what.peer if isinstance(what, Transmit) else None
    return step.at, type(what), step.action, step.cause, hit, peer, step.packet


def _partings(own: int, keys: Sequence[Sequence[object]]) -> list[int]:
    """List the steps at which other branches part from one, in order: the longest common beginning with each."""
    mine = keys[own]
    found = set()
    for i, other in enumerate(keys):
        if i == own:
            continue
        common = next((n for n, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), None)
        at = min(len(mine), len(other)) if common is None else common
        if at < len(mine):
            found.add(at)
    return sorted(found)


def _name(branch: Branch, walk: list[Place], partings: list[int], service: ServiceName | None) -> str:
    # that a rule is taken not to match says less than what comes of it
    telling = [at for at in partings if walk[at][0].action != "assume no match"] or partings[-1:]
    named = dict.fromkeys(_text(branch, *walk[at], service) for at in telling)
    return ", then ".join(named) or "the same path, ending sooner"


def _text(branch: Branch, step: Step, rest: Sequence[Step], service: ServiceName | None) -> str:
    """Say where a decision leads: for a rule that translates, to which endpoint."""
    what = step.what
    if isinstance(what, HookVerdict) and what.cause == "hook order":
        pair = [f"the legacy {what.table} table", what.what]
        return " before ".join(pair if what.action == "assume legacy first" else reversed(pair))
    if isinstance(what, HookVerdict) and what.action in ("assume match", "assume no match"):
        goal = _goal(branch, rest, service)
        verb = "matches" if what.action == "assume match" else "doesn't match"
        where = f"a rule of {what.hit.within}" if what.hit is not None else "a rule"
        return f"{f'{goal}: ' if goal else ''}{what.expression} in {where} {verb}"
    if isinstance(what, (HookVerdict, Nat)) and (goal := _goal(branch, rest, service)):
        return goal
    if isinstance(what, RouteLookup):
        return f"{decision(step)} out of {what.oif or step.dev}"
    if isinstance(what, Neighbour) and what.mac:
        return f"{show(what.nexthop)} at {show(what.mac)}"
    if isinstance(what, Transmit) and what.peer is not None:
        return f"by {step.dev} to {what.peer.netns.node}"
    sentence = why(step).partition(". ")[0].rstrip(".")
    return sentence if len(sentence) <= MAX_SENTENCE else f"{step.kind} {decision(step)}"


def _goal(branch: Branch, rest: Sequence[Step], service: ServiceName | None) -> str:
    """Name the endpoint to which the next translation sends the packet, with the pod where it is delivered.

    Where the API says whose the target is: "service shop/web, endpoint web-7d9 on node2 (10.244.2.5:8080)".
    """
    for step in rest:
        if not isinstance(step.what, Nat) or step.action not in ("dnat", "snat"):
            continue
        if step.action == "snat":
            port = "" if step.what.unsure else f", port {step.packet.sport}"
            return f"from {format_ip(step.packet.src)}{port}"
        end = branch.forward
        at = end.hops[-1].place if end.hops and end.disposition is Disposition.DELIVERED else None
        shown = endpoint(step.packet.dst, step.packet.dport)
        if service is None:
            return f"{shown} ({at.pod})" if at is not None and at.pod else shown
        of = f"service {service.namespace}/{service.name}"
        if at is None or not (at.pod or at.root):
            return f"{of}, endpoint {shown}"
        who = at.pod.removeprefix(f"{service.namespace}/") if at.pod else "in the node's network"
        return f"{of}, endpoint {who} on {at.netns.node} ({shown})"
    return ""
