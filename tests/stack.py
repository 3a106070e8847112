"""Fixtures: a lab and the whole netviz on it, for tests that look at everything at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faultdesk import FaultDesk
from lab.stack import Stack
from tests.migrated import give_database

_serial = count()


@contextmanager
def whole_netviz(
    folder: Path,
    nodes: int = 3,
    pods: int = 5,
    kind: str = "textbook",
    services: int = 0,
    breakable: bool = False,
) -> Iterator[tuple[Cluster, Stack]]:
    """A lab of its own name, a server, and a collector for each node; all gone afterwards.

    With services there is a watcher of the lab's objects too; `breakable` lets faults be made on the page.
    """
    name = f"t{os.getpid()}-{next(_serial)}"
    spec = ClusterSpec(name, nodes=nodes, pods=pods, kind=kind, services=services)
    with Cluster.up(spec) as cluster, ExitStack() as also:
        arguments = {node.name: node.collector_args() for node in cluster.nodes.values()}
        objects = cluster.site.directory / "objects" if services else None
        give_database(folder / "var")
        faults = folder / "faults" if breakable else None
        if faults is not None:
            also.enter_context(FaultDesk(cluster, faults))
        with Stack(arguments, folder / "var", objects=objects, faults=faults) as stack:
            stack.start()
            yield cluster, stack


@pytest.fixture(scope="module")
def netviz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Stack]]:
    """Three nodes with five pods each, collected and served."""
    with whole_netviz(tmp_path_factory.mktemp("netviz"), breakable=True) as pair:
        yield pair
