"""The graph for the pages: a first projection of 5,000 nodes with 30 pods each, and one changed link, on one core.

The cluster is that of `scale`. Pages watch as many nodes as a screen shows; all others have their object alone.
A changed link is followed as the server does it: told by the store which node changed. It is to cost the same
at 5 nodes and at 5,000.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterable

import django

from tests.bench.machine import Figure, percentiles_ms
from tests.bench.scale import NODES, PODS, build, changed

FEW, WATCHED, CHANGES = 5, 40, 300


def measure(nodes: int) -> tuple[float, list[float]]:
    """Project a cluster and follow changes; returns the seconds of the first projection and of each change."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
    django.setup()
    from netviz.topology.projector import Projector  # it needs the settings, and no other measurement does

    cluster, projector, pick = build(nodes), Projector(), random.Random(5)
    watched = [f"node-{node}" for node in pick.sample(range(nodes), min(WATCHED, nodes))]
    projector.watch(watched)
    started = time.perf_counter()
    projector.update(cluster, {})
    first, took = time.perf_counter() - started, []
    for number in range(CHANGES):
        name = pick.choice(watched) if number % 2 else f"node-{pick.randrange(nodes)}"
        cluster = changed(cluster, name, number)
        started = time.perf_counter()
        projector.update(cluster, {}, (name,))
        took.append(time.perf_counter() - started)
    return first, took


def run() -> Iterable[Figure]:
    """Measure."""
    gc.disable()
    try:
        _, few = measure(FEW)
        yield Figure(f"one changed link p50/p95/p99, {FEW} nodes", percentiles_ms(few), "1 ms")
        first, many = measure(NODES)
        yield Figure(f"first projection of {NODES} nodes, {NODES * PODS} pods", f"{first:.1f} s", "10 s")
        yield Figure(f"one changed link p50/p95/p99, {NODES} nodes", percentiles_ms(many), "1 ms")
    finally:
        gc.enable()
