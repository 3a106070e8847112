"""Services by what is asked of them: which one an address and port belong to by the API, and the slices that each has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from netviz.core.model.kubernetes import EndpointSlice, KubeService, ObjectKey, ServicePort
from netviz.core.sim.index import Index
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import ServiceName
from netviz.core.state.node import ClusterState

IPPROTO_SCTP = 132
PROTOCOLS = {"TCP": IPPROTO_TCP, "UDP": IPPROTO_UDP, "SCTP": IPPROTO_SCTP}
# How a service is reached: by an address of its own, or by a port of every node.
How = Literal["cluster address", "external address", "load balancer's address", "node port"]
CLUSTER: How = "cluster address"
EXTERNAL: How = "external address"
BALANCER: How = "load balancer's address"
NODE_PORT: How = "node port"


class Services(NamedTuple):
    """A cluster's services by their addresses, and by (protocol, node port)."""

    addrs: dict[bytes, list[tuple[KubeService, How]]]
    node_ports: dict[tuple[int, int], tuple[KubeService, ServicePort]]


def build_services(services: Mapping[Any, KubeService]) -> Services:
    """Index services."""
    found = Services({}, {})
    for service in services.values():
        for addrs, how in (
            (service.cluster_ips, CLUSTER),
            (service.external_ips, EXTERNAL),
            (service.balancer_ips, BALANCER),
        ):
            for addr in addrs:
                found.addrs.setdefault(addr, []).append((service, how))
        for port in service.ports:
            if port.node_port:
                found.node_ports[PROTOCOLS[port.protocol], port.node_port] = (service, port)
    return found


services_of: Index[Mapping[Any, KubeService], Services] = Index(build_services)


def build_slices(slices: Mapping[Any, EndpointSlice]) -> dict[ObjectKey, list[EndpointSlice]]:
    """Index EndpointSlices by their service."""
    found: dict[ObjectKey, list[EndpointSlice]] = {}
    for one in slices.values():
        if one.service:
            found.setdefault((one.namespace, one.service), []).append(one)
    return found


slices_of: Index[Mapping[Any, EndpointSlice], dict[ObjectKey, list[EndpointSlice]]] = Index(build_slices)


def service_at(cluster: ClusterState, addr: bytes, proto: int, port: int | None) -> ServiceName | None:
    """Name the service that an address belongs to, and the port where it has one of that number; None of none."""
    for source in cluster.clusters.values():
        known = services_of(source.objects.services)
        for service, how in known.addrs.get(addr, ()):
            named = next(
                (one for one in service.ports if one.port == port and PROTOCOLS[one.protocol] == proto), None
            )
            return ServiceName(
                service.namespace, service.name, named.name if named else "", how, named is not None
            )
        hit = known.node_ports.get((proto, port or 0))
        if hit is not None and any(addr in one.addresses for one in source.objects.kube_nodes.values()):
            return ServiceName(hit[0].namespace, hit[0].name, hit[1].name, NODE_PORT, True)
    return None
