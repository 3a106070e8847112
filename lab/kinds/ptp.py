"""kindnet: no bridge; each pod has a veth pair of its own, routes between the nodes.

        eth0 172.30.0.11                          node1
        vethX 10.244.1.1/32  vethY 10.244.1.1/32  every host end has the gateway's address,
          |                    |                  10.244.1.2 dev vethX, 10.244.1.3 dev vethY
         eth0 10.244.1.2/24   eth0 10.244.1.3/24  10.244.1.1 dev eth0, all else via 10.244.1.1

As the CNI plugin ptp sets it up. kindnet's chain KIND-MASQ-AGENT masquerades what leaves the cluster.
"""

from __future__ import annotations

from lab import blocks, plan, xtables
from lab.fabric import Site
from lab.kinds.base import Kind
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, NodeState, Pod

_AGENT = '-m comment --comment "kind-masq-agent: {}"'


class Ptp(Kind):
    """kindnet."""

    name = "ptp"
    summary = "kindnet: a routed veth pair for every pod, routes between the nodes"

    def check(self, spec: ClusterSpec) -> None:
        """It needs iptables."""
        super().check(spec)
        xtables.require("iptables")

    def masquerade_chains(self, spec: ClusterSpec, node: NodeState) -> list[str]:
        """kindnet's."""
        return ["KIND-MASQ-AGENT"]

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Add the masquerading rules."""
        super().build_node(site, spec, node)
        ensure = _AGENT.format(
            "ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain"
        )
        local = _AGENT.format("local traffic is not subject to MASQUERADE")
        last = _AGENT.format("outbound traffic is subject to MASQUERADE (must be last in chain)")
        for family in node.families:
            rules = [
                f"-A POSTROUTING {ensure} -m addrtype ! --dst-type LOCAL -j KIND-MASQ-AGENT",
                f"-A KIND-MASQ-AGENT -d {plan.pods_range(family)} {local} -j RETURN",
                f"-A KIND-MASQ-AGENT {last} -j MASQUERADE",
            ]
            xtables.restore(site.root(node), family, xtables.table("nat", ["KIND-MASQ-AGENT"], rules))

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Make the veth pair, and the routes on both sides."""
        path = site.netns(node, pod.name)
        outer, inner = blocks.ptp(pod.host_ifname, str(path), pod.mac, self.ends(node, pod))
        blocks.build(site.root(node), outer, rtnl)
        blocks.build(path, inner)
