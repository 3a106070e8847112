"""Services as kube-proxy sees them: one record for each port of a service in one address family.

Read from the API's own lists (ServiceList, EndpointSliceList), whoever made them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec

Json = dict[str, Any]


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """A backend: its address and port, and the node that it is on ("" is outside the cluster)."""

    addr: str
    port: int
    node: str

    @property
    def written(self) -> str:
        """ADDRESS:PORT, with an IPv6 address in brackets."""
        return f"[{self.addr}]:{self.port}" if ":" in self.addr else f"{self.addr}:{self.port}"


class ServicePort(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a service. `affinity_s` is 0 without session affinity; `health_port` is 0 without one.

    `sources` are the ranges that a load balancer's addresses take traffic from; without any, from everywhere.
    """

    namespace: str = "default"
    name: str
    port_name: str = ""
    proto: str = "tcp"
    port: int = 80
    cluster_ip: str
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    balancer_ips: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    affinity_s: int = 0
    internal_local: bool = False
    external_local: bool = False
    health_port: int = 0
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def title(self) -> str:
        """NAMESPACE/NAME:PORT-NAME, or NAMESPACE/NAME where the port has no name."""
        return f"{self.namespace}/{self.name}" + (f":{self.port_name}" if self.port_name else "")

    @property
    def is_external(self) -> bool:
        """Whether it is reached from outside by some address or port."""
        return bool(self.node_port or self.external_ips or self.balancer_ips)

    @property
    def guarded_ips(self) -> tuple[str, ...]:
        """The load balancer's addresses, where they don't take traffic from everywhere."""
        return self.balancer_ips if self.sources else ()

    def taken(self, node_ip: str) -> tuple[str, ...]:
        """Return whom the guarded addresses take traffic from on a node.

        Where the node may, the addresses themselves may too: some balancers give them to the node.
        """
        own = ipaddress.ip_address(node_ip)
        may = any(own in ipaddress.ip_network(source) for source in self.sources)
        return self.sources + (self.guarded_ips if may else ())

    def local(self, node: str) -> tuple[Endpoint, ...]:
        """Return the endpoints on a node."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.node == node)

    def inside(self, node: str) -> tuple[Endpoint, ...]:
        """Return the endpoints for what comes to the cluster address on a node."""
        return self.local(node) if self.internal_local else self.endpoints

    def outside(self, node: str) -> tuple[Endpoint, ...]:
        """Return the endpoints for what comes from outside to a node."""
        return self.local(node) if self.external_local else self.endpoints


def service_ports(services: Sequence[Json], slices: Sequence[Json], family: int) -> list[ServicePort]:
    """List the ports of all services that have a cluster address of the family, in the services' order."""
    found = []
    for service in services:
        spec = service["spec"]
        addresses = [ip for ip in spec.get("clusterIPs", []) if ip != "None" and _family(ip) == family]
        if addresses and spec.get("type") != "ExternalName":
            mine = [one for one in slices if _is_of(one, service, family)]
            found += [_port(service, port, addresses[0], mine, family) for port in spec.get("ports", [])]
    return found


def _family(address: str) -> int:
    return ipaddress.ip_address(address).version


def _of_family(cidr: str) -> int:
    return ipaddress.ip_network(cidr, strict=False).version


def _is_of(one: Json, service: Json, family: int) -> bool:
    meta, labels = service["metadata"], one["metadata"].get("labels", {})
    found = (one["metadata"]["namespace"], labels.get("kubernetes.io/service-name"), one["addressType"])
    return found == (meta["namespace"], meta["name"], f"IPv{family}")


def _port(service: Json, port: Json, cluster_ip: str, slices: list[Json], family: int) -> ServicePort:
    spec, meta = service["spec"], service["metadata"]
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    config = spec.get("sessionAffinityConfig", {}).get("clientIP", {})
    sticky = spec.get("sessionAffinity") == "ClientIP"
    return ServicePort(
        namespace=meta["namespace"],
        name=meta["name"],
        port_name=port.get("name", ""),
        proto=port.get("protocol", "TCP").lower(),
        port=port["port"],
        cluster_ip=cluster_ip,
        node_port=port.get("nodePort", 0),
        external_ips=tuple(ip for ip in spec.get("externalIPs", []) if _family(ip) == family),
        balancer_ips=tuple(one["ip"] for one in ingress if _family(one["ip"]) == family),
        sources=tuple(one for one in spec.get("loadBalancerSourceRanges", []) if _of_family(one) == family),
        affinity_s=config.get("timeoutSeconds", 10800) if sticky else 0,
        internal_local=spec.get("internalTrafficPolicy") == "Local",
        external_local=spec.get("externalTrafficPolicy") == "Local",
        health_port=spec.get("healthCheckNodePort", 0),
        endpoints=tuple(sorted(_endpoints(slices, port.get("name", "")))),
    )


def _endpoints(slices: list[Json], port_name: str) -> set[Endpoint]:
    return {
        Endpoint(endpoint["addresses"][0], port["port"], endpoint.get("nodeName", ""))
        for one in slices
        for port in one.get("ports") or []
        if port.get("name", "") == port_name
        for endpoint in one.get("endpoints") or []
        if endpoint.get("conditions", {}).get("ready", True)
    }
