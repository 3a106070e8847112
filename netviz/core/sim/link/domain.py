"""The broadcast domain of a link: who hears a frame that it floods, and by which bridge ports.

It answers two questions without walking a packet: who could answer an ARP request or neighbour
solicitation, and behind which port of a flooding bridge a MAC's owner stands.
"""

from __future__ import annotations

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import (
    IFF_LOOPBACK,
    IFF_NOARP,
    MACVLAN_BRIDGE,
    MACVLAN_PASSTHRU,
    MACVLAN_PRIVATE,
    MACVLAN_VEPA,
    Link,
)
from netviz.core.sim.encap import ends
from netviz.core.sim.heard import Crossing, Domain, Heard, Wire
from netviz.core.sim.link import bridge_vlan
from netviz.core.sim.link.bond import MODELLED, info_of, receives, usable_slaves
from netviz.core.sim.link.bridge import (
    answers_itself,
    closed_ports,
    flood_ports,
    is_group,
    may_enter,
    passes_lock,
    snoops,
    state_name,
)
from netviz.core.sim.link.ipvlan import L2
from netviz.core.sim.link.ipvlan import flags_of as ipvlan_flags
from netviz.core.sim.link.ipvlan import mode_of as ipvlan_mode
from netviz.core.sim.link.macvlan import keeps, listed
from netviz.core.sim.link.macvlan import mode_of as macvlan_mode
from netviz.core.sim.link.underlay import Tags, having_mac, is_wire, may_own, owners, proxies
from netviz.core.sim.link.vlan import device_for, tag_of
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.node_index import resolve_lower_of, uppers_of, veth_peer
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import ClosedPort
from netviz.core.state.node import NetnsState

TUNNELS = ("vxlan", "geneve", "gretap", "ip6gretap")
MAX_LINKS = 20000


class _Finding(msgspec.Struct):
    """A `Domain` under way."""

    heard: list[Heard] = []
    left: list[Wire] = []
    wires: list[Wire] = []
    unreturned: list[Heard] = []
    opaque: list[str] = []
    closed: list[ClosedPort] = []
    reflecting: list[str] = []

    def domain(self) -> Domain:
        return Domain(*(tuple(found) for found in msgspec.structs.astuple(self)))


