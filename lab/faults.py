"""Named faults: what `break` applies and `mend` undoes, exactly.

A fault is a function that makes changes to a target: a node, another node, a pod, another pod of the
same node. What isn't told is chosen: the first node, the next one, its first and second pods.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from lab import plan
from lab.changes import Changes
from lab.cluster import Cluster, LabError
from lab.spec import FaultState, NodeState, Pod

WRONG_MAC = "0a:58:00:00:00:99"
SMALL_MTU = 1400
WRONG_BRIDGE = "cni1"
BRIDGE = "cni0"


class Target(msgspec.Struct, frozen=True):
    """What a fault is applied to: a node and one of its pods, another node, another pod of the first node."""

    node: NodeState
    other: NodeState | None
    pod: Pod | None
    other_pod: Pod | None

    def need_other(self) -> NodeState:
        """Return the other node. Raises: LabError."""
        if self.other is None:
            raise LabError("this fault needs a second node")
        return self.other

    def need_pod(self) -> Pod:
        """Return the pod. Raises: LabError."""
        if self.pod is None:
            raise LabError(f"this fault needs a pod on {self.node.name}")
        return self.pod

    def need_other_pod(self) -> Pod:
        """Return the other pod. Raises: LabError."""
        if self.other_pod is None:
            raise LabError(f"this fault needs a second pod on {self.node.name}")
        return self.other_pod


class Fault(msgspec.Struct, frozen=True):
    """A fault: its name, what a user would see, which parts of the target it uses, how it is made."""

    name: str
    summary: str
    uses: tuple[str, ...]
    make: Callable[[Changes, Target], None]


FAULTS: dict[str, Fault] = {}


def _fault(
    name: str, summary: str, *uses: str
) -> Callable[[Callable[[Changes, Target], None]], Callable[[Changes, Target], None]]:
    def register(make: Callable[[Changes, Target], None]) -> Callable[[Changes, Target], None]:
        FAULTS[name] = Fault(name, summary, uses, make)
        return make

    return register


@_fault(
    "route-missing",
    "NODE has no route to OTHER's pods: what its pods send there goes to the router and is lost, and so are"
    " their replies to what comes from there",
    "node",
    "other",
)
def _route_missing(changes: Changes, target: Target) -> None:
    other = target.need_other()
    changes.delete_route(target.node.name, other.pod_cidr4, other.ipv4)
    changes.delete_route(target.node.name, other.pod_cidr6, other.ipv6)


@_fault(
    "bridge-port-down",
    "the host end of POD's veth pair is down: nothing reaches the pod or leaves it, though its own"
    " addresses and routes look right",
    "pod",
)
def _bridge_port_down(changes: Changes, target: Target) -> None:
    changes.set_up(target.node.name, target.need_pod().host_ifname, 0)


@_fault(
    "wrong-peer",
    "the host end of POD's veth pair is a port of a stray bridge: the pod cannot even reach its gateway",
    "pod",
)
def _wrong_peer(changes: Changes, target: Target) -> None:
    changes.add_bridge(target.node.name, WRONG_BRIDGE, WRONG_MAC)
    changes.move_port(target.node.name, target.need_pod().host_ifname, WRONG_BRIDGE, BRIDGE)


@_fault(
    "forwarding-off",
    "NODE doesn't forward: its pods reach each other and the node, but nothing beyond, and nobody beyond"
    " reaches them",
    "node",
)
def _forwarding_off(changes: Changes, target: Target) -> None:
    changes.set_sysctl(target.node.name, "ipv4/ip_forward", 0)
    changes.set_sysctl(target.node.name, "ipv6/conf/all/forwarding", 0)


@_fault(
    "duplicate-address",
    "OTHER-POD has POD's addresses too: connections to POD arrive at the one or the other, whoever answers"
    " first, and replies to POD's own may go astray",
    "pod",
    "other_pod",
)
def _duplicate_address(changes: Changes, target: Target) -> None:
    pod, other = target.need_pod(), target.need_other_pod()
    asking = [(target.node.name, BRIDGE)]
    asking += [(name, "eth0") for name in target.node.pods if name not in (pod.name, other.name)]
    for address, length in ((pod.ipv4, plan.prefixlen(target.node.pod_cidr4)), (pod.ipv6, 64)):
        # Whoever knows the address by its right MAC asks again, now and when the fault is undone.
        for where, dev in asking:
            changes.delete_neigh(where, dev, address)
        changes.add_addr(other.name, "eth0", f"{address}/{length}")


@_fault(
    "masquerade-between-pods",
    "NODE rewrites the source of what its pods send to other nodes' pods: they see NODE's address instead"
    " of the pod's",
    "node",
)
def _masquerade_between_pods(changes: Changes, target: Target) -> None:
    node = target.node
    for family, own, pods in (
        ("ip", node.pod_cidr4, plan.PODS4),
        ("ip6", node.pod_cidr6, plan.PODS6),
    ):
        rule = f"{family} saddr {own} {family} daddr {pods} counter masquerade"
        changes.insert_nft_rule(node.name, f"{family} nv-masq postrouting", rule)


@_fault(
    "wrong-mtu",
    f"the host end of POD's veth pair takes packets of {SMALL_MTU} bytes at most, the pod sends 1500:"
    " small ones pass, large datagrams vanish without an error (and the bridge's MTU follows its smallest"
    " port's)",
    "pod",
)
def _wrong_mtu(changes: Changes, target: Target) -> None:
    changes.set_mtu(target.node.name, target.need_pod().host_ifname, SMALL_MTU)


@_fault(
    "wrong-neighbour",
    "NODE has a static neighbour entry with a wrong MAC for OTHER: everything it sends to OTHER and its"
    " pods is lost on the wire",
    "node",
    "other",
)
def _wrong_neighbour(changes: Changes, target: Target) -> None:
    other = target.need_other()
    changes.set_neigh(target.node.name, "eth0", other.ipv4, WRONG_MAC)
    changes.set_neigh(target.node.name, "eth0", other.ipv6, WRONG_MAC)


@_fault(
    "listener-gone",
    "nothing listens in POD: connections are refused, datagrams come back as port unreachable, ping works",
    "pod",
)
def _listener_gone(changes: Changes, target: Target) -> None:
    changes.set_listening(target.need_pod().name, 0)


@_fault(
    "drop-rule",
    "a rule on POD's node drops what is forwarded to POD, replies to it included: it has no connection but"
    " with the pods of its own node, over the bridge",
    "pod",
)
def _drop_rule(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    for family, address in (("ip", pod.ipv4), ("ip6", pod.ipv6)):
        rule = f"{family} daddr {address} counter drop"
        changes.insert_nft_rule(target.node.name, f"{family} nv-filter forward", rule)


@_fault(
    "reverse-path",
    "OTHER filters reverse paths strictly, and a leftover host route there points POD's IPv4 address at its"
    " own bridge: what POD sends to OTHER's pods is dropped on arrival; IPv6 works",
    "pod",
    "other",
)
def _reverse_path(changes: Changes, target: Target) -> None:
    other = target.need_other()
    changes.set_sysctl(other.name, "ipv4/conf/eth0/rp_filter", 1)
    changes.add_route(other.name, f"{target.need_pod().ipv4}/32", dev=BRIDGE)


def choose_target(
    cluster: Cluster,
    node: str | None = None,
    other: str | None = None,
    pod: str | None = None,
    other_pod: str | None = None,
) -> Target:
    """Fill in what isn't told. Raises: LabError for unknown names."""
    nodes = cluster.state.nodes
    for name in (node, other):
        if name is not None and name not in nodes:
            raise LabError(f"{cluster.name} has no node {name}")
    if pod is not None:
        where = cluster.pod(pod).node
        if node not in (None, where):
            raise LabError(f"{pod} is on {where}, not on {node}")
        node = where
    first = nodes[node] if node else next((found for found in nodes.values() if found.name != other), None)
    if first is None:
        raise LabError("this fault needs a second node")
    second = nodes[other] if other else next((found for found in nodes.values() if found is not first), None)
    chosen = first.pods[pod] if pod else next((p for p in first.pods.values() if p.name != other_pod), None)
    if other_pod is not None:
        if cluster.pod(other_pod).node != first.name:
            raise LabError(f"{other_pod} isn't on {first.name}")
        another: Pod | None = first.pods[other_pod]
    else:
        another = next((found for found in first.pods.values() if found is not chosen), None)
    return Target(first, second, chosen, another)


