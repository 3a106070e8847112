"""The way of a packet: the devices that a prediction says it crosses, laid beside where it was seen."""

from __future__ import annotations

import os
from itertools import pairwise

import msgspec

from lab.randomnet.model import FABRIC
from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.netfilter import NFPROTO_IPV6
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import Bridge, Encap, HookVerdict, Receive, Transmit
from netviz.core.sim.trace import Disposition, Path, Step
from tests.live.oracle.build import Built
from tests.live.oracle.frames import Frame
from tests.live.oracle.send import Result
from tests.live.oracle.taps import Sighting

ARRIVED = (Disposition.DELIVERED, Disposition.NO_LISTENER)
_RETRANSMISSION_NS = 900_000_000


class DeviceCrossing(msgspec.Struct, frozen=True):
    """A packet crosses a device."""

    place: str
    dev: str
    out: bool

    def __str__(self) -> str:
        return f"{self.place}:{self.dev}:{'out' if self.out else 'in'}"


class Places:
    """Which namespace of the description a namespace of the state is."""

    def __init__(self, by_ino: dict[tuple[str, int], str]) -> None:
        self.by_ino = by_ino

    @classmethod
    def of_built(cls, up: Built) -> Places:
        """Read where the namespaces of a network that is up are."""
        return cls(
            {
                (place.node or place.name, os.stat(up.path(place)).st_ino): place.name
                for place in up.network.places
            }
        )

    def of(self, node: str, ino: int) -> str:
        """Name the place."""
        return self.by_ino.get((node, ino), "?")


def crossings(path: Path, places: Places) -> list[tuple[DeviceCrossing, Packet]]:
    """List the devices crossed, with the packet at each: on arrival as it was before the device's own chains."""
    found = []
    last: Packet | None = None
    before: Packet | None = None
    for hop in path.hops:
        place = places.of(hop.netns.node, hop.netns.ino)
        for step in hop.steps:
            what = step.what
            if isinstance(what, Bridge) and what.action == "copy":
                continue  # between a device's chains and who takes the frame
            ingress = isinstance(what, HookVerdict) and what.hook == "ingress"
            arrived = last if last is not None and isinstance(what, Receive) else step.packet
            last = (last or before) if ingress and before is not None else None
            before = step.packet
            crossing = DeviceCrossing(place, step.dev, not isinstance(what, Receive))
            # a tunnel's device has had the frame that it drops
            crosses = isinstance(what, Encap) or (
                isinstance(what, (Transmit, Receive)) and what.action != "drop"
            )
            if crosses and _is_told(crossing):
                found.append((crossing, arrived))
    return found


def _is_told(crossing: DeviceCrossing) -> bool:
    """Tell whether a trace says that a device is crossed; of a bridge's own, it does of what goes up to it alone."""
    away = crossing.place == FABRIC or crossing.dev == "lo"
    return not away and not (crossing.dev.startswith("br") and crossing.out)


def crossing_of(sighting: Sighting) -> DeviceCrossing:
    return DeviceCrossing(sighting.place, sighting.dev, sighting.out)


def observed(result: Result, kinds: tuple[str, ...]) -> list[Sighting]:
    found = [s for s in result.sightings if s.frame.kind in kinds and _is_told(crossing_of(s))]
    return [s for s in found if s.at_ns - found[0].at_ns < _RETRANSMISSION_NS]


def _innermost(packet: Packet) -> Packet:
    while packet.payload is not None:
        packet = packet.payload
    return packet


def _same_headers(packet: Packet, frame: Frame) -> bool:
    """Compare addresses, ports and TTL; a port that is chosen at random may be any."""
    packet = _innermost(packet)
    predicted, seen = list(headers(packet)), list(_seen_headers(frame))
    if packet.inner is None:
        for at, unsure in ((1, packet.sport_unsure), (3, packet.dport_unsure)):
            if unsure:
                predicted[at] = seen[at]
    return predicted == seen


def headers(packet: Packet) -> tuple[str, int, str, int, int]:
    packet = _innermost(packet)
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


def last_step(path: Path) -> Step:
    return path.hops[-1].steps[-1]


def end_place(path: Path, places: Places) -> str:
    netns = path.hops[-1].netns
    return places.of(netns.node, netns.ino)


