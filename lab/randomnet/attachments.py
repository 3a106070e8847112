"""Ways of joining pods to a network beyond the plain bridge: stretched over VXLAN, point to point, macvlans.

                 fabric 172.30.0.0/24
      |  eth0 n1 .11                  |  eth0 n2 .12            |  eth1 n1 (passthru alone)
      |   \\_ vx9 (VNI 9, remotes: all other nodes)             |   \\_ eth0 of a pod, with eth1's MAC
      |       \\_ br9 10.250.0.0/24 over all nodes
      |           \\_ v13.. pods of every node, gateway br9's 10.250.0.20N

The stretched bridge is what a plugin without routes does: an unknown MAC and every broadcast go to all other
nodes as copies.
"""

from __future__ import annotations

from lab.randomnet.model import FABRIC
from lab.randomnet.plan import OUTSIDE4, Node, Plan, Pod

STRETCHED_VNI = 9


def mac_of(ipv4: str) -> str:
    """Return the MAC that goes with an IPv4 address."""
    return "0a:58:" + ":".join(f"{int(part):02x}" for part in ipv4.split("."))


def veth(here: str, there: str, place: str, mac: str) -> str:
    """Make the line for a veth pair whose other end is in another namespace."""
    return f"link add {here} type veth peer name {there} address {mac} netns {{{place}}}"


def stretch(plan: Plan) -> None:
    """Join all nodes' br9 by a VXLAN device with every other node as remote, if a pod is on it."""
    if not any(pod.how == "stretched" for pod in plan.pods):
        return
    rng = plan.rng
    learning = rng.choice(["learning", "nolearning"])
    for node in plan.nodes:
        broken = rng.choice(["vni", "port", "down", ""]) if plan.chance(0.1) else ""
        vni = STRETCHED_VNI + 1 if broken == "vni" else STRETCHED_VNI
        port = 4790 if broken == "port" else 4789
        misses = rng.choice(["", "", " l2miss l3miss"])
        df = rng.choice(["", "", " df set", " df inherit"])
        mtu = rng.choice([1450, 1450, 1450, 1500])
        gateway4, gateway6 = f"10.250.0.20{node.index}", f"fd45::20{node.index}"
        plan.add(
            "stretched" + (f".wrong-{broken}" if broken else f".{learning}"),
            node.name,
            ip4=[
                f"link add br9 address {mac_of(gateway4)} type bridge forward_delay 0",
                f"link add vx9 mtu {mtu} address {mac_of(f'10.251.0.{node.index}')} type vxlan id {vni} "
                f"dstport {port} {learning} local {node.ipv4} dev eth0{misses}{df}",
                "link set vx9 master br9",
                *([] if broken == "down" else ["link set vx9 up"]),
                "link set br9 up",
                f"addr add {gateway4}/24 dev br9",
            ],
            ip6=[f"addr add {gateway6}/64 dev br9 nodad"],
            bridge=[
                f"fdb append 00:00:00:00:00:00 dev vx9 dst {other.ipv4} self"
                for other in plan.nodes
                if other is not node
            ],
            tokens=["@vx9", f"the tunnel to {node.ipv4} has no end"],
        )
    for pod in [pod for pod in plan.pods if pod.how == "stretched"]:
        others = [other for other in plan.pods if other.how == "stretched" and other.node != pod.node]
        for other in others[:2]:
            plan.aim(pod.ipv4, src=other.name)
            plan.aim(pod.ipv6, src=other.name)


def stretched(plan: Plan, node: Node, pod: Pod) -> None:
    """Put a pod on the stretched bridge."""
    plan.add(
        "pod.stretched",
        node.name,
        ip4=[veth(pod.host, "eth0", pod.name, pod.mac), f"link set {pod.host} master br9 up"],
        tokens=[f"@{pod.host}, a port of br9", f"@{pod.host} is a veth"],
    )
    plan.add(
        "pod.stretched",
        pod.name,
        ip4=[
            "link set lo up",
            "link set eth0 mtu 1450 up" if plan.chance(0.8) else "link set eth0 up",
            f"addr add {pod.ipv4}/24 dev eth0",
            f"route add default via 10.250.0.20{node.index}",
        ],
        ip6=[f"addr add {pod.ipv6}/64 dev eth0 nodad", f"route add default via fd45::20{node.index}"],
    )


