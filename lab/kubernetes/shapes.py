"""The services that a lab's cluster gets: of every shape that kube-proxy knows, the plain ones first.

Service number k is for the pods of role k of five (web, api, ...); beyond the first five, for those with
the same number in their names. So each has some endpoints, and large clusters don't multiply them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from lab import plan
from lab.echo import PORT
from lab.spec import ClusterSpec

Json = dict[str, Any]
DNS_NAME, DNS_NAMESPACE, DNS_INDEX, DNS_PORT = "kube-dns", "kube-system", 10, 53
NODE_PORT, HEALTH_PORT = 30080, 31080
EXTERNAL4 = "172.30.0."
_EXTERNAL_INDEX = 200
_CREATED = "2026-01-01T00:00:00Z"


def metadata(name: str, namespace: str, **more: Any) -> Json:
    """Return an object's metadata."""
    where = {"namespace": namespace} if namespace else {}
    return {"name": name, **where, "uid": str(uuid.uuid4()), "creationTimestamp": _CREATED, **more}


def service(spec: ClusterSpec, name: str, index: int, namespace: str = "default", **more: Any) -> Json:
    """Return a Service of the API: cluster address number `index` of its range, in each family."""
    addresses = [plan.pod_address(plan.SERVICES4, index)]
    if spec.ipv6:
        addresses.append(plan.pod_address(plan.SERVICES6, index))
    return {
        "metadata": metadata(name, namespace),
        "spec": {
            "ports": [_port()],
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4", "IPv6"] if spec.ipv6 else ["IPv4"],
            "ipFamilyPolicy": "PreferDualStack" if spec.ipv6 else "SingleStack",
            "internalTrafficPolicy": "Cluster",
            **more,
        },
        "status": {"loadBalancer": {}},
    }


def _port(proto: str = "TCP", name: str = "", **more: Any) -> Json:
    named = {"name": name} if name else {}
    return {**named, "protocol": proto, "port": 80, "targetPort": PORT, **more}


def _plain(number: int) -> Json:
    return {}


def _node_port(number: int) -> Json:
    return {
        "type": "NodePort",
        "ports": [_port(nodePort=NODE_PORT + number)],
        "externalTrafficPolicy": "Cluster",
    }


def _sticky(number: int) -> Json:
    return {
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
    }


def _internal_local(number: int) -> Json:
    return {"internalTrafficPolicy": "Local"}


def _balancer_local(number: int) -> Json:
    return {
        "type": "LoadBalancer",
        "ports": [_port(nodePort=NODE_PORT + number)],
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": HEALTH_PORT + number,
        "allocateLoadBalancerNodePorts": True,
    }


def _external(number: int) -> Json:
    return {
        "externalIPs": [f"{EXTERNAL4}{_EXTERNAL_INDEX + number % 50}"],
        "externalTrafficPolicy": "Cluster",
    }


def _nobody(number: int) -> Json:
    return {"selector": {"app": "nobody"}}


def _headless(number: int) -> Json:
    return {"clusterIP": "None", "clusterIPs": ["None"]}


def _two_ports(number: int) -> Json:
    return {"ports": [_port(name="http"), _port("UDP", "http-udp")]}


def _node_port_local(number: int) -> Json:
    return {**_node_port(number), "externalTrafficPolicy": "Local"}


SHAPES: tuple[tuple[str, Callable[[int], Json]], ...] = (
    ("", _plain),
    ("", _node_port),
    ("", _sticky),
    ("", _internal_local),
    ("", _balancer_local),
    ("external", _external),
    ("nobody", _nobody),
    ("headless", _headless),
    ("two-ports", _two_ports),
    ("local-port", _node_port_local),
)


def invented(spec: ClusterSpec) -> list[Json]:
    """Return as many services as the specification asks for, and the DNS service if it asks for any."""
    found = [_invent(spec, number) for number in range(spec.services)]
    return [*found, dns(spec)] if spec.services else []


def _invent(spec: ClusterSpec, number: int) -> Json:
    turn, role = divmod(number, len(plan.ROLES))
    word, shape = SHAPES[number % len(SHAPES)]
    name = "-".join(part for part in (plan.ROLES[role], word, str(turn) if turn > 1 else "") if part)
    turns = -(-spec.pods // len(plan.ROLES)) or 1
    selector = {"app": plan.ROLES[role]}
    if turn:
        selector["turn"] = str((turn - 1) % turns + 1)
    made = service(spec, name, 256 + number, selector=selector)
    made["spec"] |= shape(number)
    made["spec"].setdefault("selector", selector)
    if made["spec"]["type"] == "LoadBalancer":
        made["status"] = {
            "loadBalancer": {"ingress": [{"ip": f"{EXTERNAL4}{_EXTERNAL_INDEX + number % 50}"}]}
        }
    return made


def dns(spec: ClusterSpec) -> Json:
    """Return the DNS service."""
    ports = [
        {"name": name, "protocol": proto, "port": DNS_PORT, "targetPort": DNS_PORT}
        for name, proto in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    labels = {"k8s-app": DNS_NAME}
    return service(spec, DNS_NAME, DNS_INDEX, DNS_NAMESPACE, ports=ports, selector=labels)
