"""A prediction laid beside what the kernel did: the way, the end, the answer, and what was told."""

from __future__ import annotations

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.observe.crossing import Copies, copies_of
from netviz.core.observe.frame import Frame
from netviz.core.sim.steps import Mtu, RouteLookup, SocketLookup, Transmit
from netviz.core.sim.trace import Branch, Disposition, Trace
from tests.live.oracle.path import Places, end_place, last_step, observed, way_differs
from tests.live.oracle.send import Result

RIGHT, ONE_OF, UNKNOWN, WRONG, UNSENT = "right", "one of", "unknown", "wrong", "not sent"
DISTURBED = "disturbed"
_TCP, _TCP_SYN, _TCP_RST = 6, 2, 4


class Comparison(msgspec.Struct):
    """One probe: the prediction, what happened, and whether they agree. `why` names the first difference.

    `reason` is what UNKNOWN comes from, `drop_reason` how the predicted drop reason compares with the kernel's.
    """

    result: Result
    trace: Trace | None
    verdict: str
    why: str = ""
    reason: str = ""
    drop_reason: str = ""


def _answer(result: Result, place: str, copies: Copies) -> tuple[str, str, Frame | None]:
    """Say what was sent back first: ("answer", "reset", "error" or ""), by whom, and the frame.

    Beside the answers of copies, it is the one of the `place` where the packet ends.
    """
    mixed, others = copies.answers(place).anywhere, set[str]()  # senders of errors about copies
    found: tuple[str, str, Frame | None] = ("", "", None)
    for sighting in result.sightings:
        frame, kind = sighting.frame, sighting.frame.kind
        if kind == "forward" or (kind == "error" and frame.src in others):
            continue
        if kind == "reply":
            kind = "reset" if frame.proto == _TCP and frame.flags & _TCP_RST else "answer"
        if not mixed or (sighting.place == place and sighting.out):
            return kind, sighting.place, frame
        if sighting.place in copies.served:
            others.add(frame.src)
        elif not copies.anywhere and not found[0]:
            found = kind, sighting.place, frame
    return found


def _unheard(branch: Branch, result: Result) -> bool:
    """Tell whether nobody could see an answer that there is: it comes too late, or isn't known to be one.

    A neighbour is given up after seconds; and a SYN that was never on a device has no known sequence number.
    """
    if branch.forward.reason == "NEIGH_FAILED":
        return not any(sighting.frame.kind == "error" for sighting in result.sightings)
    return result.probe.proto == "tcp" and not result.sightings


def _end_differs(branch: Branch, result: Result, places: Places) -> str:
    path = branch.forward
    place = end_place(branch.forward, places)
    end = path.disposition
    copies = copies_of(path, places.of)
    kind, by, frame = _answer(result, place, copies)
    reply = branch.reply
    silent = reply is None or reply.disposition is Disposition.LEFT_NETWORK or _unheard(branch, result)
    silent = silent or not any(
        isinstance(step.what, Transmit) and step.action != "drop"
        for h in (reply.hops if reply is not None else ())
        for step in h.steps
    )
    others = set(result.listeners) - ({place} if end is Disposition.DELIVERED else set())
    if others and not copies.answers(place).anywhere:
        return f"{', '.join(sorted(others))}'s listener got it"
    if end is Disposition.LEFT_NETWORK:
        return ""
    if end is Disposition.DELIVERED:
        if result.probe.proto == "udp" and place not in result.listeners:
            return "no listener got it"
        if not silent and (kind, by) != ("answer", place):
            return f"answered by {kind or 'nothing'} of {by or 'nobody'}, predicted an answer of {place}"
    elif end in (Disposition.NO_LISTENER, Disposition.REJECTED):
        if not silent and (kind not in ("reset", "error") or by != place):
            return f"answered by {kind or 'nothing'} of {by or 'nobody'}, predicted a refusal by {place}"
        return _refusal_differs(branch, kind, frame)
    elif end is Disposition.DROPPED:
        if kind in ("answer", "reset"):
            return f"{kind} of {by}, predicted to be dropped"
        if kind == "error" and reply is None:
            return f"ICMP error of {by}, predicted to be dropped without one"
        if not silent and (kind, by) != ("error", place):
            return f"answered by {kind or 'nothing'} of {by or 'nobody'}, predicted an ICMP error of {place}"
        return _refusal_differs(branch, kind, frame)
    return ""


def _refusal_differs(branch: Branch, kind: str, frame: Frame | None) -> str:
    """Compare what the refusal is: a reset, or an ICMP error of which type and code."""
    if branch.reply is None or not kind or frame is None:
        return ""
    answer = branch.reply.hops[0].steps[0].packet
    if (kind == "reset") != (answer.inner is None):
        return f"refused by {kind}, predicted {branch.forward.reason}"
    if kind == "error" and (frame.type, frame.code) != (answer.icmp_type, answer.icmp_code):
        return f"ICMP {frame.type}/{frame.code}, predicted {answer.icmp_type}/{answer.icmp_code}"
    return ""


