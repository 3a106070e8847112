"""Bridges: learning, the forwarding database, flooding, port states.

A static entry is one that doesn't age: a frame from another port moves it there as it moves a learned
one. Only local addresses and sticky entries stay where they are.

Source: net/bridge/br_input.c, br_handle_frame, br_handle_frame_finish; br_forward.c, should_deliver,
br_flood, br_forward; br_fdb.c, br_fdb_update; br_device.c, br_dev_xmit; br_private.h, br_skb_isolated
(Linux 6.18).

Unmodelled: port features that answer or redirect (neigh_suppress, proxy_arp, vlan_tunnel), spanning trees
of several VLANs (MSTP), multicast snooping where somebody asks for group members: they end the walk as
UNKNOWN where they could matter.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import msgspec

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NTF_STICKY, NUD_NOARP, NUD_PERMANENT
from netviz.core.model.link import BR_STATE_FORWARDING, BridgeInfo, BridgePort, Link
from netviz.core.sim.copies import Copies, Lost, Onward, Unclear
from netviz.core.sim.heard import BridgeCrossing, Tags
from netviz.core.sim.link import bridge_vlan
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.node_index import bridge_fdb, port_macs, ports_of
from netviz.core.sim.packet import BROADCAST_MAC, Packet, is_group
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, ClosedPort
from netviz.core.state.node import NetnsState

PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")


class PortVerdict(msgspec.Struct, frozen=True, gc=False):
    """Where a bridge sends a frame: up to its own device, or out of ports (several: a flood)."""

    up: bool = False
    ports: tuple[Link, ...] = ()
    how: str = ""
    mac: str = ""


def port_state(link: Link) -> int:
    """Return a port's BR_STATE_*."""
    return link.port.state if link.port is not None else BR_STATE_FORWARDING


def state_name(link: Link) -> str:
    """Name a port's state."""
    state = port_state(link)
    return PORT_STATES[state] if state < len(PORT_STATES) else str(state)


def should_deliver(ns: NetnsState, bridge: Link, source: Link | None, port: Link, vid: int) -> bool:
    """Tell whether a bridge may send a frame from port `source` (None: from itself) out of `port`.

    Source: net/bridge/br_forward.c, should_deliver (Linux 6.18).
    """
    settings = port.port or BridgePort()
    if source is not None:
        if source.ifindex == port.ifindex and not settings.hairpin:
            return False
        if settings.isolated and source.port is not None and source.port.isolated:
            return False
    return port_state(port) == BR_STATE_FORWARDING and bridge_vlan.carries(ns, bridge, port.ifindex, vid)


def flood_ports(
    ns: NetnsState, bridge: Link, source: Link | None, mac: bytes, vid: int = 0
) -> tuple[Link, ...]:
    """List the ports that a frame to `mac` is flooded to, by ifindex.

    Source: net/bridge/br_forward.c, br_flood (Linux 6.18).
    """
    ports = []
    for port in ports_of(ns.links).get(bridge.ifindex, ()):
        settings = port.port or BridgePort()
        wanted = settings.unicast_flood
        if is_group(mac):  # what the bridge itself sends goes out regardless
            wanted = settings.bcast_flood if mac == BROADCAST_MAC else settings.mcast_flood
            wanted = wanted or source is None
        if wanted and should_deliver(ns, bridge, source, port, vid):
            ports.append(port)
    return tuple(ports)


def closed_ports(ns: NetnsState, bridge: Link) -> list[Link]:
    """List the ports of a bridge that aren't in state forwarding."""
    ports = ports_of(ns.links).get(bridge.ifindex, ())
    return [port for port in ports if port_state(port) != BR_STATE_FORWARDING]


def snoops(bridge: Link, mac: bytes) -> bool:
    """Tell whether a bridge sends an IPv6 multicast frame only where group members are known to be.

    It does so only while somebody asks for members: itself, or a router that it hears. Broadcasts, and so
    ARP, are flooded anyway.

    Source: net/bridge/br_input.c, br_handle_frame_finish; br_private.h, br_multicast_querier_exists,
    __br_multicast_querier_exists (Linux 6.18).
    """
    info = bridge.info if isinstance(bridge.info, BridgeInfo) else BridgeInfo()
    return (
        is_group(mac)
        and mac != BROADCAST_MAC
        and info.mcast_snooping
        and (info.mcast_querier or info.other_querier6)
    )


