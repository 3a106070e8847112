"""Netkit pairs: what one end sends, its BPF programs decide on, else its policy; the other end receives it.

    l2    as a veth: MACs, ARP and neighbour discovery
    l3    neither: frames go with MACs of zeros, which are the other end's

A policy of dropping makes the end a blackhole. Between namespaces the packet's mark is cleared unless the end's scrub
mode is none. No MTU but the sender's own is looked at.

Source: drivers/net/netkit.c, netkit_xmit, netkit_prep_forward, netkit_new_link (Linux 6.18).

Unmodelled: programs, by name; where they were not read, the device.
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import NETKIT_PASS, NETKIT_SCRUB_NONE, Link, NetkitInfo
from netviz.core.sim.copies import Copies, Lost, Onward, Unclear
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.packet import Packet, is_group
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Transmit
from netviz.core.sim.trace import place_of
from netviz.core.state.node import NetnsState


def copies(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Copies:
    """Hand a packet to the pair's other end, unless this end's programs or its policy may keep it."""
    if not isinstance(link.info, NetkitInfo):
        return (Unclear(Opaque("unknown", "device", device_kind="netkit"), link.ifname),)
    peer = peer_of(run.node(ns.key), LinkKey(ns.key, link.ifindex))
    if peer.key is None:
        what = Transmit("unknown", "netkit peer", state=peer.state, unresolved=peer.reason)
        return (Unclear(what, link.ifname),)
    at, other_ns = peer.key, run.netns(peer.key.netns)
    other = other_ns.links[at.ifindex]
    if not other.up:
        return (Lost("NOT_SPECIFIED", Transmit("drop", "peer down", peer_ifname=other.ifname)),)
    kept = _kept(link, other)
    if kept is None and is_group(packet.dmac):
        kept = _kept(other, link)  # a request is there for its answer
    if kept is not None:
        return (kept,)
    return (
        Onward(
            at,
            received=True,
            what=lambda: Transmit(
                "cross netkit", peer=at, peer_ifname=other.ifname, where=place_of(other_ns.netns)
            ),
            scrub=True,
            keeps=("mark",) if link.info.scrub == NETKIT_SCRUB_NONE else (),
        ),
    )


def _kept(end: Link, other: Link) -> Lost | Unclear | None:
    """Say what keeps an end from sending, or may: programs first, which the policy is only there without."""
    info, programs = end.info, _programs(end, other)
    if not isinstance(info, NetkitInfo) or programs is None:
        return Unclear(Opaque("unknown", "device", device_kind="netkit"), end.ifname)
    if programs:
        what = Opaque("unknown", "program", names=programs)
        return Unclear(what, f"{end.ifname} ({', '.join(programs)})")
    return None if info.policy == NETKIT_PASS else Lost("NOT_SPECIFIED", Transmit("drop", "blackhole"))


def _programs(end: Link, other: Link) -> tuple[str, ...] | None:
    """Name the programs of what an end sends, which are both read at the primary end; None where they weren't.

    Source: drivers/net/netkit.c, netkit_prog_query, netkit_link_fetch (Linux 6.18).
    """
    info = end.info
    if not isinstance(info, NetkitInfo) or info.programs is not None:
        return info.programs if isinstance(info, NetkitInfo) else None
    primary, hook = (end, "netkit/primary") if info.primary else (other, "netkit/peer")
    if primary.programs is None:
        return None
    return tuple(one.text for one in primary.programs if one.hook == hook)


KIND = Kind(copies=copies)
