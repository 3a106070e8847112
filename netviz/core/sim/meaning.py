"""What users call the ends of a flow, as ends that the state has: services, workloads, DNS names, by the API's objects.

    svc/NAMESPACE/NAME[:PORT]           its cluster address; of a headless one its only endpoint
    NAME.NAMESPACE.svc[.DOMAIN][:PORT]  the same; HOST.NAME.NAMESPACE.svc: that endpoint of a headless one
    deploy|sts|ds|job/NAMESPACE/NAME    its only pod
    label/NAMESPACE/KEY=VALUE[,...]     the only pod with these labels
    ns/NAMESPACE                        its only pod, but for those in their nodes' networks
    pod/NAMESPACE/NAME, NAMESPACE/NAME  that pod; one in its node's network is its node, at its address
    HOST:PORT                           a port of any of these, of a node, or of an address

PORT is a number or a port's name. A name that stands for several pods is no end of one flow: `Several` names them, and
`each_source` and `each_target` list them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.kubernetes import KubePod, KubeService, ServicePort
from netviz.core.sim.endpoints import EndpointError
from netviz.core.sim.link.cluster_index import candidates
from netviz.core.sim.services import slices_of
from netviz.core.state.naming import ENDED
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import workload_of

WORKLOADS = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "rs": "ReplicaSet",
    "replicaset": "ReplicaSet",
    "sts": "StatefulSet",
    "statefulset": "StatefulSet",
    "ds": "DaemonSet",
    "daemonset": "DaemonSet",
    "job": "Job",
}
_SERVICE = ("svc", "service")
_SPACE = ("ns", "namespace")
_DNS = re.compile(r"(?:([a-z0-9-]+)\.)?([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.[a-z0-9.-]+)?", re.ASCII)
_PORT = re.compile(r"(?P<host>[^:]+|\[[0-9a-fA-F:.]+\]):(?P<port>[A-Za-z0-9-]+)", re.ASCII)
MOST_NAMED = 5


class Several(EndpointError):
    """A name that stands for several pods, which are `ends`, each as an end of a flow."""

    def __init__(self, what: str, ends: tuple[str, ...]) -> None:
        shown = ", ".join(ends[:MOST_NAMED]) + (
            f" and {len(ends) - MOST_NAMED} more" if len(ends) > MOST_NAMED else ""
        )
        super().__init__(f"{what} stands for {len(ends)} pods: choose one ({shown})")
        self.ends = ends


class End(msgspec.Struct, frozen=True):
    """An end of a flow as `endpoints` takes it: names or addresses, of which the first that fits is meant; a port.

    `dport` and `proto` are None where the name says nothing of them.
    """

    names: tuple[str, ...]
    dport: int | None = None
    proto: str | None = None


def source_end(cluster: ClusterState, text: str) -> End:
    """Find what a source's name means. Raises: EndpointError."""
    kind, objects, namespace, name = _parts(cluster, text)
    if kind in _SERVICE or _DNS.fullmatch(text.lower()):
        raise EndpointError(
            f"{text!r} is a service: nothing is sent from it; name a pod, a workload or a node"
        )
    if objects is not None:
        return _pods_end(cluster, objects, text, kind, namespace, name)
    return _host_pod(cluster, text) or End((text,))


def target_end(cluster: ClusterState, text: str, dport: int | None, proto: str) -> End:
    """Find what a target's name means, with the port and protocol that are asked for. Raises: EndpointError."""
    port: str | None = str(dport) if dport is not None else None
    split = _PORT.fullmatch(text)
    if split is not None:
        text, port = split["host"].strip("[]"), split["port"]
    dns = _DNS.fullmatch(text.lower().rstrip("."))
    kind, objects, namespace, name = _parts(cluster, text)
    if dns is not None and objects is None:
        found = _service_in(cluster, dns[3], dns[2])
        if found is None:
            raise EndpointError(f"the API has no service {dns[3]}/{dns[2]}")
        return _service_end(cluster, *found, dns[1] or "", port, proto)
    if kind in _SERVICE and objects is not None:
        service = objects.services.get((namespace, name))
        assert service is not None
        return _service_end(cluster, objects, service, "", port, proto)
    end = End((text,)) if objects is None else _pods_end(cluster, objects, text, kind, namespace, name)
    if objects is None:
        end = _host_pod(cluster, text) or end
    return msgspec.structs.replace(end, dport=_number(cluster, end, port))


