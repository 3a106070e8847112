"""Where services are to be reached, and which endpoints each node is to lead to.

As kube-proxy chooses them: ready endpoints, those that the hints name for the node's zone if every ready one has hints
and one is for it, and only where no ready one is left those that end and still serve. A Local traffic policy takes those
of the node alone.

Source: Kubernetes 1.35 pkg/proxy/topology.go, CategorizeEndpoints and topologyModeFromHints; pkg/proxy/serviceport.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from netviz.core.model.kubernetes import Endpoint, EndpointSlice, KubeNode, KubeService, ObjectKey
from netviz.core.sim.index import Index
from netviz.core.sim.services import BALANCER, CLUSTER, EXTERNAL, NODE_PORT, PROTOCOLS, How, slices_of
from netviz.core.state.pods import zone_of

FAMILIES = {"IPv4": 4, "IPv6": 16}
# With it somebody else than kube-proxy is to do the service.
OTHER_PROXY = "service.kubernetes.io/service-proxy-name"
SAME_NODE = "PreferSameNode"

# Who asks: a pod of the node, the node itself, somebody outside of the cluster whose packet comes to the node.
From = Literal["pods", "the node", "outside"]
PODS: From = "pods"
NODE: From = "the node"
OUTSIDE: From = "outside"
End = tuple[bytes, int]  # address and port


class Entrance(NamedTuple):
    """An address, protocol and port at which a service is to be reached. Of a node port, `addr` is "" of `family`.

    `family` is an address's length in bytes; `name` is the service's port.
    """

    service: ObjectKey
    name: str
    how: How
    family: int
    addr: bytes
    proto: int
    port: int


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What is to become of a packet to an entrance: it goes to any of `must`, and to nobody who isn't in `may`.

    Without `may` it is to be refused: told so, or dropped. `refusable`: it may be refused though there are endpoints.
    """

    must: frozenset[End]
    may: frozenset[End]
    refusable: bool = False


class Ready(NamedTuple):
    """An endpoint of one port of a service."""

    end: End
    of: Endpoint


_Port = tuple[str, str, int]  # name, protocol, family


def build_by_service(slices: Mapping[Any, EndpointSlice]) -> dict[ObjectKey, dict[_Port, dict[End, Ready]]]:
    """Index slices: service -> port -> its endpoints. Of one that stands in several slices, the one that is ready counts."""
    found: dict[ObjectKey, dict[_Port, dict[End, Ready]]] = {}
    for one in (one for every in slices_of(slices).values() for one in every):
        family = FAMILIES.get(one.address_type)
        if family is None:
            continue
        ports = found.setdefault((one.namespace, one.service), {})
        for port in one.ports:
            if not port.port:
                continue
            ends = ports.setdefault((port.name, port.protocol, family), {})
            for of in one.endpoints:
                if of.addresses:
                    end = of.addresses[0], port.port
                    if end not in ends or (of.ready and not ends[end].of.ready):
                        ends[end] = Ready(end, of)
    return found


by_service: Index[Mapping[Any, EndpointSlice], dict[ObjectKey, dict[_Port, dict[End, Ready]]]] = Index(
    build_by_service
)


def entrances(service: KubeService) -> list[Entrance]:
    """List where a service is to be reached by a node's rules, in order."""
    if service.type == "ExternalName" or not service.cluster_ips or OTHER_PROXY in service.labels:
        return []
    found = []
    families = sorted({len(addr) for addr in service.cluster_ips})
    for port in service.ports:
        proto = PROTOCOLS[port.protocol]
        for how, addrs in (
            (CLUSTER, service.cluster_ips),
            (EXTERNAL, service.external_ips),
            (BALANCER, service.balancer_ips),
        ):
            for addr in addrs:
                found.append(Entrance(service.key, port.name, how, len(addr), addr, proto, port.port))
        if port.node_port:
            for family in families:
                found.append(Entrance(service.key, port.name, NODE_PORT, family, b"", proto, port.node_port))
    return found


def of_port(slices: Mapping[Any, EndpointSlice], service: KubeService, name: str, family: int) -> list[Ready]:
    """List the endpoints of a port of a service in one family, in order."""
    protocol = next((port.protocol for port in service.ports if port.name == name), "TCP")
    known = by_service(slices).get(service.key, {})
    return [one for _, one in sorted(known.get((name, protocol, family), {}).items())]


def is_by_node(service: KubeService, ends: Iterable[Ready]) -> bool:
    """Tell whether nodes are to lead to different endpoints."""
    return (
        service.internal_local
        or service.external_local
        or service.traffic_distribution == SAME_NODE
        or any(one.of.hints for one in ends)
    )


def wanted(service: KubeService, ends: list[Ready], how: How, source: From, node: KubeNode) -> Wanted:
    """Say what a node is to do with a packet to an entrance of a service; `ends` are its port's endpoints.

    What a cluster's settings decide, which the API doesn't tell, isn't demanded: whether a node's own packets and its
    pods' to an external address keep to a Local policy, who of the sources is let in, whether a load balancer's address
    is the balancer's own (ipMode Proxy), and whether endpoints of the same node are preferred.
    """
    every = _of_cluster(ends, node)
    local = _of_node(ends, node.name)
    if how == CLUSTER:
        if service.internal_local:
            return Wanted(local, local)
        return Wanted(_sure(service, every), every)
    if not service.external_local:
        if how == BALANCER:
            return Wanted(frozenset(), every, refusable=True)
        return Wanted(_sure(service, every), every)
    if source != OUTSIDE or how == BALANCER:
        return Wanted(frozenset(), every | local, refusable=True)
    return Wanted(local, local)


def _sure(service: KubeService, every: frozenset[End]) -> frozenset[End]:
    """What a node leads to for certain: hints for nodes aren't known, so where one's own are preferred, nothing is."""
    return every if service.traffic_distribution != SAME_NODE or len(every) < 2 else frozenset()


def _of_cluster(ends: list[Ready], node: KubeNode) -> frozenset[End]:
    ready = [one for one in ends if one.of.ready]
    zone = zone_of(node)
    if ready and zone and all(one.of.hints for one in ready):
        hinted = frozenset(one.end for one in ready if zone in one.of.hints)
        if hinted:
            return hinted
    if ready:
        return frozenset(one.end for one in ready)
    return frozenset(one.end for one in ends if one.of.serving and one.of.terminating)


def _of_node(ends: list[Ready], name: str) -> frozenset[End]:
    mine = [one for one in ends if one.of.node == name]
    ready = frozenset(one.end for one in mine if one.of.ready)
    return ready or frozenset(one.end for one in mine if one.of.serving and one.of.terminating)
