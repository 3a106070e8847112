"""What was seen of a probe, step by step beside its trace, and which branch it took.

| status      | the step ...                                                                              |
|-------------|---------------------------------------------------------------------------------------------|
| `agree`     | was seen as predicted                                                                         |
| `disagree`  | was seen with other headers or another drop reason, or the packet was seen elsewhere instead    |
| `ambiguous` | what was seen may be of it, or of another packet                                                |
| `not_seen`  | wasn't seen; `visible` says whether a source that watched would have shown it                    |
| `lost`      | wasn't seen, and events were lost                                                                |

What was seen and isn't predicted is an `Extra`. Shown are devices crossed (packet sockets), drops
(skb:kfree_skb), chains' verdicts and connections' states (nftables trace), lookups of routes (`routed`), and what the next
frame bears (`implied`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from netviz.core.observe.align import ARRIVED, Laid, Row, first_sending, lay_beside
from netviz.core.observe.correlate import AMBIGUOUS, Correlation, Crossed, Freed
from netviz.core.observe.counters import Counts, met
from netviz.core.observe.crossing import Copies, Naming, copies_of
from netviz.core.observe.freed import contradicts
from netviz.core.observe.implied import ANSWER, SENT, TOLD, implied
from netviz.core.observe.routed import Routed, routes
from netviz.core.observe.rules import Ruled, entered_by, ruled, tracked, unordered, unpredicted
from netviz.core.observe.sighting import Crossing, Event, RuleEvent, Sighting, Tracked
from netviz.core.observe.translated import translated
from netviz.core.sim.packet import IPPROTO_UDP, Packet
from netviz.core.sim.steps import Bridge, Encap, Mtu
from netviz.core.sim.trace import Branch, Disposition, Path, Step, Trace

Status = Literal["agree", "disagree", "ambiguous", "not_seen", "lost"]
_FORWARD, _ANSWER = ("forward",), ("reply", "error")
COPIES, CONNTRACK, LOOKUP, COUNTERS = "its copies", "conntrack event", "FIB lookup", "rule counters"


class Watched(msgspec.Struct, frozen=True):
    """What watched: the places with packet sockets, the nodes where drops show, and those where something was lost.

    `port` is a datagram's, by which its answers are known; 0 for none.
    """

    places: frozenset[str]
    drops: frozenset[str] = frozenset()
    lossy: frozenset[str] = frozenset()
    port: int = 0


class Seen(msgspec.Struct, frozen=True):
    """All that was seen of one probe, in the order of time, and what was joined with it."""

    sightings: tuple[Sighting, ...]
    joined: Correlation
    watched: Watched
    rules: tuple[RuleEvent, ...] = ()
    told: str = ""
    tracked: tuple[Tracked, ...] = ()
    counts: tuple[Counts, ...] = ()


class Match(msgspec.Struct, frozen=True):
    """A predicted step and what was seen of it; `why` says how they differ, `rule` is what a chain was heard to do.

    `by`: nothing showed the step itself, but this, which follows from it (`implied`).
    """

    step: Step
    status: Status
    visible: bool
    why: str = ""
    sighting: Sighting | None = None
    event: Event | None = None
    rule: RuleEvent | None = None
    by: str = ""


class Extra(msgspec.Struct, frozen=True):
    """What was seen and isn't predicted: a frame at a device, a drop, or a chain's verdict.

    It belongs after the step numbered `after` (0: before all); a verdict, which has no time, to the last in its place.
    """

    after: int
    sighting: Sighting | None = None
    event: Event | None = None
    rule: RuleEvent | None = None


class PathMatch(msgspec.Struct, frozen=True):
    """One direction. `copies` are frames of the packet's copies, which aren't compared."""

    matches: tuple[Match, ...]
    extra: tuple[Extra, ...]
    copies: tuple[Sighting, ...] = ()

    @property
    def contradictions(self) -> int:
        """Count what speaks against the prediction."""
        against = [
            m for m in self.matches if m.status == "disagree" or (m.status == "not_seen" and m.visible)
        ]
        return len(against) + len(self.extra)


class BranchMatch(msgspec.Struct, frozen=True):
    """One branch of a trace, by its number from 0. `reply` is None where none is predicted or compared."""

    number: int
    forward: PathMatch
    reply: PathMatch | None

    @property
    def contradictions(self) -> int:
        """Count what speaks against the branch."""
        return self.forward.contradictions + (self.reply.contradictions if self.reply is not None else 0)


class Observation(msgspec.Struct, frozen=True):
    """A trace and what was seen. `nearest` is the branch that fits best; `taken` are those that nothing speaks against.

    More than one in `taken`: what was seen doesn't tell them apart. None: the packet did what isn't predicted.
    """

    nearest: BranchMatch
    taken: tuple[int, ...]


def predicted_reason(branch: Branch) -> str:
    """Return the drop reason that skb:kfree_skb should have for a branch whose packet is dropped."""
    what = branch.forward.hops[-1].steps[-1].what
    if isinstance(what, Encap) and what.cause == "too big for the bridge" and branch.reply is not None:
        return branch.reply.reason  # the frame is not freed, it becomes the error (iptunnel_pmtud_build_icmp)
    return path_reason(branch.forward)


def path_reason(path: Path) -> str:
    """Return the drop reason of a path whose packet is dropped."""
    what = path.hops[-1].steps[-1].what
    return (what.kernel_reason if isinstance(what, Mtu) else "") or path.reason


def observe(trace: Trace, seen: Seen, naming: Naming, is_told: Callable[[Crossing], bool]) -> Observation:
    """Lay what was seen of a probe beside every branch of its trace."""
    found = [
        _with_counts(_branch(number, branch, seen, naming, is_told), branch, seen.counts, naming)
        for number, branch in enumerate(trace.branches)
    ]
    nearest = min(found, key=lambda one: (one.contradictions, one.number))
    return Observation(nearest, tuple(one.number for one in found if not one.contradictions))


def _branch(
    number: int, branch: Branch, seen: Seen, naming: Naming, is_told: Callable[[Crossing], bool]
) -> BranchMatch:
    def of_kinds(kinds: tuple[str, ...]) -> list[Sighting]:
        return first_sending([s for s in seen.sightings if s.frame.kind in kinds and is_told(s.crossing)])

    laid = lay_beside(branch.forward, of_kinds(_FORWARD), naming, is_told)
    forward = _path(branch.forward, laid, predicted_reason(branch), _FORWARD, seen, naming, is_told)
    if branch.forward.hops[-1].steps[-1].packet.payload is not None:
        # a tunnel's outer packet ended: what is told goes to the tunnel
        return BranchMatch(number, forward, None)
    copies = copies_of(branch.forward, naming)
    mixed = copies.answers(naming(branch.forward.hops[-1].netns))
    reply = branch.reply
    if reply is None:
        return BranchMatch(number, _with_answers(forward, branch, of_kinds(_ANSWER), mixed), None)
    if reply.disposition is Disposition.UNKNOWN:
        return BranchMatch(number, forward, None)
    # an error beside the answer is about another copy
    alone = mixed.anywhere and reply.hops[0].steps[0].packet.inner is None
    kinds = ("reply",) if alone else _ANSWER
    sent = [s for s in seen.sightings if s.frame.kind in _FORWARD]
    repeated = bool(copies.flooded) or len(first_sending(sent)) < len(sent)  # each of those is answered
    back = lay_beside(reply, of_kinds(kinds), naming, is_told, mixed, repeated)
    return BranchMatch(number, forward, _path(reply, back, path_reason(reply), kinds, seen, naming, is_told))


def _with_counts(found: BranchMatch, branch: Branch, counts: Sequence[Counts], naming: Naming) -> BranchMatch:
    """Lay the steps that nothing else shows beside the counters of legacy rules."""
    reply = branch.reply if found.reply is not None else None
    told = met([path for path in (branch.forward, reply) if path is not None], counts, naming)

    def on(path: PathMatch) -> PathMatch:
        matches = tuple(
            Match(one.step, how.status, True, how.why, by=COUNTERS)
            if (how := told.get(one.step.seq)) is not None and not one.visible
            else one
            for one in path.matches
        )
        return msgspec.structs.replace(path, matches=matches)

    return BranchMatch(found.number, on(found.forward), on(found.reply) if found.reply is not None else None)


def _with_answers(
    forward: PathMatch, branch: Branch, answers: Sequence[Sighting], mixed: Copies
) -> PathMatch:
    """Add answers where none is predicted."""
    if mixed.anywhere or branch.forward.disposition in (Disposition.LEFT_NETWORK, Disposition.UNKNOWN):
        return forward
    extra = tuple(Extra(branch.forward.hops[-1].steps[-1].seq, sighting) for sighting in answers)
    return msgspec.structs.replace(forward, extra=forward.extra + extra)


def _path(
    path: Path,
    laid: Laid,
    reason: str,
    kinds: tuple[str, ...],
    seen: Seen,
    naming: Naming,
    is_told: Callable[[Crossing], bool],
) -> PathMatch:
    rows = (*laid.rows, laid.beyond) if laid.beyond is not None else laid.rows
    events = _events(seen)
    by_seq: dict[int, Match] = {}
    extra: list[Extra] = []
    after = 0
    for number, row in enumerate(rows):
        if row.predicted is not None:
            following = rows[number + 1] if number + 1 < len(rows) else None
            match = _crossing(row, following, seen.watched, events, row is laid.beyond)
            by_seq[match.step.seq] = match
            after = match.step.seq
        else:
            extra.append(Extra(after, row.sighting))
    crossed = frozenset(by_seq)
    agreed = frozenset(seq for seq, match in by_seq.items() if match.status == "agree")
    freed = [one for one in seen.joined.freed if one.after is None or one.after.frame.kind in kinds]
    last = path.hops[-1].steps[-1]
    steps = {step.seq: step for hop in path.hops for step in hop.steps}
    if path.disposition is Disposition.DROPPED:
        by_seq[last.seq] = _dropped(last, reason, freed, laid, seen, naming(path.hops[-1].netns))
    else:
        sent = first_sending([s for s in seen.sightings if s.frame.kind in kinds])
        extra += [
            Extra(after, one.after, one.event)
            for one in freed
            if contradicts(path, one) and any(one.after is s for s in sent)
        ]
    said = [event for event in seen.rules if event.frame.kind in kinds]
    heard, last_at, either = list(said), dict[str, int](), unordered(path)
    for hop in path.hops:
        place = naming(hop.netns)
        entry = "prerouting"
        for step in hop.steps:
            last_at[place] = step.seq
            entry = entered_by(step, entry)
            found = ruled(step, place, heard, entry) or tracked(step, place, heard)
            if kinds == _FORWARD and (why := translated(step, place, seen.tracked)) is not None:
                status: Status = "disagree" if why else "agree"
                by_seq[step.seq] = Match(step, status, True, why, by=CONNTRACK)
            elif found is not None and not (found.status == "not_seen" and step.seq in either):
                by_seq[step.seq] = _with_rule(step, found, by_seq.get(step.seq), seen.watched)
    lookups, start = seen.joined.lookups, naming(path.hops[0].netns)
    begun = lookups.sent if kinds == _FORWARD else lookups.answering(seen.sightings, start, kinds)
    for seq, one in routes(path, begun, _lookups_after(by_seq, seen)).items():
        by_seq[seq] = _with_lookup(steps[seq], one, by_seq.get(seq))
    extra = [_after_heard(one, by_seq) for one in extra]
    copies = copies_of(path, naming)
    of_copies = copies.flooded | copies.served
    extra += [
        Extra(last_at.get(one.place, last.seq), rule=one)
        for one in unpredicted(said, heard)
        if one.place not in of_copies and not copies.anywhere
    ]
    shown = implied(path, crossed, agreed, _taken_at_end(path, kinds, seen))
    if kinds == _FORWARD:
        shown[path.hops[0].steps[0].seq] = SENT
    matches = tuple(by_seq.get(seq) or _implied(step, shown.get(seq, "")) for seq, step in steps.items())
    return PathMatch(matches, tuple(extra), laid.aside)


def _after_heard(extra: Extra, by_seq: Mapping[int, Match]) -> Extra:
    """Put what was seen instead behind the verdicts that agree before it, up to the next step that crosses or ends."""
    after = extra.after
    for seq in sorted(seq for seq in by_seq if seq > after):
        match = by_seq[seq]
        if match.rule is None or match.status != "agree" or match.sighting is not None:
            break
        after = seq
    return msgspec.structs.replace(extra, after=after)


def _implied(step: Step, by: str) -> Match:
    return Match(step, "agree", True, by=by) if by else Match(step, "not_seen", False)


def _taken_at_end(path: Path, kinds: tuple[str, ...], seen: Seen) -> str:
    """Say what shows that the packet was taken at the end of its path, as predicted; "" for nothing."""
    if path.disposition not in ARRIVED:
        return ""
    if kinds != _FORWARD:
        return TOLD if seen.told else ""
    refused = path.disposition is Disposition.NO_LISTENER
    if any(
        one.frame.kind == ("error" if refused and one.frame.type >= 0 else "reply") for one in seen.sightings
    ):
        return ANSWER
    return TOLD if seen.told == ("ECONNREFUSED" if refused else "answer") else ""


def _with_rule(step: Step, found: Ruled, drop: Match | None, watched: Watched) -> Match:
    """Say what was heard of a chain's verdict; of one that drops, with what was seen of the free."""
    if found.status == "not_seen":
        return drop or Match(step, "lost" if step.node in watched.lossy else "not_seen", True)
    if drop is None or drop.status in ("not_seen", "lost"):
        return Match(step, found.status, True, found.why, rule=found.event)
    if "disagree" in (found.status, drop.status):
        return msgspec.structs.replace(drop, status="disagree", why=found.why or drop.why, rule=found.event)
    event = drop.event if drop.status == "agree" else None  # it may be another packet's
    return msgspec.structs.replace(drop, status="agree", event=event, rule=found.event)


