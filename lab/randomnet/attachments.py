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

from lab import blocks
from lab.blocks import End
from lab.plan import mac_of
from lab.randomnet.model import FABRIC
from lab.randomnet.plan import OUTSIDE4, Node, Plan, Pod
from lab.randomnet.written import written

STRETCHED_VNI = 9


def netns_file(name: str) -> str:
    """Write a namespace as lines name it."""
    return f"{{{name}}}"


def ends(node: Node, pod: Pod) -> list[End]:
    """Return a pod's addresses, in its node's ranges, and its gateways."""
    return [End(pod.ipv4, 24, node.gateway4), End(pod.ipv6, 64, node.gateway6)]


def veth(here: str, there: str, where: str, mac: str) -> str:
    """Make the line for a veth pair whose other end is in another namespace."""
    return f"link add {here} type veth peer name {there} address {mac} netns {netns_file(where)}"


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
        device = blocks.Vxlan(
            "vx9",
            vni,
            port,
            node.ipv4,
            "eth0",
            mac_of(f"10.251.0.{node.index}"),
            mtu,
            learning=learning == "learning",
            master="br9",
            more=f"{misses}{df}",
        )
        hosts = [other.ipv4 for other in plan.nodes if other is not node]
        bridge = blocks.gateway("br9", mac_of(gateway4), {gateway4: "10.250.0.0/24", gateway6: "fd45::/64"})
        down = ["link set vx9 down"] if broken == "down" else []
        config = written(bridge, blocks.flooding_end(device, hosts))
        plan.add(
            "stretched" + (f".wrong-{broken}" if broken else f".{learning}"),
            node.name,
            **config | {"ip4": [*config["ip4"], *down]},
            tokens=["@vx9", f"the tunnel to {node.ipv4} has no end"],
        )
    for pod in [pod for pod in plan.pods if pod.how == "stretched"]:
        others = [other for other in plan.pods if other.how == "stretched" and other.node != pod.node]
        for other in others[:2]:
            plan.aim(pod.ipv4, src=other.name)
            plan.aim(pod.ipv6, src=other.name)


def stretched(plan: Plan, node: Node, pod: Pod) -> None:
    """Put a pod on the stretched bridge."""
    gateways = [End(pod.ipv4, 24, f"10.250.0.20{node.index}"), End(pod.ipv6, 64, f"fd45::20{node.index}")]
    outer, inner = blocks.bridged(
        blocks.Veth(pod.host, netns_file(pod.name), pod.mac, master="br9"), gateways
    )
    tokens = [f"@{pod.host}, a port of br9", f"@{pod.host} is a veth"]
    plan.add("pod.stretched", node.name, **written(outer), tokens=tokens)
    config = written(inner)
    small = ["link set eth0 mtu 1450"] if plan.chance(0.8) else []
    plan.add("pod.stretched", pod.name, **config | {"ip4": [*small, *config["ip4"]]})


def ptp(plan: Plan, node: Node, pod: Pod) -> None:
    """Join a pod by a veth without a bridge: the host's end has the gateway's address."""
    outer, inner = blocks.ptp(pod.host, netns_file(pod.name), pod.mac, ends(node, pod))
    plan.add("pod.ptp", node.name, **written(outer), tokens=[f"dev {pod.host}"])
    plan.add("pod.ptp", pod.name, **written(inner), tokens=[f"{node.cidr4} via", node.gateway6])


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
    gateway4 = plan.rng.choice(["172.30.0.100", node.ipv4])
    config = written(blocks.on_subnet([End(pod.ipv4, 24, gateway4), End(pod.ipv6, 64, "fd30::100")]))
    plan.add(
        f"pod.macvlan-{mode}",
        pod.name,
        **config | {"ip4": [*listed, *config["ip4"]]},
        tokens=["@eth0 is a macvlan over"],
    )
    if mode in ("source", "passthru"):
        for _ in range(2):
            plan.aim(pod.ipv4)