def lookup_fdb(run: Run, ns: NetnsState, bridge: Link, mac: bytes, vid: int = 0) -> tuple[str, int]:
    """Look a MAC up: ("local", 0), ("static" or "learned", port ifindex), or ("", 0) for none."""
    entry = bridge_fdb(ns.fdb).get((bridge.ifindex, mac, vid))
    if entry is not None and entry.state & NUD_PERMANENT:
        return "local", entry.ifindex
    if _is_own(ns, bridge, mac, vid):
        return "local", bridge.ifindex
    learned = run.memory.fdb.get((ns.key, bridge.ifindex, mac, vid))
    static = entry is not None and bool(entry.state & NUD_NOARP)
    if learned is not None:
        return ("static" if static else "learned"), learned
    if entry is not None:
        return ("static" if static else "learned"), entry.ifindex
    return "", 0


def _is_own(ns: NetnsState, bridge: Link, mac: bytes, vid: int) -> bool:
    """Tell whether a MAC is the bridge's or one of its ports', in a VLAN that they carry."""
    if mac != bridge.mac and mac not in port_macs(ns.links).get(bridge.ifindex, ()):
        return False
    if mac == bridge.mac and bridge_vlan.carries(ns, bridge, bridge.ifindex, vid):
        return True
    return any(
        port.mac == mac and bridge_vlan.carries(ns, bridge, port.ifindex, vid)
        for port in ports_of(ns.links).get(bridge.ifindex, ())
    )


def moves(ns: NetnsState, bridge: Link, mac: bytes, vid: int) -> bool:
    """Tell whether the entry of a MAC, if there is one, goes to the port that a frame from it comes in by."""
    entry = bridge_fdb(ns.fdb).get((bridge.ifindex, mac, vid))
    return entry is None or not (entry.state & NUD_PERMANENT or entry.flags & NTF_STICKY)


def learn(run: Run, ns: NetnsState, bridge: Link, port: Link, mac: bytes, vid: int = 0) -> None:
    """Learn where a MAC is, unless the port doesn't learn or the MAC is pinned.

    A static entry goes where its MAC was seen, as a learned one does: only a sticky one stays.

    Source: net/bridge/br_fdb.c, br_fdb_update (Linux 6.18).
    """
    if port.port is not None and not port.port.learning:
        return
    if not mac or is_group(mac):
        return
    if moves(ns, bridge, mac, vid) and not _is_own(ns, bridge, mac, vid):
        run.memory = run.memory.with_fdb((ns.key, bridge.ifindex, mac, vid), port.ifindex)


def decide(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, mac: bytes, vid: int = 0
) -> PortVerdict:
    """Decide where a frame to `mac` goes. `source` is the ingress port, None for the bridge's own frames."""
    if is_group(mac):
        return PortVerdict(source is not None, flood_ports(ns, bridge, source, mac, vid), "broadcast")
    how, at = lookup_fdb(run, ns, bridge, mac, vid)
    if how == "local":
        return PortVerdict(up=source is not None, how="local")
    if how:
        port = ns.links.get(at)
        if port is None or port.master != bridge.ifindex:
            return PortVerdict(how="dangling")
        return PortVerdict(ports=(or_backup(ns, port),), how=how)
    return PortVerdict(ports=flood_ports(ns, bridge, source, mac, vid), how="flood")


def or_backup(ns: NetnsState, port: Link) -> Link:
    """Return the port's backup port while the port is down or without carrier, else itself.

    Source: net/bridge/br_forward.c, br_forward (Linux 6.18).
    """
    backup = ns.links.get(port.port.backup_port) if port.port is not None and port.port.backup_port else None
    return backup if backup is not None and not (port.up and port.carrier) else port


def answers_itself(ns: NetnsState, bridge: Link) -> str:
    """Name what makes a bridge answer address resolution itself, or hold it back; "" when nothing does.

    Source: net/bridge/br_arp_nd_proxy.c, br_do_proxy_suppress_arp, br_do_suppress_nd; br_input.c,
    br_handle_frame_finish; br_device.c, br_dev_xmit (Linux 6.18).
    """
    for port in ports_of(ns.links).get(bridge.ifindex, ()):
        settings = port.port or BridgePort()
        for name in ("neigh_suppress", "neigh_vlan_suppress", "proxy_arp", "proxy_arp_wifi"):
            if getattr(settings, name):
                return f"{name} of {port.ifname}"
    return ""


