"""A prediction laid beside what the kernel did: devices in order, headers at each, the end, the answer."""

from __future__ import annotations

import os
from itertools import pairwise

import msgspec

from lab.randomnet.model import FABRIC
from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import LinkKey
from netviz.core.sim.packet import Packet
from netviz.core.sim.trace import Branch, Disposition, Path, Step, Trace
from tests.live.oracle.build import Built
from tests.live.oracle.frames import Frame
from tests.live.oracle.send import Result
from tests.live.oracle.taps import Sighting

RIGHT, ONE_OF, UNKNOWN, WRONG, UNSENT = "right", "one of", "unknown", "wrong", "not sent"
DISTURBED = "disturbed"
ARRIVED = (Disposition.DELIVERED, Disposition.NO_LISTENER)
_TCP, _TCP_SYN, _TCP_RST = 6, 2, 4
_RETRANSMISSION_NS = 900_000_000


class Crossing(msgspec.Struct, frozen=True):
    """A packet crosses a device."""

    place: str
    dev: str
    out: bool

    def __str__(self) -> str:
        return f"{self.place}:{self.dev}:{'out' if self.out else 'in'}"


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


class Places:
    """Which namespace of the description a namespace of the state is."""

    def __init__(self, up: Built) -> None:
        self._by_ino: dict[tuple[str, int], str] = {}
        for place in up.network.places:
            self._by_ino[place.node or place.name, os.stat(up.path(place)).st_ino] = place.name
        self.bridges: set[tuple[str, str]] = set()

    def of(self, node: str, ino: int) -> str:
        """Name the place."""
        return self._by_ino.get((node, ino), "?")


def _expected(path: Path, places: Places) -> list[tuple[Crossing, Packet]]:
    """List the devices crossed, with the packet at each: on arrival as it was before the device's own chains."""
    found = []
    last: Packet | None = None
    before: Packet | None = None
    for hop in path.hops:
        place = places.of(hop.netns.node, hop.netns.ino)
        for step in hop.steps:
            if step.kind == "bridge" and step.decision == "copy":
                continue  # between a device's chains and who takes the frame
            ingress = step.kind == "netfilter" and step.evidence.get("hook") == "ingress"
            arrived = last if last is not None and step.kind == "link_rx" else step.packet
            last = (last or before) if ingress and before is not None else None
            before = step.packet
            crossing = Crossing(place, step.dev, step.kind != "link_rx")
            # a tunnel's device has had the frame that it drops
            crosses = step.kind == "encap" or (
                step.kind in ("link_tx", "link_rx") and step.decision != "drop"
            )
            if crosses and _is_told(crossing):
                found.append((crossing, arrived))
    return found


def _is_told(crossing: Crossing) -> bool:
    """Tell whether a trace says that a device is crossed; of a bridge's own, it does of what goes up to it alone."""
    away = crossing.place == FABRIC or crossing.dev == "lo"
    return not away and not (crossing.dev.startswith("br") and crossing.out)


def _crossing(sighting: Sighting) -> Crossing:
    return Crossing(sighting.place, sighting.dev, sighting.out)


def _observed(result: Result, kinds: tuple[str, ...]) -> list[Sighting]:
    found = [s for s in result.sightings if s.frame.kind in kinds and _is_told(_crossing(s))]
    return [s for s in found if s.at_ns - found[0].at_ns < _RETRANSMISSION_NS]


def _same_headers(packet: Packet, frame: Frame) -> bool:
    """Compare addresses, ports and TTL; a port that is chosen at random may be any."""
    while packet.payload is not None:
        packet = packet.payload
    predicted, seen = list(_headers(packet)), list(_seen_headers(frame))
    if packet.inner is None:
        for at, unsure in ((1, packet.sport_unsure), (3, packet.dport_unsure)):
            if unsure:
                predicted[at] = seen[at]
    return predicted == seen


def _headers(packet: Packet) -> tuple[str, int, str, int, int]:
    while packet.payload is not None:
        packet = packet.payload
    if packet.inner is not None:
        return format_ip(packet.src), 0, format_ip(packet.dst), 0, packet.ttl
    return format_ip(packet.src), packet.sport, format_ip(packet.dst), packet.dport, packet.ttl


def _seen_headers(frame: Frame) -> tuple[str, int, str, int, int]:
    if frame.kind == "error":
        return frame.src, 0, frame.dst, 0, frame.ttl
    return frame.src, frame.sport, frame.dst, frame.dport, frame.ttl


