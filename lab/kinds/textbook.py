"""The textbook network: a bridge on every node, routes between the nodes.

         eth0 172.30.0.11    eth0 172.30.0.12
        node1                node2                     10.244.2.0/24 via 172.30.0.12 on node1,
         cni0 10.244.1.1/24   cni0 10.244.2.1/24       10.244.1.0/24 via 172.30.0.11 on node2
          |       |            |
        pod .2   pod .3      pod 10.244.2.2

What leaves the cluster (neither pod nor underlay as destination) takes the node's address: table
nv-masq. Table nv-filter has the forward chain.
"""

from __future__ import annotations

from lab import nft, plan
from lab.fabric import Site
from lab.kinds.bridged import Bridged
from lab.spec import ClusterSpec, NodeState

_METADATA = {4: "169.254.169.254", 6: "fd00:ec2::254"}


class Textbook(Bridged):
    """A bridge on every node, routes between the nodes, nftables rules."""

    name = "textbook"
    summary = "a bridge on every node, routes between the nodes"

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Add the rules."""
        super().build_node(site, spec, node)
        nft.apply(site.root(node), "".join(_rules(site, node, family) for family in node.families))


def _rules(site: Site, node: NodeState, family: int) -> str:
    ip, pods = "ip6" if family == 6 else "ip", plan.pods_range(family)
    outside = f"{ip} daddr != {pods} {ip} daddr != {site.underlay(family)}"
    return f"""
table {ip} nv-masq {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {ip} saddr {node.pod_cidr(family)} {outside} counter masquerade
    }}
}}
table {ip} nv-filter {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {ip} daddr {_METADATA[family]} counter drop comment "no pod reads the cloud's metadata"
        {ip} saddr {pods} counter accept
        {ip} daddr {pods} counter accept
    }}
}}
"""
