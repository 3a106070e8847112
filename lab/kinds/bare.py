"""Nodes and pods' namespaces with nothing between them: the ground for whoever plugs pods in himself."""

from __future__ import annotations

from lab.fabric import Site
from lab.kinds.base import Kind
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, NodeState, Pod


class Bare(Kind):
    """Pods with loopback alone, on nodes that route to each other's ranges."""

    name = "bare"
    summary = "pods that nobody has plugged in"

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Bring loopback up, as a runtime does."""
        with Rtnl(site.netns(node, pod.name)) as inside:
            inside.set_up(1)

    def unplug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Nothing was plugged in."""
