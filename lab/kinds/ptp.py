"""kindnet: no bridge; each pod has a veth pair of its own, routes between the nodes.

        eth0 172.30.0.11                          node1
        vethX 10.244.1.1/32  vethY 10.244.1.1/32  every host end has the gateway's address,
          |                    |                  10.244.1.2 dev vethX, 10.244.1.3 dev vethY
         eth0 10.244.1.2/24   eth0 10.244.1.3/24  10.244.1.1 dev eth0, all else via 10.244.1.1

As the CNI plugin ptp sets it up. kindnet's chain KIND-MASQ-AGENT masquerades what leaves the cluster.
"""

from __future__ import annotations

from lab import plan, xtables
from lab.fabric import Site, open_link
from lab.kinds.base import Kind
from lab.rtnl import RTPROT_BOOT, Rtnl
from lab.spec import ClusterSpec, NodeState, Pod

_AGENT = '-m comment --comment "kind-masq-agent: {}"'


class Ptp(Kind):
    """kindnet."""

    name = "ptp"
    summary = "kindnet: a routed veth pair for every pod, routes between the nodes"
    masquerade = "KIND-MASQ-AGENT"

    def check(self, spec: ClusterSpec) -> None:
        """It needs iptables."""
        super().check(spec)
        xtables.require("iptables")

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
        rtnl.add_veth(pod.host_ifname, "eth0", path, peer_mac=pod.mac)
        outer = rtnl.ifindex(pod.host_ifname)
        with Rtnl(path) as inside:
            inside.set_up(1)
            eth0 = open_link(inside, "eth0")
            for family in pod.families:
                gateway, own = plan.gateway(node, family), node.pod_cidr(family)
                inside.add_addr(eth0, f"{pod.address(family)}/{plan.prefixlen(own)}")
                # The plugin replaces the route of the subnet: the others of the node are behind the gateway.
                inside.delete_route(own, oif=eth0)
                inside.add_route(plan.host(gateway), oif=eth0, protocol=RTPROT_BOOT)
                inside.add_route(own, via=gateway, src=pod.address(family), protocol=RTPROT_BOOT)
                inside.add_route(plan.default(family), via=gateway, protocol=RTPROT_BOOT)
        for family in pod.families:
            rtnl.add_addr(outer, plan.host(plan.gateway(node, family)))
            rtnl.add_route(plan.host(pod.address(family)), oif=outer, protocol=RTPROT_BOOT)
