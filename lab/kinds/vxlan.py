"""flannel's VXLAN: the nodes' bridges are joined by a tunnel that knows everybody beforehand.

    pod -- cni0 (mtu 1450) -- flannel.1 10.244.1.0/32 ==== VXLAN 1, port 8472, over eth0 ==== flannel.1 (node2)

For each other node, node1 has a route (10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink), a permanent
neighbour entry (10.244.2.0 is the other flannel.1's MAC) and a forwarding entry (that MAC is behind
172.30.0.12). IPv6 has a device of its own, flannel-v6.1. flanneld's chains masquerade what leaves and
let pods' traffic be forwarded. Bridged packets pass the IP hooks, as Kubernetes asks of a node.
"""

from __future__ import annotations

from lab import blocks, plan, xtables
from lab.fabric import Site
from lab.kinds.base import RouteArgs
from lab.kinds.bridged import Bridged
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, NodeState

VNI, PORT = 1, 8472
# IPv4 and IPv6, UDP, VXLAN and Ethernet headers go off the underlay's 1500 bytes.
_MTU = {4: 1450, 6: 1430}
_NOTE = '-m comment --comment "flanneld {}"'


def device(family: int) -> str:
    """Name the tunnel's device of a family."""
    return "flannel-v6.1" if family == 6 else "flannel.1"


def tunnel_address(node: NodeState, family: int) -> str:
    """Return the tunnel's own address on a node: the first of the pods' range, which no pod gets."""
    return plan.pod_address(node.pod_cidr(family), 0)


def tunnel_mac(node: NodeState, family: int) -> str:
    """Return the MAC of a node's tunnel device: any, but the same at each boot."""
    digest = plan.short_hash("flannel", node.name, str(family))
    return ":".join(["5e", *(digest[at : at + 2] for at in range(0, 10, 2))])


class Vxlan(Bridged):
    """flannel's VXLAN backend."""

    name = "vxlan"
    summary = "flannel: a bridge on every node, VXLAN between the nodes"
    mtu = _MTU[4]
    hairpin = True
    uplink = device(4)
    bridged_pass_hooks = True

    def check(self, spec: ClusterSpec) -> None:
        """It needs iptables."""
        super().check(spec)
        xtables.require("iptables")

    def masquerade_chains(self, spec: ClusterSpec, node: NodeState) -> list[str]:
        """flanneld's."""
        return ["FLANNEL-POSTRTG"]

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Make the tunnel's device and flanneld's rules."""
        super().build_node(site, spec, node)
        self.make_tunnels(site, node, VNI)
        for family in node.families:
            xtables.restore(site.root(node), family, _rules(node, family))

    def make_tunnels(self, site: Site, node: NodeState, vni: int) -> None:
        """Make the tunnel's device of each family."""
        for family in node.families:
            name, mac = device(family), tunnel_mac(node, family)
            tunnel = blocks.Vxlan(name, vni, PORT, node.address(family), "eth0", mac, _MTU[family])
            blocks.build(site.root(node), blocks.tunnel_end(tunnel, [tunnel_address(node, family)]))

    def route_to(self, other: NodeState, family: int) -> RouteArgs:
        """The route through the tunnel: its gateway is known by the neighbour entry alone."""
        own, behind = tunnel_address(other, family), other.pod_cidr(family)
        return blocks.route_args(blocks.tunnel_way(device(family), own, behind))

    def join(self, site: Site, node: NodeState, others: list[NodeState]) -> None:
        """Learn the other ends of the tunnel: neighbour, entry, route."""
        root = site.root(node)
        with Rtnl(root) as rtnl:
            for other in others:
                for family in node.families:
                    ranges = {tunnel_address(other, family): other.pod_cidr(family)}
                    mac, host = tunnel_mac(other, family), other.address(family)
                    blocks.build(root, blocks.tunnel_peer(device(family), mac, host, ranges), rtnl)


def _rules(node: NodeState, family: int) -> str:
    pods, own = plan.pods_range(family), node.pod_cidr(family)
    many = "ff00::/8" if family == 6 else "224.0.0.0/4"
    masq, forward = _NOTE.format("masq"), _NOTE.format("forward")
    nat = [
        f"-A POSTROUTING {masq} -j FLANNEL-POSTRTG",
        f"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s {pods} -d {pods} {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG -s {pods} ! -d {many} {masq} -j MASQUERADE --random-fully",
        f"-A FLANNEL-POSTRTG ! -s {pods} -d {own} {masq} -j RETURN",
        f"-A FLANNEL-POSTRTG ! -s {pods} -d {pods} {masq} -j MASQUERADE --random-fully",
    ]
    accept = [
        f"-A FORWARD {forward} -j FLANNEL-FWD",
        f"-A FLANNEL-FWD -s {pods} {forward} -j ACCEPT",
        f"-A FLANNEL-FWD -d {pods} {forward} -j ACCEPT",
    ]
    return xtables.table("nat", ["FLANNEL-POSTRTG"], nat) + xtables.table("filter", ["FLANNEL-FWD"], accept)
