"""Who has an address, as policies see parties: one of the API's pods, a node, or somebody outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netviz.core.intent.policies import Party, Policies
from netviz.core.model.addr import format_ip
from netviz.core.model.kubernetes import KubeNode, KubePod, NetworkPolicy
from netviz.core.sim.index import Index
from netviz.core.sim.link.cluster_index import EVERYWHERE, having_addr, names_for
from netviz.core.state.naming import ENDED
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects

PROTOCOL_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMP", 132: "SCTP"}


def build_pods_by_addr(pods: Mapping[Any, KubePod]) -> dict[bytes, KubePod | None]:
    """Index the API's pods by address, but for those that ended or have their node's; None where several have one."""
    found: dict[bytes, KubePod | None] = {}
    for pod in pods.values():
        if not pod.host_network and pod.phase not in ENDED:
            for addr in pod.ips:
                found[addr] = None if addr in found else pod
    return found


pods_by_addr: Index[Mapping[Any, KubePod], dict[bytes, KubePod | None]] = Index(build_pods_by_addr)


def build_nodes_by_addr(nodes: Mapping[Any, KubeNode]) -> dict[bytes, str]:
    """Index the API's nodes by address."""
    return {addr: node.name for node in nodes.values() for addr in node.addresses}


nodes_by_addr: Index[Mapping[Any, KubeNode], dict[bytes, str]] = Index(build_nodes_by_addr)


def party_at(cluster: ClusterState, objects: Objects, addr: bytes) -> Party:
    """Find who has an address: a pod, a node (by the API, or by one of its own addresses), else somebody outside."""
    pod = pods_by_addr(objects.kube_pods).get(addr)
    if pod is not None:
        return Party(addr, pod)
    node = nodes_by_addr(objects.kube_nodes).get(addr, "")
    if not node and names_for(cluster.nodes, addr) != EVERYWHERE:
        holders = having_addr(cluster.nodes, addr)
        if len(holders) == 1 and holders[0].netns.root:
            node = holders[0].netns.key.node
    return Party(addr, None, node)


def party_text(party: Party) -> str:
    """Name a party for people."""
    if party.pod is not None:
        return f"{party.pod.namespace}/{party.pod.name}"
    return party.node or format_ip(party.addr)


class _Made(list[Any]):
    """What was made of a section, after the other sections that it was made with."""


def build_made(policies: Mapping[Any, NetworkPolicy]) -> _Made:
    """Make room for what is made of policies."""
    return _Made()


_made: Index[Mapping[Any, NetworkPolicy], _Made] = Index(build_made)


def policies_of(objects: Objects) -> Policies:
    """The policies of a cluster, made once for a state of its lists."""
    made = _made(objects.network_policies)
    others = (objects.kube_namespaces, objects.cluster_policies, objects.kube_nodes)
    known = tuple(made)
    if not known or any(was is not now for was, now in zip(known[:-1], others, strict=True)):
        known = *others, Policies(objects.network_policies, *others)
        made[:] = known
    policies: Policies = known[-1]
    return policies
