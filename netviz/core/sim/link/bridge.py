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

import msgspec

from netviz.core.model.l2 import NTF_STICKY, NUD_NOARP, NUD_PERMANENT
from netviz.core.model.link import BR_STATE_FORWARDING, BridgeInfo, BridgePort, Link
from netviz.core.sim.link import bridge_vlan
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.node_index import bridge_fdb, ports_of
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge
from netviz.core.state.node import NetnsState

PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")


class PortVerdict(msgspec.Struct, frozen=True):
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


def is_group(mac: bytes) -> bool:
    """Tell whether a MAC is broadcast or multicast."""
    return bool(mac) and bool(mac[0] & 1)


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


def may_enter(port: Link) -> bool:
    """Tell whether a port takes frames in. In state learning it learns from them and drops them.

    Source: net/bridge/br_input.c, br_handle_frame_finish (Linux 6.18).
    """
    return port_state(port) == BR_STATE_FORWARDING


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


def check_locked(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet, vid: int) -> None:
    """Drop what a locked port doesn't let in."""
    passes = passes_lock(run, ns, bridge, port, packet.smac, vid)
    if passes is Tri.FALSE:
        run.end_dropped(ns, port, packet, "NOT_SPECIFIED", Bridge("drop", "locked port"))
    if passes is Tri.UNKNOWN:
        run.end_unknown(ns, port, packet, Bridge("unknown", "locked entry"))


def check_tunnels(run: Run, ns: NetnsState, port: Link, packet: Packet) -> None:
    """End the walk at a port that maps VLANs to tunnels."""
    if (port.port or BridgePort()).vlan_tunnel:
        run.end_unknown(ns, port, packet, Bridge("unknown", "VLAN tunnel"))


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
