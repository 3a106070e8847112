"""A tunnel's packet has arrived: which device here takes it apart.

A UDP tunnel's packet is for the socket of its port; without one it is refused as any datagram is. Other
tunnels are found by both addresses and the key. The devices may be in other namespaces than the packet.

Source: net/ipv4/udp.c, udp_queue_rcv_one_skb (encap_rcv); net/ipv4/tunnel4.c, tunnel4_rcv;
net/ipv4/gre_demux.c, gre_rcv (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.sim.actions import Action
from netviz.core.sim.encap import ethertunnel, iptunnel, vxlan, wireguard
from netviz.core.sim.listeners import listeners
from netviz.core.sim.node_index import tunnels_of
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, TH_RST, Packet, invert
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Decap
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
            run.end_unknown(
                ns,
                dev,
                packet,
                Decap("unknown", "another tunnel's port", device_kind=kind, what=packet.tunnel),
            )
        if found:
            _check_checksum(run, ns, dev, packet)
            return taken(run, ns, dev, packet, found)
    if listeners(ns.sockets).get((IPPROTO_UDP, packet.dport)):
        run.end_dropped(ns, dev, packet, "NOT_SPECIFIED", Decap("drop", "program's socket"))
    _check_checksum(run, ns, dev, packet)
    run.end_dropped(ns, dev, packet, "NO_SOCKET", Decap("drop", "no tunnel port"))


def _check_checksum(run: Run, ns: NetnsState, dev: Link, packet: Packet) -> None:
    """Drop a UDP tunnel's packet that translation has given a wrong checksum on its way back to its own host.

    As long as the inner packet's checksum is left to the device, translation takes the outer one to be unfinished
    too, and spoils it. Other devices leave both alone; the loopback finishes the inner one, so the outer is looked at.

    Source: net/core/utils.c, inet_proto_csum_replace4; net/core/dev.c, skb_csum_hwoffload_help;
    drivers/net/loopback.c (no hw_enc_features) (Linux 6.18).
    """
    conn, inner = run.conn(packet.ct), packet.payload
    translated = conn is not None and conn.reply != invert(conn.orig)
    if not (dev.flags & IFF_LOOPBACK and translated and inner is not None and _is_unfinished(inner)):
        return
    run.end_dropped(ns, dev, packet, "UDP_CSUM", Decap("drop", "checksum"))


def _is_unfinished(inner: Packet) -> bool:
    """Tell whether a packet's checksum is left to the device: TCP's and UDP's are, but for IPv4's resets and pieces."""
    if inner.arp or inner.fragment or inner.proto not in (IPPROTO_TCP, IPPROTO_UDP):
        return False
    return inner.ipv6 or not inner.tcp_flags & TH_RST