def _lookups_after(by_seq: Mapping[int, Match], seen: Seen) -> Callable[[int], tuple[Event, ...]]:
    positions = {id(sighting): number for number, sighting in enumerate(seen.sightings)}

    def after(seq: int) -> tuple[Event, ...]:
        match = by_seq.get(seq)
        number = positions.get(id(match.sighting), -1) if match is not None else -1
        return seen.joined.lookups.after.get(number, ())

    return after


def _with_lookup(step: Step, found: Routed, drop: Match | None) -> Match:
    """Say what a lookup was seen to find; a free that tells the same has the reason too."""
    if drop is not None and drop.status == "agree":
        return drop
    return Match(step, "disagree" if found.why else "agree", True, found.why, event=found.event, by=LOOKUP)


def _events(seen: Seen) -> dict[int, Crossed]:
    return {id(seen.sightings[position]): one for position, one in seen.joined.crossed.items()}


def _crossing(
    row: Row, following: Row | None, watched: Watched, events: Mapping[int, Crossed], beyond: bool
) -> Match:
    assert row.predicted is not None
    step, where = row.predicted.step, row.predicted.crossing
    if row.sighting is not None:
        crossed = events.get(id(row.sighting))
        event = crossed.event if crossed is not None and crossed.join != AMBIGUOUS else None
        return Match(step, "disagree" if row.why else "agree", True, row.why, row.sighting, event)
    if where.place not in watched.places or beyond or not _is_known(row.predicted.packet, watched.port):
        return Match(step, "not_seen", False)
    if step.node in watched.lossy:
        return Match(step, "lost", True)
    if following is not None and following.predicted is None and following.sighting is not None:
        return Match(step, "disagree", True, f"seen at {following.sighting.crossing} instead")
    return Match(step, "not_seen", True)


