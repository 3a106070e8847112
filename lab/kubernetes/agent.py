"""What runs on each node in kube-proxy's place: it reads the API's lists and writes the node's rules.

The mode is iptables', nftables', or "both": what is there after somebody changed the mode and didn't
clean up, where whichever comes first translates.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from lab import netns, plan, xtables
from lab.fabric import Site
from lab.kinds import Kind
from lab.kubernetes import objects, policies, proxy_iptables, proxy_nftables, shapes
from lab.kubernetes.ports import Endpoint, ServicePort, service_ports
from lab.spec import ClusterSpec, ClusterState, NodeState

Health = dict[str, list[str | int]]
Endpoints = tuple[Endpoint, ...]
_AT_ONCE = 4
IPTABLES, NFTABLES, BOTH = "iptables", "nftables", "both"


def resolver(state: ClusterState) -> str:
    """Write the resolv.conf of the pods, or "" where there is no DNS service."""
    for service in state.services:
        if service["metadata"]["name"] == shapes.DNS_NAME:
            search = "default.svc.cluster.local svc.cluster.local cluster.local"
            return f"nameserver {service['spec']['clusterIP']}\nsearch {search}\noptions ndots:5\n"
    return ""


def check(spec: ClusterSpec) -> None:
    """Raises: ProgramError where a mode's program is missing."""
    if spec.services and spec.proxy != NFTABLES:
        for program in ("iptables", "nfacct"):
            xtables.require(program)


def prepare(site: Site, spec: ClusterSpec, node: NodeState) -> None:
    """Make a new node ready for services, as kube-proxy and kubelet do at their start."""
    if spec.services and spec.proxy != NFTABLES:
        netns.set_sysctls(site.root(node), {"ipv4/conf/all/route_localnet": 1})
        for family in node.families:
            proxy_iptables.hook_in(site.root(node), family)


def health_of(ports: list[ServicePort], node: str) -> Health:
    """Map each health-check port to the service's namespace and name and its endpoints on a node."""
    return {
        str(port.health_port): [port.namespace, port.name, len(port.local(node))]
        for port in ports
        if port.health_port
    }


def ports_of(state: ClusterState, family: int) -> list[ServicePort]:
    """List the ports of the cluster's services."""
    return service_ports(state.services, objects.slices(state), family)


def settle(site: Site, kind: Kind, state: ClusterState, health: Callable[[str, Health], object]) -> None:
    """Bring all nodes up to date with the lists; `health` tells a node its health-check ports."""
    objects.write(site.directory, state)
    alive = [node for node in state.nodes.values() if node.alive]
    families = (4, 6) if state.spec.ipv6 else (4,)
    ports = {family: ports_of(state, family) for family in families}

    def bring_up_to_date(node: NodeState) -> None:
        for family in families:
            if state.services:
                _write_services(site, kind, state, node, ports[family])
            if state.policed:
                _write_policies(site, state, node, family)

    if state.services or state.policed:
        # The programs that load the rules are what takes time.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(bring_up_to_date, alive))
    for node in alive if state.services else ():
        health(node.name, health_of(ports[4], node.name))


def rewrite(
    site: Site,
    kind: Kind,
    state: ClusterState,
    node: str,
    service: str,
    change: Callable[[Endpoints], Endpoints],
) -> None:
    """Write a node's rules with other endpoints for one service ("" is none), which nobody else knows of."""
    for family in (4, 6) if state.spec.ipv6 else (4,):
        ports = [
            msgspec.structs.replace(port, endpoints=change(port.endpoints))
            if f"{port.namespace}/{port.name}" == service
            else port
            for port in ports_of(state, family)
        ]
        _write_services(site, kind, state, state.nodes[node], ports)


def moved(address: str) -> Callable[[Endpoints], Endpoints]:
    """Return what puts one address, of those given as "IPV4 IPV6", in the place of all endpoints."""

    def move(endpoints: Endpoints) -> Endpoints:
        words = address.split()
        return tuple(
            msgspec.structs.replace(endpoint, addr=words[":" in endpoint.addr]) for endpoint in endpoints[:1]
        )

    return move


def doubled(endpoints: Endpoints) -> Endpoints:
    """Return the endpoints with the first one twice."""
    return (*endpoints[:1], *endpoints)


def unchanged(endpoints: Endpoints) -> Endpoints:
    """Return the endpoints."""
    return endpoints


def _write_policies(site: Site, state: ClusterState, node: NodeState, family: int) -> None:
    pods = [pod for found in state.nodes.values() for pod in found.pods.values()]
    namespaces = {
        one["metadata"]["name"]: one["metadata"]["labels"] for one in objects.lists(state)["namespaces"]
    }
    rules = policies.rules_of(
        node.name,
        state.policies,
        policies.members(pods, family),
        namespaces,
        plan.services_range(family),
        family,
    )
    policies.write(site.root(node), family, rules)


def _write_services(
    site: Site, kind: Kind, state: ClusterState, node: NodeState, ports: list[ServicePort]
) -> None:
    """Bring a node's rules up to date with `ports`, which are all of one family."""
    family = 6 if ports and ":" in ports[0].cluster_ip else 4
    root, pods = site.root(node), kind.pods_range(family)
    if state.spec.proxy in (IPTABLES, BOTH):
        proxy_iptables.write(root, family, node.name, node.address(family), pods, ports)
    if state.spec.proxy in (NFTABLES, BOTH):
        services = plan.services_range(family)
        proxy_nftables.write(root, family, node.name, node.address(family), pods, services, ports)