def _macs_differ(packet: Packet, frame: Frame) -> str:
    """Compare the frame's link-layer addresses, which tell the next hop; "" when they agree or none is predicted."""
    for name, predicted, seen in (("from", packet.smac, frame.smac), ("to", packet.dmac, frame.dmac)):
        if predicted and predicted != seen:
            return f"{name} MAC {format_mac(seen)}, predicted {format_mac(predicted)}"
    return ""


def _last_step(path: Path) -> Step:
    return path.hops[-1].steps[-1]


def _end_place(path: Path, places: Places) -> str:
    netns = path.hops[-1].netns
    return places.of(netns.node, netns.ino)


class Copies(msgspec.Struct, frozen=True):
    """Where copies of a packet may be seen, which are no part of its way.

    They go out of the devices of the places that are `flooded`; the places that are `served` get one beside the
    packet that is followed (macvlans in source mode); sent by a tunnel or by a rule they may be `anywhere`.
    """

    flooded: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()
    anywhere: bool = False

    def answers(self, end: str) -> Copies:
        """Return what the answer of a packet that ends at a place is mixed with: the answers of its copies."""
        return Copies(anywhere=self.anywhere or bool(self.served - {end}))


def _copies(path: Path, places: Places) -> Copies:
    steps = [(hop, step) for hop in path.hops for step in hop.steps]
    keys = [LinkKey.parse(text) for _, step in steps for text in step.evidence.get("copied_to", ())]
    return Copies(
        frozenset(
            places.of(hop.netns.node, hop.netns.ino)
            for hop, step in steps
            if step.kind == "bridge" and step.decision in ("flood", "drop")
        ),
        frozenset(places.of(key.netns.node, key.netns.ino) for key in keys),
        any("remotes" in step.evidence or "copies_sent_to" in step.evidence for _, step in steps),
    )


def _written_in_place(path: Path) -> set[tuple[str, str]]:
    """List the addresses that the legacy mangle table gives the packet on its way.

    SNPT and DNPT write them into the packet without a copy of it: a tap that has it still shows the new ones.
    Source: net/ipv6/netfilter/ip6t_NPT.c (Linux 6.18).
    """
    found = set()
    steps = [step for hop in path.hops for step in hop.steps]
    for before, step in pairwise(steps):
        old, new = before.packet, step.packet
        mangled = step.kind == "netfilter" and "ip6 mangle " in step.evidence.get("chain", "")
        if mangled and (old.src, old.dst) != (new.src, new.dst):
            found.add((format_ip(new.src), format_ip(new.dst)))
    return found


def _as_written(frame: Frame, packet: Packet, written: set[tuple[str, str]]) -> Frame:
    """Give a frame the addresses that it had when it was seen, if they were written over since."""
    if (frame.src, frame.dst) not in written:
        return frame
    return msgspec.structs.replace(frame, src=format_ip(packet.src), dst=format_ip(packet.dst))


def _without_copies(
    seen: list[Sighting],
    expected: list[tuple[Crossing, Packet]],
    copies: Copies,
    written: set[tuple[str, str]],
    repeated: bool,
) -> list[Sighting]:
    """Leave out what is seen of copies, and of frames that are meant for another MAC."""
    left: list[Sighting] = []
    for sighting in seen:
        crossing, frame = _crossing(sighting), sighting.frame
        here = [packet for wanted, packet in expected if wanted == crossing]
        aside = copies.anywhere or sighting.place in (copies.flooded if sighting.out else copies.served)
        if not here and (sighting.stray or aside):
            continue
        if copies.anywhere and not any(
            _same_headers(packet, _as_written(frame, packet, written)) and not _macs_differ(packet, frame)
            for packet in here
        ):
            continue
        again = sum(_crossing(other) == crossing for other in left) >= max(len(here), 1)
        if again and (repeated or ((sighting.out or copies.anywhere) and aside)):
            continue  # another copy by the same device
        left.append(sighting)
    return left


