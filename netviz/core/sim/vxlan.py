"""VXLAN: the remote for a frame, and the outer packet.

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_one (Linux 6.18).

Unmodelled: collect_metadata, proxy (ARP answered by the device), route short-circuit, nexthop groups,
multicast remotes, and replication of a frame to several remotes.
"""

from __future__ import annotations

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.l2 import NUD_NOARP, NUD_PERMANENT
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.sim.node_index import vxlan_fdb
from netviz.core.sim.packet import IPPROTO_UDP, Packet
from netviz.core.sim.rules import RouteFlow, lookup_route
from netviz.core.sim.run import Run, Send
from netviz.core.sim.saddr import is_multicast, select_source
from netviz.core.state.node import NetnsState

# Outer Ethernet is not counted: inner Ethernet 14, VXLAN 8, UDP 8, IP 20 or 40.
OVERHEAD4, OVERHEAD6 = 50, 70
DEFAULT_TTL = 64
DEFAULT_MAC = bytes(6)
TOS_INHERIT, DF_SET, DF_INHERIT = 1, 1, 2


def encapsulate(run: Run, ns: NetnsState, link: Link, packet: Packet) -> Send:
    """Wrap a frame for the remote that the device's table names, and hand it to the underlay's routing."""
    info = link.info if isinstance(link.info, VxlanInfo) else None
    if info is None or info.collect_metadata or info.proxy or info.rsc:
        run.unknown(
            ns,
            "encap",
            link.ifname,
            packet,
            "vxlan settings",
            f"{link.ifname} works in a way that is not modelled.",
            command=f"ip -d link show dev {link.ifname}",
        )
    remote, port, vni, how = _remote(run, ns, link, info, packet)
    outer = outer_packet(ns, info, remote, port, vni, packet)
    if outer is None:
        run.drop(
            ns,
            "encap",
            link.ifname,
            packet,
            "IP_OUTNOROUTES",
            f"There is no way to the VXLAN remote {format_ip(remote)}.",
            command=f"ip route get {format_ip(remote)}",
        )
    run.step(
        ns,
        "encap",
        link.ifname,
        outer,
        "encapsulate",
        f"{link.ifname} wraps the frame for {format_ip(remote)} in VNI {vni} ({how}).",
        vni=vni,
        remote=format_ip(remote),
        port=port,
        fdb=how,
        command=f"bridge fdb show dev {link.ifname}",
    )
    return Send(ns.key, outer, info.link)


def outer_packet(
    ns: NetnsState, info: VxlanInfo, remote: bytes, port: int, vni: int, packet: Packet
) -> Packet | None:
    """Make the packet that carries a frame to a remote; None when there is no way to it.

    Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit_one, vxlan_build_skb; its source port is a hash
    of the inner flow (udp_flow_src_port) (Linux 6.18).
    """
    src = info.local if len(info.local) == len(remote) else b""
    if not src:
        result = lookup_route(ns, RouteFlow(remote, oif=info.link, proto=IPPROTO_UDP, dport=port))
        if result.nexthops and not result.error:
            nexthop = result.nexthops[0]
            src = select_source(ns, result, nexthop.oif, nexthop.gateway, remote)
    if not src:
        return None
    ttl = packet.ttl if info.ttl_inherit else info.ttl or DEFAULT_TTL
    return Packet(
        src,
        remote,
        IPPROTO_UDP,
        sport=49152,
        dport=port,
        ttl=ttl,
        tos=packet.tos if info.tos == TOS_INHERIT else info.tos,
        df=info.df == DF_SET or (info.df == DF_INHERIT and (packet.df or packet.ipv6)),
        length=packet.wire_length + (OVERHEAD6 if len(remote) == 16 else OVERHEAD4),
        payload=packet,
        vni=vni,
        sport_unsure=True,
    )


Remote = tuple[bytes, int, int]


def flood_remotes(ns: NetnsState, link: Link, info: VxlanInfo) -> list[Remote] | None:
    """List where a broadcast goes, (address, port, VNI) each; None where that isn't modelled.

    Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit (all_zeros_mac) (Linux 6.18).
    """
    if info.collect_metadata or info.proxy or info.rsc or info.l2miss or info.l3miss:
        return None
    found = vxlan_fdb(ns.fdb).get((link.ifindex, DEFAULT_MAC), [])
    remotes = [(entry.dst, entry.port or info.port, entry.vni or info.vni) for entry in found]
    if not found and info.remote:
        remotes = [(info.remote, info.port, info.vni)]
    if any(entry.nhid for entry in found) or any(is_multicast(remote[0]) for remote in remotes):
        return None
    return remotes


def unicast_remotes(run: Run, ns: NetnsState, link: Link, info: VxlanInfo, mac: bytes) -> list[Remote] | None:
    """List where a frame to a MAC goes; None where that isn't modelled."""
    learned = run.vxlan_fdb.get((ns.key, link.ifindex, mac))
    found = vxlan_fdb(ns.fdb).get((link.ifindex, mac), [])
    if found and not any(entry.nhid for entry in found):
        return [(entry.dst, entry.port or info.port, entry.vni or info.vni) for entry in found]
    if learned is not None:
        return [(learned, info.port, info.vni)]
    return flood_remotes(ns, link, info)


def refuses(ns: NetnsState, link: Link, mac: bytes, remote: bytes) -> bool:
    """Tell whether a learning device drops a frame: its MAC is pinned to another remote.

    Source: drivers/net/vxlan/vxlan_core.c, vxlan_snoop (Linux 6.18).
    """
    found = vxlan_fdb(ns.fdb).get((link.ifindex, mac), [])
    return bool(found) and found[0].dst != remote and bool(found[0].state & (NUD_PERMANENT | NUD_NOARP))


def _remote(
    run: Run, ns: NetnsState, link: Link, info: VxlanInfo, packet: Packet
) -> tuple[bytes, int, int, str]:
    mac = format_mac(packet.dmac)
    learned = run.vxlan_fdb.get((ns.key, link.ifindex, packet.dmac))
    table = vxlan_fdb(ns.fdb)
    found = table.get((link.ifindex, packet.dmac), [])
    how = f"entry for {mac}"
    if not found and learned is not None:
        return learned, info.port, info.vni, f"learned {mac}"
    if not found:
        found = table.get((link.ifindex, DEFAULT_MAC), [])
        how = "default remote"
    if not found and info.remote:
        return info.remote, info.port, info.vni, "default remote"
    if not found:
        run.drop(
            ns,
            "encap",
            link.ifname,
            packet,
            "VXLAN_NO_REMOTE",
            f"{link.ifname} has no entry for {mac} and no default remote.",
            command=f"bridge fdb show dev {link.ifname}",
        )
    if len(found) > 1 or found[0].nhid or is_multicast(found[0].dst):
        run.unknown(
            ns,
            "encap",
            link.ifname,
            packet,
            "several vxlan remotes",
            f"{link.ifname} replicates the frame to several remotes, which is not modelled.",
            command=f"bridge fdb show dev {link.ifname}",
        )
    entry = found[0]
    return entry.dst, entry.port or info.port, entry.vni or info.vni, how