def passes_lock(run: Run, ns: NetnsState, bridge: Link, port: Link, smac: bytes, vid: int) -> Tri:
    """Tell whether a port lets a frame in by its source: a locked one only what the bridge has behind it.

    Unmodelled: whether a learned entry is itself locked (MAC authentication bypass): UNKNOWN.

    Source: net/bridge/br_input.c, br_handle_frame_finish (BR_PORT_LOCKED) (Linux 6.18).
    """
    if port.port is None or not port.port.locked:
        return Tri.TRUE
    how, at = lookup_fdb(run, ns, bridge, smac, vid)
    if how in ("", "local") or at != port.ifindex:
        return Tri.FALSE
    return Tri.UNKNOWN if how == "learned" else Tri.TRUE


def shut(bridge: Link, port: Link) -> Lost | Unclear | None:
    """Say what keeps a port from taking frames in. In state learning it learns from them and drops them.

    Source: net/bridge/br_input.c, br_handle_frame_finish (Linux 6.18).
    """
    if port_state(port) != BR_STATE_FORWARDING:
        what = Bridge("drop", "port state", bridge=bridge.ifname, state=state_name(port))
        return Lost("BRIDGE_INGRESS_STP_STATE", what, _closed(bridge, port))
    return _tunnelled(port, bridge)


def _tunnelled(port: Link, named: Link) -> Unclear | None:
    """Say that a port maps VLANs to tunnels, if it does."""
    if port.port is None or not port.port.vlan_tunnel:
        return None
    return Unclear(Bridge("unknown", "VLAN tunnel"), f"{named.ifname} (VLAN tunnel)")


def _closed(bridge: Link, port: Link) -> ClosedPort:
    return ClosedPort(port.ifname, bridge.ifname, state_name(port))


def admit(
    run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet
) -> tuple[int, Tags] | Lost | Unclear:
    """Find the VLAN of a frame that enters by a port, or from the bridge itself, and its tags there, if it may enter."""
    entered = bridge_vlan.ingress(ns, bridge, port.ifindex, packet.tags)
    if entered is None:
        what = Bridge("drop", "VLAN filter", bridge=bridge.ifname, vlan=packet.vlan)
        return Lost("NOT_SPECIFIED", what)
    passes = passes_lock(run, ns, bridge, port, packet.smac, entered[0]) if port is not bridge else Tri.TRUE
    if passes is Tri.FALSE:
        return Lost("NOT_SPECIFIED", Bridge("drop", "locked port"))
    if passes is Tri.UNKNOWN:
        return Unclear(Bridge("unknown", "locked entry"), f"{bridge.ifname} (locked port)")
    return entered


def decided_copies(
    run: Run,
    ns: NetnsState,
    bridge: Link,
    source: Link | None,
    packet: Packet,
    vid: int,
    verdict: PortVerdict,
) -> list[Onward | Lost]:
    """Say how a frame goes on that has been decided on: up to the bridge itself, out of ports, or nowhere.

    `packet` has its tags in the bridge. `source` is the ingress port, None for the bridge's own frames.
    """
    step = found(bridge, packet.dmac, verdict, vid)
    if verdict.how == "dangling" or (verdict.how == "local" and not verdict.up):
        what = step("drop", "dangling" if verdict.how == "dangling" else "own MAC")
        return [Lost("NOT_SPECIFIED", what)]
    key, in_ifindex = LinkKey(ns.key, bridge.ifindex), source.ifindex if source is not None else 0
    gone: list[Onward | Lost] = []
    if verdict.up:
        tags = bridge_vlan.egress(ns, bridge, bridge.ifindex, vid, packet.tags)
        what = Bridge("drop", "not in VLAN", mac=packet.dmac, vlan=vid)
        up = partial(Bridge, "up", mac=packet.dmac)
        crossing = BridgeCrossing(key, in_ifindex, 0, vid)
        gone.append(
            Lost("NOT_SPECIFIED", what)
            if tags is None
            else Onward(key, received=True, what=up, tags=tags, crossing=crossing)
        )
    if verdict.how in ("broadcast", "flood"):
        gone += [
            Lost("NOT_SPECIFIED", step("drop", "no port"), _closed(bridge, p))
            for p in closed_ports(ns, bridge)
        ]
    for port in verdict.ports:
        if verdict.how in ("static", "learned") and not should_deliver(ns, bridge, source, port, vid):
            limit = _port_limit(ns, bridge, source, port, vid)
            what = step("drop", "may not send", port=port.ifname, state=state_name(port), limit=limit)
            gone.append(Lost("NOT_SPECIFIED", what))
            continue
        tags = bridge_vlan.egress(ns, bridge, port.ifindex, vid, packet.tags)
        crossing = BridgeCrossing(key, in_ifindex, port.ifindex, vid)
        out = Onward(
            LinkKey(ns.key, port.ifindex),
            received=False,
            what=partial(step, "forward", port=port.ifname),
            tags=tags,
            crossing=crossing,
            lost=_tunnelled(port, port),
        )
        gone.append(out)
    return gone


