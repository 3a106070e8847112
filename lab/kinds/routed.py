"""Calico without an overlay: no bridge, a /32 route to every pod, BGP's routes between the nodes.

        eth0 172.30.0.11                         node1: blackhole 10.244.1.0/24 (its block),
        caliX ee:ee:ee:ee:ee:ee   caliY          10.244.1.2 dev caliX, 10.244.1.3 dev caliY,
          |                         |            10.244.2.0/24 via 172.30.0.12 proto bird
         eth0 10.244.1.2/32        eth0 .3/32    pods: 169.254.1.1 dev eth0, default via 169.254.1.1

Nobody has 169.254.1.1: the host end answers for it (proxy_arp), as the node has a default route. IPv6's
gateway is the host end's link-local address. Each node has one block of addresses, announced to all
others and to the router. Felix's rules are in `felix`.
"""

from __future__ import annotations

from lab import blocks, plan, xtables
from lab.fabric import Site
from lab.kinds import felix
from lab.kinds.base import Kind, RouteArgs
from lab.rtnl import RTN_BLACKHOLE, RTPROT_BIRD, Rtnl
from lab.spec import ClusterSpec, NodeState, Pod


class Routed(Kind):
    """Calico with BGP."""

    name = "routed"
    summary = "Calico without overlay: a routed veth pair for every pod, BGP's routes between the nodes"
    bridged_pass_hooks = True

    def check(self, spec: ClusterSpec) -> None:
        """It needs iptables and ipset."""
        super().check(spec)
        for program in ("iptables", "ipset"):
            xtables.require(program)

    def plan_pod(self, spec: ClusterSpec, node: NodeState, name: str) -> Pod:
        """Name the host end as Calico does."""
        pod = super().plan_pod(spec, node, name)
        pod.host_ifname = felix.device("default", name)
        return pod

    def masquerade_chains(self, spec: ClusterSpec, node: NodeState) -> list[str]:
        """Felix's."""
        return ["cali-nat-outgoing"]

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Take a block of addresses, and write Felix's sets and chains."""
        super().build_node(site, spec, node)
        root = site.root(node)
        with Rtnl(root) as rtnl:
            for family in node.families:
                rtnl.add_route(node.pod_cidr(family), type=RTN_BLACKHOLE, protocol=RTPROT_BIRD)
        for family in node.families:
            felix.make_sets(root, family, [plan.pods_range(family)])
            felix.hook_in(root, family)
        self.pods_changed(site, node)

    def route_to(self, other: NodeState, family: int) -> RouteArgs:
        """BGP's route to another node's block."""
        return {"via": other.address(family), "dev": "eth0", "protocol": RTPROT_BIRD}

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Make the veth pair, its settings, and the routes on both sides."""
        path = site.netns(node, pod.name)
        addresses = [pod.address(family) for family in pod.families]
        outer, inner = blocks.routed(pod.host_ifname, str(path), pod.mac, addresses)
        blocks.build(site.root(node), outer, rtnl)
        blocks.build(path, inner)

    def pods_changed(self, site: Site, node: NodeState) -> None:
        """Bring Felix's chains up to date."""
        namespaces = {pod.host_ifname: "default" for pod in node.pods.values()}
        for family in node.families:
            felix.write(site.root(node), family, namespaces)
