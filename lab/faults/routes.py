"""Faults of routes, policy rules and the sysctls that routing depends on."""

from __future__ import annotations

from lab import plan
from lab.changes import Changes
from lab.faults.addresses import half_of
from lab.faults.model import BRIDGED, Effect, Target, fault
from lab.kinds import KINDS, two_nics
from lab.rtnl import RTN_BLACKHOLE, RTPROT_BOOT
from lab.spec import NodeState

NOBODY = {4: "172.30.0.99", 6: "fd30::99"}
BY_ONE_ROUTE = ("textbook", "vxlan", "routed", "ptp", "cni")
# NODE has no way to OTHER's pods; over a tunnel OTHER's own packets have an address of that range, too.
CUT = (
    Effect("NODE+NODE.pods", "OTHER.pods"),
    Effect("OTHER.pods", "NODE.pods", sources=True),
    Effect("OTHER", "NODE.pods", kinds=("vxlan",)),
)


@fault(
    "route-missing",
    "routes",
    "NODE has no route to OTHER's pods: what its pods send there goes to the router and is lost, and so are"
    " their replies to what comes from there",
    uses=("node", "other"),
    kinds=BY_ONE_ROUTE,
    blame=("node", "uplink"),
    affects=CUT,
)
def _route_missing(changes: Changes, target: Target) -> None:
    other = target.need_other()
    for family in target.node.families:
        route = KINDS[target.kind].route_to(other, family)
        changes.delete_route(target.node.name, other.pod_cidr(family), **route)


@fault(
    "route-to-nobody",
    "routes",
    "NODE has a more specific route to OTHER's pods by a gateway that is gone: nobody answers its ARP"
    " requests and neighbour solicitations",
    uses=("node", "other"),
    kinds=BY_ONE_ROUTE,
    blame=("node", "eth0"),
    affects=CUT,
)
def _route_to_nobody(changes: Changes, target: Target) -> None:
    for family in target.node.families:
        dst = half_of(target.need_other().pod_cidr(family))
        changes.add_route(target.node.name, dst, via=NOBODY[family], dev="eth0")


@fault(
    "blackhole-route",
    "routes",
    "NODE has a blackhole route for half of OTHER's pods, which is more specific than the right one",
    uses=("node", "other"),
    kinds=BY_ONE_ROUTE,
    blame=("node", ""),
    affects=CUT,
)
def _blackhole_route(changes: Changes, target: Target) -> None:
    for family in target.node.families:
        changes.add_route(target.node.name, half_of(target.need_other().pod_cidr(family)), type=RTN_BLACKHOLE)


@fault(
    "route-loop",
    "routes",
    "NODE and THIRD each take the other for the way to OTHER's pods: packets go back and forth until their"
    " time to live is over",
    uses=("node", "other", "third"),
    kinds=("textbook", "routed", "ptp", "cni"),
    blame=("node", "uplink"),
    affects=(
        Effect("NODE+NODE.pods+THIRD+THIRD.pods", "OTHER.pods"),
        Effect("OTHER.pods", "NODE.pods+THIRD.pods", sources=True),
    ),
)
def _route_loop(changes: Changes, target: Target) -> None:
    node, third, other = target.node, target.need_third(), target.need_other()
    for where, via in ((node, third), (third, node)):
        for family in node.families:
            changes.add_route(
                where.name, half_of(other.pod_cidr(family)), via=via.address(family), dev="eth0"
            )


@fault(
    "gateway-missing",
    "routes",
    "POD has no default route: it reaches what is in its own subnet, and nothing beyond",
    uses=("pod",),
    kinds=("textbook", "vxlan", "cni", "two-nics", "macvlan"),
    blame=("pod", "eth0"),
    affects=(
        Effect("POD", "others.pods", both=True, kinds=BRIDGED),
        Effect("nodes!NODE", "POD", kinds=BRIDGED),
        Effect("POD", "outside"),
    ),
)
def _gateway_missing(changes: Changes, target: Target) -> None:
    pod, node = target.need_pod(), target.node
    for family in pod.families:
        via = plan.router(family) if target.kind == "macvlan" else plan.gateway(node, family)
        changes.delete_route(pod.name, plan.default(family), via=via, protocol=RTPROT_BOOT)