def each_source(cluster: ClusterState, text: str) -> tuple[str, ...]:
    """List the ends that a source's name stands for, each as the name of one end. Raises: EndpointError."""
    try:
        source_end(cluster, text)
    except Several as several:
        return several.ends
    return (text,)


def each_target(cluster: ClusterState, text: str, dport: int | None, proto: str) -> tuple[str, ...]:
    """List the ends that a target's name stands for, each with the name's port. Raises: EndpointError."""
    try:
        target_end(cluster, text, dport, proto)
    except Several as several:
        split = _PORT.fullmatch(text)
        port = f":{split['port']}" if split is not None else ""
        return tuple(f"{end}{port}" for end in several.ends)
    return (text,)


def _parts(cluster: ClusterState, text: str) -> tuple[str, Objects | None, str, str]:
    """Split `KIND/NAMESPACE/NAME`, and find the objects that have it; (kind, None, "", "") of another form.

    Raises: EndpointError when the API has no such thing.
    """
    kind, slash, rest = text.partition("/")
    namespace, second, name = rest.partition("/")
    kind = kind.lower()
    known = (*WORKLOADS, *_SERVICE, "pod", "label")
    if kind in _SPACE and namespace and not second:
        # It may be the name of a pod in a namespace that is called so.
        if any((kind, namespace) in one.objects.kube_pods for one in cluster.clusters.values()):
            return "", None, "", ""
    elif not slash or not second or kind not in known:
        return "", None, "", ""
    if not cluster.clusters:
        raise EndpointError(f"{text!r} is known by the Kubernetes API alone, which isn't watched here")
    for source in cluster.clusters.values():
        objects = source.objects
        if kind in _SERVICE:
            there = (namespace, name) in objects.services
        else:
            there = next(_pods(objects, kind, namespace, name), None) is not None
        if there:
            return kind, objects, namespace, name
    raise EndpointError(f"the API has no {text}" if kind != "label" else f"the API has no pod with {text}")


def _pods(objects: Objects, kind: str, namespace: str, name: str) -> Iterator[KubePod]:
    """The pods that a reference stands for, but for those that ended."""
    wanted: Mapping[str, str] = {}
    if kind == "pod":
        pod = objects.kube_pods.get((namespace, name))
        yield from () if pod is None else (pod,)
        return
    if kind == "label":
        wanted = dict(part.partition("=")[::2] for part in name.split(","))
    for pod in objects.kube_pods.values():
        if pod.namespace != namespace or pod.phase in ENDED:
            continue
        if kind in _SPACE:
            if not pod.host_network:
                yield pod
        elif kind == "label":
            if wanted.items() <= pod.labels.items():
                yield pod
        elif (WORKLOADS[kind], name) in (
            workload_of(pod, objects.workloads),
            (pod.owner.kind, pod.owner.name) if pod.owner is not None else None,
        ):
            yield pod


def _pods_end(
    cluster: ClusterState, objects: Objects, text: str, kind: str, namespace: str, name: str
) -> End:
    pods = sorted(_pods(objects, kind, namespace, name), key=lambda pod: pod.name)
    if len(pods) > 1:
        raise Several(text, tuple(f"pod/{pod.namespace}/{pod.name}" for pod in pods))
    return _pod_end(cluster, pods[0])


def _pod_end(cluster: ClusterState, pod: KubePod) -> End:
    full = f"{pod.namespace}/{pod.name}"
    if pod.host_network:
        return End((pod.node,))
    known = next(iter(candidates(cluster.nodes, full)), None) is not None
    return End((full,) if known else (full, *map(format_ip, pod.ips)))