def _shook_hands(result: Result) -> bool:
    """Tell whether the sender was answered by SYN+ACK: what it is told then may be about its next packet."""
    heard = (
        s.frame.flags
        for s in result.sightings
        if s.frame.kind == "reply" and not (s.out or s.stray) and s.place == result.probe.src
    )
    return result.probe.proto == "tcp" and bool(next(heard, 0) & _TCP_SYN)


def _told_differs(branch: Branch, result: Result, places: Places) -> str:
    """Compare what the sender was told, unless the answer to a copy may have been first."""
    reply, told = branch.reply, result.told
    place, copies = end_place(branch.forward, places), copies_of(branch.forward, places.of)
    answered = {s.place for s in result.sightings if s.frame.kind != "forward" and s.out}
    if copies.anywhere and answered - {place}:
        return ""
    if (copies.served - {place}) & answered:
        return ""
    if result.refused_at_send:
        # Told by the send itself, whatever answer comes.
        what = last_step(branch.forward).what
        errno = (what.errno if isinstance(what, (RouteLookup, Mtu)) else "") or told
        failed = branch.forward.reason == "IP_OUTNOROUTES" and errno != told
        return f"sending failed with {told}, predicted {errno}" if failed else ""
    if told and told != "answer" and _shook_hands(result):
        told = "answer"
    if reply is None:
        end = branch.forward.disposition
        if end is Disposition.DROPPED and told == "answer":
            return "the sender got an answer"
        return ""
    elsewhere = any(
        isinstance(step.what, SocketLookup) and step.what.cookie is not None for step in reply.hops[-1].steps
    )
    if reply.disposition is Disposition.DELIVERED and elsewhere:
        return f"the sender was told {told}, predicted that another socket gets the answer" if told else ""
    if reply.disposition is Disposition.DELIVERED:
        if branch.forward.disposition is Disposition.DELIVERED:
            return "" if told == "answer" else f"the sender was told {told or 'nothing'}, predicted an answer"
        return (
            ""
            if told not in ("", "answer")
            else f"the sender was told {told or 'nothing'}, predicted a refusal"
        )
    if reply.disposition in (Disposition.UNKNOWN, Disposition.LEFT_NETWORK):
        return ""
    return f"the sender was told {told}, predicted that the answer is lost" if told else ""


def _saw_differs(branch: Branch, result: Result, places: Places) -> str:
    """Compare the source that the listener saw."""
    saw = result.listeners.get(end_place(branch.forward, places))
    if saw is None or branch.forward.disposition is not Disposition.DELIVERED:
        return ""
    packet = last_step(branch.forward).packet
    predicted = (format_ip(packet.src), saw[1] if packet.sport_unsure else packet.sport)
    return "" if predicted == saw else f"listener saw {saw}, predicted {predicted}"


def branch_differs(branch: Branch, result: Result, places: Places) -> str:
    """Say how one possible course and what happened differ; "" when they agree."""
    if last_step(branch.forward).packet.payload is not None:
        # A tunnel's outer packet came to an end: what is told about it goes to the tunnel, not to the sender.
        return way_differs(branch.forward, observed(result, ("forward",)), places)
    difference = (
        way_differs(branch.forward, observed(result, ("forward",)), places)
        or _end_differs(branch, result, places)
        or _told_differs(branch, result, places)
        or _saw_differs(branch, result, places)
    )
    reply = branch.reply
    if difference or reply is None or reply.disposition is Disposition.UNKNOWN or _unheard(branch, result):
        return difference
    copies = copies_of(branch.forward, places.of)
    mixed = copies.answers(end_place(branch.forward, places))
    kinds = ("reply", "error")
    if mixed.anywhere and reply.hops[0].steps[0].packet.inner is None:
        kinds = ("reply",)  # an error beside the answer is about another copy
    # each copy of a flooded frame may be refused by itself
    found = way_differs(reply, observed(result, kinds), places, mixed, bool(copies.flooded))
    return f"answer {found}" if found else ""


def _unknown(branch: Branch) -> str:
    for path in (branch.forward, branch.reply):
        if path is not None and path.disposition is Disposition.UNKNOWN:
            return path.reason
    return ""


def compare(trace: Trace, result: Result, places: Places) -> Comparison:
    """Compare: right, one of several predicted courses, unknown, or wrong."""
    if result.told in ("EADDRNOTAVAIL", "EADDRINUSE"):
        return Comparison(result, None, UNSENT, result.told)
    reasons = [reason for branch in trace.branches if (reason := _unknown(branch))]
    differences = [
        branch_differs(branch, result, places) for branch in trace.branches if not _unknown(branch)
    ]
    if "" in differences:
        return Comparison(result, trace, RIGHT if len(trace.branches) == 1 else ONE_OF)
    if reasons:
        return Comparison(result, trace, UNKNOWN, reasons[0], reasons[0])
    return Comparison(result, trace, WRONG, differences[0])