class _Explorer:
    """Follows copies of one frame until nobody new hears it. `tags` are those of the copy followed now."""

    def __init__(self, run: Run, target: bytes, mac: bytes) -> None:
        self.run = run
        self.target = target
        self.mac = mac
        self.asker = b""
        self.found = _Finding()
        self.tags: Tags = ()
        self.visited: set[tuple[str, LinkKey, Tags]] = set()
        self.todo: list[tuple[str, LinkKey, tuple[Crossing, ...], Tags]] = []

    def go(self, what: str, key: LinkKey, path: tuple[Crossing, ...], tags: Tags | None = None) -> None:
        """Follow the frame later: transmitted ("tx") or received ("rx") at a link, tagged as now unless told."""
        self.todo.append((what, key, path, self.tags if tags is None else tags))

    def explore(self) -> Domain:
        while self.todo and len(self.visited) < MAX_LINKS:
            what, key, path, self.tags = self.todo.pop(0)
            if (what, key, self.tags) in self.visited:
                continue
            self.visited.add((what, key, self.tags))
            link = self.run.link(key)
            if link is None or not link.up:
                continue
            ns = self.run.netns(key.netns)
            # Answers go the other way, so programs of both directions matter.
            programs = programs_on(link, receiving=True)
            if programs:
                self.found.opaque.append(f"{link.ifname} ({', '.join(programs)})")
                continue
            if what == "tx":
                self.transmit(ns, key, link, path)
            else:
                self.receive(ns, key, link, path)
        return self.found.domain()

    def transmit(self, ns: NetnsState, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        node = self.run.node(key.netns)
        if link.kind == "veth":
            peer = veth_peer(node, key).key
            if peer is not None:
                self.go("rx", peer, path)
            elif is_wire(node, key, link):
                self.leave(key, path)
            else:
                self.found.opaque.append(link.ifname)
        elif link.kind == "bridge":
            entered = bridge_vlan.ingress(ns, link, link.ifindex, self.tags)
            if entered is not None:
                self.flood(ns, key, link, None, path, *entered)
        elif link.kind in ("macvlan", "ipvlan"):
            self.transmit_stacked(key, link, path)
        elif link.kind == "vlan":
            lower, tag = resolve_lower_of(node, key), tag_of(link)
            if lower is None or tag is None:
                self.found.opaque.append(link.ifname)
            else:
                self.go("tx", lower, path, (tag, *self.tags))
        elif link.kind == "bond":
            info = info_of(link)
            if info is None or info.mode not in MODELLED:
                self.found.opaque.append(link.ifname)
            else:
                for slave in usable_slaves(ns, link)[:1]:
                    self.go("tx", LinkKey(ns.key, slave.ifindex), path)
        elif link.kind in TUNNELS:
            self.tunnel(ns, key, link, path)
        elif is_wire(node, key, link):
            self.leave(key, path)
        elif not link.flags & (IFF_LOOPBACK | IFF_NOARP):
            self.found.opaque.append(link.ifname)

    def tunnel(self, ns: NetnsState, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        """Carry the frame to every remote for its MAC; who is to answer must reach back."""
        own = all(crossing.bridge.netns == ns.key and not crossing.came_in for crossing in path)
        copies = ends.copies(self.run, ns, link, self.mac, self.asker, len(self.target) == 16, own)
        if copies is None:
            self.found.opaque.append(link.ifname)
            return
        if link.port is not None and link.port.learning and ends.short_cut(self.run, ns, link, self.mac):
            self.found.reflecting.append(link.ifname)
        # All copies are sent before the first is taken out of its tunnel.
        for there in [self.carry(*copy) for copy in copies]:
            other = self.run.link(there) if there is not None else None
            if there is None or other is None:
                continue
            if there == key and link.port is not None and link.port.learning:
                self.found.reflecting.append(link.ifname)
            if is_group(self.mac) and not self.comes_back(there, other, key):
                master = LinkKey(there.netns, other.master) if other.master else there
                crossed = Crossing(master, there.ifindex, 0)
                self.found.unreturned.append(Heard(master, (*path, crossed) if other.master else path))
                continue
            self.go("rx", there, path)

    def comes_back(self, there: LinkKey, other: Link, key: LinkKey) -> bool:
        """Tell whether a frame to the asker comes back out of the tunnel device that it went into."""
        ns = self.run.netns(there.netns)
        ipv6, own = len(self.target) == 16, not other.master
        back = ends.copies(self.run, ns, other, self.asker, other.mac, ipv6, own)
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

    def leave(self, key: LinkKey, path: tuple[Crossing, ...]) -> None:
        nodes = self.run.cluster.nodes
        owning = owners(nodes, key, self.target, self.tags) if self.target else []
        members = may_own(nodes, key, self.target, self.tags) if len(self.target) == 4 else owning
        if len(self.target) == 4:
            members = [*members, *(m for m in proxies(nodes, key, self.tags) if m not in members)]
        for member in members:
            self.go("rx", member.wire, path)
        self.found.left.append((key, path, self.tags))
        if not owning:
            self.found.wires.append((key, path, self.tags))

    def transmit_stacked(self, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        """Send from a macvlan or ipvlan: to the siblings that hear it and can answer, and out of the lower device."""
        node = self.run.node(key.netns)
        lower = resolve_lower_of(node, key)
        if lower is None:
            self.found.opaque.append(link.ifname)
            return
        for upper in uppers_of(node.netns).get(lower, ()):
            other = self.run.link(upper)
            if upper == key or other is None or other.kind != link.kind:
                continue
            joined = macvlan_mode(link) == macvlan_mode(other) == MACVLAN_BRIDGE
            if joined or (ipvlan_mode(link) == ipvlan_mode(other) == L2 and not ipvlan_flags(link)):
                self.go("rx", upper, path)
        self.go("tx", lower, path)

    def flood(
        self,
        ns: NetnsState,
        key: LinkKey,
        bridge: Link,
        source: Link | None,
        path: tuple[Crossing, ...],
        vid: int,
        tags: Tags,
    ) -> None:
        came_in = source.ifindex if source is not None else 0
        meddles = _meddles(ns, bridge, self.mac)
        if meddles:
            self.found.opaque.append(f"{bridge.ifname} ({meddles})")
            return
        self.found.closed += [_closed(bridge, port) for port in closed_ports(ns, bridge)]
        for port in flood_ports(ns, bridge, source, self.mac, vid):
            crossing = Crossing(key, came_in, port.ifindex, vid)
            if port.port is not None and port.port.vlan_tunnel:
                self.found.opaque.append(f"{port.ifname} (VLAN tunnel)")
                continue
            out = bridge_vlan.egress(ns, bridge, port.ifindex, vid, tags)
            if out is not None:
                self.go("tx", LinkKey(ns.key, port.ifindex), (*path, crossing), out)

    def receive(self, ns: NetnsState, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        if self.tags:
            upper = device_for(self.run, key, self.tags)
            if upper is not None:
                self.go("rx", upper, path, self.tags[1:])
                return
        master = ns.links.get(link.master) if link.master else None
        if master is not None and master.kind == "bridge":
            self.enter_bridge(ns, link, master, path)
        elif master is not None and master.kind == "bond":
            if receives(ns, link):
                self.go("rx", LinkKey(ns.key, master.ifindex), path)
        elif link.master and (master is None or master.kind != "vrf"):
            self.found.opaque.append(f"{link.ifname} (part of another device)")
        else:
            self.rise(key, link, path)

    def enter_bridge(self, ns: NetnsState, link: Link, bridge: Link, path: tuple[Crossing, ...]) -> None:
        """Take the frame in by a bridge's port: it goes up to the bridge, and out of other ports."""
        entered = bridge_vlan.ingress(ns, bridge, link.ifindex, self.tags)
        if not may_enter(link):
            self.found.closed.append(_closed(bridge, link))
            return
        if entered is None:
            return
        vid, tags = entered
        passes = passes_lock(self.run, ns, bridge, link, self.asker, vid) if self.asker else Tri.TRUE
        meddles = _meddles(ns, bridge, self.mac) or ("locked port" if passes is Tri.UNKNOWN else "")
        if meddles or (link.port is not None and link.port.vlan_tunnel):
            self.found.opaque.append(f"{bridge.ifname} ({meddles or 'VLAN tunnel'})")
            return
        if passes is Tri.FALSE:
            return
        key = LinkKey(ns.key, bridge.ifindex)
        up = bridge_vlan.egress(ns, bridge, bridge.ifindex, vid, tags)
        if bridge.up and up is not None:
            crossed = (*path, Crossing(key, link.ifindex, 0, vid))
            over = device_for(self.run, key, up) if up else None
            if over is not None:
                self.go("rx", over, crossed, up[1:])
            elif not up:
                self.rise(key, bridge, crossed)
        self.flood(ns, key, bridge, link, path, vid, tags)

    def rise(self, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        """Let a link's network layer hear the frame, and what is stacked on the link."""
        if self.tags:
            return  # it is for a VLAN that nobody here has
        above = [(upper, other) for upper in self.uppers(key) if (other := self.run.link(upper)) is not None]
        modes: tuple[int, ...] = (MACVLAN_PRIVATE, MACVLAN_VEPA, MACVLAN_BRIDGE, MACVLAN_PASSTHRU)
        askers = [
            macvlan_mode(other) for _, other in above if other.mac == self.asker and macvlan_mode(other)
        ]
        own = next(iter(askers), None)
        if own is not None and own not in (MACVLAN_VEPA, MACVLAN_BRIDGE):
            return  # a macvlan's own question came back to it: nobody else gets it
        if own is not None:
            modes = (MACVLAN_VEPA, MACVLAN_BRIDGE) if own == MACVLAN_VEPA else (MACVLAN_VEPA,)
        if any(keeps(other, self.asker) for _, other in above):
            above = [(upper, other) for upper, other in above if listed(other, self.asker)]
        else:
            self.found.heard.append(Heard(key, path))
        external = link.mac != self.asker
        for upper, other in above:
            if other.kind in ("macvtap", "ipvtap"):
                self.found.opaque.append(f"{other.ifname} ({other.kind})")
            elif (
                (other.kind == "ipvlan" and ipvlan_mode(other) == L2 and external)
                or listed(other, self.asker)
                or (macvlan_mode(other) in modes and other.mac != self.asker)
            ):
                self.go("rx", upper, path)

    def uppers(self, key: LinkKey) -> list[LinkKey]:
        """List what is stacked on a link."""
        return uppers_of(self.run.node(key.netns).netns).get(key, [])


def _closed(bridge: Link, port: Link) -> ClosedPort:
    return ClosedPort(port.ifname, bridge.ifname, state_name(port))


def _meddles(ns: NetnsState, bridge: Link, mac: bytes) -> str:
    """Name what makes a bridge treat a flooded frame in a way that isn't modelled; "" when nothing does."""
    if snoops(bridge, mac):
        return "multicast snooping with a querier"
    return answers_itself(ns, bridge) if is_group(mac) else ""


def programs_on(link: Link, receiving: bool) -> list[str]:
    """Name the tc and XDP programs that a frame meets at a link."""
    programs = [name for name in link.tc if receiving or name != "ingress"]
    if link.xdp and receiving:
        programs.append("XDP")
    return programs


def broadcast_domain(run: Run, start: LinkKey, target: bytes = b"", mac: bytes = BROADCAST_MAC) -> Domain:
    """Find who hears a frame to `mac` that `start` transmits and every bridge floods.

    On a wire between nodes only the links that own the address `target` are followed.

    Unmodelled: devices whose names are in `opaque`.
    """
    explorer = _Explorer(run, target, mac)
    link = run.link(start)
    explorer.asker = link.mac if link is not None else b""
    explorer.go("tx", start, ())
    return explorer.explore()


def takers(run: Run, start: LinkKey, mac: bytes, tags: Tags = ()) -> tuple[list[Heard], bool]:
    """Find who, behind the transmitting link `start`, takes a unicast frame to `mac`.

    Returns them and whether the frame also reaches something that isn't known.
    """
    return _takers(run, "tx", start, mac, tags)


def takers_at(run: Run, start: LinkKey, mac: bytes) -> tuple[list[Heard], bool]:
    """Find who takes a unicast frame to `mac` that `start` receives."""
    return _takers(run, "rx", start, mac, ())


def _takers(run: Run, what: str, start: LinkKey, mac: bytes, tags: Tags) -> tuple[list[Heard], bool]:
    explorer = _Explorer(run, b"", mac)
    explorer.go(what, start, (), tags)
    domain = explorer.explore()
    found = [
        heard for heard in domain.heard if (link := run.link(heard.link)) is not None and link.mac == mac
    ]
    nodes = run.cluster.nodes
    for wire, path, carried in domain.wires:
        for member in having_mac(nodes, mac):
            if member.wire != wire and member.tags == carried:
                found.append(Heard(member.inet, path))
    return found, bool(domain.opaque) or bool(domain.wires)
