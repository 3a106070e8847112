"""The broadcast domain of a link: who hears a frame that it sends, and by which bridge ports.

All copies of the frame are followed, as the kinds of devices say (`kinds.py`), past the rules of netfilter: who could
answer an ARP request or neighbour solicitation, and behind which port of a flooding bridge does a MAC's owner stand?
"""

from __future__ import annotations

from collections import deque

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.copies import Copies, Left, Onward, Unclear
from netviz.core.sim.encap import ends
from netviz.core.sim.heard import BridgeCrossing, Domain, Exit, FramePath, Heard, LinkHop, Tags
from netviz.core.sim.node_index import plain_end_of
from netviz.core.sim.packet import BROADCAST_MAC, Packet, is_group
from netviz.core.sim.plane.kinds import TUNNELS, arrivals, departures, programs_at
from netviz.core.sim.run import Run
from netviz.core.sim.steps import ClosedPort
from netviz.core.state.node import NetnsState

MAX_LINKS = 20000


class _Finding(msgspec.Struct):
    """A `Domain` under way."""

    heard: list[Heard] = []
    left: list[Exit] = []
    wires: list[Exit] = []
    unreturned: list[Heard] = []
    opaque: list[str] = []
    closed: list[ClosedPort] = []
    reflecting: list[str] = []

    def domain(self) -> Domain:
        return Domain(*(tuple(found) for found in msgspec.structs.astuple(self)))


class _Explorer:
    """Follows all copies of one frame until nobody new hears it; with `only`, those alone count who have that MAC."""

    def __init__(self, run: Run, target: bytes, frame: Packet, only: bytes | None = None) -> None:
        self.run = run
        self.target = target
        self.frame = frame
        self.only = only
        self.found = _Finding()
        self.unclear: list[Unclear] = []
        self.visited: set[tuple[LinkHop, Tags]] = set()
        # paths with their last hop to be looked at; or, where a path is all that becomes of a copy, who hears it
        self.todo: deque[FramePath | Heard] = deque()

    def go(
        self,
        hop: LinkHop,
        before: FramePath,
        crossing: BridgeCrossing | None = None,
        tags: Tags | None = None,
    ) -> None:
        """Follow the frame later at the next hop of a path."""
        crossings = before.crossings if crossing is None else (*before.crossings, crossing)
        self.todo.append(FramePath((*before.hops, hop), crossings, before.tags if tags is None else tags))

    def explore(self) -> _Finding:
        run, todo, visited, frame = self.run, self.todo, self.visited, self.frame
        while todo and len(visited) < MAX_LINKS:
            path = todo.popleft()
            if isinstance(path, Heard):
                self.found.heard.append(path)
                continue
            hop, tags = at = path.hops[-1], path.tags
            if at in visited:
                continue
            visited.add(at)
            key = hop.link
            if not hop.received and not tags and (end := plain_end_of(run.node(key.netns), key)) is not None:
                if self.only in (None, end.mac):
                    whole = FramePath((*path.hops, LinkHop(True, end.link)), path.crossings, tags)
                    todo.append(Heard(end.link, whole))
                continue
            ns = run.netns(key.netns)
            link = ns.links.get(key.ifindex)
            if link is None or not link.up or (hop.received and not link.carrier):
                continue  # without carrier nothing comes in; that nothing goes out is said of whoever sends
            # Answers go the other way, so programs of both directions matter.
            if (link.programs or link.tc or link.xdp) and (programs := programs_at(link)):
                self.found.opaque.append(f"{link.ifname} ({', '.join(programs)})")
                continue
            if tags != frame.tags:
                frame = self.frame.but(tags=tags)
            if hop.received:
                taken = arrivals(run, key, ns, link, frame)
                if taken.stays and not tags and self.only in (None, link.mac):
                    self.found.heard.append(Heard(key, path))
                self.follow(taken.copies, key, path)
            elif link.kind in TUNNELS:
                self.tunnel(ns, key, link, path)
            else:
                self.follow(departures(run, key, ns, link, frame, self.target), key, path)
        return self.found

    def follow(self, copies: Copies, key: LinkKey, path: FramePath) -> None:
        """Follow all copies from a link; name those that don't go on."""
        for one in copies:
            last = one.lost if isinstance(one, Onward) else one
            if last is None:
                assert isinstance(one, Onward)
                self.go(LinkHop(one.received, one.link), path, one.crossing, one.tags)
            elif isinstance(last, Unclear):
                self.found.opaque.append(last.name)
                self.unclear.append(last)
            elif isinstance(last, Left):
                self.found.left.append(Exit(key, path))
                if not last.known:
                    self.found.wires.append(Exit(key, path))
            elif last.closed is not None:
                self.found.closed.append(msgspec.structs.replace(last.closed, netns=key.netns))

    def tunnel(self, ns: NetnsState, key: LinkKey, link: Link, path: FramePath) -> None:
        """Carry the frame to every remote for its MAC; who is to answer must reach back."""
        dmac, smac = self.frame.dmac, self.frame.smac
        own = all(one.bridge.netns == ns.key and not one.in_ifindex for one in path.crossings)
        copies = ends.copies(self.run, ns, link, dmac, smac, self.frame.ipv6, own)
        if copies is None:
            self.found.opaque.append(link.ifname)
            return
        if link.port is not None and link.port.learning and ends.short_cut(self.run, ns, link, dmac):
            self.found.reflecting.append(link.ifname)
        # All copies are sent before the first is taken out of its tunnel.
        for there in [self.carry(*copy) for copy in copies]:
            other = self.run.link(there) if there is not None else None
            if there is None or other is None:
                continue
            if there == key and link.port is not None and link.port.learning:
                self.found.reflecting.append(link.ifname)
            if is_group(dmac) and not self.comes_back(there, other, key):
                self.found.unreturned.append(_out_of_tunnel(there, other, path))
                continue
            self.go(LinkHop(True, there), path)

    def comes_back(self, there: LinkKey, other: Link, key: LinkKey) -> bool:
        """Tell whether a frame to the requester comes back out of the tunnel device that it went into."""
        ns = self.run.netns(there.netns)
        ipv6, own = self.frame.ipv6, not other.master
        back = ends.copies(self.run, ns, other, self.frame.smac, other.mac, ipv6, own)
        if back is None:
            self.found.opaque.append(other.ifname)
            return False
        return any(self.carry(*copy) == key for copy in back)

    def carry(self, ns: NetnsState, outer: Packet, oif: int) -> LinkKey | None:
        """Send an outer packet; returns the device where the frame in it comes out."""
        there, unknown = self.run.carry(ns.key, outer, oif)
        if unknown:
            self.found.opaque.append(f"the tunnel to {format_ip(outer.dst)}")
        elif there is None:
            self.found.closed.append(ClosedPort(remote=outer.dst))
        return there


