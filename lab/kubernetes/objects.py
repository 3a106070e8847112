"""The API's lists that fit a cluster, as files: what `kubectl get -o json` would say of it.

    DIRECTORY/objects/nodes.json  pods.json  services.json  endpointslices.json  networkpolicies.json  namespaces.json
                      replicasets.json  jobs.json  clusternetworkpolicies.json  adminnetworkpolicies.json
                      baselineadminnetworkpolicies.json

They follow the cluster: pods and nodes that come and go, services and policies that are added. A pod has the owner that
its role suggests (`web-1` is of Deployment `web`), and on each node there is kube-proxy, in the node's own network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab import paths, plan
from lab.echo import PORT
from lab.kubernetes import policies
from lab.kubernetes.shapes import metadata
from lab.spec import ClusterState, LabError, NodeState, Pod

Json = dict[str, Any]
KINDS: dict[str, tuple[str, str]] = {
    "nodes": ("v1", "NodeList"),
    "namespaces": ("v1", "NamespaceList"),
    "pods": ("v1", "PodList"),
    "services": ("v1", "ServiceList"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSliceList"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicyList"),
    "replicasets": ("apps/v1", "ReplicaSetList"),
    "jobs": ("batch/v1", "JobList"),
    "clusternetworkpolicies": ("policy.networking.k8s.io/v1beta1", "ClusterNetworkPolicyList"),
    "adminnetworkpolicies": ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicyList"),
    "baselineadminnetworkpolicies": ("policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicyList"),
}
# What the pods of a role are made by; all others by a Deployment.
_MADE_BY = {"db": "StatefulSet", "jobs": "Job"}
_PROXY = "kube-proxy"


def lists(state: ClusterState) -> dict[str, list[Json]]:
    """Return the items of every list."""
    namespaces = {"default", "kube-system", *(pod.namespace for pod in _pods(state))}
    return {
        "nodes": [_node(node) for node in state.nodes.values()],
        "namespaces": [_namespace(name) for name in sorted(namespaces)],
        "pods": [
            *(_pod(pod, state.nodes[pod.node]) for pod in _pods(state)),
            *(_proxy(node) for node in state.nodes.values() if state.services),
        ],
        "services": state.services,
        "endpointslices": slices(state),
        "networkpolicies": state.policies,
        "replicasets": _owners(state, "ReplicaSet"),
        "jobs": _owners(state, "Job"),
        # The lab has none, which only a list can say.
        "clusternetworkpolicies": [],
        "adminnetworkpolicies": [],
        "baselineadminnetworkpolicies": [],
    }


def write(directory: Path, state: ClusterState) -> None:
    """Bring the files up to date."""
    state.revision += 1
    where = directory / "objects"
    where.mkdir(exist_ok=True)
    for name, items in lists(state).items():
        version, kind = KINDS[name]
        made = {
            "kind": kind,
            "apiVersion": version,
            "metadata": {"resourceVersion": str(state.revision)},
            "items": items,
        }
        paths.write_atomically(where / f"{name}.json", msgspec.json.encode(made))


def _pods(state: ClusterState) -> list[Pod]:
    return [pod for node in state.nodes.values() for pod in node.pods.values()]


def _same_uid(*words: str) -> str:
    digest = plan.short_hash(*words)
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def _ready(state: str) -> list[Json]:
    return [{"type": "Ready", "status": state}]


def _namespace(name: str) -> Json:
    labels = {"kubernetes.io/metadata.name": name}
    meta = {**metadata(name, "", labels=labels), "uid": _same_uid("namespace", name)}
    return {"metadata": meta, "status": {"phase": "Active"}}


def _node(node: NodeState) -> Json:
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"}
    ranges = [node.pod_cidr(family) for family in node.families]
    addresses = [{"type": "InternalIP", "address": node.address(family)} for family in node.families]
    return {
        "metadata": {**metadata(node.name, "", labels=labels), "uid": _same_uid("node", node.name)},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
        "status": {
            "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
            "conditions": _ready("True" if node.alive else "Unknown"),
        },
    }


def _role(pod: Pod) -> str:
    return pod.labels.get("app") or pod.name.partition("-")[0]


def _owner(kind: str, name: str, namespace: str) -> Json:
    version = "batch/v1" if kind == "Job" else "apps/v1"
    uid = _same_uid(kind, namespace, name)
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}


def _owner_of(pod: Pod) -> Json:
    """Return what made a pod: its own controller, which for a Deployment is a ReplicaSet."""
    role = _role(pod)
    kind = _MADE_BY.get(role, "ReplicaSet")
    name = f"{role}-{plan.short_hash(pod.namespace, role)[:9]}" if kind == "ReplicaSet" else role
    return _owner(kind, name, pod.namespace)


def _owners(state: ClusterState, kind: str) -> list[Json]:
    """Return the objects of a kind that made pods."""
    found: dict[tuple[str, str], Json] = {}
    for pod in _pods(state):
        own = _owner_of(pod)
        if own["kind"] == kind:
            above = [_owner("Deployment", _role(pod), pod.namespace)] if kind == "ReplicaSet" else []
            made = metadata(own["name"], pod.namespace, uid=own["uid"], ownerReferences=above)
            found[pod.namespace, own["name"]] = {"metadata": made}
    return list(found.values())


def _proxy(node: NodeState) -> Json:
    """Return the pod of kube-proxy on a node: it is in the node's own network, and has the node's addresses."""
    owner = _owner("DaemonSet", _PROXY, "kube-system")
    name = f"{_PROXY}-{plan.short_hash(node.name)[:5]}"
    labels = {"k8s-app": _PROXY}
    made = metadata(name, "kube-system", labels=labels, ownerReferences=[owner])
    return {
        "metadata": {**made, "uid": _same_uid("pod", "kube-system", name)},
        "spec": {
            "nodeName": node.name,
            "hostNetwork": True,
            "dnsPolicy": "ClusterFirst",
            "containers": [{"name": _PROXY, "image": "lab"}],
        },
        "status": {
            "phase": "Running",
            "conditions": _ready("True" if node.alive else "False"),
            "hostIP": node.ipv4,
            "podIP": node.ipv4,
            "podIPs": [{"ip": node.address(family)} for family in node.families],
        },
    }


def _pod(pod: Pod, node: NodeState) -> Json:
    ports = [{"containerPort": PORT, "protocol": proto} for proto in ("TCP", "UDP")]
    if pod.host_port:
        ports = [{**port, "hostPort": pod.host_port} for port in ports]
    return {
        "metadata": metadata(
            pod.name, pod.namespace, uid=pod.uid, labels=pod.labels, ownerReferences=[_owner_of(pod)]
        ),
        "spec": {
            "nodeName": pod.node,
            "dnsPolicy": "Default" if pod.app == "dns" else "ClusterFirst",
            "containers": [{"name": "app", "image": "lab", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "conditions": _ready("True" if node.alive else "False"),
            "hostIP": node.ipv4,
            "podIP": pod.ipv4,
            "podIPs": [{"ip": pod.address(family)} for family in pod.families],
        },
    }


def slices(state: ClusterState) -> list[Json]:
    """Return the EndpointSlices of all services that select pods: one for each address family."""
    pods = _pods(state)
    found = []
    for service in state.services:
        selector = service["spec"].get("selector")
        if selector:
            namespace = service["metadata"]["namespace"]
            chosen = [
                pod for pod in pods if pod.namespace == namespace and selector.items() <= pod.labels.items()
            ]
            for family in service["spec"]["ipFamilies"]:
                found.append(_slice(service, family, chosen, state))
    return found


def _slice(service: Json, family: str, pods: list[Pod], state: ClusterState) -> Json:
    meta = service["metadata"]
    name = f"{meta['name']}-{plan.short_hash(meta['name'], family)[:5]}"
    labels = {
        "kubernetes.io/service-name": meta["name"],
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    owner = {
        "apiVersion": "v1",
        "kind": "Service",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    made = metadata(name, meta["namespace"], labels=labels, ownerReferences=[owner])
    ports = [
        {"name": port.get("name", ""), "protocol": port["protocol"], "port": port["targetPort"]}
        for port in service["spec"]["ports"]
    ]
    return {
        "metadata": {**made, "uid": _same_uid("slice", meta["namespace"], name)},
        "addressType": family,
        "endpoints": [_endpoint(pod, family, state.nodes[pod.node].alive) for pod in pods],
        "ports": ports if pods else None,
    }


def _endpoint(pod: Pod, family: str, is_ready: bool) -> Json:
    return {
        "addresses": [pod.address(6 if family == "IPv6" else 4)],
        "conditions": {"ready": is_ready, "serving": is_ready, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        "nodeName": pod.node,
    }


def _kept(state: ClusterState, kind: str) -> list[Json]:
    """Return the list in which the objects of a kind are. Raises: LabError."""
    if kind.lower() in ("service", "services", "svc"):
        return state.services
    if kind.lower() in ("networkpolicy", "networkpolicies", "netpol"):
        return state.policies
    raise LabError(f"the lab keeps services and networkpolicies, no {kind}")


def apply_objects(state: ClusterState, made: Sequence[Json]) -> None:
    """Add or replace services and network policies; a list's items are its members. Raises: LabError."""
    for given in made:
        items = given.get("items")
        kind = str(given.get("kind", ""))
        if items is not None:
            whole = kind.removesuffix("List")
            apply_objects(state, [{"kind": whole, **item} if whole else item for item in items])
            continue
        kept = _kept(state, kind)
        meta = given.get("metadata", {})
        if "name" not in meta or "spec" not in given:
            raise LabError(f"a {kind} needs metadata.name and spec")
        namespace = meta.get("namespace", "default")
        whole_meta = {**metadata(meta["name"], namespace), **meta, "namespace": namespace}
        status: Json = {"status": {"loadBalancer": {}}} if kept is state.services else {}
        one = {**status, **given, "metadata": whole_meta}
        one.pop("kind", None)
        one.pop("apiVersion", None)
        if kept is state.policies:
            policies.check()
            state.policed = True
        kept[:] = [other for other in kept if _name(other) != _name(one)] + [one]


def delete_object(state: ClusterState, kind: str, name: str, namespace: str) -> None:
    """Delete a service or network policy. Raises: LabError."""
    kept = _kept(state, kind)
    left = [one for one in kept if _name(one) != (namespace, name)]
    if len(left) == len(kept):
        raise LabError(f"no {kind} {namespace}/{name}")
    kept[:] = left


def _name(one: Json) -> tuple[str, str]:
    return one["metadata"]["namespace"], one["metadata"]["name"]
