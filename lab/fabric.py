"""What every kind of network stands on: the underlay, the router, the internet's host, the nodes' NICs.

              internet 198.51.100.10
                  |
               router 172.30.0.1                       the router answers pods, but passes nothing
                  |                                    from node to node; the internet knows the
        ----- fabric (bridge) ------ 172.30.0.0/24     underlay only
          |                   |
         eth0 172.30.0.11    eth0 172.30.0.12
        node1                node2

IPv6 likewise: fd30::/64, 2001:db8:100::/64.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab import netns, nft, plan
from lab.plan import mac_of
from lab.rtnl import Rtnl
from lab.spec import NodeState

FORWARDING: netns.Sysctls = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
SWITCH = "br0"
_ROUTER_RULES = """
table inet nv-router {
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "eth0" oifname "eth0" counter drop
    }
}
"""


class Site:
    """Where a cluster's namespaces are, and how it is addressed beyond the nodes."""

    def __init__(self, directory: Path, underlay4: str = plan.UNDERLAY4) -> None:
        self.directory = directory
        self.underlay4 = underlay4

    def root(self, node: NodeState) -> Path:
        """Return the file of a node's own namespace."""
        return self.directory / node.name / "root"

    def netns(self, node: NodeState, pod: str) -> Path:
        """Return the file of a pod's namespace."""
        return self.directory / node.name / "netns" / pod

    def underlay(self, family: int) -> str:
        """Return the range of the underlay."""
        return plan.UNDERLAY6 if family == 6 else self.underlay4


def open_link(rtnl: Rtnl, ifname: str) -> int:
    """Bring a link up, and return its ifindex."""
    ifindex = rtnl.ifindex(ifname)
    rtnl.set_up(ifindex)
    return ifindex


def build(site: Site, create: Callable[[str], None]) -> None:
    """Make what the nodes hang on: the bridge, the router, the internet's host."""
    directory = site.directory
    for name in ("fabric", "router", "internet"):
        create(name)
        netns.set_sysctls(directory / name, netns.BASE_SYSCTLS)
    netns.set_sysctls(directory / "router", FORWARDING)
    with (
        Rtnl(directory / "fabric") as fabric,
        Rtnl(directory / "router") as router,
        Rtnl(directory / "internet") as internet,
    ):
        for host in (router, internet):
            host.set_up(host.ifindex("lo"))
        bridge = fabric.add_bridge(SWITCH, "0a:58:ac:1e:00:fe", mcast_snooping=False)
        fabric.add_veth("router", "eth0", directory / "router", peer_mac=mac_of(plan.ROUTER4), master=bridge)
        inside = open_link(router, "eth0")
        near, far = mac_of(plan.OUTSIDE_ROUTER4), mac_of(plan.INTERNET4)
        router.add_veth("eth1", "eth0", directory / "internet", mac=near, peer_mac=far)
        outside = router.ifindex("eth1")
        eth0 = open_link(internet, "eth0")
        for family, router_address, outer, beyond in (
            (4, plan.ROUTER4, plan.OUTSIDE_ROUTER4, plan.INTERNET4),
            (6, plan.ROUTER6, plan.OUTSIDE_ROUTER6, plan.INTERNET6),
        ):
            length = 64 if family == 6 else 24
            router.add_addr(inside, f"{router_address}/{plan.prefixlen(site.underlay(family))}")
            router.add_addr(outside, f"{outer}/{length}")
            internet.add_addr(eth0, f"{beyond}/{length}")
            internet.add_route(site.underlay(family), via=outer)
    nft.apply(directory / "router", _ROUTER_RULES)


def plug_node(site: Site, node: NodeState) -> None:
    """Give a new node its NIC, addresses and default routes; it forwards."""
    root = site.root(node)
    netns.set_sysctls(root, {**netns.BASE_SYSCTLS, **FORWARDING})
    with Rtnl(site.directory / "fabric") as fabric, Rtnl(root) as rtnl:
        fabric.add_veth(node.name, "eth0", root, peer_mac=node.mac, master=fabric.ifindex(SWITCH))
        rtnl.set_up(rtnl.ifindex("lo"))
        nic = open_link(rtnl, "eth0")
        for family in node.families:
            rtnl.add_addr(nic, f"{node.address(family)}/{plan.prefixlen(site.underlay(family))}")
            rtnl.add_route(plan.default(family), via=plan.router(family))


def filter_bridged(root: Path, on: bool) -> None:
    """Have bridged packets pass the IP hooks as well, or not, where the kernel can (br_netfilter)."""
    for family in ("iptables", "ip6tables"):
        with suppress(FileNotFoundError):
            netns.set_sysctls(root, {f"bridge/bridge-nf-call-{family}": int(on)})


def unplug_node(site: Site, node: NodeState) -> None:
    """Pull a node's cables out of the fabric: the NICs go away even if someone holds the namespace."""
    with Rtnl(site.directory / "fabric") as fabric:
        for ifname in (node.name, f"{node.name}-2"):
            port = fabric.find_link(ifname)
            if port is not None:
                try:
                    fabric.delete_link(port)
                except OSError as error:
                    if error.errno != errno.ENODEV:  # the node's namespace has just taken it along
                        raise
