"""The kinds of devices, and what each says of a frame: who follows which copy is for the drivers to decide.

A kind that isn't listed is opaque, by name.

Source: net/core/dev.c, __dev_queue_xmit, __netif_receive_skb_core (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, IFF_NOARP, Link
from netviz.core.sim.copies import AnyCopy, Copies, Taken, Unclear
from netviz.core.sim.encap import ethertunnel, iptunnel, vxlan, wireguard
from netviz.core.sim.link import bond, bridge, ipvlan, macvlan, netkit, plain, veth, vlan, vrf, wire
from netviz.core.sim.link.kind import Kind, Upper
from netviz.core.sim.link.underlay import is_wire
from netviz.core.sim.node_index import uppers_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Receive
from netviz.core.state.node import NetnsState

KINDS: dict[str, Kind] = {
    "veth": veth.KIND,
    "bridge": bridge.KIND,
    "netkit": netkit.KIND,
    "macvlan": macvlan.KIND,
    "macvtap": macvlan.TAP,
    "ipvlan": ipvlan.KIND,
    "ipvtap": ipvlan.TAP,
    "vlan": vlan.KIND,
    "bond": bond.KIND,
    "vrf": vrf.KIND,
    "vxlan": Kind(xmit=vxlan.xmit),
    **dict.fromkeys(("geneve", "gretap", "ip6gretap"), Kind(xmit=ethertunnel.xmit)),
    **dict.fromkeys(("ipip", "sit", "gre", "ip6tnl", "ip6gre"), Kind(xmit=iptunnel.xmit)),
    "wireguard": Kind(xmit=wireguard.xmit),
    "dummy": Kind(xmit=plain.swallow),
}
STAYS = Taken(())
# The hooks that a received frame meets, and one that is sent, in order (a netkit pair's are its own).
RECEIVE_HOOKS = ("xdp", "tcx/ingress", "tc/ingress")
SEND_HOOKS = ("tcx/egress", "tc/egress")
# Ethernet tunnels: their copies are packets of their own (`encap/ends.py`).
TUNNELS = ("vxlan", "geneve", "gretap", "ip6gretap")


def programs_on(link: Link, receiving: bool) -> list[str]:
    """Name the tc and XDP programs that a frame meets at a link, in order; hooks where they could not be read."""
    if link.programs is None:
        programs = ["XDP"] if link.xdp and receiving else []
        return programs + [name for name in link.tc if receiving or name != "ingress"]
    hooks = RECEIVE_HOOKS if receiving else SEND_HOOKS
    return [one.text for hook in hooks for one in link.programs if one.hook == hook]


def programs_at(link: Link) -> dict[str, None]:
    """Name the programs that a frame meets at a link, or its answer does, in order."""
    return dict.fromkeys((*programs_on(link, receiving=True), *programs_on(link, receiving=False)))


def departures(run: Run, key: LinkKey, ns: NetnsState, link: Link, packet: Packet, target: bytes) -> Copies:
    """List all that becomes of a frame that a link transmits, which is meant for the address `target`."""
    kind = KINDS.get(link.kind)
    if kind is not None and kind.copies is not None:
        return kind.copies(run, ns, link, packet, target)
    if is_wire(run.node(key.netns), key, link):
        return wire.copies(run, ns, link, packet, target)
    if link.flags & (IFF_LOOPBACK | IFF_NOARP):
        return ()
    return (Unclear(Opaque("unknown", "device", device_kind=link.kind), link.ifname),)


def arrivals(run: Run, key: LinkKey, ns: NetnsState, link: Link, packet: Packet) -> Taken:
    """List all that becomes of a frame that a link receives: what stands on the link first, then its own host."""
    if packet.tags and (untagged := vlan.untagged(run, key, packet)) is not None:
        return Taken((untagged,), stays=False)
    if link.master:
        master = ns.links.get(link.master)
        kind = KINDS.get(master.kind) if master is not None else None
        if master is None or kind is None or kind.joins is None:
            what = Receive("unknown", "master", master=link.master)
            return Taken((Unclear(what, f"{link.ifname} (part of another device)"),), stays=False)
        joined = kind.joins(run, ns, master, link, packet)
        if joined is not None:
            return Taken(joined, stays=False)
    stacked = stacked_on(run, key)
    if not stacked:
        return STAYS
    copies: list[AnyCopy] = []
    stays = True
    for kind, uppers in stacked:
        if kind.takes is not None:
            taken = kind.takes(run, ns, link, packet, uppers)
            copies += taken.copies
            stays = stays and taken.stays
    return Taken(copies, stays)


def stacked_on(run: Run, key: LinkKey) -> list[tuple[Kind, list[Upper]]]:
    """List what lies over a link and takes frames from it, by kind; VLAN devices take theirs by their tags."""
    uppers = uppers_of(run.node(key.netns).netns).get(key)
    if not uppers:
        return []
    found: dict[object, tuple[Kind, list[Upper]]] = {}
    for upper in uppers:
        link = run.link(upper)
        kind = KINDS.get(link.kind) if link is not None else None
        if link is not None and kind is not None and kind.takes is not None:
            found.setdefault(kind.takes, (kind, []))[1].append((upper, link))
    return list(found.values())
