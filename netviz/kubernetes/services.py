"""Services as the API has them, with their endpoints where these are, and who talks to them."""

from __future__ import annotations

from typing import Any

from netviz.core.intent.parties import policies_of
from netviz.core.model.addr import format_ip, format_prefix
from netviz.core.model.kubernetes import (
    ClusterPolicy,
    Endpoint,
    EndpointSlice,
    KubePod,
    KubeService,
    NetworkPolicy,
    ServicePort,
)
from netviz.core.sim.services import PROTOCOLS, slices_of
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.kubernetes.pods import Places, selected
from netviz.kubernetes.talkers import connections, talkers


def summary(service: KubeService, slices: list[EndpointSlice]) -> dict[str, Any]:
    """A service as lists show it."""
    ends = {(end.pod or end.addresses, one.address_type): end for one in slices for end in one.endpoints}
    whole = {who: end for (who, _), end in ends.items()}
    return {
        "namespace": service.namespace,
        "name": service.name,
        "type": "Headless" if service.type == "ClusterIP" and not service.cluster_ips else service.type,
        "addrs": [format_ip(ip) for ip in service.cluster_ips],
        "external": [format_ip(ip) for ip in (*service.external_ips, *service.balancer_ips)],
        "external_name": service.external_name or None,
        "ports": [_port(port) for port in service.ports],
        "endpoints": len(whole),
        "ready": sum(end.ready for end in whole.values()),
    }


def _port(port: ServicePort) -> dict[str, Any]:
    return {
        "port": port.port,
        "protocol": port.protocol,
        "name": port.name or None,
        "target": port.target or None,
        "node_port": port.node_port or None,
    }


def detail(cluster: ClusterState, objects: Objects, service: KubeService) -> dict[str, Any]:
    """All that the API says of a service, with its connections."""
    slices = slices_of(objects.endpoint_slices).get(service.key, [])
    places, wanted = Places(cluster), dict[str, set[tuple[bytes, int, int]]]()
    rows: dict[Any, dict[str, Any]] = {}
    ports: dict[Any, set[tuple[bytes, int, int]]] = {}
    for one in slices:
        for end in one.endpoints:
            who = end.pod or end.addresses
            row = rows.setdefault(
                who, _endpoint(end, objects.kube_pods.get((one.namespace, end.pod)), places)
            )
            row["addrs"] += [text for ip in end.addresses if (text := format_ip(ip)) not in row["addrs"]]
            mine = {(ip, PROTOCOLS[p.protocol], p.port) for ip in end.addresses for p in one.ports}
            ports.setdefault(who, set()).update(mine)
            if row["node"]:
                wanted.setdefault(row["node"], set()).update(mine)
    counts, left_out = connections(cluster, wanted)
    selecting = policies_of(objects).selecting(
        selected(service.selector, objects.kube_pods.values(), service.namespace)
    )
    for who, row in rows.items():
        row["conns"] = sum(sum(counts.get(end, {}).values()) for end in ports[who])
    known = places.zone
    return {
        **summary(service, slices),
        "selector": service.selector,
        "labels": dict(service.labels),
        "affinity_s": service.affinity_s or None,
        "internal_local": service.internal_local,
        "external_local": service.external_local,
        "health_port": service.health_port or None,
        "publish_not_ready": service.publish_not_ready,
        "source_ranges": [format_prefix(one.addr, one.prefixlen) for one in service.source_ranges],
        "rows": sorted(
            ({**row, "zone": known(row["node"]) or row["zone"]} for row in rows.values()),
            key=lambda row: (row["state"] != "ready", row["pod"] or "", row["addrs"]),
        ),
        "talkers": [one.as_json() for one in talkers(cluster, objects, counts.values())],
        "nodes_left_out": left_out,
        "policies": [one.name for one in selecting if isinstance(one, NetworkPolicy)],
        "cluster_policies": ["/".join(one.key) for one in selecting if isinstance(one, ClusterPolicy)],
    }


def _endpoint(end: Endpoint, pod: KubePod | None, places: Places) -> dict[str, Any]:
    state = "ready" if end.ready and not end.terminating else "not ready"
    if end.terminating:
        state = "terminating, serving" if end.serving else "terminating"
    return {
        "pod": end.pod or None,
        "addrs": [],
        "node": end.node or (pod.node if pod is not None else None) or None,
        "zone": end.zone or None,
        "netns": places.netns(pod) if pod is not None else None,
        "state": state,
        "waits": pod.waits if pod is not None else "",
        "conns": 0,
    }
