"""VXLAN devices: frames wrapped for the remotes that the device's table names, and taken out again.

A frame for several remotes (a broadcast, an unknown MAC) is copied to each; the copy that reaches who
takes it is followed. An entry that names a nexthop group sends to one member, by a hash.

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_nh, vxlan_xmit_one, encap_bypass_if_local,
vxlan_rcv, vxlan_vs_find_vni, vxlan_set_mac (Linux 6.18).

Unmodelled: multicast groups as remotes, proxy (ARP answered by the device), route short-circuit, GPE,
group policy, VNI filters, and what a frame's metadata says to an external device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.sim.actions import Action, Carried, Rx, Send, Spread
from netviz.core.sim.encap import tunnel
from netviz.core.sim.encap.ends import small_request
from netviz.core.sim.encap.vxlan_remotes import (
    OVERHEAD4,
    OVERHEAD6,
    Remote,
    lookup,
    outer_packet,
    refuses,
    route_to,
    unmodelled,
)
from netviz.core.sim.nft.meta import PACKET_HOST
from netviz.core.sim.node_index import tunnels_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.saddr import LOOPBACK4, LOOPBACK6
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Decap, Encap
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """Wrap a frame for the remote that the device's table names, and hand it to the underlay's routing."""
    info = link.info if isinstance(link.info, VxlanInfo) else VxlanInfo()
    if info.collect_metadata:
        run.end_dropped(ns, link, packet, "TUNNEL_TXINFO", Encap("drop", "external"))
    what = unmodelled(info) or ("gbp" if info.gbp and packet.mark else "")
    if what or not isinstance(link.info, VxlanInfo):
        run.end_unknown(
            ns, link, packet, Encap("unknown", "settings", device_kind="vxlan", what=what or "settings")
        )
    space = tunnel.outer_space(run, ns, link, packet)
    mac = packet.dmac
    found = lookup(run, ns, link, info, mac)
    if not found.fdb:
        run.end_dropped(ns, link, packet, "NO_TX_TARGET", Encap("drop", "no entry"))
    how = partial(Encap, fdb=found.fdb, fdb_mac=b"" if found.fdb == "default" else mac)
    send = partial(_send, run, ns, space, link, info, packet)
    if found.nexthop:
        remote = _group_member(run, ns, link, info, packet, found.nexthop)
        return send(partial(how, fdb_choice="nexthop group"), remote)
    if found.group:
        run.end_unknown(ns, link, packet, Encap("unknown", "multicast group"))
    if found.entries == 1:
        if not found.remotes:
            run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Encap("drop", "no address"))
        return send(how, found.remotes[0])
    for remote in found.remotes:
        if route_to(space, remote, packet.mark).local:  # what is learned from such a copy isn't modelled
            run.end_unknown(ns, link, packet, Encap("unknown", "own host", remote=remote.addr))
    copied = tuple(_carried(space, info, packet, remote) for remote in found.remotes)
    chosen = partial(how, fdb_choice="copies", fdb_copies=found.entries)
    return Spread(
        LinkKey(ns.key, link.ifindex), packet, copied, lambda number: send(chosen, found.remotes[number])
    )


def _carried(space: NetnsState, info: VxlanInfo, packet: Packet, remote: Remote) -> Carried:
    whole, small = (
        Send(space.key, outer, remote.link) if outer is not None else None
        for outer in (
            outer_packet(space, info, remote, frame)
            for frame in (packet, small_request(packet.dmac, packet.smac))
        )
    )
    return Carried(remote.addr, whole, small)


def _send(
    run: Run,
    ns: NetnsState,
    space: NetnsState,
    link: Link,
    info: VxlanInfo,
    packet: Packet,
    how: Callable[..., Encap],
    remote: Remote,
) -> Action:
    """Wrap a frame for a remote."""
    inner = packet.scrubbed(space.key != ns.key)
    outer = outer_packet(space, info, remote, inner)
    if outer is None:
        tunnel.no_route(run, ns, link, packet, remote.addr)
    overhead = OVERHEAD6 if len(remote.addr) == 16 else OVERHEAD4
    route = route_to(space, remote, outer.mark)
    if route.local and info.localbypass:
        return _short_cut(run, ns, space, link, packet, remote)
    tunnel.bridged_too_big(run, ns, link, packet, tunnel.route_mtu(space, route) - overhead)
    tunnel.check_recursion(run, ns, link, packet)
    run.record(
        ns,
        link,
        outer,
        how("encapsulate", "vxlan", vni=remote.vni, remote=remote.addr, port=remote.port),
    )
    return Send(space.key, outer, remote.link)


def _short_cut(run: Run, ns: NetnsState, space: NetnsState, link: Link, packet: Packet, remote: Remote) -> Rx:
    """Hand a frame for a remote of this host to that one's device, as it is: it never becomes a packet.

    Source: drivers/net/vxlan/vxlan_core.c, encap_bypass_if_local, vxlan_encap_bypass (Linux 6.18).
    """
    for key in tunnels_of(run.node(space.key).netns).get(space.key, []):
        other = run.link(key)
        info = other.info if other is not None and other.up else None
        if (
            other is None
            or not isinstance(info, VxlanInfo)
            or (info.port, info.vni) != (remote.port, remote.vni)
        ):
            continue
        if info.learning and packet.smac:
            itself = LOOPBACK6 if len(remote.addr) == 16 else LOOPBACK4
            run.memory = run.memory.with_vxlan_fdb((key.netns, key.ifindex, packet.smac), itself)
        run.record(ns, link, packet, Encap("short cut", remote=remote.addr, vni=remote.vni, to=other.ifname))
        tunnel.keep_route(run, ns, link, packet, key)
        return Rx(key, packet.but(pkttype=PACKET_HOST), host=True)
    run.end_dropped(
        ns,
        link,
        packet,
        "VXLAN_VNI_NOT_FOUND",
        Encap("drop", "no device", remote=remote.addr, vni=remote.vni, port=remote.port),
    )


def _group_member(run: Run, ns: NetnsState, link: Link, info: VxlanInfo, packet: Packet, nhid: int) -> Remote:
    """Choose a member of a nexthop group as its hash might: one branch each."""
    group = ns.nexthops.get(nhid)
    members = [
        (ns.nexthops.get(ident), weight) for ident, weight in (group.group if group is not None else ())
    ]
    if group is not None and not members:
        members = [(group, 1)]
    usable = [(found.gateway, weight) for found, weight in members if found is not None and found.gateway]
    if not usable:
        run.end_unknown(ns, link, packet, Encap("unknown", "nexthop group", nhid=nhid))
    total = sum(weight for _, weight in usable)
    odds = tuple(weight / total for _, weight in usable)
    (gateway, _), _ = run.pick(("vxlan nexthop", ns.key, nhid, packet.tuple()), usable, odds)
    return Remote(gateway, info.port, info.vni)


def accepts(link: Link, packet: Packet) -> bool:
    """Tell whether a device's socket takes an outer packet: by family and port."""
    info = link.info
    if not isinstance(info, VxlanInfo) or info.port != packet.dport or not link.up:
        return False
    return info.collect_metadata or packet.ipv6 == (len(info.local or info.remote) == 16)


