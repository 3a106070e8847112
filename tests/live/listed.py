"""What the API's lists of a lab cluster say, laid over what its nodes show."""

from __future__ import annotations

from lab.cluster import Cluster
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState
from netviz.core.wire.kubernetes.files import read_lists

CLUSTER = "default"


def with_objects(cluster: Cluster, state: ClusterState) -> ClusterState:
    """Lay what the lab's lists say over what its nodes show."""
    paths = sorted((cluster.directory / "objects").glob("*.json"))
    lists = read_lists(CLUSTER, [(path.name, path.read_bytes()) for path in paths])
    return named(ClusterState(state.nodes, state.bodies, {CLUSTER: lists}))