def way_differs(
    path: Path, seen: list[Sighting], places: Places, mixed: Copies | None = None, repeated: bool = False
) -> str:
    """Compare the devices crossed and the headers at each; "" when they agree.

    `mixed`: what else than the path's own copies is seen. `repeated`: copies of all of it may follow.
    """
    expected = _expected(path, places)
    copies, written = _copies(path, places), _written_in_place(path)
    if mixed is not None and mixed.anywhere:
        copies = mixed
    left = _without_copies(seen, expected, copies, written, repeated)
    if path.disposition is Disposition.LEFT_NETWORK:
        # Nobody knows what is behind that device: a next hop that never answers, for example.
        expected, left = expected[:-1], left[: max(len(expected) - 1, 0)]
    if path.disposition is Disposition.LOOP:
        left = left[: len(expected)]  # it goes on until its TTL is used up
    last = _last_step(path)
    if last.kind == "bridge" and last.decision == "drop" and last.evidence.get("lookup") == "flood":
        left = left[: len(expected)]  # nobody's frame: its copies go on by every tunnel of the bridge
    if (
        path.disposition not in ARRIVED
        and len(left) == len(expected) + 1
        and _crossing(left[-1]) == Crossing(_end_place(path, places), last.dev, False)
    ):
        left.pop()  # seen before the hook or the check that dropped it
    for (crossing, packet), sighting in zip(expected, left, strict=False):
        real = _crossing(sighting)
        if crossing != real:
            return f"crosses {real}, predicted {crossing}"
        if not _same_headers(packet, _as_written(sighting.frame, packet, written)):
            return f"at {real}: has {_seen_headers(sighting.frame)}, predicted {_headers(packet)}"
        if macs := _macs_differ(packet, sighting.frame):
            return f"at {real}: {macs}"
    if len(left) > len(expected):
        return f"goes on to {_crossing(left[len(expected)])}, predicted to end before"
    if len(left) < len(expected):
        return f"not seen at {expected[len(left)][0]}, as predicted"
    return ""


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
    place = _end_place(branch.forward, places)
    end = path.disposition
    copies = _copies(path, places)
    kind, by, frame = _answer(result, place, copies)
    reply = branch.reply
    silent = reply is None or reply.disposition is Disposition.LEFT_NETWORK or _unheard(branch, result)
    silent = silent or not any(
        step.kind == "link_tx" and step.decision != "drop"
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
    place, copies = _end_place(branch.forward, places), _copies(branch.forward, places)
    answered = {s.place for s in result.sightings if s.frame.kind != "forward" and s.out}
    if copies.anywhere and answered - {place}:
        return ""
    if (copies.served - {place}) & answered:
        return ""
    if result.refused_at_send:
        # Told by the send itself, whatever answer comes.
        errno = str(_last_step(branch.forward).evidence.get("errno", told))
        failed = branch.forward.reason == "IP_OUTNOROUTES" and errno != told
        return f"sending failed with {told}, predicted {errno}" if failed else ""
    if told and told != "answer" and _shook_hands(result):
        told = "answer"
    if reply is None:
        end = branch.forward.disposition
        if end is Disposition.DROPPED and told == "answer":
            return "the sender got an answer"
        return ""
    elsewhere = any("cookie" in step.evidence for step in reply.hops[-1].steps)
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
    saw = result.listeners.get(_end_place(branch.forward, places))
    if saw is None or branch.forward.disposition is not Disposition.DELIVERED:
        return ""
    packet = _last_step(branch.forward).packet
    predicted = (format_ip(packet.src), saw[1] if packet.sport_unsure else packet.sport)
    return "" if predicted == saw else f"listener saw {saw}, predicted {predicted}"


def branch_differs(branch: Branch, result: Result, places: Places) -> str:
    """Say how one possible course and what happened differ; "" when they agree."""
    if _last_step(branch.forward).packet.payload is not None:
        # A tunnel's outer packet came to an end: what is told about it goes to the tunnel, not to the sender.
        return way_differs(branch.forward, _observed(result, ("forward",)), places)
    difference = (
        way_differs(branch.forward, _observed(result, ("forward",)), places)
        or _end_differs(branch, result, places)
        or _told_differs(branch, result, places)
        or _saw_differs(branch, result, places)
    )
    reply = branch.reply
    if difference or reply is None or reply.disposition is Disposition.UNKNOWN or _unheard(branch, result):
        return difference
    copies = _copies(branch.forward, places)
    mixed = copies.answers(_end_place(branch.forward, places))
    kinds = ("reply", "error")
    if mixed.anywhere and reply.hops[0].steps[0].packet.inner is None:
        kinds = ("reply",)  # an error beside the answer is about another copy
    # each copy of a flooded frame may be refused by itself
    found = way_differs(reply, _observed(result, kinds), places, mixed, bool(copies.flooded))
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
