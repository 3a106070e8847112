"""The textbook network: a bridge on every node, routes between the nodes.

              internet 198.51.100.10
                  |
               router 172.30.0.1                       the router answers pods, but passes nothing
                  |                                    from node to node; the internet knows the
        ----- fabric (bridge) ------ 172.30.0.0/24     underlay only
          |                   |
         eth0 172.30.0.11    eth0 172.30.0.12
        node1                node2                     10.244.2.0/24 via 172.30.0.12 on node1,
         cni0 10.244.1.1/24   cni0 10.244.2.1/24       10.244.1.0/24 via 172.30.0.11 on node2
          |       |            |
        vethX   vethY        vethZ
          |       |            |
         eth0    eth0         eth0
        pod .2   pod .3      pod 10.244.2.2

IPv6 likewise: fd30::/64, fd44:N::/64, 2001:db8:100::/64. What leaves the cluster (neither pod nor
underlay as destination) takes the node's address: table nv-masq. Table nv-filter has the forward chain.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab import netns, nft
from lab.rtnl import Rtnl
from lab.spec import MAX_PODS_OF_24, ClusterSpec, NodeState, Pod

UNDERLAY4, UNDERLAY6 = "172.30.0.0/24", "fd30::/64"
PODS4, PODS6 = "10.244.0.0/16", "fd44::/16"
ROUTER4, ROUTER6 = "172.30.0.1", "fd30::1"
INTERNET4, INTERNET6 = "198.51.100.10", "2001:db8:100::10"
OUTSIDE_ROUTER4, OUTSIDE_ROUTER6 = "198.51.100.1", "2001:db8:100::1"
DEFAULT4, DEFAULT6 = "0.0.0.0/0", "::/0"
BRIDGE = "cni0"

MAX_POD_NAMES = 5000
_ROLES = ("web", "api", "db", "cache", "jobs")

_ROUTER_RULES = """
table inet nv-router {
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "eth0" oifname "eth0" counter drop
    }
}
"""
_FORWARDING: dict[str, int | str] = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}


def mac_of(ipv4: str) -> str:
    """Return the MAC that goes with an IPv4 address: 0a:58 and the address's bytes."""
    return "0a:58:" + ":".join(f"{int(part):02x}" for part in ipv4.split("."))


def node_state(spec: ClusterSpec, index: int) -> NodeState:
    """Plan node number `index`, from 1. Its pods' range is a /24, or a /20 where there are many."""
    pods4 = ipaddress.IPv4Network(PODS4)
    length = 24 if spec.pods <= MAX_PODS_OF_24 else 20
    pod_cidr4 = pods4.network_address + (index << 32 - length)
    ipv4 = f"172.30.0.{10 + index}"
    return NodeState(
        name=f"node{index}",
        index=index,
        ipv4=ipv4,
        ipv6=f"fd30::{10 + index:x}",
        mac=mac_of(ipv4),
        pod_cidr4=f"{pod_cidr4}/{length}",
        pod_cidr6=f"fd44:{index:x}::/64",
    )


def gateways(node: NodeState) -> tuple[str, str]:
    """Return the addresses of the node's bridge, IPv4 and IPv6."""
    return pod_address(node.pod_cidr4, 1), pod_address(node.pod_cidr6, 1)


def pod_address(cidr: str, host_index: int) -> str:
    """Return address number `host_index` of a range."""
    return str(ipaddress.ip_network(cidr)[host_index])


def pod_prefixlen(node: NodeState) -> int:
    """Return the length of the prefix of the node's IPv4 pod range."""
    return ipaddress.ip_network(node.pod_cidr4).prefixlen


def pod_name(node: NodeState, number: int) -> str:
    """Name the node's pod number `number`, from 0."""
    turn, role = divmod(number, len(_ROLES))
    return f"{_ROLES[role]}-{node.index}" + (f"-{turn + 1}" if turn else "")


def plan_pod(spec: ClusterSpec, node: NodeState, name: str) -> Pod:
    """Give a new pod the lowest free addresses of its node's range. Raises: ValueError if there is none."""
    used = {pod.host_index for pod in node.pods.values()}
    last = ipaddress.ip_network(node.pod_cidr4).num_addresses - 2
    free = next((index for index in range(2, last + 1) if index not in used), None)
    if free is None:
        raise ValueError(f"{node.name} has no free pod address")
    ipv4 = pod_address(node.pod_cidr4, free)
    digest = hashlib.sha256(f"{spec.name}/{name}".encode()).hexdigest()
    return Pod(
        name=name,
        node=node.name,
        uid=str(uuid.uuid4()),
        host_index=free,
        ipv4=ipv4,
        ipv6=pod_address(node.pod_cidr6, free),
        mac=mac_of(ipv4),
        host_ifname=f"veth{digest[:8]}",
    )


def node_rules(node: NodeState) -> str:
    """Return the node's nftables ruleset."""
    tables = []
    for family, own, pods, underlay, forbidden in (
        ("ip", node.pod_cidr4, PODS4, UNDERLAY4, "169.254.169.254"),
        ("ip6", node.pod_cidr6, PODS6, UNDERLAY6, "fd00:ec2::254"),
    ):
        tables.append(
            f"""
table {family} nv-masq {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {family} saddr {own} {family} daddr != {pods} {family} daddr != {underlay} counter masquerade
    }}
}}
table {family} nv-filter {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        {family} daddr {forbidden} counter drop comment "no pod reads the cloud's metadata"
        {family} saddr {pods} counter accept
        {family} daddr {pods} counter accept
    }}
}}
"""
        )
    return "".join(tables)


def _open_link(rtnl: Rtnl, ifname: str) -> int:
    ifindex = rtnl.ifindex(ifname)
    rtnl.set_up(ifindex)
    return ifindex


