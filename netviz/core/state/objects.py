"""What belongs to a cluster and to no node: Kubernetes' objects, as sections beside the nodes' namespaces.

Whoever speaks for a cluster is a source like a node's collector, and has a `NodeState` like a node's; instead of
namespaces it has these sections. So state, deltas, sessions, stores, the journal and files have one way for both.
A cluster's source is named "cluster/NAME": no node's name has a slash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.kubernetes import (
    ClusterPolicy,
    EndpointSlice,
    KubeNamespace,
    KubeNode,
    KubePod,
    KubeService,
    NetworkPolicy,
    Workload,
)
from netviz.core.model.netns import Refused
from netviz.core.state.section import EMPTY, Section

CLUSTER_PREFIX = "cluster/"


def cluster_source(name: str) -> str:
    """The name of the source that speaks for a cluster."""
    return CLUSTER_PREFIX + name


def cluster_of(source: str) -> str | None:
    """The name of the cluster that a source speaks for; None of a node's source."""
    return source.removeprefix(CLUSTER_PREFIX) if source.startswith(CLUSTER_PREFIX) else None


class Objects(msgspec.Struct, frozen=True, gc=False):
    """A cluster's objects. Every field is a section: record key -> record, in no promised order.

    `refused` is what the source told of any section and could not be understood.
    """

    kube_nodes: Mapping[Any, KubeNode] = EMPTY
    kube_namespaces: Mapping[Any, KubeNamespace] = EMPTY
    kube_pods: Mapping[Any, KubePod] = EMPTY
    workloads: Mapping[Any, Workload] = EMPTY
    services: Mapping[Any, KubeService] = EMPTY
    endpoint_slices: Mapping[Any, EndpointSlice] = EMPTY
    network_policies: Mapping[Any, NetworkPolicy] = EMPTY
    cluster_policies: Mapping[Any, ClusterPolicy] = EMPTY
    refused: Mapping[Any, Refused] = EMPTY

    def __post_init__(self) -> None:
        """Keep each section as one."""
        for name in OBJECT_SECTIONS:
            records = getattr(self, name)
            if type(records) is not Section:
                msgspec.structs.force_setattr(self, name, Section.of(records))


OBJECT_SECTIONS: tuple[str, ...] = Objects.__struct_fields__
NO_OBJECTS = Objects()
