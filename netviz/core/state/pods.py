"""The API's pods, and what they are to users and to a node: their workload, whether they are ready, their namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import Condition, KubeNode, KubePod, ObjectKey, Workload
from netviz.core.state.node import NodeState

ZONE = "topology.kubernetes.io/zone"
# What makes pods for something that users know by another name.
_BETWEEN = {"ReplicaSet": "Deployment"}
# The owner of a static pod's mirror, which a kubelet made: the runtime knows the pod by another UID.
NODE_KIND = "Node"


def workload_of(pod: KubePod, workloads: Mapping[Any, Workload]) -> tuple[str, str] | None:
    """Find what users know a pod by: (kind, name), None of a pod that nothing made.

    That is its owner; of a ReplicaSet's, the Deployment that owns the ReplicaSet, if `workloads` knows it.
    """
    owner = pod.owner
    if owner is None or owner.kind == NODE_KIND:
        return None
    if owner.kind in _BETWEEN:
        between = workloads.get((owner.kind, pod.namespace, owner.name))
        above = between.owner if between is not None else None
        if above is not None and above.kind == _BETWEEN[owner.kind]:
            return above.kind, above.name
    return owner.kind, owner.name


def condition(conditions: Iterable[Condition], kind: str) -> bool | None:
    """Tell whether a condition holds; None where nothing says so."""
    found = next((one.status for one in conditions if one.type == kind), "Unknown")
    return None if found == "Unknown" else found == "True"


def zone_of(node: KubeNode) -> str:
    """The zone that a node is in, "" of none."""
    return node.labels.get(ZONE, "")


def joined(state: NodeState) -> dict[ObjectKey, NetnsKey]:
    """Which namespace is that of which of the API's pods on a node: by UID, and of a static pod by its name.

    A pod that has been replaced by one of its name has another UID, so it isn't taken for that one.
    """
    pods, found = state.objects.kube_pods, {}
    for key, ns in state.netns.items():
        told = ns.netns.pod
        pod = pods.get((told.namespace, told.name)) if told is not None else None
        if told is None or pod is None:
            continue
        mirrored = pod.owner is not None and pod.owner.kind == NODE_KIND
        if mirrored or not told.uid or not pod.uid or told.uid == pod.uid:
            found[pod.key] = key
    return found
