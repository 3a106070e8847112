"""The broadcast domain of a link: who hears a frame that it floods, and by which bridge ports.

It answers two questions without walking a packet: who could answer an ARP request or neighbour
solicitation, and behind which port of a flooding bridge a MAC's owner stands.
"""

from __future__ import annotations

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, IFF_NOARP, BondInfo, Link, MacvlanInfo, VlanInfo, VxlanInfo
from netviz.core.sim.bond import ACTIVE_BACKUP, HASHING, receives, usable_slaves
from netviz.core.sim.bridge import answers_itself, flood_ports, may_enter
from netviz.core.sim.node_index import resolve_lower_of, uppers_of, veth_peer
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.run import Run
from netviz.core.sim.underlay import having_mac, is_wire, may_own, owners, proxies
from netviz.core.sim.vxlan import Remote, flood_remotes, outer_packet, unicast_remotes
from netviz.core.state.node import NetnsState

MACVLAN_PRIVATE, MACVLAN_VEPA, MACVLAN_BRIDGE, MACVLAN_PASSTHRU, MACVLAN_SOURCE = 1, 2, 4, 8, 16
RESOLUTION_LENGTH = 28
MAX_LINKS = 20000


class Crossing(msgspec.Struct, frozen=True):
    """A bridge that a frame crossed: ifindexes of the ports it came in by and went out of (0: the bridge itself)."""

    bridge: LinkKey
    came_in: int
    went_out: int


class Heard(msgspec.Struct, frozen=True):
    """A link with a network layer that hears the frame, and the bridges crossed on the way."""

    link: LinkKey
    path: tuple[Crossing, ...]


class Domain(msgspec.Struct):
    """Who hears. `wires` are the links where the frame leaves what is known; `opaque` names devices not modelled."""

    heard: list[Heard] = []
    wires: list[tuple[LinkKey, tuple[Crossing, ...]]] = []
    opaque: list[str] = []


