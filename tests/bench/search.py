"""The search of 5,000 nodes with 30 pods each, on one core: making its index, and finding what people type.

Times are of the processor: one thread does the work.

The cluster is that of `scale`; beside it 10,000 services. Between two searches 10 nodes change in what can be found.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterable

import django

from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import KubeService
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import Objects, cluster_source
from tests.bench.machine import Figure, percentiles_ms, rss_bytes
from tests.bench.scale import NODES, PODS, build, changed

SEARCHES, SERVICES, CHANGED = 100, 10_000, 10
TYPED = (
    "pod-{n}-3",
    "node-{n}",
    "10.{n}",
    "02:",
    "nosuchthing",
    "svc-{n}",
    "eth0",
    "default/pod-{n}",
    "{n}",
    "od-1",
)


def services() -> NodeState:
    """A cluster's services."""
    made = (
        KubeService("shop", f"svc-{number}", cluster_ips=(pack_ip(f"10.96.{number // 250}.{number % 250}"),))
        for number in range(SERVICES)
    )
    return NodeState(cluster_source("c"), objects=Objects(services={one.key: one for one in made}))


def run() -> Iterable[Figure]:
    """Measure."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
    django.setup()
    from netviz.topology.search.finder import Finder

    class Held:
        state = ClusterState()

        def cluster(self) -> ClusterState:
            return self.state

    gc.disable()
    try:
        store, pick = Held(), random.Random(7)
        cluster, api = build(NODES), services()
        store.state = ClusterState(cluster.nodes, cluster.bodies, {"c": api})
        before, started = rss_bytes(os.getpid()), time.process_time()
        finder = Finder(store)  # type: ignore[arg-type]
        while finder.find("pod-1-1").partial:
            pass
        made_s = time.process_time() - started
        grown = rss_bytes(os.getpid()) - before
        yield Figure(f"the index of {NODES} nodes, {NODES * PODS} pods", f"{made_s:.1f} s", "-")
        yield Figure("its memory", f"{grown >> 20} MiB", "-")
        took = []
        for number in range(SEARCHES):
            for _ in range(CHANGED):
                cluster = changed(cluster, f"node-{pick.randrange(NODES)}", number)
            store.state = ClusterState(cluster.nodes, cluster.bodies, {"c": api})
            text = TYPED[number % len(TYPED)].format(n=pick.randrange(NODES))
            began = time.process_time()
            finder.find(text)
            took.append(time.process_time() - began)
        yield Figure(f"a search p50/p95/p99, {CHANGED} nodes changed before", percentiles_ms(took), "50 ms")
    finally:
        gc.enable()
