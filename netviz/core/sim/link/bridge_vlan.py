"""A bridge's VLAN filter: the VLAN that a frame belongs to, and whether and how tagged it may leave.

    filtering off   no VLANs: tags pass through as payload, all entries are of VLAN 0
    filtering on    an untagged frame belongs to the port's pvid; a tagged one to its tag's VLAN, if the port
                    has it; it leaves by ports that have the VLAN, without its tag where they say so

The bridge's own device counts as a port: what goes up to it passes its own VLANs.

Source: net/bridge/br_vlan.c, br_allowed_ingress, __allowed_ingress, br_allowed_egress, br_handle_vlan
(Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netviz.core.model.l2 import BridgeVlan
from netviz.core.model.link import BR_STATE_FORWARDING, BridgeInfo, Link
from netviz.core.sim.index import Index
from netviz.core.state.node import NetnsState

Tags = tuple[tuple[int, int], ...]


def build_pvids(vlans: Mapping[Any, BridgeVlan]) -> dict[int, BridgeVlan]:
    """Map a port's (or bridge's) ifindex to the VLAN of its untagged frames."""
    return {vlan.ifindex: vlan for vlan in vlans.values() if vlan.pvid}


pvids: Index[Mapping[Any, BridgeVlan], dict[int, BridgeVlan]] = Index(build_pvids)


def filters(bridge: Link) -> bool:
    """Tell whether a bridge filters VLANs."""
    return isinstance(bridge.info, BridgeInfo) and bridge.info.vlan_filtering


def ingress(ns: NetnsState, bridge: Link, ifindex: int, tags: Tags) -> tuple[int, Tags] | None:
    """Return the VLAN of a frame that comes in by a port, and its tags in the bridge; None: it is dropped."""
    if not filters(bridge):
        return 0, tags
    assert isinstance(bridge.info, BridgeInfo)
    proto = bridge.info.vlan_protocol
    inner = tags
    vid = 0
    if tags and tags[0][0] == proto:
        vid, inner = tags[0][1], tags[1:]
    vlan = ns.vlans.get((ifindex, vid)) if vid else pvids(ns.vlans).get(ifindex)
    if vlan is None or vlan.state != BR_STATE_FORWARDING:
        return None
    return vlan.vid, ((proto, vlan.vid), *inner)


def egress(ns: NetnsState, bridge: Link, ifindex: int, vid: int, tags: Tags) -> Tags | None:
    """Return a frame's tags as it leaves by a port (or goes up to the bridge); None: it may not."""
    if not filters(bridge):
        return tags
    vlan = ns.vlans.get((ifindex, vid))
    if vlan is None or vlan.state != BR_STATE_FORWARDING:
        return None
    return tags[1:] if vlan.untagged else tags


def carries(ns: NetnsState, bridge: Link, ifindex: int, vid: int) -> bool:
    """Tell whether a frame of a VLAN may leave by a port."""
    return egress(ns, bridge, ifindex, vid, ()) is not None
