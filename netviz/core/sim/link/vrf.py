"""VRFs (l3mdev): a device whose slaves have a routing table of their own.

What a slave receives passes PRE_ROUTING there, and again at the VRF's device, which the packet then
belongs to: routing starts in the VRF's table (the l3mdev rule finds it), sockets see the VRF as the
incoming device and the slave as `sdif`. What is sent by the VRF's device is routed again in its table.

Source: net/ipv4/ip_input.c, ip_rcv_finish; include/net/l3mdev.h, l3mdev_ip_rcv; drivers/net/vrf.c,
vrf_ip_rcv, vrf_xmit, vrf_process_v4_outbound, vrf_local_xmit; net/l3mdev/l3mdev.c (Linux 6.18).

Unmodelled: the netfilter hooks that the host's own packets pass once more at the VRF's device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link, VrfInfo
from netviz.core.sim.actions import Action, Rx, Send
from netviz.core.sim.hook.hooks import nothing_hooked
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.rules import lookup_route, vrf_of
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import HookVerdict, Transmit
from netviz.core.state.node import NetnsState


def master_of(links: Mapping[Any, Link], link: Link) -> Link | None:
    """Find the VRF that a device belongs to, or is."""
    found = links.get(vrf_of(links, link.ifindex))
    return found if found is not None and isinstance(found.info, VrfInfo) else None


def check_hooks(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """End the walk where the host's own packet goes through a VRF past netfilter hooks."""
    if not nothing_hooked(ns):
        run.end_unknown(ns, link, packet, HookVerdict("unknown", "hooks of a VRF"))


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """Send by a VRF's device: a packet to itself comes in again there, others are routed in its table."""
    check_hooks(run, ns, link, packet)
    result = lookup_route(ns, RouteFlow(packet.dst, packet.src, oif=link.ifindex))
    if result.local:
        run.record(ns, link, packet, Transmit("loop back", "vrf"))
        return Rx(LinkKey(ns.key, link.ifindex), packet, host=True)
    run.record(ns, link, packet, Transmit("to vrf"))
    return Send(ns.key, packet, link.ifindex)


# What its slaves receive goes up from them: the network layer knows that they are its (`inet/`).
KIND = Kind(xmit=xmit, joins=lambda *_args: None)
