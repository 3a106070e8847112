"""VXLAN: which remotes a frame goes to, and the outer packet for each.

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_one, vxlan_snoop (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from netviz.core.model.l2 import NUD_NOARP, NUD_PERMANENT, Fdb
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.sim.encap.tunnel import DF_INHERIT, DF_SET, Outer, flow_port, outer_route, wrap
from netviz.core.sim.node_index import vxlan_fdb
from netviz.core.sim.packet import IPPROTO_UDP, Packet
from netviz.core.sim.route.rules import RouteResult
from netviz.core.sim.route.saddr import is_multicast
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

# Outer Ethernet is not counted: inner Ethernet 14, VXLAN 8, UDP 8, IP 20 or 40.
OVERHEAD4, OVERHEAD6 = 50, 70
DEFAULT_MAC = bytes(6)
TOS_INHERIT = 1


class Remote(msgspec.Struct, frozen=True):
    """Where a frame goes: the outer destination, its port, the VNI, and the device that it must leave by (0: any)."""

    addr: bytes
    port: int
    vni: int
    link: int = 0


def unmodelled(info: VxlanInfo) -> str:
    """Name what a device does with frames that isn't modelled; "" when it is a plain one."""
    for name in ("proxy", "rsc", "gpe", "collect_metadata"):
        if getattr(info, name):
            return name
    return ""


class Remotes(msgspec.Struct, frozen=True):
    """What a device's table says of a MAC: learned by this run, an entry of its own, the default one, or nothing ("").

    `remotes` are those with an address, of `entries` in all. `nexthop` is the group that the entry names instead;
    `group`: a multicast group is among the remotes.
    """

    fdb: Literal["", "learned", "entry", "default"]
    remotes: tuple[Remote, ...] = ()
    entries: int = 0
    nexthop: int = 0
    group: bool = False


def lookup(run: Run, ns: NetnsState, link: Link, info: VxlanInfo, mac: bytes) -> Remotes:
    """Look up the remotes that a device sends a frame for a MAC to.

    Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_find_mac, vxlan_snoop (Linux 6.18).
    """
    table = vxlan_fdb(ns.fdb)
    found = table.get((link.ifindex, mac), [])
    learned = run.memory.vxlan_fdb.get((ns.key, link.ifindex, mac))
    if learned is not None and not any(pinned(entry) for entry in found):
        return Remotes("learned", (Remote(learned, info.port, info.vni),), 1)
    fdb: Literal["entry", "default"] = "entry" if found else "default"
    found = found or table.get((link.ifindex, DEFAULT_MAC), [])
    if not found:
        return Remotes("")
    return Remotes(
        fdb,
        tuple(remote_of(entry, info) for entry in found if any(entry.dst)),
        len(found),
        found[0].nhid,
        any(is_multicast(entry.dst) for entry in found if entry.dst),
    )


def remotes_for(run: Run, ns: NetnsState, link: Link, info: VxlanInfo, mac: bytes) -> Sequence[Remote] | None:
    """List all remotes that a frame to a MAC is sent to; None where that isn't modelled."""
    found = lookup(run, ns, link, info, mac)
    if found.fdb != "learned" and (unmodelled(info) or found.nexthop or found.group):
        return None
    return found.remotes


def remote_of(entry: Fdb, info: VxlanInfo) -> Remote:
    """Return the remote that an entry names; what it leaves out is the device's."""
    return Remote(entry.dst, entry.port or info.port, entry.vni or info.vni, entry.oif)


def pinned(entry: Fdb) -> bool:
    """Tell whether an entry doesn't move by learning: it is static, or leads to a nexthop group."""
    return bool(entry.state & (NUD_PERMANENT | NUD_NOARP)) or bool(entry.nhid)


def route_to(space: NetnsState, remote: Remote, mark: int) -> RouteResult:
    """Look up the route of the packets for a remote; a local one is to this very host."""
    return outer_route(space, Outer("vxlan", remote.addr, IPPROTO_UDP, 0, link=remote.link), mark)


def outer_packet(space: NetnsState, info: VxlanInfo, remote: Remote, packet: Packet) -> Packet | None:
    """Make the packet that carries a frame to a remote; None when there is no way to it."""
    ipv6 = len(remote.addr) == 16
    outer = Outer(
        "vxlan",
        remote.addr,
        IPPROTO_UDP,
        OVERHEAD6 if ipv6 else OVERHEAD4,
        src=info.local,
        link=remote.link,
        ttl=packet.ttl if info.ttl_inherit else info.ttl,
        tos=packet.tos if info.tos == TOS_INHERIT else info.tos,
        df=info.df == DF_SET or (info.df == DF_INHERIT and (packet.df or packet.ipv6)),
        sport=flow_port(packet),
        dport=remote.port,
        vni=remote.vni,
        sport_unsure=True,
    )
    return wrap(space, packet, outer)


def refuses(ns: NetnsState, link: Link, mac: bytes, remote: bytes) -> bool:
    """Tell whether a learning device drops a frame: its MAC is pinned to another remote, or to one by a device."""
    found = vxlan_fdb(ns.fdb).get((link.ifindex, mac), [])
    return bool(found) and (found[0].dst != remote or bool(found[0].oif)) and pinned(found[0])
