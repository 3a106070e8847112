"""Who is called what and has which address: nodes, pods, what lies beyond, in every kind of network.

Nodes are 172.30.0.11 and up on the underlay 172.30.0.0/24 (fd30::/64), the pods of node N are in
10.244.N.0/24 (fd44:N::/64), services in 10.96.0.0/16 (fd96::/108). Nothing here touches the kernel.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid

from lab.spec import MAX_PODS_OF_24, ClusterSpec, NodeState, Pod

UNDERLAY4, UNDERLAY6 = "172.30.0.0/24", "fd30::/64"
PODS4, PODS6 = "10.244.0.0/16", "fd44::/16"
SERVICES4, SERVICES6 = "10.96.0.0/16", "fd96::/108"
ROUTER4, ROUTER6 = "172.30.0.1", "fd30::1"
INTERNET4, INTERNET6 = "198.51.100.10", "2001:db8:100::10"
OUTSIDE_ROUTER4, OUTSIDE_ROUTER6 = "198.51.100.1", "2001:db8:100::1"
DEFAULT4, DEFAULT6 = "0.0.0.0/0", "::/0"

MAX_POD_NAMES = 5000
ROLES = ("web", "api", "db", "cache", "jobs")


def default(family: int) -> str:
    """Return the prefix of the default route."""
    return DEFAULT6 if family == 6 else DEFAULT4


def router(family: int) -> str:
    """Return the router's address on the underlay."""
    return ROUTER6 if family == 6 else ROUTER4


def pods_range(family: int) -> str:
    """Return the range that all pods are in, where they have one of their own."""
    return PODS6 if family == 6 else PODS4


def services_range(family: int) -> str:
    """Return the range of services' cluster addresses."""
    return SERVICES6 if family == 6 else SERVICES4


def unused_service(family: int) -> str:
    """Return the last address of services' range, which none is given."""
    return str(ipaddress.ip_network(services_range(family))[-2])


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
        ipv6=f"fd30::{10 + index:x}" if spec.ipv6 else "",
        mac=mac_of(ipv4),
        pod_cidr4=f"{pod_cidr4}/{length}",
        pod_cidr6=f"fd44:{index:x}::/64" if spec.ipv6 else "",
    )


def gateway(node: NodeState, family: int) -> str:
    """Return the first address of the node's range of pods, which is their gateway's."""
    return pod_address(node.pod_cidr(family), 1)


def pod_address(cidr: str, host_index: int) -> str:
    """Return address number `host_index` of a range."""
    return str(ipaddress.ip_network(cidr)[host_index])


def prefixlen(cidr: str) -> int:
    """Return the length of a range's prefix."""
    return int(cidr.partition("/")[2])


def host(address: str) -> str:
    """Write an address as the prefix of that host alone."""
    return f"{address}/{128 if ':' in address else 32}"


def pod_name(node: NodeState, number: int) -> str:
    """Name the node's pod number `number`, from 0."""
    turn, role = divmod(number, len(ROLES))
    return f"{ROLES[role]}-{node.index}" + (f"-{turn + 1}" if turn else "")


def _labels(name: str) -> dict[str, str]:
    """Return a pod's labels: its role and the number of its turn, as its name has them."""
    role, _, rest = name.partition("-")
    turn = rest.partition("-")[2]
    return {"app": role, "turn": turn or "1"}


def short_hash(*words: str) -> str:
    """Make an identifier out of names, the same each time, as plugins do for devices."""
    return hashlib.sha256("/".join(words).encode()).hexdigest()


def plan_pod(spec: ClusterSpec, node: NodeState, name: str) -> Pod:
    """Give a new pod the lowest free addresses of its node's range. Raises: ValueError if there is none."""
    used = {pod.host_index for pod in node.pods.values()}
    last = ipaddress.ip_network(node.pod_cidr4).num_addresses - 2
    free = next((index for index in range(2, last + 1) if index not in used), None)
    if free is None:
        raise ValueError(f"{node.name} has no free pod address")
    ipv4 = pod_address(node.pod_cidr4, free)
    return Pod(
        name=name,
        node=node.name,
        uid=str(uuid.uuid4()),
        host_index=free,
        ipv4=ipv4,
        ipv6=pod_address(node.pod_cidr6, free) if spec.ipv6 else "",
        mac=mac_of(ipv4),
        labels=_labels(name),
        host_ifname=f"veth{short_hash(spec.name, name)[:8]}",
    )
