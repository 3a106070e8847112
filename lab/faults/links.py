"""Faults of links: cables, ports, MTU, MAC addresses, XDP."""

from __future__ import annotations

from lab import plan
from lab.changes import Changes
from lab.faults.model import BRIDGED, BY_NODES, LARGE, Effect, Target, fault
from lab.kinds import two_nics

WRONG_MAC = "0a:58:00:00:00:99"
SMALL_MTU = 1400
WRONG_BRIDGE = "cni1"
FROM_AND_TO_POD = Effect("any", "POD", both=True)
POD_TO_OUTSIDE = Effect("POD", "outside")


@fault(
    "bridge-port-down",
    "links",
    "the host end of POD's veth pair is down: nothing reaches the pod or leaves it, though its own"
    " addresses and routes look right",
    uses=("pod",),
    kinds=BRIDGED,
    blame=("node", "veth"),
    affects=(FROM_AND_TO_POD, POD_TO_OUTSIDE),
)
def _bridge_port_down(changes: Changes, target: Target) -> None:
    changes.set_up(target.node.name, target.need_pod().host_ifname, 0)


@fault(
    "wrong-peer",
    "links",
    "the host end of POD's veth pair is a port of a stray bridge: the node hears the pod, but its answers, and"
    " all else for the pod, go to the bridge where it belongs",
    uses=("pod",),
    kinds=BRIDGED,
    blame=("node", "veth"),
    affects=(FROM_AND_TO_POD, POD_TO_OUTSIDE),
)
def _wrong_peer(changes: Changes, target: Target) -> None:
    # The stray bridge answers for the gateway, as a node does for all of its addresses.
    for family in target.node.families:
        changes.delete_neigh(target.need_pod().name, "eth0", plan.gateway(target.node, family))
    changes.add_bridge(target.node.name, WRONG_BRIDGE, WRONG_MAC)
    changes.move_port(target.node.name, target.need_pod().host_ifname, WRONG_BRIDGE, "cni0")


@fault(
    "wrong-mtu",
    "links",
    f"the host end of POD's veth pair takes packets of {SMALL_MTU} bytes at most, the pod sends more:"
    " small ones pass, large datagrams vanish without an error (and the bridge's MTU follows its smallest"
    " port's)",
    uses=("pod",),
    kinds=("textbook", "cni", "two-nics"),
    blame=("node", "veth"),
    affects=(
        Effect("POD", "any", sizes=(LARGE,)),
        Effect("NODE.pods", "POD", sizes=(LARGE,)),
        # The bridge's MTU: what is too large for it is fragmented, IPv6's sender is told instead.
        Effect("others.pods+nodes!NODE", "NODE.pods", families=(6,), sizes=(LARGE,)),
    ),
)
def _wrong_mtu(changes: Changes, target: Target) -> None:
    changes.forget_path_mtus()
    changes.set_mtu(target.node.name, target.need_pod().host_ifname, SMALL_MTU)


@fault(
    "nic-mtu",
    "links",
    f"NODE's NIC takes packets of {SMALL_MTU} bytes at most, the others send 1500: large ones that come to"
    " NODE's pods are lost on arrival, without an error",
    kinds=("textbook", "routed", "ptp", "cni"),
    blame=("node", "eth0"),
    affects=(
        Effect("others.pods+nodes!NODE", "NODE.pods", sizes=(LARGE,)),
        Effect("NODE.pods", "others.pods+outside", families=(6,), sizes=(LARGE,)),
    ),
)
def _nic_mtu(changes: Changes, target: Target) -> None:
    changes.forget_path_mtus()
    changes.set_mtu(target.node.name, "eth0", SMALL_MTU)


@fault(
    "cable-unplugged",
    "links",
    "NODE's cable is out of the switch: its pods reach each other, and nobody else",
    kinds=BY_NODES,
    blame=("node", "eth0"),
    affects=(
        Effect(
            "NODE+NODE.pods",
            "others.pods",
            both=True,
            kinds=tuple(k for k in BY_NODES if k != "two-nics"),
        ),
        Effect("nodes!NODE", "NODE.pods"),
        Effect("NODE", "others.pods"),
        Effect("NODE.pods", "outside"),
    ),
)
def _cable_unplugged(changes: Changes, target: Target) -> None:
    changes.set_up("fabric", target.node.name, 0)


@fault(
    "second-cable-unplugged",
    "links",
    "the cable of NODE's second NIC is out of the switch: its pods reach no other node's pods, though the"
    " nodes reach each other and the outside is reached",
    kinds=("two-nics",),
    blame=("node", two_nics.SECOND_NIC),
    affects=(Effect("NODE.pods", "others.pods", both=True),),
)
def _second_cable(changes: Changes, target: Target) -> None:
    changes.set_up("fabric", f"{target.node.name}-2", 0)


@fault(
    "cloned-mac",
    "links",
    "NODE and OTHER are clones, with the same MAC on their NICs: a switch sends no frame back by the port"
    " that it came from, and the third node's frames arrive at the one or the other",
    uses=("node", "other"),
    kinds=("textbook", "vxlan", "routed", "ptp", "cni"),
    blame=("other", "eth0"),
    affects=(
        Effect("NODE+NODE.pods", "OTHER.pods"),
        Effect("OTHER+OTHER.pods", "NODE.pods"),
        Effect("THIRD+THIRD.pods", "NODE.pods+OTHER.pods", sometimes=True),
        Effect("NODE+OTHER+NODE.pods+OTHER.pods", "THIRD.pods+outside", sometimes=True),
    ),
)
def _cloned_mac(changes: Changes, target: Target) -> None:
    other = target.need_other()
    changes.set_mac(other.name, "eth0", target.node.mac)
    third = target.third.name if target.third is not None else "router"
    for family in other.families:
        for where in dict.fromkeys((target.node.name, third, "router")):
            changes.delete_neigh(where, "eth0", other.address(family))


@fault(
    "xdp-drop",
    "leftovers",
    "an XDP program that somebody left on the host end of POD's veth pair drops what the pod sends",
    uses=("pod",),
    blame=("node", "veth"),
    affects=(FROM_AND_TO_POD, POD_TO_OUTSIDE),
)
def _xdp_drop(changes: Changes, target: Target) -> None:
    changes.attach_dropper(target.node.name, target.need_pod().host_ifname)