def _is_known(packet: Packet, port: int) -> bool:
    """Tell whether a packet would be known for the probe's or its answer: no answer to a port that was translated is."""
    inner = packet.innermost
    return not port or inner.proto != IPPROTO_UDP or port in (inner.sport, inner.dport)


def _dropped(step: Step, reason: str, freed: Sequence[Freed], laid: Laid, seen: Seen, place: str) -> Match:
    """Lay the frees of a packet beside the step that is predicted to drop it; else what the sender was told.

    A system call that fails frees no packet: there is none yet.
    """
    watched = seen.watched
    seen_last = laid.before_drop or next((r.sighting for r in reversed(laid.rows) if r.sighting), None)
    here = Crossing(place, step.dev, False)
    refused = [
        one for one in laid.aside if one.stray and one.crossing == here
    ]  # for another MAC, as predicted
    mine = [
        one
        for one in freed
        if one.after is None or one.after is seen_last or any(one.after is other for other in refused)
    ]
    certain = next((one for one in mine if one.join != AMBIGUOUS), None)
    if certain is not None:
        said = certain.event.reason
        why = "" if said == reason else f"dropped for {said}, predicted {reason}"
        return Match(step, "disagree" if why else "agree", True, why, certain.after, certain.event)
    if isinstance(step.what, Bridge) and step.what.lookup == "flood":
        # Its copies go on, and end wherever they do; that nobody takes any is seen by what isn't seen after them.
        return Match(step, "agree", True, by=COPIES) if laid.aside else Match(step, "not_seen", False)
    errno = str(getattr(step.what, "errno", "")) if getattr(step.what, "asked", "out") == "out" else ""
    told = errno or ("EHOSTUNREACH" if reason == "NEIGH_FAILED" else "")
    if told and seen.told == told:
        return Match(step, "agree", True, by=TOLD)
    possible = next((one for one in mine if one.event.reason == reason), None)
    if possible is not None:
        return Match(step, "ambiguous", True, "", possible.after, possible.event)
    if errno or step.node not in watched.drops:
        return Match(step, "not_seen", False)
    return Match(step, "lost" if step.node in watched.lossy else "not_seen", True)