@fault(
    "forwarding-off",
    "sysctls",
    "NODE doesn't forward: its pods reach each other on a bridge and the node, but nothing beyond, and"
    " nobody beyond reaches them",
    kinds=("textbook", "vxlan", "ptp", "cni", "two-nics"),
    blame=("node", ""),
    affects=(
        Effect("NODE.pods", "others.pods", both=True),
        Effect("nodes!NODE", "NODE.pods"),
        Effect("NODE.pods", "outside"),
        Effect("NODE.pods", "NODE.pods", kinds=("ptp",)),
    ),
)
def _forwarding_off(changes: Changes, target: Target) -> None:
    changes.set_sysctl(target.node.name, "ipv4/ip_forward", 0)
    if 6 in target.node.families:
        changes.set_sysctl(target.node.name, "ipv6/conf/all/forwarding", 0)


@fault(
    "bridge-forwarding-off",
    "sysctls",
    "NODE forwards nothing that comes in by its bridge: over IPv4 its pods reach each other and the node,"
    " nothing beyond, and answer nobody",
    kinds=BRIDGED,
    blame=("node", "bridge"),
    affects=(
        Effect("NODE.pods", "others.pods", both=True, families=(4,)),
        Effect("nodes!NODE", "NODE.pods", families=(4,)),
        Effect("NODE.pods", "outside", families=(4,)),
    ),
)
def _bridge_forwarding_off(changes: Changes, target: Target) -> None:
    changes.set_sysctl(target.node.name, "ipv4/conf/cni0/forwarding", 0)


@fault(
    "reverse-path",
    "sysctls",
    "OTHER filters reverse paths strictly, and a leftover host route there points POD's IPv4 address at its"
    " own bridge: what POD sends to OTHER's pods is dropped on arrival; IPv6 works",
    uses=("pod", "other"),
    kinds=("textbook", "vxlan", "cni"),
    blame=("other", "uplink"),
    affects=(
        Effect("POD", "OTHER.pods", families=(4,), sources=True),
        Effect("OTHER+OTHER.pods", "POD", families=(4,)),
    ),
)
def _reverse_path(changes: Changes, target: Target) -> None:
    other = target.need_other()
    changes.set_sysctl(other.name, f"ipv4/conf/{target.uplink}/rp_filter", 1)
    changes.add_route(other.name, f"{target.need_pod().ipv4}/32", dev="cni0")


@fault(
    "policy-rule-missing",
    "routes",
    "NODE has lost the rule that leads its pods' packets to the second network: they leave by eth0, where"
    " the other nodes, which filter reverse paths strictly, drop them; IPv6 works",
    kinds=("two-nics",),
    blame=("node", "eth0"),
    affects=(Effect("NODE.pods", "others.pods", families=(4,), both=True),),
)
def _policy_rule_missing(changes: Changes, target: Target) -> None:
    node = target.node
    others: list[NodeState] = [found for found in (target.need_other(), target.third) if found is not None]
    for other in others:
        changes.set_sysctl(other.name, "ipv4/conf/eth0/rp_filter", 1)
    changes.delete_rule(
        node.name, two_nics.TABLE, two_nics.PODS_RULE, src=node.pod_cidr4, dst=plan.pods_range(4)
    )


@fault(
    "leftover-route",
    "leftovers",
    "OTHER has a route to POD by a veth pair that somebody left behind: what it and its pods send to POD,"
    " and answer it, ends there",
    uses=("pod", "other"),
    kinds=BY_ONE_ROUTE,
    blame=("other", "vethleft0"),
    affects=(
        Effect("OTHER+OTHER.pods", "POD"),
        Effect("POD", "OTHER.pods", sources=True),
    ),
)
def _leftover_route(changes: Changes, target: Target) -> None:
    other, pod = target.need_other().name, target.need_pod()
    changes.add_veth(other, "vethleft0", "vethleft1")
    for family in pod.families:
        changes.add_route(other, plan.host(pod.address(family)), dev="vethleft0")


@fault(
    "proxy-arp-off",
    "sysctls",
    "the host end of POD's veth pair doesn't answer for 169.254.1.1 any more: over IPv4 the pod has no gateway",
    uses=("pod",),
    kinds=("routed",),
    blame=("node", "veth"),
    affects=(
        Effect("any", "POD", both=True, families=(4,)),
        Effect("POD", "outside", families=(4,)),
    ),
)
def _proxy_arp_off(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    changes.set_sysctl(target.node.name, f"ipv4/conf/{pod.host_ifname}/proxy_arp", 0)
    changes.delete_neigh(pod.name, "eth0", "169.254.1.1")
