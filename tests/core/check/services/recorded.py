"""A recorded cluster (tests/data/kubernetes), and what may be changed in it: the API's lists, and nodes' rules."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from netviz.core.check.services.check import ServicesCheck
from netviz.core.model.kubernetes import EndpointSlice, KubeNode, KubeService, ObjectKey
from netviz.core.model.netfilter import (
    Body,
    ChainBody,
    IpSetBody,
    IpSetElem,
    NftRuleBody,
    SetBody,
    SetElem,
    body_digest,
)
from netviz.core.sim.nft.written import written
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.kubernetes.files import read_lists
from netviz.core.wire.nvz import join_captures, load_nvz

DATA = Path(__file__).resolve().parents[3] / "data/kubernetes"
CLUSTER = "default"
WEB: ObjectKey = ("shop", "web")


@cache
def recorded(moment: str = "before") -> ClusterState:
    """The cluster as it was recorded."""
    folder = DATA / moment
    nodes = join_captures(load_nvz(path.read_bytes()) for path in sorted(folder.glob("*.nvz")))
    lists = ((path.name, gzip.decompress(path.read_bytes())) for path in sorted(folder.glob("*.json.gz")))
    return named(ClusterState(nodes.nodes, nodes.bodies, {CLUSTER: read_lists(CLUSTER, lists)}))


def judged(cluster: ClusterState, check: ServicesCheck | None = None) -> ServicesCheck:
    """Judge a state to the end."""
    check = check or ServicesCheck()
    check.follow(cluster)
    while check.work():
        pass
    return check


def with_objects(cluster: ClusterState, **sections: Mapping[Any, Any]) -> ClusterState:
    """The cluster with other lists; what they say of nodes is laid over these again."""
    state = cluster.clusters[CLUSTER]
    state = msgspec.structs.replace(state, objects=msgspec.structs.replace(state.objects, **sections))
    return named(ClusterState(cluster.nodes, cluster.bodies, {CLUSTER: state}))


def change_service(cluster: ClusterState, key: ObjectKey, **fields: Any) -> ClusterState:
    """Change a service in the API."""
    services = cluster.clusters[CLUSTER].objects.services
    changed: KubeService = msgspec.structs.replace(services[key], **fields)
    return with_objects(cluster, services={**services, key: changed})


def change_ports(cluster: ClusterState, key: ObjectKey, **fields: Any) -> ClusterState:
    """Change a service's ports in the API."""
    ports = cluster.clusters[CLUSTER].objects.services[key].ports
    return change_service(
        cluster, key, ports=tuple(msgspec.structs.replace(port, **fields) for port in ports)
    )


def change_slice(
    cluster: ClusterState, service: ObjectKey, change: Callable[[EndpointSlice], EndpointSlice]
) -> ClusterState:
    """Change a service's EndpointSlice in the API."""
    slices = cluster.clusters[CLUSTER].objects.endpoint_slices
    key = next(key for key, one in slices.items() if (one.namespace, one.service) == service)
    return with_objects(cluster, endpoint_slices={**slices, key: change(slices[key])})


def change_node(cluster: ClusterState, name: str, **fields: Any) -> ClusterState:
    """Change a Node in the API."""
    nodes = cluster.clusters[CLUSTER].objects.kube_nodes
    changed: KubeNode = msgspec.structs.replace(nodes[name], **fields)
    return with_objects(cluster, kube_nodes={**nodes, name: changed})


def change_rules(
    cluster: ClusterState,
    name: str,
    chain: tuple[int, str, str],
    change: Callable[[str, NftRuleBody], Iterable[NftRuleBody]],
) -> ClusterState:
    """Change the rules of a node's chain: each, with its text, to none, one or more."""
    root = cluster.nodes[name].root
    assert root is not None
    record = root.nft_chains[chain]
    body = cluster.bodies[record.body]
    assert isinstance(body, ChainBody)
    texts = [written(body, number, chain[0]).text for number in range(len(body.rules))]
    rules = tuple(new for text, rule in zip(texts, body.rules, strict=True) for new in change(text, rule))
    assert rules != body.rules
    made = ChainBody(rules)
    record = msgspec.structs.replace(record, body=body_digest(made), handles=())
    return _with(cluster, name, made, nft_chains={**root.nft_chains, chain: record})


def change_elements(
    cluster: ClusterState,
    name: str,
    key: tuple[int, str, str],
    change: Callable[[SetElem], Iterable[SetElem]],
) -> ClusterState:
    """Change the elements of a node's set."""
    root = cluster.nodes[name].root
    assert root is not None
    record = root.nft_sets[key]
    body = cluster.bodies[record.body]
    assert isinstance(body, SetBody)
    made = SetBody(tuple(new for elem in body.elems for new in change(elem)))
    assert made != body
    record = msgspec.structs.replace(record, body=body_digest(made))
    return _with(cluster, name, made, nft_sets={**root.nft_sets, key: record})


def without_chains(cluster: ClusterState, name: str, table: str, keep: str = "-") -> ClusterState:
    """A node without a table's chains, but for those whose names begin so."""
    root = cluster.nodes[name].root
    assert root is not None
    left = {key: one for key, one in root.nft_chains.items() if key[1] != table or key[2].startswith(keep)}
    assert len(left) < len(root.nft_chains)
    return _with(cluster, name, None, nft_chains=left)


def _with(cluster: ClusterState, name: str, body: Body | None, **sections: Any) -> ClusterState:
    node: NodeState = cluster.nodes[name]
    root = node.root
    assert root is not None
    changed = msgspec.structs.replace(root, **sections)
    node = msgspec.structs.replace(node, netns={**node.netns, root.key: changed})
    bodies = {**cluster.bodies, body_digest(body): body} if body is not None else cluster.bodies
    return ClusterState({**cluster.nodes, name: node}, bodies, cluster.clusters)


def change_members(
    cluster: ClusterState, name: str, ipset: str, change: Callable[[IpSetElem], Iterable[IpSetElem]]
) -> ClusterState:
    """Change the members of a node's ipset."""
    root = cluster.nodes[name].root
    assert root is not None
    record = root.ipsets[ipset]
    body = cluster.bodies[record.body]
    assert isinstance(body, IpSetBody)
    made = IpSetBody(tuple(new for elem in body.elems for new in change(elem)))
    assert made != body
    record = msgspec.structs.replace(record, body=body_digest(made))
    return _with(cluster, name, made, ipsets={**root.ipsets, ipset: record})
