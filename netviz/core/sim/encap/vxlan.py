"""VXLAN devices: frames wrapped for the remotes that the device's table names, and taken out again.

A frame for several remotes (a broadcast, an unknown MAC) is copied to each; the copy that reaches who
takes it is followed. An entry that names a nexthop group sends to one member, by a hash.

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_nh, vxlan_xmit_one, encap_bypass_if_local,
vxlan_rcv, vxlan_vs_find_vni, vxlan_set_mac (Linux 6.18).

Unmodelled: multicast groups as remotes, proxy (ARP answered by the device), route short-circuit, GPE,
group policy, VNI filters, and what a frame's metadata says to an external device.
"""

from __future__ import annotations

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import Fdb
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.sim.encap import tunnel
from netviz.core.sim.encap.vxlan_copies import followed_copy
from netviz.core.sim.encap.vxlan_remotes import (
    OVERHEAD4,
    OVERHEAD6,
    Remote,
    entries_for,
    outer_packet,
    pinned,
    refuses,
    remote_of,
    unmodelled,
    way_to,
)
from netviz.core.sim.nft.meta import PACKET_HOST
from netviz.core.sim.node_index import tunnels_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.saddr import LOOPBACK4, LOOPBACK6, is_multicast
from netviz.core.sim.run import Action, Run, Rx, Send
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """Wrap a frame for the remote that the device's table names, and hand it to the underlay's routing."""
    info = link.info if isinstance(link.info, VxlanInfo) else VxlanInfo()
    command = f"ip -d link show dev {link.ifname}"
    if info.collect_metadata:
        why = (
            f"{link.ifname} is external: without a route's or a program's word where to, it drops the packet."
        )
        run.drop(ns, "encap", link.ifname, packet, "TUNNEL_TXINFO", why, command=command)
    what = unmodelled(info) or ("gbp" if info.gbp and packet.mark else "")
    if what or not isinstance(link.info, VxlanInfo):
        why = f"{link.ifname} works in a way that is not modelled ({what or 'its settings are unknown'})."
        run.unknown(ns, "encap", link.ifname, packet, f"vxlan {what or 'settings'}", why, command=command)
    space = tunnel.outer_space(run, ns, link, packet)
    remote, how = _remote(run, ns, space, link, info, packet)
    inner = packet.scrubbed(space.key != ns.key)
    outer = outer_packet(space, info, remote, inner)
    if outer is None:
        tunnel.no_way(run, ns, link, packet, remote.addr)
    overhead = OVERHEAD6 if len(remote.addr) == 16 else OVERHEAD4
    route = way_to(space, remote, outer.mark)
    if route.local and info.localbypass:
        return _short_cut(run, ns, space, link, packet, remote)
    tunnel.bridged_too_big(run, ns, link, packet, tunnel.route_mtu(space, route) - overhead)
    tunnel.check_recursion(run, ns, link, packet)
    run.step(
        ns,
        "encap",
        link.ifname,
        outer,
        "encapsulate",
        f"{link.ifname} wraps the frame for {format_ip(remote.addr)} in VNI {remote.vni} ({how}).",
        vni=remote.vni,
        remote=format_ip(remote.addr),
        port=remote.port,
        fdb=how,
        command=f"bridge fdb show dev {link.ifname}",
    )
    return Send(space.key, outer, remote.link)


def _short_cut(run: Run, ns: NetnsState, space: NetnsState, link: Link, packet: Packet, remote: Remote) -> Rx:
    """Hand a frame for a remote of this host to that one's device, as it is: it never becomes a packet.

    Source: drivers/net/vxlan/vxlan_core.c, encap_bypass_if_local, vxlan_encap_bypass (Linux 6.18).
    """
    addr = format_ip(remote.addr)
    command = f"ip route get {addr}"
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
        why = f"The remote {addr} is this host's own: the frame takes a short cut to {other.ifname} here."
        run.step(
            ns, "encap", link.ifname, packet, "short cut", why, remote=addr, vni=remote.vni, command=command
        )
        tunnel.keep_route(run, ns, link, packet, key)
        return Rx(key, packet.but(pkttype=PACKET_HOST), host=True)
    why = f"The remote {addr} is this host's own, but no VXLAN device here has VNI {remote.vni} and port {remote.port}."
    run.drop(ns, "encap", link.ifname, packet, "VXLAN_VNI_NOT_FOUND", why, command=command)


