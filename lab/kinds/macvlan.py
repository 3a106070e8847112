"""Pods on the underlay itself: each has a macvlan (bridge mode) over its node's NIC.

        eth0 172.30.0.11/16 (node1)     the node's own address is not reached by its pods:
          :      :                      a macvlan hands nothing to the device below it
         eth0   eth0                    pods 172.30.1.2/16, 172.30.1.3/16, default route by the router
        pod 2  pod 3

Pods' packets never pass the node's rules, so nothing is translated either: the outside answers pods.
"""

from __future__ import annotations

from lab import blocks, plan
from lab.fabric import Site
from lab.kinds.base import Kind
from lab.rtnl import Rtnl
from lab.spec import MAX_PODS_OF_24, ClusterSpec, NodeState, Pod, SpecError


class Macvlan(Kind):
    """The CNI plugin macvlan."""

    name = "macvlan"
    summary = "pods on the underlay, by a macvlan over the node's NIC"
    underlay4 = "172.30.0.0/16"
    reaches_own_pods = False

    def check(self, spec: ClusterSpec) -> None:
        """A node has a /24 of the underlay for its pods."""
        super().check(spec)
        if spec.pods > MAX_PODS_OF_24:
            raise SpecError(f"macvlan: at most {MAX_PODS_OF_24} pods on a node")

    def plan_node(self, spec: ClusterSpec, index: int) -> NodeState:
        """Take the pods' addresses from the underlay."""
        node = plan.node_state(spec, index)
        node.pod_cidr4 = f"172.30.{index}.0/24"
        node.pod_cidr6 = f"fd30::{index:x}:0/112" if spec.ipv6 else ""
        return node

    def pods_range(self, family: int) -> str:
        """The underlay."""
        return plan.UNDERLAY6 if family == 6 else self.underlay4

    def join_router(self, site: Site, nodes: list[NodeState]) -> None:
        """All are on one wire."""

    def join(self, site: Site, node: NodeState, others: list[NodeState]) -> None:
        """All are on one wire."""

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Make the macvlan inside the pod."""
        path = site.netns(node, pod.name)
        rtnl.add_macvlan("eth0", path, link=rtnl.ifindex("eth0"), mac=pod.mac)
        ends = [
            blocks.End(pod.address(family), plan.prefixlen(site.underlay(family)), plan.router(family))
            for family in pod.families
        ]
        blocks.build(path, blocks.on_subnet(ends))

    def unplug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """The macvlan goes with the pod's namespace, or here while processes still hold that."""
        with Rtnl(site.netns(node, pod.name)) as inside:
            link = inside.find_link("eth0")
            if link is not None:
                inside.delete_link(link)
