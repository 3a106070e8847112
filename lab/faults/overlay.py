"""Faults of the tunnel between nodes."""

from __future__ import annotations

from lab.changes import Changes
from lab.faults.links import WRONG_MAC
from lab.faults.model import Effect, Target, fault
from lab.faults.routes import NOBODY
from lab.kinds import vxlan

_VXLAN = ("vxlan",)
_BETWEEN = (Effect("NODE+NODE.pods", "OTHER.pods"), Effect("OTHER+OTHER.pods", "NODE.pods"))
_FROM_ALL = (Effect("NODE+NODE.pods", "others.pods"), Effect("nodes+others.pods!NODE", "NODE.pods"))


@fault(
    "vtep-wrong-mac",
    "overlay",
    "NODE has a wrong MAC for OTHER's end of the tunnel: no forwarding entry leads to it, and everything for"
    " OTHER's pods is dropped at the tunnel's device",
    uses=("node", "other"),
    kinds=_VXLAN,
    blame=("node", "uplink"),
    affects=_BETWEEN,
)
def _vtep_wrong_mac(changes: Changes, target: Target) -> None:
    other = target.need_other()
    for family in other.families:
        address, mac = vxlan.tunnel_address(other, family), vxlan.tunnel_mac(other, family)
        changes.set_neigh(target.node.name, vxlan.device(family), address, WRONG_MAC, before=mac)


@fault(
    "vtep-wrong-remote",
    "overlay",
    "NODE's tunnel has the address of a node that is gone for OTHER: what is for OTHER's pods is sent to nobody",
    uses=("node", "other"),
    kinds=_VXLAN,
    blame=("node", "uplink"),
    affects=_BETWEEN,
)
def _vtep_wrong_remote(changes: Changes, target: Target) -> None:
    other = target.need_other()
    for family in other.families:
        mac = vxlan.tunnel_mac(other, family)
        changes.move_fdb(
            target.node.name, vxlan.device(family), mac, NOBODY[family], before=other.address(family)
        )


@fault(
    "vxlan-other-vni",
    "overlay",
    "NODE's tunnel has another VNI than the others': each end drops what the other sends",
    kinds=_VXLAN,
    blame=("node", "uplink"),
    affects=_FROM_ALL,
)
def _vxlan_other_vni(changes: Changes, target: Target) -> None:
    changes.rebuild_tunnels(target.node.name, vxlan.VNI + 1, before=vxlan.VNI)


@fault(
    "vxlan-port-blocked",
    "overlay",
    "a rule on NODE drops what comes to the tunnel's UDP port: its pods reach nobody beyond the node, and"
    " nobody there reaches them",
    kinds=_VXLAN,
    blame=("node", "eth0"),
    affects=_FROM_ALL,
)
def _vxlan_port_blocked(changes: Changes, target: Target) -> None:
    body = f"chain input {{ type filter hook input priority filter; udp dport {vxlan.PORT} counter drop; }}"
    changes.add_nft_table(target.node.name, "inet nv-drop-vxlan", body)
