"""Pods on their node's bridge, as the CNI plugin bridge makes it: the ground of several kinds.

eth0 (node)      cni0 10.244.1.1/24       the bridge has the pods' gateway address
                  |       |
                vethX   vethY             ports of the bridge
                  |       |
                 eth0    eth0
                pod .2   pod .3           default route by 10.244.1.1
"""

from __future__ import annotations

from lab import blocks, plan
from lab.fabric import Site
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
        ranges = {plan.gateway(node, family): node.pod_cidr(family) for family in node.families}
        blocks.build(site.root(node), blocks.gateway(self.bridge, plan.mac_of(plan.gateway(node, 4)), ranges))

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Make a veth pair between pod and bridge."""
        path = site.netns(node, pod.name)
        veth = blocks.Veth(
            pod.host_ifname,
            str(path),
            pod.mac,
            master=self.bridge,
            # The bridge takes the MTU of its smallest port.
            mtu=self.mtu if self.mtu != 1500 else 0,
            hairpin=self.has_hairpin(spec),
        )
        outer, inner = blocks.bridged(veth, self.ends(node, pod))
        blocks.build(site.root(node), outer, rtnl)
        blocks.build(path, inner)
