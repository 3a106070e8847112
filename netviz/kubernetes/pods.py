"""The API's pods as lists show them: with their workload, readiness, place and the namespace that is theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import KubePod, ObjectKey
from netviz.core.state.naming import ENDED
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import condition, joined, workload_of, zone_of


class Places:
    """Where pods are, worked out of each node's state once."""

    def __init__(self, cluster: ClusterState) -> None:
        self._cluster = cluster
        self._joined: dict[str, Mapping[ObjectKey, NetnsKey]] = {}

    def netns(self, pod: KubePod) -> str | None:
        """The key of a pod's namespace; None where none is shown to be its."""
        state = self._cluster.nodes.get(pod.node)
        if state is None:
            return None
        if pod.node not in self._joined:
            self._joined[pod.node] = joined(state)
        key = self._joined[pod.node].get(pod.key)
        return str(key) if key is not None else None

    def zone(self, node: str) -> str:
        """The zone that a node is in by the API, or ""."""
        state = self._cluster.nodes.get(node)
        kube = state.objects.kube_nodes.get(node) if state is not None else None
        return zone_of(kube) if kube is not None else ""


def pod_row(pod: KubePod, objects: Objects, places: Places) -> dict[str, Any]:
    """One pod."""
    made = workload_of(pod, objects.workloads)
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "node": pod.node or None,
        "netns": places.netns(pod),
        "zone": places.zone(pod.node) or None,
        "addrs": [format_ip(ip) for ip in pod.ips],
        "phase": pod.phase,
        "ready": condition(pod.conditions, "Ready"),
        "waits": pod.waits,
        "deleting": pod.deleting,
        "host_network": pod.host_network,
        "workload": {"kind": made[0], "name": made[1]} if made is not None else None,
        "labels": dict(pod.labels),
    }


def selected(selector: Mapping[str, str] | None, pods: Iterable[KubePod], namespace: str) -> list[KubePod]:
    """The pods that a service's selector selects; none without one."""
    if not selector:
        return []
    return [
        pod
        for pod in pods
        if pod.namespace == namespace and pod.phase not in ENDED and selector.items() <= pod.labels.items()
    ]