def take(run: Run, ns: NetnsState, dev: Link, packet: Packet, devices: list[LinkKey]) -> Action:
    """Take the inner frame out of a VXLAN packet, if a device with its VNI is among those of its port."""
    inner = packet.payload
    assert inner is not None
    for key in devices:
        own, link = run.netns(key.netns), run.netns(key.netns).links[key.ifindex]
        info = link.info
        if not isinstance(info, VxlanInfo) or (info.vni != packet.vni and not info.collect_metadata):
            continue
        if info.vnifilter or info.gpe:
            run.end_unknown(own, link, packet, Decap("unknown", "settings", device_kind="vxlan"))
        if inner.smac == link.mac:
            run.end_dropped(own, link, packet, "LOCAL_MAC", Decap("drop", "own MAC"))
        if info.learning and refuses(own, link, inner.smac, packet.src):
            run.end_dropped(own, link, packet, "VXLAN_ENTRY_EXISTS", Decap("drop", "static entry elsewhere"))
        if info.learning and inner.smac:
            run.memory = run.memory.with_vxlan_fdb((own.key, link.ifindex, inner.smac), packet.src)
        inner = tunnel.decap_ecn(run, own, link, packet, inner, "IP_TUNNEL_ECN")
        inner = inner.scrubbed(True).but(mark=0 if key.netns != ns.key else packet.mark)
        run.record(own, link, inner, Decap("decapsulate", "vxlan", vni=packet.vni, outer_src=packet.src))
        return Rx(key, inner)
    run.end_dropped(ns, dev, packet, "VXLAN_VNI_NOT_FOUND", Decap("drop", "no vxlan device"))