def ptp(plan: Plan, node: Node, pod: Pod) -> None:
    """Join a pod by a veth without a bridge, as the plugin ptp does: the host's end has the gateway's address."""
    plan.add(
        "pod.ptp",
        node.name,
        ip4=[
            veth(pod.host, "eth0", pod.name, pod.mac),
            f"link set {pod.host} up",
            f"addr add {node.gateway4}/32 dev {pod.host}",
            f"route add {pod.ipv4}/32 dev {pod.host} scope host",
        ],
        ip6=[
            f"addr add {node.gateway6}/128 dev {pod.host} nodad",
            f"route add {pod.ipv6}/128 dev {pod.host}",
        ],
        tokens=[f"dev {pod.host}"],
    )
    plan.add(
        "pod.ptp",
        pod.name,
        ip4=[
            "link set lo up",
            "link set eth0 up",
            f"addr add {pod.ipv4}/24 dev eth0 noprefixroute",
            f"route add {node.gateway4} dev eth0 scope link",
            f"route add {node.cidr4} via {node.gateway4} src {pod.ipv4}",
            f"route add default via {node.gateway4}",
        ],
        ip6=[
            f"addr add {pod.ipv6}/128 dev eth0 nodad",
            f"route add {node.gateway6} dev eth0",
            f"route add default via {node.gateway6} dev eth0",
        ],
        tokens=[f"{node.cidr4} via", node.gateway6],
    )


def macvlan(plan: Plan, node: Node, pod: Pod) -> None:
    """Put a macvlan in a pod, in one of the modes."""
    mode = plan.rng.choice(["bridge", "bridge", "bridge", "private", "vepa", "source", "passthru"])
    lower, flags = "eth0", ""
    if mode == "passthru":
        if any(item.feature == "pod.macvlan-passthru" and item.at == node.name for item in plan.items):
            mode = "bridge"
        else:
            lower = "eth1"
            plan.add(
                "pod.macvlan-passthru",
                FABRIC,
                ip4=[
                    veth(f"g-{node.name}", "eth1", node.name, pod.mac),
                    f"link set g-{node.name} master br0 up",
                ],
            )
    if mode == "source":
        flags = plan.rng.choice(["", "", " nodst"])
    make = f"link add link {lower} name eth0 address {pod.mac} netns {{{pod.name}}} type macvlan mode {mode}{flags}"
    up = ["link set eth1 up"] if mode == "passthru" else []
    tokens = ["@Macvlans in source mode"] if mode == "source" else []
    plan.add(f"pod.macvlan-{mode}", node.name, ip4=[*up, make], tokens=tokens)
    listed = []
    if mode == "source":
        peers = [OUTSIDE4, *(other.ipv4 for other in plan.nodes if other is not node)]
        macs = [mac_of(peer) for peer in peers if plan.chance(0.7)]
        listed = [f"link set link dev eth0 type macvlan macaddr add {mac}" for mac in macs]
    plan.add(
        f"pod.macvlan-{mode}",
        pod.name,
        ip4=[
            "link set lo up",
            *listed,
            "link set eth0 up",
            f"addr add {pod.ipv4}/24 dev eth0",
            f"route add default via {plan.rng.choice(['172.30.0.100', node.ipv4])}",
        ],
        ip6=[f"addr add {pod.ipv6}/64 dev eth0 nodad", "route add default via fd30::100"],
        tokens=["@eth0 is a macvlan over"],
    )
    if mode in ("source", "passthru"):
        for _ in range(2):
            plan.aim(pod.ipv4)
