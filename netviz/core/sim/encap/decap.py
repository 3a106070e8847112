"""A tunnel's packet has arrived: which device here takes it apart.

A UDP tunnel's packet is for the socket of its port; without one it is refused as any datagram is. Other
tunnels are found by both addresses and the key. The devices may be in other namespaces than the packet.

Source: net/ipv4/udp.c, udp_queue_rcv_one_skb (encap_rcv); net/ipv4/tunnel4.c, tunnel4_rcv;
net/ipv4/gre_demux.c, gre_rcv (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.encap import ethertunnel, iptunnel, vxlan, wireguard
from netviz.core.sim.node_index import tunnels_of
from netviz.core.sim.packet import IPPROTO_UDP, Packet
from netviz.core.sim.run import Action, Run
from netviz.core.state.node import NetnsState

UDP_TUNNELS: dict[str, tuple[Callable[[Link, Packet], bool], Callable[..., Action]]] = {
    "vxlan": (vxlan.accepts, vxlan.take),
    "geneve": (ethertunnel.accepts, ethertunnel.take),
    "wireguard": (wireguard.accepts, wireguard.take),
}


def take(run: Run, ns: NetnsState, dev: Link, packet: Packet) -> Action:
    """Hand a tunnel's packet to the devices that it may be for."""
    devices = tunnels_of(run.node(ns.key).netns).get(ns.key, [])
    links = {key: link for key in devices if (link := run.link(key)) is not None}
    if packet.proto != IPPROTO_UDP:
        return iptunnel.take(run, ns, dev, packet, links)
    for kind, (accepts, taken) in UDP_TUNNELS.items():
        found: list[LinkKey] = [
            key for key, link in links.items() if link.kind == kind and accepts(link, packet)
        ]
        if found and kind != packet.tunnel:
            why = f"A {packet.tunnel} packet comes to the port of a {kind} device, which reads it otherwise."
            run.unknown(ns, "decap", dev.ifname, packet, f"{packet.tunnel} packet at a {kind} device", why)
        if found:
            return taken(run, ns, dev, packet, found)
    for socket in ns.sockets.values():
        if socket.proto == IPPROTO_UDP and socket.sport == packet.dport:
            why = (
                f"A program's socket has port {packet.dport} and takes the packet: no tunnel device gets it."
            )
            run.drop(ns, "decap", dev.ifname, packet, "NOT_SPECIFIED", why, command="ss -uan")
    why = f"No tunnel device here listens on UDP port {packet.dport}: the packet is refused."
    run.drop(ns, "decap", dev.ifname, packet, "NO_SOCKET", why, command="ip -d link; ss -uan")
