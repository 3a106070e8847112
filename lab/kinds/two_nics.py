"""Nodes with two networks: pods' traffic between nodes takes the second one, by policy routing.

        ===== 172.30.0.0/24: the router, nodes' own traffic ======
         eth0 .11                         eth0 .12
        node1 -- cni0                    node2 -- cni0
         eth1 172.31.0.11                 eth1 172.31.0.12
        ===== 172.31.0.0/24: pods' traffic between nodes =========

Table 100 has the routes to the other nodes' pods by eth1; the rules say who uses it: packets from the
node's pods to pods, and what has eth1's own address as its source. Table main has routes to the pods by
eth0, for what the node itself sends. Reverse paths are checked loosely, as distributions set it up.
"""

from __future__ import annotations

from lab import netns, plan
from lab.fabric import Site, open_link
from lab.kinds.base import Kind
from lab.kinds.textbook import Textbook
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, NodeState

TABLE = 100
SECOND_SWITCH, SECOND_NIC = "br1", "eth1"
SECOND4, SECOND6 = "172.31.0.0/24", "fd31::/64"
PODS_RULE, OWN_RULE = 1000, 1001


def second_address(node: NodeState, family: int) -> str:
    """Return a node's address on the second network."""
    return plan.pod_address(SECOND6 if family == 6 else SECOND4, 10 + node.index)


class TwoNics(Textbook):
    """A second network for pods' traffic, chosen by policy rules."""

    name = "two-nics"
    summary = "nodes with two NICs: pods' traffic takes the second one, by policy routing"
    uplink = SECOND_NIC

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Plug the second NIC in, and write the rules."""
        super().build_node(site, spec, node)
        root = site.root(node)
        with Rtnl(site.directory / "fabric") as fabric, Rtnl(root) as rtnl:
            switch = fabric.find_link(SECOND_SWITCH)
            if switch is None:
                switch = fabric.add_bridge(SECOND_SWITCH, "0a:58:ac:1f:00:fe", mcast_snooping=False)
            mac = plan.mac_of(second_address(node, 4))
            fabric.add_veth(f"{node.name}-2", SECOND_NIC, root, peer_mac=mac, master=switch)
            nic = open_link(rtnl, SECOND_NIC)
            for family in node.families:
                own, second = second_address(node, family), SECOND6 if family == 6 else SECOND4
                rtnl.add_addr(nic, f"{own}/{plan.prefixlen(second)}")
                rtnl.add_route(second, oif=nic, table=TABLE)
                pods = {"src": node.pod_cidr(family), "dst": plan.pods_range(family)}
                rtnl.add_rule(TABLE, PODS_RULE, **pods)
                rtnl.add_rule(TABLE, OWN_RULE, src=plan.host(own))
        for dev in ("eth0", SECOND_NIC):
            netns.set_sysctls(root, {f"ipv4/conf/{dev}/rp_filter": 2})

    def join(self, site: Site, node: NodeState, others: list[NodeState]) -> None:
        """Add routes by either network, each in its table; a pod of the node itself is behind the bridge."""
        Kind.join(self, site, node, others)
        with Rtnl(site.root(node)) as rtnl:
            bridge = rtnl.ifindex(self.bridge)
            for family in node.families:
                rtnl.add_route(node.pod_cidr(family), oif=bridge, table=TABLE)
                for other in others:
                    via = second_address(other, family)
                    rtnl.add_route(other.pod_cidr(family), via=via, table=TABLE)
