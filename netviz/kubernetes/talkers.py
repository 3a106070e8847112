"""Who talks to some addresses now, by the connection tracking of the nodes that have them.

A connection to a pod is in its node's table once: by the pod's own address where it comes from another node, which has
translated it there, and with the service's address and the pod's reply where it comes from this node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.kubernetes import KubePod
from netviz.core.sim.link.cluster_index import EVERYWHERE, having_addr, names_for
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import workload_of

# Of so many nodes the tables are looked through, and so many of those who talk are told.
MOST_NODES = 50
MOST_TALKERS = 50


class Talker(msgspec.Struct):
    """Who talks: a workload, or a pod, a node or an address alone."""

    kind: str
    name: str
    conns: int = 0
    pods: set[str] = msgspec.field(default_factory=set)
    nodes: set[str] = msgspec.field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        """The talker as JSON shows it."""
        return {
            "kind": self.kind,
            "name": self.name,
            "conns": self.conns,
            "pods": len(self.pods),
            "nodes": sorted(self.nodes),
        }


def connections(
    cluster: ClusterState, ends: Mapping[str, Collection[tuple[bytes, int, int]]]
) -> tuple[dict[tuple[bytes, int, int], dict[bytes, int]], int]:
    """Count the connections to addresses: (address, protocol, port) -> who -> how many; and the nodes left out.

    `ends` are those of each node, by its name.
    """
    found: dict[tuple[bytes, int, int], dict[bytes, int]] = {}
    names = sorted(name for name in ends if name in cluster.nodes)
    for name in names[:MOST_NODES]:
        root, wanted = cluster.nodes[name].root, set(ends[name])
        for entry in root.conntrack.values() if root is not None else ():
            end = (entry.rsrc, entry.proto, entry.rsport)
            if end in wanted:
                counts = found.setdefault(end, {})
                counts[entry.osrc] = counts.get(entry.osrc, 0) + 1
    return found, max(0, len(names) - MOST_NODES)


def talkers(cluster: ClusterState, objects: Objects, counts: Iterable[Mapping[bytes, int]]) -> list[Talker]:
    """Put those who talk together by what users know them by, the most first."""
    sources: dict[bytes, int] = {}
    for one in counts:
        for addr, count in one.items():
            sources[addr] = sources.get(addr, 0) + count
    by_address: dict[bytes, KubePod | None] = {}
    if sources:
        for pod in objects.kube_pods.values():
            for ip in pod.ips:
                if ip in sources and not pod.host_network:
                    by_address[ip] = None if ip in by_address else pod
    found: dict[tuple[str, str], Talker] = {}
    for addr, count in sources.items():
        kind, name, full, node = _who(cluster, objects, addr, by_address.get(addr))
        talker = found.setdefault((kind, name), Talker(kind, name))
        talker.conns += count
        if full:
            talker.pods.add(full)
        if node:
            talker.nodes.add(node)
    return sorted(found.values(), key=lambda one: (-one.conns, one.name))[:MOST_TALKERS]


def _who(
    cluster: ClusterState, objects: Objects, addr: bytes, pod: KubePod | None
) -> tuple[str, str, str, str]:
    """Name who has an address: (kind, name, pod, node)."""
    if pod is not None:
        full, made = f"{pod.namespace}/{pod.name}", workload_of(pod, objects.workloads)
        if made is None:
            return "Pod", full, full, pod.node
        return made[0], f"{pod.namespace}/{made[1]}", full, pod.node
    holders = having_addr(cluster.nodes, addr) if names_for(cluster.nodes, addr) != EVERYWHERE else []
    if len(holders) == 1:
        netns = holders[0].netns
        if netns.root:
            return "Node", netns.key.node, "", netns.key.node
        if netns.pod is not None:
            full = f"{netns.pod.namespace}/{netns.pod.name}"
            return "Pod", full, full, netns.key.node
    return "address", format_ip(addr), "", ""