def _remote(
    run: Run, ns: NetnsState, space: NetnsState, link: Link, info: VxlanInfo, packet: Packet
) -> tuple[Remote, str]:
    mac = format_mac(packet.dmac)
    command = f"bridge fdb show dev {link.ifname}"
    found = entries_for(ns, link, packet.dmac)
    own = bool(found) and found[0].mac == packet.dmac
    learned = run.memory.vxlan_fdb.get((ns.key, link.ifindex, packet.dmac))
    if learned is not None and not (own and any(pinned(entry) for entry in found)):
        return Remote(learned, info.port, info.vni), f"learned {mac}"
    if not found:
        why = f"{link.ifname} has no entry for {mac} and no default remote."
        run.drop(ns, "encap", link.ifname, packet, "VXLAN_NO_REMOTE", why, command=command)
    how = f"entry for {mac}" if own else "default remote"
    if found[0].nhid:
        return _nexthop(run, ns, link, info, packet, found[0]), f"{how}, nexthop group"
    if any(is_multicast(entry.dst) for entry in found):
        why = f"{link.ifname} sends the frame to a multicast group, which is not modelled."
        run.unknown(ns, "encap", link.ifname, packet, "vxlan multicast group", why, command=command)
    if len(found) == 1:
        if not any(found[0].dst):
            why = f"The remote of {link.ifname} is no address: the frame is dropped."
            run.drop(ns, "encap", link.ifname, packet, "NOT_SPECIFIED", why, command=command)
        return remote_of(found[0], info), how
    return followed_copy(run, ns, space, link, info, packet, found), f"{how}, one copy of {len(found)}"


def _nexthop(run: Run, ns: NetnsState, link: Link, info: VxlanInfo, packet: Packet, entry: Fdb) -> Remote:
    """Choose a member of a nexthop group as its hash might: one branch each."""
    group = ns.nexthops.get(entry.nhid)
    members = [
        (ns.nexthops.get(ident), weight) for ident, weight in (group.group if group is not None else ())
    ]
    if group is not None and not members:
        members = [(group, 1)]
    usable = [(found.gateway, weight) for found, weight in members if found is not None and found.gateway]
    if not usable:
        what = "vxlan nexthop group"
        why = f"{link.ifname}'s entry leads to nexthop group {entry.nhid}, which has no known member."
        run.unknown(ns, "encap", link.ifname, packet, what, why, command=f"ip nexthop show id {entry.nhid}")
    picked = 0
    if len(usable) > 1:
        total = sum(weight for _, weight in usable)
        odds = tuple(weight / total for _, weight in usable)
        picked = run.choose(("vxlan nexthop", ns.key, entry.nhid, packet.tuple()), len(usable), odds)
    return Remote(usable[picked][0], info.port, info.vni)


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
        command = f"ip -d link show dev {link.ifname}"
        if info.vnifilter or info.gpe:
            why = f"{link.ifname} works in a way that is not modelled (VNI filter or GPE)."
            run.unknown(own, "decap", link.ifname, packet, "vxlan settings", why, command=command)
        if inner.smac == link.mac:
            why = f"The inner frame's source is {link.ifname}'s own MAC."
            run.drop(own, "decap", link.ifname, packet, "LOCAL_MAC", why)
        if info.learning and refuses(own, link, inner.smac, packet.src):
            why = f"{link.ifname} has the inner frame's source at another remote, in a static entry."
            run.drop(own, "decap", link.ifname, packet, "VXLAN_ENTRY_EXISTS", why, command="bridge fdb show")
        if info.learning and inner.smac:
            run.memory = run.memory.with_vxlan_fdb((own.key, link.ifindex, inner.smac), packet.src)
        inner = tunnel.decap_ecn(run, own, link, packet, inner, "IP_TUNNEL_ECN")
        inner = inner.scrubbed(True).but(mark=0 if key.netns != ns.key else packet.mark)
        run.step(
            own,
            "decap",
            link.ifname,
            inner,
            "decapsulate",
            f"{link.ifname} has VNI {packet.vni}: the inner frame comes out of it.",
            vni=packet.vni,
            outer_src=format_ip(packet.src),
            command=command,
        )
        return Rx(key, inner)
    why = f"No VXLAN device here has VNI {packet.vni} and port {packet.dport}."
    command = "ip -d link show type vxlan"
    run.drop(ns, "decap", dev.ifname, packet, "VXLAN_VNI_NOT_FOUND", why, command=command)
