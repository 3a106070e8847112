"""Health-check node ports: whoever programs a node's services answers there whether the node has endpoints of its own.

Load balancers ask it where a service keeps external traffic to each node's own endpoints, and send to no node that
doesn't answer. kube-proxy listens at the port on every node, with endpoints and without.

Source: Kubernetes 1.35 pkg/proxy/healthcheck/service_health.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from netviz.core.model.kubernetes import KubeService, ObjectKey
from netviz.core.model.socket import IPPROTO_TCP
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects


def unheard(
    cluster: ClusterState, objects: Objects, nodes: Iterable[str]
) -> list[tuple[KubeService, list[str]]]:
    """List the services at whose health-check node port nothing listens on some of these nodes, with these nodes."""
    asked = [one for _, one in sorted(objects.services.items()) if one.health_port]
    found: dict[ObjectKey, list[str]] = {one.key: [] for one in asked}
    for name in sorted(nodes) if asked else ():
        root = cluster.nodes[name].root
        if root is None or any(gap.section == "sockets" for gap in root.gaps):
            continue
        ports = {one.sport for one in root.sockets.values() if one.proto == IPPROTO_TCP and one.takes_new}
        for one in asked:
            if one.health_port not in ports:
                found[one.key].append(name)
    return [(one, found[one.key]) for one in asked if found[one.key]]