def _port_limit(
    ns: NetnsState, bridge: Link, source: Link | None, port: Link, vid: int
) -> Literal["", "vlan", "hairpin", "isolated"]:
    if not bridge_vlan.carries(ns, bridge, port.ifindex, vid):
        return "vlan"
    if source is None:
        return ""
    if source.ifindex == port.ifindex:
        return "hairpin"
    both = source.port is not None and port.port is not None and source.port.isolated and port.port.isolated
    return "isolated" if both else ""


def copies(run: Run, ns: NetnsState, bridge: Link, packet: Packet, _nexthop: bytes) -> Copies:
    """Say where the bridge's own frame goes. Source: net/bridge/br_device.c, br_dev_xmit (Linux 6.18)."""
    return _all_copies(run, ns, bridge, None, packet)


def joins(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> Copies:
    """Say where a frame goes that comes in by a port. Source: net/bridge/br_input.c, br_handle_frame (Linux 6.18)."""
    closed = shut(bridge, port)
    return (closed,) if closed is not None else _all_copies(run, ns, bridge, port, packet)


def _all_copies(run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet) -> Copies:
    entered = admit(run, ns, bridge, source or bridge, packet)
    if not isinstance(entered, tuple):
        return (entered,)
    vid, tags = entered
    if what := _meddles(ns, bridge, packet.dmac):
        return (Unclear(Bridge("unknown", "broadcast"), f"{bridge.ifname} ({what})"),)
    packet = packet if tags == packet.tags else packet.but(tags=tags)
    if source is not None and not is_group(packet.dmac):
        learn(run, ns, bridge, source, packet.smac, vid)
    verdict = decide(run, ns, bridge, source, packet.dmac, vid)
    return decided_copies(run, ns, bridge, source, packet, vid, verdict)


def _meddles(ns: NetnsState, bridge: Link, mac: bytes) -> str:
    """Name what makes a bridge treat a flooded frame in a way that isn't modelled; "" when nothing does."""
    if snoops(bridge, mac):
        return "multicast snooping with a querier"
    return answers_itself(ns, bridge) if is_group(mac) else ""


def check_modelled(run: Run, ns: NetnsState, bridge: Link, packet: Packet) -> None:
    """End the walk where the bridge does what isn't modelled, or its tables weren't read."""
    run.check_gap(ns, "fdb", Bridge, bridge, packet)
    if bridge_vlan.filters(bridge):
        run.check_gap(ns, "vlans", Bridge, bridge, packet)
    if isinstance(bridge.info, BridgeInfo) and bridge.info.mst:
        run.end_unknown(ns, bridge, packet, Bridge("unknown", "MST"))


def found(bridge: Link, mac: bytes, verdict: PortVerdict, vid: int) -> partial[Bridge]:
    """Begin the description of a bridge's decision: what its table says of a MAC."""
    ports = tuple(port.ifname for port in verdict.ports)
    return partial(Bridge, bridge=bridge.ifname, mac=mac, lookup=verdict.how, ports=ports, vlan=vid or None)


KIND = Kind(copies=copies, joins=joins)
