"""The ground that everything else stands on: underlay, nodes, pods and what joins the nodes.

    outside 198.51.100.10 -- fabric (bridge) 172.30.0.0/24 -- eth0 n1 .11 -- eth0 n2 .12 ...
                                                               |
                                      br0 10.244.1.1/24 with ports v11.. (bridge attachment)
                                      v12 with a route to the pod and 169.254.1.1 (routed)
                                      eth0 with a macvlan in the pod (172.30.0.50+)
                                      and what attachments.py draws

Between nodes: routes, or a VXLAN device with static entries as flannel makes them, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from lab import blocks
from lab.blocks import End
from lab.plan import mac_of
from lab.randomnet.attachments import ends, macvlan, netns_file, ptp, stretch, stretched, veth
from lab.randomnet.model import FABRIC, OUTSIDE, Listener
from lab.randomnet.plan import OUTSIDE4, OUTSIDE6, Node, Plan, Pod
from lab.randomnet.written import written

VXLAN_PORT = 8472


def vxlan_mac(node: Node) -> str:
    """Return the MAC of a node's VXLAN device."""
    return f"0a:58:00:00:01:{node.index:02x}"


def tunnel4(node: Node) -> str:
    """Return the address of a node's VXLAN device: the first of its pods' range."""
    return f"10.244.{node.index}.0"


def tunnel6(node: Node) -> str:
    """Return the address of a node's VXLAN device: the first of its pods' range."""
    return f"fd44:{node.index}::"


def lay_out(plan: Plan) -> None:
    """Plan nodes and pods, and add the items that make them."""
    rng = plan.rng
    plan.overlay = rng.choice(["routes", "routes", "vxlan", "none"])
    for index in range(1, rng.choice([1, 2, 2, 3]) + 1):
        ipv4 = f"172.30.0.{10 + index}"
        node = Node(f"n{index}", index, ipv4, f"fd30::{10 + index:x}", mac_of(ipv4))
        plan.nodes.append(node)
        for number in range(1, rng.randint(1, 4) + 1):
            node.pods.append(_plan_pod(plan, node, number))
    _fabric(plan)
    _outside(plan)
    for node in plan.nodes:
        _node(plan, node)
    stretch(plan)
    for node in plan.nodes:
        for pod in node.pods:
            ATTACH[pod.how](plan, node, pod)
    for node in plan.nodes:
        for other in plan.nodes:
            if other is not node:
                _join(plan, node, other)
    for place in plan.senders():
        protos = ["tcp", "udp"] if plan.chance(0.9) else ["tcp"] if plan.chance(0.5) else []
        if protos:
            listeners = [{"proto": proto} for proto in protos]
            plan.add("listener", place, listeners=listeners, tokens=["@socket is bound to"])


def _plan_pod(plan: Plan, node: Node, number: int) -> Pod:
    how = plan.rng.choice(
        ["bridge"] * 6 + ["routed", "routed", "macvlan", "macvlan", "ptp", "stretched", "stretched"]
    )
    host = 1 + number
    ipv4, ipv6 = f"10.244.{node.index}.{host}", f"fd44:{node.index}::{host}"
    if how == "macvlan":
        last = 50 + node.index * 10 + number
        ipv4, ipv6 = f"172.30.0.{last}", f"fd30::{last:x}"
    elif how == "stretched":
        last = node.index * 10 + number
        ipv4, ipv6 = f"10.250.0.{last}", f"fd45::{last:x}"
    name = f"p{node.index}{number}"
    return Pod(name, node.name, how, ipv4, ipv6, mac_of(ipv4), f"v{node.index}{number}")


def _fabric(plan: Plan) -> None:
    lines = ["link set lo up", "link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up"]
    ends = [(OUTSIDE, mac_of(OUTSIDE4)), *((node.name, node.mac) for node in plan.nodes)]
    for name, mac in ends:
        lines += [veth(f"f-{name}", "eth0", name, mac), f"link set f-{name} master br0 up"]
    plan.add("underlay", FABRIC, ip4=lines, tokens=["shares the subnet"])