class Copies(msgspec.Struct, frozen=True):
    """Where copies of a packet may be seen, which are no part of its path.

    They go out of the devices of the places that are `flooded`; the places that are `served` get one beside the
    packet that is followed (macvlans in source mode); sent by a tunnel or by a rule they may be `anywhere`.
    """

    flooded: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()
    anywhere: bool = False

    def answers(self, end: str) -> Copies:
        """Return what the answer of a packet that ends at a place is mixed with: the answers of its copies."""
        return Copies(anywhere=self.anywhere or bool(self.served - {end}))


def copies_of(path: Path, places: Places) -> Copies:
    steps = [(hop, step) for hop in path.hops for step in hop.steps]
    copies = [copy.link for _, step in steps for copy in step.copies]
    return Copies(
        frozenset(
            places.of(hop.netns.node, hop.netns.ino)
            for hop, step in steps
            if isinstance(step.what, Bridge) and step.action in ("flood", "drop")
        ),
        frozenset(places.of(key.netns.node, key.netns.ino) for key in copies if key is not None),
        None in copies,
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
        mangled = isinstance(step.what, HookVerdict) and _is_mangle6(step.what)
        if mangled and (old.src, old.dst) != (new.src, new.dst):
            found.add((format_ip(new.src), format_ip(new.dst)))
    return found


def _is_mangle6(what: HookVerdict) -> bool:
    chain = what.chain.chain if what.chain is not None else None
    return chain is not None and (chain.family, chain.table) == (NFPROTO_IPV6, "mangle")


def _as_written(frame: Frame, packet: Packet, written: set[tuple[str, str]]) -> Frame:
    """Give a frame the addresses that it had when it was seen, if they were written over since."""
    packet = _innermost(packet)
    if (frame.src, frame.dst) not in written:
        return frame
    return msgspec.structs.replace(frame, src=format_ip(packet.src), dst=format_ip(packet.dst))


def _without_copies(
    seen: list[Sighting],
    expected: list[tuple[DeviceCrossing, Packet]],
    copies: Copies,
    written: set[tuple[str, str]],
    repeated: bool,
) -> list[Sighting]:
    """Leave out what is seen of copies, and of frames that are meant for another MAC."""
    left: list[Sighting] = []
    for sighting in seen:
        crossing, frame = crossing_of(sighting), sighting.frame
        here = [packet for wanted, packet in expected if wanted == crossing]
        aside = copies.anywhere or sighting.place in (copies.flooded if sighting.out else copies.served)
        if not here and (sighting.stray or aside):
            continue
        if copies.anywhere and not any(
            _same_headers(packet, _as_written(frame, packet, written)) and not _macs_differ(packet, frame)
            for packet in here
        ):
            continue
        again = sum(crossing_of(other) == crossing for other in left) >= max(len(here), 1)
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
    expected = crossings(path, places)
    copies, written = copies_of(path, places), _written_in_place(path)
    if mixed is not None and mixed.anywhere:
        copies = mixed
    left = _without_copies(seen, expected, copies, written, repeated)
    if path.disposition is Disposition.LEFT_NETWORK:
        # Nobody knows what is behind that device: a next hop that never answers, for example.
        expected, left = expected[:-1], left[: max(len(expected) - 1, 0)]
    if path.disposition is Disposition.LOOP:
        left = left[: len(expected)]  # it goes on until its TTL is used up
    last = last_step(path)
    if isinstance(last.what, Bridge) and last.action == "drop" and last.what.lookup == "flood":
        left = left[: len(expected)]  # nobody's frame: its copies go on by every tunnel of the bridge
    if (
        path.disposition not in ARRIVED
        and len(left) == len(expected) + 1
        and crossing_of(left[-1]) == DeviceCrossing(end_place(path, places), last.dev, False)
    ):
        left.pop()  # seen before the hook or the check that dropped it
    for (crossing, packet), sighting in zip(expected, left, strict=False):
        real = crossing_of(sighting)
        if crossing != real:
            return f"crosses {real}, predicted {crossing}"
        if not _same_headers(packet, _as_written(sighting.frame, packet, written)):
            return f"at {real}: has {_seen_headers(sighting.frame)}, predicted {headers(packet)}"
        if macs := _macs_differ(packet, sighting.frame):
            return f"at {real}: {macs}"
    if len(left) > len(expected):
        return f"goes on to {crossing_of(left[len(expected)])}, predicted to end before"
    if len(left) < len(expected):
        return f"not seen at {expected[len(left)][0]}, as predicted"
    return ""
