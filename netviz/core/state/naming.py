"""Which pod a namespace is, by what the API says, where no runtime said it.

A pod's address is in its namespace alone, on the node that it runs on. So a namespace without a name is that pod's if one
pod of its node has one of its addresses; where two have, or the list of pods isn't whole, it stays without. Host-network
pods have their node's namespace, and pods that ended have none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from netviz.core.model.kubernetes import KubePod
from netviz.core.model.netns import Pod
from netviz.core.state.node import ClusterState, NetnsState, NodeState

API = "api"
_ENDED = ("Succeeded", "Failed")
_ByAddress = Mapping[bytes, list[KubePod]]


def named(cluster: ClusterState) -> ClusterState:
    """Name the pods of a cluster's namespaces that the API knows and no runtime named. Returns `cluster` if none."""
    pods: dict[str, dict[bytes, list[KubePod]]] = defaultdict(lambda: defaultdict(list))
    for source in cluster.clusters.values():
        status = source.status.get("kube_pods")
        for pod in source.objects.kube_pods.values() if status is not None and status.complete else ():
            if not pod.host_network and pod.phase not in _ENDED:
                for ip in pod.ips:
                    pods[pod.node][ip].append(pod)
    nodes = {name: _named_node(state, pods[name]) for name, state in cluster.nodes.items() if name in pods}
    if all(state is cluster.nodes[name] for name, state in nodes.items()):
        return cluster
    return ClusterState({**cluster.nodes, **nodes}, cluster.bodies, cluster.clusters)


def _named_node(state: NodeState, pods: _ByAddress) -> NodeState:
    found = {
        key: pod
        for key, ns in state.netns.items()
        if not ns.netns.root and ns.netns.pod is None and (pod := _pod_of(ns, pods)) is not None
    }
    if not found:
        return state
    netns = dict(state.netns)
    for key, pod in found.items():
        told = Pod(pod.name, pod.namespace, pod.uid, labels=pod.labels, source=API)
        record = msgspec.structs.replace(netns[key].netns, pod=told)
        netns[key] = msgspec.structs.replace(netns[key], netns=record)
    return msgspec.structs.replace(state, netns=netns)


def _pod_of(ns: NetnsState, pods: _ByAddress) -> KubePod | None:
    found = {pod.key: pod for addr in ns.addrs.values() for pod in pods.get(addr.addr, ())}
    return next(iter(found.values())) if len(found) == 1 else None
