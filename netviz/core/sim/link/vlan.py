"""VLAN devices: they tag what they send by their lower device, and take from it what has their tag.

Tags nest (802.1ad around 802.1Q): each device adds its own in front of those that are there, and looks at
the outermost alone. Reordering of headers (reorder_hdr) changes what packet sockets see, and nothing here.

Source: net/8021q/vlan_dev.c, vlan_dev_hard_start_xmit; vlan_core.c, vlan_do_receive; net/core/dev.c,
__netif_receive_skb_core (Linux 6.18).
"""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link, VlanInfo
from netviz.core.sim.copies import Copies, Onward, Unclear
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.node_index import resolve_lower_of, uppers_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Receive, Transmit
from netviz.core.state.node import NetnsState

ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
Tags = tuple[tuple[int, int], ...]


def tag_of(link: Link | None) -> tuple[int, int] | None:
    """Return the tag that a VLAN device adds; None for other devices."""
    if link is None or not isinstance(link.info, VlanInfo):
        return None
    return link.info.protocol, link.info.vid


def device_for(run: Run, key: LinkKey, tags: Tags) -> LinkKey | None:
    """Find the VLAN device over a link that takes frames with these tags."""
    for upper in uppers_of(run.node(key.netns).netns).get(key, ()):
        if tag_of(run.link(upper)) == tags[0]:
            return upper
    return None


def copies(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Copies:
    """Send from a VLAN device: tagged, out of the lower device."""
    lower = resolve_lower_of(run.node(ns.key), LinkKey(ns.key, link.ifindex))
    tag = tag_of(link)
    if lower is None or tag is None:
        return (Unclear(Transmit("unknown", "vlan device"), link.ifname),)
    name = run.netns(lower.netns).links[lower.ifindex].ifname
    return (
        Onward(
            lower,
            received=False,
            what=lambda: Transmit("tag", vlan=tag[1], lower=name, peer=lower),
            tags=(tag, *packet.tags),
        ),
    )


def untagged(run: Run, key: LinkKey, packet: Packet) -> Onward | None:
    """Hand a tagged frame to the VLAN device for its outermost tag; None: there is none."""
    upper = device_for(run, key, packet.tags)
    other = run.link(upper) if upper is not None else None
    if upper is None or other is None:
        return None
    return Onward(
        upper,
        received=True,
        what=lambda: Receive("untag", vlan=packet.vlan, upper=other.ifname),
        tags=packet.tags[1:],
    )


def nobody(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NoReturn:
    """Drop a tagged frame that no VLAN device and no master takes: it is for another host.

    Unmodelled: VLAN 0 (a priority without a VLAN), whose tag the kernel takes off.
    """
    if not packet.vlan:
        run.end_unknown(ns, link, packet, Receive("unknown", "priority tag"))
    run.end_dropped(ns, link, packet, "OTHERHOST", Receive("drop", "no VLAN device", vlan=packet.vlan))


KIND = Kind(copies=copies)
