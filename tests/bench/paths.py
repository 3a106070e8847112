"""The check of all pairs at scale, on one core, with the rules that kube-proxy, flannel and Calico write.

Two clusters are constructed. 150,000 pods on 5,000 nodes: flannel's routes by host gateway, alike records shared as the
server shares them, kube-proxy's chains of 100 services and flannel's own on every node. 30,000 pods on 1,000 nodes:
Calico over VXLAN, each node with its own records for every other (route, neighbour, FDB entry) and 500 connections, and
Felix's chains for every pod. In each, faults of all kinds are planted at random places, one after the other.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Iterable

from netviz.core.check.paths.check import PathsCheck
from netviz.core.state.node import ClusterState
from tests.bench.machine import Figure, percentiles_ms, rss_bytes
from tests.bench.path_faults import lose_route, plant, pod_down
from tests.bench.path_states import Chains, own_records, shared, with_services, with_services_of_calico

CHANGES, PLANTED, NODES, OWN_NODES = 60, 50, 5_000, 1_000


def judge(check: PathsCheck, cluster: ClusterState) -> float:
    """Judge a state to the end; returns the seconds of one core's time that it took."""
    started = time.process_time()
    check.follow(cluster)
    check.finish()
    return time.process_time() - started


def measure(
    title: str, cluster: ClusterState, rewritten: Callable[[ClusterState], ClusterState]
) -> Iterable[Figure]:
    """Measure one cluster: cold, small changes, a change of all nodes' rules, planted faults."""
    pick = random.Random(5)
    check = PathsCheck(pick=pick)
    gc.collect()
    before = rss_bytes(os.getpid())
    cold = judge(check, cluster)
    pairs, classes = check.counts()
    yield Figure(f"{title}: {pairs:,} pairs in {classes} classes, cold", f"{cold:.1f} s of one core", "60 s")
    yield Figure(
        f"{title}: memory above the state's",
        f"{(rss_bytes(os.getpid()) - before) / 2**20:.0f} MiB",
        "1024 MiB",
    )
    assert not check.problems(), [problem.headline for problem in check.problems()][:3]
    took = []
    for number in range(CHANGES):
        name = f"node-{pick.randrange(len(cluster.nodes))}"
        fault = lose_route if number % 2 else pod_down
        changed = fault(cluster, name, pick, Chains())
        assert changed is not None
        took.append(judge(check, changed))
        assert check.problems()
        took.append(judge(check, cluster))
        assert not check.problems()
    yield Figure(
        f"{title}: a route or pod fails or is mended, p50/p95/p99", percentiles_ms(took), "100 ms (p95)"
    )
    other = rewritten(cluster)
    yield Figure(f"{title}: other rules on every node", f"{judge(check, other):.1f} s", "5 s")
    faulty, planted = plant(cluster, pick, PLANTED)
    judge(check, cluster)
    seconds = judge(check, faulty)
    found = {(problem.where.node, problem.kind) for problem in check.problems()}
    right = sum(any((node, kind) in found for kind in kinds) for node, kinds in planted.items())
    elsewhere = {node for node, _ in found} - planted.keys()
    yield Figure(
        f"{title}: of {PLANTED} faults planted at once, found by their deciding fact",
        f"{right}, and {len(elsewhere)} other nodes named, in {seconds:.1f} s",
        f"{PLANTED}, and 0",
    )
    result = check.result()
    yield Figure(
        f"{title}: of {result.audited} random pairs traced by themselves, judged otherwise",
        f"{result.differed}",
        "0",
    )


def run() -> Iterable[Figure]:
    """Measure both clusters."""
    gc.disable()
    try:
        yield from measure("shared records", shared(NODES), lambda cluster: with_services(cluster, 1))
        gc.collect()
        yield from measure("own records", own_records(OWN_NODES), with_services_of_calico)
    finally:
        gc.enable()