def apply_fault(
    cluster: Cluster,
    name: str,
    *,
    node: str | None = None,
    other: str | None = None,
    pod: str | None = None,
    other_pod: str | None = None,
) -> FaultState:
    """Apply a fault, whole or not at all, and return what it was applied to. Raises: LabError."""
    if name not in FAULTS:
        raise LabError(f"no fault {name}; there are: {', '.join(FAULTS)}")
    fault = FAULTS[name]
    with cluster.changing() as state:
        target = choose_target(cluster, node, other, pod, other_pod)
        named = {}
        for part in ("node", *fault.uses):
            found: NodeState | Pod | None = getattr(target, part)
            if found is not None:
                named[part] = found.name
        identity = ":".join([name, *(named[part] for part in fault.uses if part in named)])
        if any(there.id == identity for there in state.faults):
            raise LabError(f"{identity} is already in effect")
        changes = Changes(cluster)
        try:
            fault.make(changes, target)
        except BaseException:
            Changes(cluster).revert(changes.undo)
            raise
        applied = FaultState(identity, name, named, changes.undo)
        state.faults.append(applied)
        return applied


def describe(applied: FaultState) -> str:
    """Say what a user sees of a fault, with the names of what it was applied to."""
    summary = FAULTS[applied.fault].summary
    # The longest word first: OTHER-POD holds OTHER.
    for part in ("other_pod", "other", "pod", "node"):
        word = part.upper().replace("_", "-")
        summary = re.sub(rf"\b{word}\b", applied.target.get(part, word), summary)
    return summary


def mend(cluster: Cluster, name: str = "all") -> list[str]:
    """Undo the faults of that name or id, or all, the last one first; return their ids. Raises: LabError."""
    with cluster.changing() as state:
        chosen = [fault for fault in state.faults if name in ("all", fault.id, fault.fault)]
        if not chosen and name != "all":
            raise LabError(f"no fault {name} is in effect")
        for fault in reversed(chosen):
            Changes(cluster).revert(fault.undo)
            state.faults.remove(fault)
        return [fault.id for fault in chosen]
