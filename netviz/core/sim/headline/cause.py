"""The cause of a trace that fails.

`cause_of` finds the step that decides (which need not be the last one: a frame for a wrong MAC is lost where it arrives,
by an entry that stands where it was sent), and names its kind.
"""

from __future__ import annotations

from typing import NamedTuple

from netviz.core.sim.kubernetes.policy import denied_by_policy
from netviz.core.sim.outcome import (
    BREAKS,
    BROKEN,
    GOOD,
    UNSURE,
    branch_outcome,
    failing_path,
    last_step,
    outcome_of,
)
from netviz.core.sim.steps import (
    Bridge,
    Conntrack,
    Decap,
    Encap,
    Forward,
    HookVerdict,
    Mtu,
    Nat,
    Neighbour,
    Place,
    Receive,
    RouteLookup,
    RpFilter,
    SocketLookup,
    Transmit,
    Ttl,
)
from netviz.core.sim.trace import CERTAIN, Disposition, Hop, Owner, Path, Step, Trace


class Cause(NamedTuple):
    """The step that decides how a trace fails, where it was taken, and which kind of cause that is.

    `kind` is of the list in docs/problems.md. `path` is the direction that fails; `forward` tells whether it is the
    flow's own, and not its answer's. `down` is the link that is down, where that is why.
    """

    kind: str
    step: Step
    hop: Hop
    path: Path
    forward: bool
    down: tuple[Place, str] | None = None

    @property
    def place(self) -> Place:
        """Where the cause is."""
        return self.down[0] if self.down is not None else self.hop.place

    @property
    def dev(self) -> str:
        """At which device, or ""."""
        return self.down[1] if self.down is not None else self.step.dev

    @property
    def shown_by(self) -> Step:
        """The step whose commands show the cause: where a route is wrong or missing, that is the last one looked up."""
        if self.kind in ("no-route", "wrong-route", "wrong-place"):
            looked_up = (one for one in reversed(self.hop.steps) if isinstance(one.what, RouteLookup))
            return next(looked_up, self.step)
        return self.step


def cause_of(trace: Trace) -> Cause | None:
    """Find what decides that a flow fails, or breaks the contract; None where it doesn't, or nothing tells."""
    worst = outcome_of(trace)
    if worst == GOOD:
        return None
    if worst == UNSURE:
        return _unknown(trace)
    for branch in trace.branches:
        if branch_outcome(trace, branch) not in (worst, BROKEN if worst != BREAKS else BREAKS):
            continue
        path = failing_path(trace, branch)
        if path is None:
            return _rewriting(trace, branch.forward)
        found = _deciding(trace, path, path is branch.forward)
        if found is not None and denied_by_policy(found.step) and found.step.packet.src != trace.flow.src:
            found = _rewriting(trace, branch.forward) if found.forward else found
        if found is not None:
            return _for_link(trace, found)
    return None


def _unknown(trace: Trace) -> Cause | None:
    """Find where it ceases to be known what becomes of a packet: an end that is unknown, or the first assumption."""
    for branch in trace.branches:
        for path in (branch.forward, branch.reply):
            if path is not None and path.disposition is Disposition.UNKNOWN:
                return _deciding(trace, path, path is branch.forward)
    for branch in trace.branches:
        last = last_step(branch.forward)
        edge = last.what.edge if last is not None and isinstance(last.what, Transmit) else None
        if last is not None and edge is not None and edge.doubtful:
            return Cause("edge-doubt", last, branch.forward.hops[-1], branch.forward, True)
    for branch in trace.branches:
        for path in (branch.forward, branch.reply):
            for hop, step in _steps(path) if path is not None else ():
                if step.certainty != CERTAIN and path is not None:
                    return Cause("path-unknown", step, hop, path, path is branch.forward)
    return None


def _for_link(trace: Trace, cause: Cause) -> Cause:
    """Say rather which link is down, or which port is closed, where nobody answers or a route is missing for that."""
    down: tuple[tuple[Place, str], ...] = ()
    what = cause.step.what
    if isinstance(what, Neighbour) and cause.kind == "no-neighbour":
        ends = [
            owner.end for owner in (trace.source, trace.target) if owner is not None and owner.end is not None
        ]
        closed = {(one.netns, one.port) for one in what.closed}
        end = next((one for one in ends if (one[0].netns, one[1]) in closed), None)
        if end is not None:
            return cause._replace(kind="bridge-port", down=end)
        owners = [one for one in (trace.source, trace.target) if one is not None]
        near = [one for one in owners if what.nexthop == one.addr or one.place.netns == cause.hop.netns]
        down = tuple(found for one in near for found in one.down)
    elif cause.kind == "no-route":
        down = trace.down or _down_at(owner_of(trace, cause))
    elif isinstance(what, Bridge) and what.cause == "nobody":
        down = _down_at(owner_of(trace, cause))
    elif cause.kind == "link-down" and isinstance(what, Transmit) and what.cause == "peer down":
        down = ((what.where, what.peer_ifname),) if what.where is not None else ()
    return cause._replace(kind="link-down", down=down[0]) if down else cause


def _down_at(owner: Owner | None) -> tuple[tuple[Place, str], ...]:
    return owner.down if owner is not None else ()


def _steps(path: Path) -> list[tuple[Hop, Step]]:
    return [(hop, step) for hop in path.hops for step in hop.steps]


