"""Faults of addresses: given twice, of another range."""

from __future__ import annotations

import ipaddress

from lab import plan
from lab.changes import Changes
from lab.faults.model import BRIDGED, Effect, Target, fault

OTHER_RANGE = {4: "10.245.77.1/24", 6: "fd45:77::1/64"}


@fault(
    "duplicate-address",
    "addresses",
    "OTHER-POD has POD's addresses too: connections to POD arrive at the one or the other, whoever answers"
    " first, and replies to POD's own may be lost",
    uses=("pod", "other_pod"),
    kinds=BRIDGED,
    blame=("node", "veth"),
    affects=(
        Effect("any!OTHER-POD", "POD", both=True, sometimes=True),
        Effect("POD", "outside", sometimes=True),
        Effect("OTHER-POD", "POD"),
        # Over IPv4 it drops what has its own address as the source.
        Effect("POD", "OTHER-POD", families=(4,)),
        # It may take the new address for its own packets and answers, too.
        Effect("any", "OTHER-POD", families=(6,), sometimes=True),
        Effect("OTHER-POD", "any!POD", families=(6,), sometimes=True),
    ),
)
def _duplicate_address(changes: Changes, target: Target) -> None:
    pod, other = target.need_pod(), target.need_other_pod()
    asking = [(target.node.name, "cni0")]
    asking += [(name, "eth0") for name in target.node.pods if name not in (pod.name, other.name)]
    for family in pod.families:
        # Whoever knows the address by its right MAC asks again, now and when the fault is undone.
        for where, dev in asking:
            changes.delete_neigh(where, dev, pod.address(family))
        length = plan.prefixlen(target.node.pod_cidr(family))
        changes.add_addr(other.name, "eth0", f"{pod.address(family)}/{length}")


@fault(
    "bridge-old-range",
    "addresses",
    "NODE's bridge has the address of another range than its pods: they have no gateway, and the node knows"
    " no way to them",
    kinds=BRIDGED,
    blame=("node", "bridge"),
    affects=(
        Effect("NODE.pods", "others.pods+outside"),
        Effect("others.pods+nodes", "NODE.pods"),
    ),
)
def _bridge_old_range(changes: Changes, target: Target) -> None:
    node = target.node
    for family in node.families:
        gateway = f"{plan.gateway(node, family)}/{plan.prefixlen(node.pod_cidr(family))}"
        changes.delete_addr(node.name, "cni0", gateway)
        changes.add_addr(node.name, "cni0", OTHER_RANGE[family])


@fault(
    "too-wide-subnet",
    "addresses",
    "POD takes the range of all pods for its own subnet: it asks its bridge for the pods of other nodes,"
    " where nobody answers; the pods of its own node it reaches",
    uses=("pod",),
    kinds=BRIDGED,
    blame=("pod", "eth0"),
    affects=(
        Effect("POD", "others.pods"),
        Effect("others.pods", "POD", sources=True),
        # The tunnel's own address, from which other nodes send, is of the pods' range too.
        Effect("nodes!NODE", "POD", kinds=("vxlan",)),
    ),
)
def _too_wide_subnet(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    for family in pod.families:
        changes.add_route(pod.name, plan.pods_range(family), dev="eth0")


@fault(
    "pod-on-loopback",
    "addresses",
    "NODE has OTHER's first pod's addresses on its own loopback: what it and its pods send there ends at"
    " NODE itself",
    uses=("node", "other"),
    kinds=("textbook", "vxlan", "routed", "ptp", "cni"),
    blame=("node", "lo"),
    affects=(
        Effect("NODE+NODE.pods", "OTHER-FIRST"),
        Effect("OTHER-FIRST", "NODE.pods", sources=True),
        # Devices of Calico's pods have no address: what NODE itself sends takes the first that it has.
        Effect("NODE", "NODE.pods", kinds=("routed",)),
    ),
)
def _pod_on_loopback(changes: Changes, target: Target) -> None:
    first = target.other_first()
    for family in first.families:
        changes.add_addr(target.node.name, "lo", plan.host(first.address(family)))


def half_of(cidr: str) -> str:
    """Return the lower half of a range: more specific than its route, and where the lab's pods are."""
    return str(next(ipaddress.ip_network(cidr).subnets()))
