"""Bridges: learning, the forwarding database, flooding, port states.

Source: net/bridge/br_input.c, br_handle_frame, br_handle_frame_finish; br_forward.c, should_deliver,
br_flood; br_device.c, br_dev_xmit; br_private.h, br_skb_isolated (Linux 6.18).

Unmodelled: VLAN filtering, and port features that answer or redirect (neigh_suppress, proxy_arp,
vlan_tunnel): they end the walk as UNKNOWN where they could matter.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netviz.core.model.addr import format_mac
from netviz.core.model.l2 import NTF_STICKY, NUD_NOARP, NUD_PERMANENT
from netviz.core.model.link import BR_STATE_FORWARDING, BridgeInfo, BridgePort, Link
from netviz.core.sim.node_index import bridge_fdb, ports_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")


class Verdict(msgspec.Struct, frozen=True):
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


def should_deliver(source: Link | None, port: Link) -> bool:
    """Tell whether a bridge may send a frame from port `source` (None: from itself) out of `port`.

    Source: net/bridge/br_forward.c, should_deliver (Linux 6.18).
    """
    settings = port.port or BridgePort()
    if source is not None:
        if source.ifindex == port.ifindex and not settings.hairpin:
            return False
        if settings.isolated and source.port is not None and source.port.isolated:
            return False
    return port_state(port) == BR_STATE_FORWARDING


def flood_ports(ns: NetnsState, bridge: Link, source: Link | None, mac: bytes) -> tuple[Link, ...]:
    """List the ports that a frame to `mac` is flooded to, by ifindex.

    Source: net/bridge/br_forward.c, br_flood (Linux 6.18).
    """
    ports = []
    for port in ports_of(ns.links).get(bridge.ifindex, ()):
        settings = port.port or BridgePort()
        wanted = settings.unicast_flood
        if is_group(mac):  # what the bridge itself sends goes out regardless
            wanted = settings.bcast_flood if mac == b"\xff" * 6 else settings.mcast_flood
            wanted = wanted or source is None
        if wanted and should_deliver(source, port):
            ports.append(port)
    return tuple(ports)


def lookup_fdb(run: Run, ns: NetnsState, bridge: Link, mac: bytes) -> tuple[str, int]:
    """Look a MAC up: ("local", 0), ("static" or "learned", port ifindex), or ("", 0) for none."""
    entry = bridge_fdb(ns.fdb).get((bridge.ifindex, mac))
    if entry is not None and entry.state & NUD_PERMANENT:
        return "local", entry.ifindex
    if mac == bridge.mac or any(port.mac == mac for port in ports_of(ns.links).get(bridge.ifindex, ())):
        return "local", bridge.ifindex
    learned = run.fdb.get((ns.key, bridge.ifindex, mac))
    if entry is not None and entry.state & NUD_NOARP:
        return "static", entry.ifindex if learned is None else learned
    if learned is not None:
        return "learned", learned
    return ("learned", entry.ifindex) if entry is not None else ("", 0)


def learn(run: Run, ns: NetnsState, bridge: Link, port: Link, mac: bytes) -> None:
    """Learn where a MAC is, unless the port doesn't learn or the MAC is pinned.

    A static entry goes where its MAC was seen, as a learned one does: only a sticky one stays.

    Source: net/bridge/br_fdb.c, br_fdb_update (Linux 6.18).
    """
    if port.port is not None and not port.port.learning:
        return
    if not mac or is_group(mac):
        return
    entry = bridge_fdb(ns.fdb).get((bridge.ifindex, mac))
    sticky = entry is not None and bool(entry.flags & NTF_STICKY)
    if not sticky and lookup_fdb(run, ns, bridge, mac)[0] != "local":
        run.fdb[ns.key, bridge.ifindex, mac] = port.ifindex


def decide(run: Run, ns: NetnsState, bridge: Link, source: Link | None, mac: bytes) -> Verdict:
    """Decide where a frame to `mac` goes. `source` is the ingress port, None for the bridge's own frames."""
    if is_group(mac):
        return Verdict(source is not None, flood_ports(ns, bridge, source, mac), "broadcast")
    how, at = lookup_fdb(run, ns, bridge, mac)
    if how == "local":
        return Verdict(up=source is not None, how="local")
    if how:
        port = ns.links.get(at)
        if port is None or port.master != bridge.ifindex:
            return Verdict(how="dangling")
        return Verdict(ports=(port,), how=how)
    return Verdict(ports=flood_ports(ns, bridge, source, mac), how="flood")


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
        for name in ("neigh_suppress", "proxy_arp", "proxy_arp_wifi"):
            if getattr(settings, name):
                return f"{name} of {port.ifname}"
    return ""


def check_locked(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> None:
    """Drop what comes in by a locked port from a MAC that the bridge doesn't have behind that port.

    Unmodelled: whether a learned entry is itself locked (MAC authentication bypass).

    Source: net/bridge/br_input.c, br_handle_frame_finish (BR_PORT_LOCKED) (Linux 6.18).
    """
    settings = port.port or BridgePort()
    if settings.vlan_tunnel:
        run.unknown(
            ns,
            "bridge",
            port.ifname,
            packet,
            "bridge VLAN tunnel",
            f"{port.ifname} maps VLANs to tunnels, which is not modelled.",
            command=f"bridge vlan tunnelshow dev {port.ifname}",
        )
    if not settings.locked:
        return
    how, at = lookup_fdb(run, ns, bridge, packet.smac)
    command = f"bridge -d link show dev {port.ifname}"
    if how in ("", "local") or at != port.ifindex:
        why = f"{port.ifname} is locked, and the bridge has no entry that puts {format_mac(packet.smac)} behind it."
        run.drop(ns, "bridge", port.ifname, packet, "NOT_SPECIFIED", why, command=command)
    if how == "learned":
        why = (
            f"{port.ifname} is locked; whether the entry for {format_mac(packet.smac)} may pass isn't known."
        )
        run.unknown(ns, "bridge", port.ifname, packet, "locked bridge port", why, command=command)


def check_modelled(run: Run, ns: NetnsState, bridge: Link, packet: Packet) -> None:
    """End the walk where the bridge does what isn't modelled, or its table wasn't read."""
    run.check_gap(ns, "fdb", "bridge", bridge.ifname, packet)
    info = bridge.info if isinstance(bridge.info, BridgeInfo) else None
    if packet.vlan:
        why = f"A frame with VLAN tag {packet.vlan} goes through {bridge.ifname}, which is not modelled."
        run.unknown(ns, "bridge", bridge.ifname, packet, "tagged frame in a bridge", why)
    if info is not None and info.vlan_filtering:
        run.unknown(
            ns,
            "bridge",
            bridge.ifname,
            packet,
            "bridge VLAN filtering",
            f"The bridge {bridge.ifname} filters VLANs, which is not modelled.",
            command=f"bridge vlan show dev {bridge.ifname}",
        )


def fdb_evidence(bridge: Link, mac: bytes, verdict: Verdict) -> dict[str, Any]:
    """Describe a bridge's decision."""
    return {
        "bridge": bridge.ifname,
        "mac": format_mac(mac),
        "lookup": verdict.how,
        "ports": [port.ifname for port in verdict.ports],
    }
