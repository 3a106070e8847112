"""Whom each pod asks for names: the servers of its resolv.conf, and what they are to the cluster.

Only pods whose DNS policy is ClusterFirst are to ask the cluster's DNS service. A server may stand for it: an address of
the pod's own node, where a cache answers, or another service that has port 53. What resolv.conf says isn't known of a pod
whose collector is older, or can't see its files: it is taken to ask the cluster's DNS service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netviz.core.check.netpol.pods import Pod
from netviz.core.intent.services import Entrance, entrances, of_port
from netviz.core.model.kubernetes import KubeService, ObjectKey
from netviz.core.sim.services import CLUSTER
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects

CLUSTER_FIRST = "ClusterFirst"
DNS_PORT = 53
DNS_KEY = ("kube-system", "kube-dns")
DNS_LABEL = ("k8s-app", "kube-dns")
PROTOCOLS = {17: "UDP", 6: "TCP"}
SLICE, SLICE_MS = 1000, 5.0

Servers = tuple[bytes, ...]


class Class(NamedTuple):
    """Pods of one node that ask one server, and that policies and rules see alike."""

    node: str
    server: bytes
    sort: int
    said: int


class Clients:
    """Whom the pods of a cluster ask. `strange` are those of whose servers none stands for the cluster's DNS."""

    def __init__(self) -> None:
        self.classes: dict[Class, list[Pod]] = {}
        self.entrances: dict[
            ObjectKey, dict[tuple[bytes, int], Entrance]
        ] = {}  # of services that have port 53
        self.strange: dict[Servers, list[Pod]] = {}
        self.unread = 0  # pods whose resolv.conf isn't known
        self.untold = 0  # pods whose DNS policy isn't known
        self.usual = False  # some pod's resolv.conf names a server that stands for the cluster's DNS


def is_dns(service: KubeService) -> bool:
    """Tell whether a service is the cluster's DNS, by the name or the label that all installers give it."""
    key, value = DNS_LABEL
    named = service.key == DNS_KEY or service.labels.get(key) == value
    return named and bool(service.cluster_ips)


def dns_entrances(service: KubeService) -> dict[tuple[bytes, int], Entrance]:
    """The cluster addresses of a service at port 53: (address, protocol) -> the entrance."""
    return {
        (one.addr, one.proto): one
        for one in entrances(service)
        if one.how == CLUSTER and one.port == DNS_PORT and one.proto in PROTOCOLS
    }


def usable(objects: Objects, service: KubeService, entrance: Entrance) -> list[bytes]:
    """The addresses of the endpoints that answer at an entrance: those that are ready, or serve while they end."""
    ends = of_port(objects.endpoint_slices, service, entrance.name, entrance.family)
    return [one.end[0] for one in ends if one.of.ready or one.of.serving or service.publish_not_ready]


def look(
    cluster: ClusterState, services: Iterable[KubeService], objects: Objects, pods: list[Pod], found: Clients
) -> Iterator[float]:
    """Find whom pods ask. `services` are the cluster's DNS. Yields what it costs, in ms."""
    own = [addr for one in services for addr in one.cluster_ips]
    for one in objects.services.values():
        if at := dns_entrances(one):
            found.entrances[one.key] = at
    serving = {addr for at in found.entrances.values() for addr, _ in at} | set(own)
    of_node: dict[str, frozenset[bytes]] = {}
    for number, pod in enumerate(pods):
        if number % SLICE == SLICE - 1:
            yield SLICE_MS
        policy = pod.pod.dns_policy
        if policy != CLUSTER_FIRST:
            found.untold += not policy
            continue
        told = cluster.nodes[pod.node].netns[pod.netns].netns.pod
        if told is None or told.resolv is None:
            found.unread += 1
            servers = tuple(own)
        else:
            servers = told.resolv.nameservers
            here = of_node.get(pod.node)
            if here is None:
                here = of_node[pod.node] = _addresses(cluster, pod.node)
            known = tuple(one for one in servers if one in serving or one in here)
            if not known:
                found.strange.setdefault(servers, []).append(pod)
                continue
            found.usual, servers = True, known
        for server in servers:
            if len(server) == pod.family:
                kind = Class(pod.node, server, pod.kind.sort, pod.kind.said)
                found.classes.setdefault(kind, []).append(pod)


def _addresses(cluster: ClusterState, node: str) -> frozenset[bytes]:
    root = cluster.nodes[node].root
    return frozenset(one.addr for one in root.addrs.values()) if root is not None else frozenset()
