"""Faults of neighbour entries: permanent and wrong."""

from __future__ import annotations

from lab import blocks, plan
from lab.changes import Changes
from lab.faults.links import WRONG_MAC
from lab.faults.model import Effect, Target, fault
from lab.kinds import two_nics


@fault(
    "wrong-neighbour",
    "neighbours",
    "NODE has a static neighbour entry with a wrong MAC for OTHER: everything it sends to OTHER and its"
    " pods is lost on the wire",
    uses=("node", "other"),
    kinds=("textbook", "vxlan", "routed", "ptp", "cni", "two-nics"),
    blame=("node", "eth0"),
    affects=(
        Effect("NODE+NODE.pods", "OTHER.pods", kinds=("textbook", "vxlan", "routed", "ptp", "cni")),
        Effect("OTHER+OTHER.pods", "NODE.pods", kinds=("textbook", "vxlan", "routed", "ptp", "cni")),
        # Pods' packets take the second network.
        Effect("NODE", "OTHER.pods", kinds=("two-nics",)),
        Effect("OTHER", "NODE.pods", kinds=("two-nics",)),
    ),
)
def _wrong_neighbour(changes: Changes, target: Target) -> None:
    for family in target.node.families:
        changes.set_neigh(target.node.name, "eth0", target.need_other().address(family), WRONG_MAC)


@fault(
    "wrong-second-neighbour",
    "neighbours",
    "NODE has a static neighbour entry with a wrong MAC for OTHER on the second network: pods' packets are"
    " lost there, while the nodes reach each other",
    uses=("node", "other"),
    kinds=("two-nics",),
    blame=("node", two_nics.SECOND_NIC),
    affects=(Effect("NODE.pods", "OTHER.pods", both=True),),
)
def _wrong_second_neighbour(changes: Changes, target: Target) -> None:
    for family in target.node.families:
        address = two_nics.second_address(target.need_other(), family)
        changes.set_neigh(target.node.name, two_nics.SECOND_NIC, address, WRONG_MAC)


@fault(
    "wrong-gateway-neighbour",
    "neighbours",
    "POD has a permanent neighbour entry with a wrong MAC for its gateway: nothing that it sends beyond its"
    " subnet gets there, and nobody there gets an answer",
    uses=("pod",),
    kinds=("textbook", "vxlan", "cni", "two-nics", "routed", "ptp", "macvlan"),
    blame=("pod", "eth0"),
    affects=(
        Effect("POD", "outside"),
        Effect("POD", "others.pods", both=True, kinds=("textbook", "vxlan", "cni", "two-nics")),
        Effect("nodes", "POD", kinds=("textbook", "cni", "two-nics", "vxlan")),
        Effect("any", "POD", both=True, kinds=("routed", "ptp")),
    ),
)
def _wrong_gateway_neighbour(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    for family in pod.families:
        gateway = plan.gateway(target.node, family)
        if target.kind == "routed":
            gateway = blocks.ROUTED_GATEWAY6 if family == 6 else blocks.ROUTED_GATEWAY4
        elif target.kind == "macvlan":
            gateway = plan.router(family)
        changes.set_neigh(pod.name, "eth0", gateway, WRONG_MAC)


@fault(
    "wrong-pod-neighbour",
    "neighbours",
    "NODE has a permanent neighbour entry with a wrong MAC for POD: nothing from beyond its node gets to it,"
    " answers included",
    uses=("pod",),
    kinds=("textbook", "vxlan", "cni", "two-nics", "routed", "ptp"),
    blame=("node", ""),
    affects=(
        Effect("others.pods+nodes", "POD"),
        Effect("POD", "others.pods+outside"),
        Effect("NODE.pods", "POD", both=True, kinds=("routed", "ptp")),
    ),
)
def _wrong_pod_neighbour(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    bridge = "" if target.kind in ("routed", "ptp") else "cni0"
    for family in pod.families:
        changes.set_neigh(target.node.name, bridge or pod.host_ifname, pod.address(family), WRONG_MAC)
