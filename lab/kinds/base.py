"""What a kind of network decides: how nodes, pods and the ways between nodes are set up."""

from __future__ import annotations

from typing import Any

from lab import plan
from lab.blocks import End
from lab.fabric import Site, filter_bridged
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, NodeState, Pod, SpecError

RouteArgs = dict[str, Any]


class Kind:
    """A kind of network; its hooks are called in the order in which they stand here.

    `uplink` is the device by which a node reaches the others' pods, `bridge` the one that its pods hang
    on ("" if they don't; with `hairpin` its ports send frames back), `underlay4` the underlay's range; nodes reach
    their own pods unless `reaches_own_pods` is False.
    """

    name = ""
    summary = ""
    variants: tuple[str, ...] = ()
    bridge = ""
    hairpin = False
    uplink = "eth0"
    reaches_own_pods = True
    underlay4 = plan.UNDERLAY4
    bridged_pass_hooks = False

    def check(self, spec: ClusterSpec) -> None:
        """Raises: SpecError where such a cluster cannot be built, ProgramError where a program is missing."""
        if spec.variant and spec.variant not in self.variants:
            known = ", ".join(self.variants) or "none"
            raise SpecError(f"{self.name} has no variant {spec.variant!r}; there are: {known}")

    def variant(self, spec: ClusterSpec) -> str:
        """Return the variant that was asked for, or the first one."""
        return spec.variant or (self.variants[0] if self.variants else "")

    def built_as(self, spec: ClusterSpec) -> str:
        """Name the kind whose devices and routes a cluster has: a variant may build as another kind does."""
        return self.name

    def masquerade_chains(self, spec: ClusterSpec, node: NodeState) -> list[str]:
        """Name the chains of iptables' table nat that give what leaves the node's address; [] where nftables does."""
        return []

    def rules_bridged(self, spec: ClusterSpec) -> bool:
        """Tell whether what a node's bridge passes on goes through its IP layer's rules, as services need it."""
        return self.bridged_pass_hooks or (spec.services > 0 and bool(self.bridge))

    def has_hairpin(self, spec: ClusterSpec) -> bool:
        """Tell whether a bridge's ports send frames back, as services need it that lead back to their pod."""
        return self.hairpin or spec.services > 0

    def keeps_sources(self, spec: ClusterSpec) -> bool:
        """Tell whether pods see each other's own addresses, as the contract asks."""
        return True

    def plan_node(self, spec: ClusterSpec, index: int) -> NodeState:
        """Plan node number `index`, from 1."""
        return plan.node_state(spec, index)

    def ends(self, node: NodeState, pod: Pod) -> list[End]:
        """Return a pod's addresses with its node's ranges and gateways."""
        return [
            End(pod.address(family), plan.prefixlen(node.pod_cidr(family)), plan.gateway(node, family))
            for family in pod.families
        ]

    def plan_pod(self, spec: ClusterSpec, node: NodeState, name: str) -> Pod:
        """Plan a new pod. Raises: ValueError if its node has no free address."""
        return plan.plan_pod(spec, node, name)

    def pods_range(self, family: int) -> str:
        """Return the range that all pods are in."""
        return plan.pods_range(family)

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Configure a new node's own namespace; its NIC works already."""
        filter_bridged(site.root(node), self.rules_bridged(spec))

    def join_router(self, site: Site, nodes: list[NodeState]) -> None:
        """Give the router the way to the nodes' pods."""
        with Rtnl(site.directory / "router") as rtnl:
            for node in nodes:
                for family in node.families:
                    rtnl.add_route(node.pod_cidr(family), via=node.address(family))

    def route_to(self, other: NodeState, family: int) -> RouteArgs:
        """Return the route by which a node reaches another's pods, as `Rtnl.add_route` takes it."""
        return {"via": other.address(family)}

    def join(self, site: Site, node: NodeState, others: list[NodeState]) -> None:
        """Give a node the way to the pods of others."""
        with Rtnl(site.root(node)) as rtnl:
            for other in others:
                for family in node.families:
                    rtnl.add_route(other.pod_cidr(family), **self.route_to(other, family))

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Join a pod's namespace to its node. `rtnl` is the node's."""
        raise NotImplementedError

    def unplug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Take a pod's devices away."""
        link = rtnl.find_link(pod.host_ifname)
        if link is not None:
            rtnl.delete_link(link)

    def pods_changed(self, site: Site, node: NodeState) -> None:
        """Bring up to date what depends on which pods a node has, after they came or went."""
