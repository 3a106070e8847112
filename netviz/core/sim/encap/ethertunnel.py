"""Ethernet over IP with one remote: geneve, gretap and ip6gretap devices.

Every frame, broadcasts too, goes to the device's one remote. A Geneve packet is for the device of its VNI
whose remote is the packet's source.

Source: drivers/net/geneve.c, geneve_xmit, geneve_xmit_skb, geneve_lookup_skb, geneve_rx; net/ipv4/ip_gre.c,
gre_tap_xmit (Linux 6.18).

Unmodelled: external devices, and what iptunnel doesn't model of GRE.
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link, TunnelInfo
from netviz.core.sim.actions import Action, Send
from netviz.core.sim.encap import iptunnel, tunnel
from netviz.core.sim.encap.spec import ether_outer, ether_unmodelled
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Decap, Encap
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """Wrap a frame for the device's remote."""
    info = link.info
    what = ether_unmodelled(link)
    if what or not isinstance(info, TunnelInfo):
        run.end_unknown(ns, link, packet, Encap("unknown", "settings", device_kind=link.kind, what=what))
    if link.kind != "geneve":
        return iptunnel.send(run, ns, link, info, packet, info.remote)
    space = tunnel.outer_space(run, ns, link, packet)
    outer = ether_outer(link, info, packet)
    wrapped = tunnel.wrap(space, packet.scrubbed(space.key != ns.key), outer)
    if wrapped is None:
        tunnel.no_route(run, ns, link, packet, info.remote)
    mtu = tunnel.route_mtu(space, tunnel.outer_route(space, outer, packet.mark)) - outer.overhead
    tunnel.bridged_too_big(run, ns, link, packet, mtu)
    tunnel.check_recursion(run, ns, link, packet)
    run.record(
        ns, link, wrapped, Encap("encapsulate", "geneve", vni=info.vni, remote=info.remote, port=info.port)
    )
    return Send(space.key, wrapped)


def accepts(link: Link, packet: Packet) -> bool:
    """Tell whether a Geneve device's socket takes an outer packet: by family and port."""
    info = link.info
    if not isinstance(info, TunnelInfo) or info.port != packet.dport or not link.up:
        return False
    return info.collect_metadata or packet.ipv6 == (len(info.remote) == 16)


def take(run: Run, ns: NetnsState, dev: Link, packet: Packet, devices: list[LinkKey]) -> Action:
    """Take the frame out at the device with the packet's VNI and its source as remote."""
    inner = packet.payload
    assert inner is not None
    for key in devices:
        link = run.netns(key.netns).links[key.ifindex]
        info = link.info
        if not isinstance(info, TunnelInfo):
            continue
        if not info.collect_metadata and (info.vni, info.remote) != (packet.vni, packet.src):
            continue
        if inner.smac == link.mac:
            run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Decap("drop", "own MAC"))
        return iptunnel.out(run, ns, packet, key)
    run.end_dropped(ns, dev, packet, "NOT_SPECIFIED", Decap("drop", "no geneve device"))