def broadcast_domain(run: Run, start: LinkKey, target: bytes = b"", mac: bytes = BROADCAST_MAC) -> Domain:
    """Find who hears a frame to `mac` that `start` transmits and every bridge floods.

    On a wire between nodes only the links that own the address `target` are followed.

    Unmodelled: devices whose names are in `opaque`.
    """
    link = run.link(start)
    smac = link.mac if link is not None else b""
    explorer = _Explorer(run, target, ends.small_request(mac, smac, len(target) == 16))
    explorer.go(LinkHop(False, start), FramePath())
    return run.once(("domain", start, target, mac), lambda: explorer.explore().domain())


def _out_of_tunnel(there: LinkKey, end: Link, path: FramePath) -> Heard:
    """Say who hears a frame that comes out of a tunnel's device: its bridge, if it is a port of one."""
    hops = (*path.hops, LinkHop(True, there))
    if not end.master:
        return Heard(there, FramePath(hops, path.crossings, path.tags))
    master = LinkKey(there.netns, end.master)
    crossings = (*path.crossings, BridgeCrossing(master, there.ifindex, 0))
    return Heard(master, FramePath((*hops, LinkHop(True, master)), crossings, path.tags))


def by_tunnel(run: Run, heard: Heard) -> bool:
    """Tell whether a frame has come to who hears it by way of a tunnel."""
    ends = (run.netns(one.bridge.netns).links.get(one.in_ifindex) for one in heard.path.crossings)
    return any(end is not None and end.kind in TUNNELS for end in ends)


def hearers(
    run: Run, start: LinkKey, dmac: bytes, smac: bytes, ipv6: bool
) -> tuple[tuple[Heard, ...], list[Unclear]]:
    """Find which links hear a small frame that `start` transmits, and what on its way isn't modelled."""
    explorer = _Explorer(run, b"", ends.small_request(dmac, smac, ipv6))
    explorer.go(LinkHop(False, start), FramePath())
    question = "hearers", start, dmac, smac, ipv6
    return run.once(question, lambda: (tuple(explorer.explore().heard), explorer.unclear))


def takers(run: Run, start: LinkKey, mac: bytes, tags: Tags = ()) -> tuple[list[Heard], bool]:
    """Find who, behind the transmitting link `start`, takes a unicast frame to `mac`.

    Returns them and whether the frame also reaches something that isn't known.
    """
    return _takers(run, False, start, mac, tags)


def takers_at(run: Run, start: LinkKey, mac: bytes) -> tuple[list[Heard], bool]:
    """Find who takes a unicast frame to `mac` that `start` receives."""
    return _takers(run, True, start, mac, ())


def _takers(run: Run, received: bool, start: LinkKey, mac: bytes, tags: Tags) -> tuple[list[Heard], bool]:
    explorer = _Explorer(run, b"", ends.small_request(mac, b"").but(tags=tags), only=mac)
    explorer.go(LinkHop(received, start), FramePath(tags=tags))
    reached = run.once(("takers", received, start, mac, tags), explorer.explore)
    return reached.heard, bool(reached.opaque) or bool(reached.wires)