def _outside(plan: Plan) -> None:
    lines4 = ["link set lo up", "link set eth0 up", "addr add 172.30.0.100/24 dev eth0"]
    lines4.append(f"addr add {OUTSIDE4}/32 dev lo")
    lines6 = ["addr add fd30::100/64 dev eth0 nodad", f"addr add {OUTSIDE6}/128 dev lo nodad"]
    plan.add("outside", OUTSIDE, ip4=lines4, ip6=lines6, tokens=["@eth0"])
    if plan.chance(0.7):
        for node in plan.nodes:
            plan.add(
                "outside.routes",
                OUTSIDE,
                ip4=[f"route add {node.cidr4} via {node.ipv4}"],
                ip6=[f"route add {node.cidr6} via {node.ipv6}"],
                tokens=[f"@{node.cidr4} via", f"@{node.cidr6} via"],
            )


def _node(plan: Plan, node: Node) -> None:
    gateway = blocks.gateway(
        "br0", mac_of(node.gateway4), {node.gateway4: node.cidr4, node.gateway6: node.cidr6}
    )
    plan.add(
        "node",
        node.name,
        **written(
            blocks.on_subnet([End(node.ipv4, 24, "172.30.0.100"), End(node.ipv6, 64, "fd30::100")]), gateway
        )
        | {"sysctls": {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}},
        tokens=["@Forwarding is on"],
    )


def _bridged(plan: Plan, node: Node, pod: Pod) -> None:
    veth = blocks.Veth(pod.host, netns_file(pod.name), pod.mac, master="br0")
    outer, inner = blocks.bridged(veth, ends(node, pod))
    tokens = [f"@{pod.host}, a port of br0", f"@{pod.host} is a veth"]
    plan.add("pod.bridge", node.name, **written(outer), tokens=tokens)
    plan.add("pod.bridge", pod.name, **written(inner))


def _routed(plan: Plan, node: Node, pod: Pod) -> None:
    outer, inner = blocks.routed(pod.host, netns_file(pod.name), pod.mac, [pod.ipv4, pod.ipv6])
    plan.add("pod.routed", node.name, **written(outer), tokens=[f"dev {pod.host}"])
    gateways = [blocks.ROUTED_GATEWAY4, blocks.ROUTED_GATEWAY6]
    plan.add("pod.routed", pod.name, **written(inner), tokens=gateways)


def _join(plan: Plan, node: Node, other: Node) -> None:
    if plan.overlay == "routes":
        plan.add(
            "join.routes",
            node.name,
            ip4=[f"route add {other.cidr4} via {other.ipv4}"],
            ip6=[f"route add {other.cidr6} via {other.ipv6}"],
            tokens=[f"{other.cidr4} via", f"{other.cidr6} via"],
        )
    elif plan.overlay == "vxlan":
        if not any(
            item.feature.startswith("join.vxlan-device") and item.at == node.name for item in plan.items
        ):
            _tunnel(plan, node)
        ranges = {tunnel4(other): other.cidr4, tunnel6(other): other.cidr6}
        peer = blocks.tunnel_peer("vx1", vxlan_mac(other), other.ipv4, ranges)
        plan.add("join.vxlan", node.name, **written(peer), tokens=["vx1"])


def _tunnel(plan: Plan, node: Node) -> None:
    learning = plan.rng.choice(["nolearning", "nolearning", "learning"])
    more = plan.rng.choice(["", "", " l2miss l3miss", " ttl 9", " ttl inherit", " tos inherit", " df set"])
    broken = plan.rng.choice(["-vni", "-port"]) if plan.chance(0.12) else ""
    vni, port = 2 if broken == "-vni" else 1, 8473 if broken == "-port" else VXLAN_PORT
    device = blocks.Vxlan(
        "vx1", vni, port, node.ipv4, "eth0", vxlan_mac(node), learning=learning == "learning", more=more
    )
    plan.add(
        f"join.vxlan-device{broken}",
        node.name,
        **written(blocks.tunnel_end(device, [tunnel4(node), tunnel6(node)])),
        tokens=["@vx1 wraps the frame", f"the tunnel to {node.ipv4} has no end"],
    )


ATTACH: dict[str, Callable[[Plan, Node, Pod], None]] = {
    "bridge": _bridged,
    "routed": _routed,
    "macvlan": macvlan,
    "ptp": ptp,
    "stretched": stretched,
}

__all__ = ["Listener", "lay_out"]
