"""Pods on their node's bridge, as the CNI plugin bridge makes it: the ground of several kinds.

eth0 (node)      cni0 10.244.1.1/24       the bridge has the pods' gateway address
                  |       |
                vethX   vethY             ports of the bridge
                  |       |
                 eth0    eth0
                pod .2   pod .3           default route by 10.244.1.1
"""

from __future__ import annotations

from lab import plan
from lab.fabric import Site, open_link
from lab.kinds.base import Kind
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, NodeState, Pod


class Bridged(Kind):
    """A kind whose pods hang on their node's bridge. `mtu` is the pods' in bytes."""

    bridge = "cni0"
    mtu = 1500

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Make the bridge."""
        super().build_node(site, spec, node)
        with Rtnl(site.root(node)) as rtnl:
            bridge = rtnl.add_bridge(self.bridge, plan.mac_of(plan.gateway(node, 4)))
            for family in node.families:
                length = plan.prefixlen(node.pod_cidr(family))
                rtnl.add_addr(bridge, f"{plan.gateway(node, family)}/{length}")

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Make a veth pair between pod and bridge."""
        path = site.netns(node, pod.name)
        bridge = rtnl.ifindex(self.bridge)
        # The bridge takes the MTU of its smallest port.
        mtu = self.mtu if self.mtu != 1500 else 0
        rtnl.add_veth(pod.host_ifname, "eth0", path, peer_mac=pod.mac, master=bridge, mtu=mtu)
        if self.has_hairpin(spec):
            rtnl.set_port(rtnl.ifindex(pod.host_ifname), mode=1)
        with Rtnl(path) as inside:
            inside.set_up(1)
            eth0 = open_link(inside, "eth0")
            for family in pod.families:
                inside.add_addr(eth0, f"{pod.address(family)}/{plan.prefixlen(node.pod_cidr(family))}")
                inside.add_route(plan.default(family), via=plan.gateway(node, family))