def build_fabric(directory: Path, create: Callable[[str], None]) -> None:
    """Make what the nodes hang on: the bridge, the router, the internet's host."""
    for name in ("fabric", "router", "internet"):
        create(name)
        netns.set_sysctls(directory / name, netns.BASE_SYSCTLS)
    netns.set_sysctls(directory / "router", _FORWARDING)
    with (
        Rtnl(directory / "fabric") as fabric,
        Rtnl(directory / "router") as router,
        Rtnl(directory / "internet") as internet,
    ):
        for host in (router, internet):
            host.set_up(host.ifindex("lo"))
        bridge = fabric.add_bridge("br0", "0a:58:ac:1e:00:fe", mcast_snooping=False)
        fabric.add_veth("router", "eth0", directory / "router", peer_mac=mac_of(ROUTER4), master=bridge)
        inside = _open_link(router, "eth0")
        router.add_addr(inside, f"{ROUTER4}/24")
        router.add_addr(inside, f"{ROUTER6}/64")
        router.add_veth(
            "eth1", "eth0", directory / "internet", mac=mac_of(OUTSIDE_ROUTER4), peer_mac=mac_of(INTERNET4)
        )
        outside = router.ifindex("eth1")
        router.add_addr(outside, f"{OUTSIDE_ROUTER4}/24")
        router.add_addr(outside, f"{OUTSIDE_ROUTER6}/64")
        eth0 = _open_link(internet, "eth0")
        internet.add_addr(eth0, f"{INTERNET4}/24")
        internet.add_addr(eth0, f"{INTERNET6}/64")
        internet.add_route(UNDERLAY4, via=OUTSIDE_ROUTER4)
        internet.add_route(UNDERLAY6, via=OUTSIDE_ROUTER6)
    nft.apply(directory / "router", _ROUTER_RULES)


def build_node(directory: Path, node: NodeState) -> None:
    """Configure a new node's own namespace, and plug it into the fabric."""
    root = directory / node.name / "root"
    netns.set_sysctls(root, {**netns.BASE_SYSCTLS, **_FORWARDING})
    # Where the br_netfilter module is loaded, bridged packets would pass the IP hooks as well.
    for family in ("iptables", "ip6tables"):
        with suppress(FileNotFoundError):
            netns.set_sysctls(root, {f"bridge/bridge-nf-call-{family}": 0})
    with Rtnl(directory / "fabric") as fabric, Rtnl(root) as rtnl:
        fabric.add_veth(node.name, "eth0", root, peer_mac=node.mac, master=fabric.ifindex("br0"))
        rtnl.set_up(rtnl.ifindex("lo"))
        nic = _open_link(rtnl, "eth0")
        rtnl.add_addr(nic, f"{node.ipv4}/24")
        rtnl.add_addr(nic, f"{node.ipv6}/64")
        rtnl.add_route(DEFAULT4, via=ROUTER4)
        rtnl.add_route(DEFAULT6, via=ROUTER6)
        gateway4, gateway6 = gateways(node)
        bridge = rtnl.add_bridge(BRIDGE, mac_of(gateway4))
        rtnl.add_addr(bridge, f"{gateway4}/{pod_prefixlen(node)}")
        rtnl.add_addr(bridge, f"{gateway6}/64")
    nft.apply(root, node_rules(node))


def join_nodes(directory: Path, nodes: list[NodeState]) -> None:
    """Give every node, and the router, the routes to the pods of the others."""
    for name in ("router", *(node.name for node in nodes)):
        path = directory / name if name == "router" else directory / name / "root"
        with Rtnl(path) as rtnl:
            for other in nodes:
                if other.name != name:
                    _add_pod_routes(rtnl, other)


def rejoin_node(directory: Path, node: NodeState, others: list[NodeState]) -> None:
    """Give a node that came back its routes to the others' pods; theirs to its pods stayed in place."""
    with Rtnl(directory / node.name / "root") as rtnl:
        for other in others:
            _add_pod_routes(rtnl, other)


def _add_pod_routes(rtnl: Rtnl, node: NodeState) -> None:
    rtnl.add_route(node.pod_cidr4, via=node.ipv4)
    rtnl.add_route(node.pod_cidr6, via=node.ipv6)


def unplug_node(directory: Path, node: NodeState) -> None:
    """Pull a node's cable out of the fabric: the NIC goes away even if someone holds the namespace."""
    with Rtnl(directory / "fabric") as fabric:
        port = fabric.find_link(node.name)
        if port is not None:
            fabric.delete_link(port)


def plug_pod(directory: Path, node: NodeState, pod: Pod, rtnl: Rtnl, bridge: int) -> None:
    """Join a pod's namespace to its node's bridge. `rtnl` is the node's, `bridge` cni0's ifindex there."""
    path = directory / node.name / "netns" / pod.name
    gateway4, gateway6 = gateways(node)
    rtnl.add_veth(pod.host_ifname, "eth0", path, peer_mac=pod.mac, master=bridge)
    with Rtnl(path) as inside:
        inside.set_up(1)
        eth0 = _open_link(inside, "eth0")
        inside.add_addr(eth0, f"{pod.ipv4}/{pod_prefixlen(node)}")
        inside.add_addr(eth0, f"{pod.ipv6}/64")
        inside.add_route(DEFAULT4, via=gateway4)
        inside.add_route(DEFAULT6, via=gateway6)


def unplug_pod(pod: Pod, rtnl: Rtnl) -> None:
    """Delete a pod's veth pair. `rtnl` is its node's."""
    link = rtnl.find_link(pod.host_ifname)
    if link is not None:
        rtnl.delete_link(link)