def _host_pod(cluster: ClusterState, text: str) -> End | None:
    """A pod in its node's network, by `NAMESPACE/NAME`."""
    namespace, slash, name = text.partition("/")
    for source in cluster.clusters.values() if slash else ():
        pod = source.objects.kube_pods.get((namespace, name))
        if pod is not None and pod.host_network and pod.node:
            return _pod_end(cluster, pod)
    return None


def _number(cluster: ClusterState, end: End, port: str | None) -> int | None:
    """A port's number; a name is that of a port of the pod's containers. Raises: EndpointError."""
    if port is None:
        return None
    if port.isdigit():
        return int(port)
    namespace, _, name = end.names[0].partition("/")
    for source in cluster.clusters.values():
        pod = source.objects.kube_pods.get((namespace, name))
        for one in pod.ports if pod is not None else ():
            if one.name == port:
                return one.port
    raise EndpointError(f"{end.names[0]} has no port called {port!r}")


def _service_in(cluster: ClusterState, namespace: str, name: str) -> tuple[Objects, KubeService] | None:
    for source in cluster.clusters.values():
        service = source.objects.services.get((namespace, name))
        if service is not None:
            return source.objects, service
    return None


def _service_end(
    cluster: ClusterState, objects: Objects, service: KubeService, host: str, port: str | None, proto: str
) -> End:
    full = f"{service.namespace}/{service.name}"
    if service.type == "ExternalName":
        raise EndpointError(
            f"service {full} is another name for {service.external_name} (ExternalName), which DNS resolves: trace to its address"
        )
    if service.cluster_ips and not host:
        named = _service_port(service, port, proto)
        number = named.port if named is not None else int(port) if port and port.isdigit() else None
        said = named.protocol.lower() if named is not None and proto in ("tcp", "auto") else None
        return End(tuple(map(format_ip, service.cluster_ips)), number, said)
    return _headless_end(cluster, objects, service, host, port, proto)


def _service_port(service: KubeService, port: str | None, proto: str) -> ServicePort | None:
    """The port of a service that is meant; None of a number that it doesn't have. Raises: EndpointError."""
    fitting = [one for one in service.ports if port is None or port in (one.name, str(one.port))]
    if not fitting:
        if port is not None and port.isdigit():
            return None
        names = ", ".join(one.name or str(one.port) for one in service.ports) or "none"
        raise EndpointError(
            f"service {service.namespace}/{service.name} has no port {port!r}; it has {names}"
        )
    alike = [one for one in fitting if one.protocol.lower() == proto]
    return (alike or fitting)[0]


def _headless_end(
    cluster: ClusterState, objects: Objects, service: KubeService, host: str, port: str | None, proto: str
) -> End:
    """The endpoint of a service without a cluster address, whose name DNS gives the addresses of its endpoints."""
    full = f"{service.namespace}/{service.name}"
    slices = slices_of(objects.endpoint_slices).get(service.key, [])
    found: dict[str, list[str]] = {}
    for one in slices:
        for end in one.endpoints:
            if (end.ready or service.publish_not_ready) and (not host or host in (end.hostname, end.pod)):
                key = f"pod/{service.namespace}/{end.pod}" if end.pod else format_ip(end.addresses[0])
                found.setdefault(key, []).extend(map(format_ip, end.addresses))
    what = f"{host}.{service.name}.{service.namespace}.svc" if host else f"service {full}, which is headless,"
    if not found:
        raise EndpointError(f"{what} has no endpoint that is ready: its name has no address")
    if len(found) > 1:
        raise Several(what, tuple(found))
    named = _service_port(service, port, proto)
    target = named.target if named is not None else port or ""
    ports = {p.name: p.port for one in slices for p in one.ports}
    number = ports.get(named.name) if named is not None else None
    number = number or (int(target) if target.isdigit() else None)
    return End(
        tuple(next(iter(found.values()))), number, named.protocol.lower() if named is not None else None
    )