def _deciding(trace: Trace, path: Path, forward: bool) -> Cause | None:
    steps = _steps(path)
    if not steps:
        return None
    hop, last = steps[-1]
    if path.disposition is Disposition.LOOP:
        first = nodes_of_loop(path)[0]
        at, step = next((at, step) for at, step in reversed(steps) if at.netns.node == first)
        return Cause("loop", step, at, path, forward)
    if _is_astray(last):
        for at, step in reversed(steps):
            if isinstance(step.what, Neighbour):
                if step.what.action == "entry" and not _is_right(trace, step.what):
                    return Cause("wrong-neighbour", step, at, path, forward)
                break
    found = _by_stale_connection(steps, path, forward) or Cause(_kind(path, last), last, hop, path, forward)
    if found.kind == "no-listener" and not forward and str(hop.netns) != trace.origin.netns:
        return found._replace(kind="wrong-place")
    return found if found.kind != "no-route" or not _has_route(hop) else found._replace(kind="wrong-route")


def nodes_of_loop(path: Path) -> list[str]:
    """Name the nodes that a packet goes round between, sorted: those since it was first where it was last."""
    last = path.hops[-1].netns
    first = next(number for number, hop in enumerate(path.hops) if hop.netns == last)
    return sorted({hop.netns.node for hop in path.hops[first:]})


def _by_stale_connection(steps: list[tuple[Hop, Step]], path: Path, forward: bool) -> Cause | None:
    """Find the connection, known before, that sent a packet to an address which nobody known has."""
    last = steps[-1][1]
    what = last.what
    if not isinstance(what, Neighbour) or what.nexthop != last.packet.dst or what.silent or what.willing:
        return None
    for hop, step in steps:
        ct = step.what
        if (
            not isinstance(ct, Conntrack)
            or ct.cause != "known"
            or ct.is_reply
            or ct.orig is None
            or ct.reply is None
        ):
            continue
        if ct.reply.src == last.packet.dst != ct.orig.dst:
            return Cause("stale-conntrack", step, hop, path, forward)
    return None


def _has_route(hop: Hop) -> bool:
    """Tell whether a packet that leaves the known network does so by a route that is about its destination."""
    lookup = next((step.what for step in reversed(hop.steps) if isinstance(step.what, RouteLookup)), None)
    leaves = isinstance(hop.steps[-1].what, Transmit)
    return leaves and lookup is not None and lookup.route is not None and lookup.route.dst_len > 0


def _is_astray(step: Step) -> bool:
    """Tell whether a frame is lost for its MAC: nobody has it, or somebody else.

    One that leaves for a next hop that nobody known has isn't: its MAC may well be right.
    """
    what = step.what
    if isinstance(what, Receive):
        return what.cause in ("another MAC", "for another host")
    return isinstance(what, Bridge) and what.cause in ("nobody", "sent back") and not what.shared


def _is_right(trace: Trace, entry: Neighbour) -> bool:
    """Tell whether an entry is known to have the MAC of who has the address: then the frame is lost for another reason."""
    owners = (one for one in (trace.source, trace.target) if one is not None and one.addr == entry.nexthop)
    return any(owner.mac == entry.mac for owner in owners)


_KINDS: dict[type, str] = {
    RouteLookup: "no-route",
    Neighbour: "no-neighbour",
    RpFilter: "rp-filter",
    Forward: "forwarding-off",
    Mtu: "mtu",
    HookVerdict: "rule-drops",
    Bridge: "bridge-drops",
    Encap: "tunnel",
    Decap: "tunnel",
    Nat: "translation",
    Conntrack: "conntrack",
    Ttl: "loop",
    SocketLookup: "no-listener",
}


def _kind(path: Path, step: Step) -> str:
    what = step.what
    if path.disposition is Disposition.UNKNOWN:
        return "path-unknown"
    if isinstance(what, Transmit):
        if what.cause in ("link down", "peer down", "no carrier"):
            return "link-down"
        return "no-route" if what.action == "leave" else "frame-lost"
    if isinstance(what, Neighbour) and what.cause == "no carrier":
        return "link-down"
    if isinstance(what, Bridge) and (
        what.cause == "port state" or (what.cause == "may not send" and not what.limit)
    ):
        return "bridge-port"
    if isinstance(what, Receive):
        return "link-down" if what.cause == "link down" else "frame-lost"
    if isinstance(what, SocketLookup) and what.missed is not None:
        return "not-translated-back"
    if isinstance(what, Forward) and what.cause == "redirect sent":
        return "rejected-silently"
    if shared_mac(step):
        return "shared-mac"
    if isinstance(what, SocketLookup) and path.disposition is Disposition.DELIVERED:
        return "wrong-place"
    return _KINDS.get(type(what), "path-unknown")


def shared_mac(step: Step) -> bytes:
    """Return the MAC that several links have, which keeps a frame or the answer to a request from arriving; b"" where none does."""
    what = step.what
    if isinstance(what, Bridge) and what.shared:
        return what.sent_to
    return what.mac if isinstance(what, Neighbour) and what.shared else b""


def _rewriting(trace: Trace, path: Path) -> Cause | None:
    """Find the step that rewrites a source between pods, whose receiver then sees another address."""
    last = last_step(path)
    for hop, step in _steps(path):
        if isinstance(step.what, Nat) and step.what.action == "snat":
            return Cause("nat-between-pods", step, hop, path, True)
    return Cause("nat-between-pods", last, path.hops[-1], path, True) if last is not None else None


def owner_of(trace: Trace, cause: Cause) -> Owner | None:
    """Return who the packet of the failing direction is for."""
    found = trace.target if cause.forward else trace.source
    return found if found is not None and found.addr == cause.step.packet.dst else None
