"""Which devices a predicted path crosses, with the packet at each, and how a frame that was seen compares with it.

Places are names of namespaces: the caller says how a namespace is named (`Naming`), for a prediction and for what was
seen alike.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import NFPROTO_IPV6
from netviz.core.observe.frame import Frame
from netviz.core.observe.sighting import Crossing
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import Bridge, Encap, HookVerdict, Receive, Transmit
from netviz.core.sim.trace import Path, Step

Naming = Callable[[NetnsKey], str]


class Predicted(msgspec.Struct, frozen=True):
    """A device is predicted to be crossed: by which step, and the packet as it is there."""

    crossing: Crossing
    packet: Packet
    step: Step


def crossings(path: Path, naming: Naming) -> list[Predicted]:
    """List the devices crossed, with the packet at each: on arrival as it was before the device's own chains."""
    found = []
    last: Packet | None = None
    before: Packet | None = None
    for hop in path.hops:
        place = naming(hop.netns)
        for step in hop.steps:
            what = step.what
            if isinstance(what, Bridge) and what.action == "copy":
                continue  # between a device's chains and who takes the frame
            ingress = isinstance(what, HookVerdict) and what.hook == "ingress"
            arrived = last if last is not None and isinstance(what, Receive) else step.packet
            last = (last or before) if ingress and before is not None else None
            before = step.packet
            # a tunnel's device has had the frame that it drops
            crosses = isinstance(what, Encap) or (
                isinstance(what, (Transmit, Receive)) and what.action != "drop"
            )
            if crosses:
                found.append(
                    Predicted(Crossing(place, step.dev, not isinstance(what, Receive)), arrived, step)
                )
    return found


def predicted_headers(packet: Packet) -> tuple[str, int, str, int, int]:
    """Return source, its port, destination, its port and TTL of the innermost packet; an ICMP error has no ports."""
    packet = packet.innermost
    if packet.inner is not None:
        return format_ip(packet.src), 0, format_ip(packet.dst), 0, packet.ttl
    return format_ip(packet.src), packet.sport, format_ip(packet.dst), packet.dport, packet.ttl


def seen_headers(frame: Frame) -> tuple[str, int, str, int, int]:
    """Return the same of a frame."""
    if frame.kind == "error":
        return frame.src, 0, frame.dst, 0, frame.ttl
    return frame.src, frame.sport, frame.dst, frame.dport, frame.ttl


def same_headers(packet: Packet, frame: Frame) -> bool:
    """Compare addresses, ports and TTL; a port that is chosen at random may be any."""
    predicted, seen = list(predicted_headers(packet)), list(seen_headers(frame))
    packet = packet.innermost
    if packet.inner is None:
        for at, unsure in ((1, packet.sport_unsure), (3, packet.dport_unsure)):
            if unsure:
                predicted[at] = seen[at]
    return predicted == seen


def macs_differ(packet: Packet, frame: Frame) -> str:
    """Compare the frame's link-layer addresses, which tell the next hop; "" when they agree or none is predicted."""
    for name, predicted, seen in (("from", packet.smac, frame.smac), ("to", packet.dmac, frame.dmac)):
        if predicted and predicted != seen:
            return f"{name} MAC {format_mac(seen)}, predicted {format_mac(predicted)}"
    return ""


def written_in_place(path: Path) -> frozenset[tuple[str, str]]:
    """List the addresses that the legacy mangle table gives the packet on its path.

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
    return frozenset(found)


def _is_mangle6(what: HookVerdict) -> bool:
    chain = what.chain.chain if what.chain is not None else None
    return chain is not None and (chain.family, chain.table) == (NFPROTO_IPV6, "mangle")


def as_written(frame: Frame, packet: Packet, written: frozenset[tuple[str, str]]) -> Frame:
    """Give a frame the addresses that it had when it was seen, if they were written over since."""
    if (frame.src, frame.dst) not in written:
        return frame
    packet = packet.innermost
    return msgspec.structs.replace(frame, src=format_ip(packet.src), dst=format_ip(packet.dst))


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


def copies_of(path: Path, naming: Naming) -> Copies:
    """Say where copies of a path's packet may be seen."""
    steps = [(hop, step) for hop in path.hops for step in hop.steps]
    copies = [copy.link for _, step in steps for copy in step.copies]
    return Copies(
        frozenset(
            naming(hop.netns)
            for hop, step in steps
            if isinstance(step.what, Bridge) and step.action in ("flood", "drop")
        ),
        frozenset(naming(key.netns) for key in copies if key is not None),
        None in copies,
    )