class _Explorer:
    def __init__(self, run: Run, target: bytes, mac: bytes) -> None:
        self.run = run
        self.target = target
        self.mac = mac
        self.asker = b""
        self.found = Domain()
        self.vlan = 0  # the tag of the frame that is followed now
        self.visited: set[tuple[str, LinkKey, int]] = set()
        self.todo: list[tuple[str, LinkKey, tuple[Crossing, ...], int]] = []

    def go(self, what: str, key: LinkKey, path: tuple[Crossing, ...], vlan: int | None = None) -> None:
        """Follow the frame later: transmitted ("tx") or received ("rx") at a link, tagged as now unless told."""
        self.todo.append((what, key, path, self.vlan if vlan is None else vlan))

    def explore(self) -> Domain:
        while self.todo and len(self.visited) < MAX_LINKS:
            what, key, path, self.vlan = self.todo.pop(0)
            if (what, key, self.vlan) in self.visited:
                continue
            self.visited.add((what, key, self.vlan))
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
        return self.found

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
            self.flood(ns, key, link, None, path)
        elif link.kind == "macvlan":
            self.transmit_macvlan(key, link, path)
        elif link.kind == "vlan":
            lower = resolve_lower_of(node, key)
            if lower is None or self.vlan or not isinstance(link.info, VlanInfo):
                self.found.opaque.append(link.ifname)
            else:
                self.go("tx", lower, path, link.info.vid)
        elif link.kind == "bond":
            slaves = usable_slaves(ns, link)
            if isinstance(link.info, BondInfo) and link.info.mode in (ACTIVE_BACKUP, *HASHING):
                for slave in slaves[:1]:
                    self.go("tx", LinkKey(ns.key, slave.ifindex), path)
            else:
                self.found.opaque.append(link.ifname)
        elif link.kind == "vxlan" and isinstance(link.info, VxlanInfo):
            self.tunnel(ns, key, link, link.info, path)
        elif is_wire(node, key, link):
            self.leave(key, path)
        elif not link.flags & (IFF_LOOPBACK | IFF_NOARP):
            self.found.opaque.append(link.ifname)

    def tunnel(
        self, ns: NetnsState, key: LinkKey, link: Link, info: VxlanInfo, path: tuple[Crossing, ...]
    ) -> None:
        """Carry the question to every default remote; who may answer must reach back."""
        remotes = flood_remotes(ns, link, info)
        if remotes is None:
            self.found.opaque.append(link.ifname)
            return
        for remote in remotes:
            there = self.carry(ns, info, remote, self.asker)
            if there is None:
                continue
            other_ns, other = self.run.netns(there.netns), self.run.link(there)
            if other is None or not isinstance(other.info, VxlanInfo):
                continue
            back = unicast_remotes(self.run, other_ns, other, other.info, self.asker)
            if back is None or len(back) > 1:
                self.found.opaque.append(other.ifname)
            elif back and self.carry(other_ns, other.info, back[0], other.mac) == key:
                self.go("rx", there, path)

    def carry(self, ns: NetnsState, info: VxlanInfo, remote: Remote, smac: bytes) -> LinkKey | None:
        """Send a small frame through the tunnel; returns the device where it comes out."""
        frame = Packet(bytes(4), bytes(4), 0, length=RESOLUTION_LENGTH, smac=smac, dmac=BROADCAST_MAC)
        outer = outer_packet(ns, info, *remote, frame)
        if outer is None:
            return None
        there, unknown = self.run.carry(ns.key, outer, info.link)
        if unknown:
            self.found.opaque.append(f"the tunnel to {format_ip(remote[0])}")
        return there

    def leave(self, key: LinkKey, path: tuple[Crossing, ...]) -> None:
        nodes = self.run.cluster.nodes
        owning = owners(nodes, key, self.target, self.vlan) if self.target else []
        members = may_own(nodes, key, self.target, self.vlan) if len(self.target) == 4 else owning
        if len(self.target) == 4:
            members = [*members, *(m for m in proxies(nodes, key, self.vlan) if m not in members)]
        for member in members:
            self.go("rx", member.wire, path)
        if not owning:
            self.found.wires.append((key, path))

    def transmit_macvlan(self, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        node = self.run.node(key.netns)
        lower = resolve_lower_of(node, key)
        if lower is None:
            self.found.opaque.append(link.ifname)
            return
        if bridges(link):
            for upper in uppers_of(node.netns).get(lower, ()):
                other = self.run.link(upper)
                if upper != key and other is not None and bridges(other):
                    self.go("rx", upper, path)
        self.go("tx", lower, path)

    def flood(
        self, ns: NetnsState, key: LinkKey, bridge: Link, source: Link | None, path: tuple[Crossing, ...]
    ) -> None:
        came_in = source.ifindex if source is not None else 0
        meddles = answers_itself(ns, bridge) or ("tagged frame" if self.vlan else "")
        if meddles:
            self.found.opaque.append(f"{bridge.ifname} ({meddles})")
            return
        for port in flood_ports(ns, bridge, source, self.mac):
            crossing = Crossing(key, came_in, port.ifindex)
            self.go("tx", LinkKey(ns.key, port.ifindex), (*path, crossing))

    def receive(self, ns: NetnsState, key: LinkKey, link: Link, path: tuple[Crossing, ...]) -> None:
        master = ns.links.get(link.master) if link.master else None
        if self.vlan:
            tagged = [upper for upper in self.uppers(key) if self.takes_tag(upper)]
            for upper in tagged:
                self.go("rx", upper, path, 0)
            if tagged or master is None:
                return
        if master is not None and master.kind == "bridge":
            if not may_enter(link):
                return
            meddles = answers_itself(ns, master) or ("tagged frame" if self.vlan else "")
            if meddles or (link.port is not None and (link.port.locked or link.port.vlan_tunnel)):
                self.found.opaque.append(f"{master.ifname} ({meddles or 'locked port'})")
                return
            bridge = LinkKey(ns.key, master.ifindex)
            if master.up:
                self.found.heard.append(Heard(bridge, (*path, Crossing(bridge, link.ifindex, 0))))
            self.flood(ns, bridge, master, link, path)
            return
        if master is not None and master.kind == "bond":
            if receives(ns, link):
                self.go("rx", LinkKey(ns.key, master.ifindex), path)
            return
        if link.master and (master is None or master.kind != "vrf"):
            self.found.opaque.append(f"{link.ifname} (part of another device)")
            return
        above = [(upper, other) for upper in self.uppers(key) if (other := self.run.link(upper)) is not None]
        modes: tuple[int, ...] = (MACVLAN_PRIVATE, MACVLAN_VEPA, MACVLAN_BRIDGE, MACVLAN_PASSTHRU)
        own = next((mode_of(other) for _, other in above if other.mac == self.asker and mode_of(other)), None)
        if own is not None and own not in (MACVLAN_VEPA, MACVLAN_BRIDGE):
            return  # a macvlan's own question came back to it: nobody else gets it
        if own is not None:
            modes = (MACVLAN_VEPA, MACVLAN_BRIDGE) if own == MACVLAN_VEPA else (MACVLAN_VEPA,)
        self.found.heard.append(Heard(key, path))
        for upper, other in above:
            if other.kind in ("ipvlan", "ipvtap") or mode_of(other) == MACVLAN_SOURCE:
                self.found.opaque.append(f"{other.ifname} ({other.kind})")
            elif mode_of(other) in modes and other.mac != self.asker:
                self.go("rx", upper, path)

    def takes_tag(self, upper: LinkKey) -> bool:
        """Tell whether a stacked device is for the frame's tag."""
        link = self.run.link(upper)
        return link is not None and isinstance(link.info, VlanInfo) and link.info.vid == self.vlan

    def uppers(self, key: LinkKey) -> list[LinkKey]:
        """List what is stacked on a link."""
        return uppers_of(self.run.node(key.netns).netns).get(key, [])


def mode_of(link: Link) -> int:
    """Return a macvlan's mode, 0 for other devices.

    Source: drivers/net/macvlan.c, macvlan_handle_frame, macvlan_process_broadcast (Linux 6.18).
    """
    return link.info.mode if isinstance(link.info, MacvlanInfo) else 0


def bridges(link: Link) -> bool:
    """Tell whether a macvlan takes part in the exchange between siblings: both must be in bridge mode.

    Source: drivers/net/macvlan.c, macvlan_queue_xmit, macvlan_broadcast (Linux 6.18).
    """
    return isinstance(link.info, MacvlanInfo) and link.info.mode == MACVLAN_BRIDGE


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


def takers(run: Run, start: LinkKey, mac: bytes) -> tuple[list[Heard], bool]:
    """Find who, behind the transmitting link `start`, takes a unicast frame to `mac`.

    Returns them and whether the frame also reaches something that isn't known.
    """
    domain = broadcast_domain(run, start, mac=mac)
    found = [
        heard for heard in domain.heard if (link := run.link(heard.link)) is not None and link.mac == mac
    ]
    nodes = run.cluster.nodes
    for wire, path in domain.wires:
        for member in having_mac(nodes, mac):
            if member.wire.netns.node != wire.netns.node:
                found.append(Heard(member.inet, path))
    return found, bool(domain.opaque) or bool(domain.wires)
