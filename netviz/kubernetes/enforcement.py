"""Whether the nodes enforce a policy: traced when a page asks, as the check of policies does, and kept while it holds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import NamedTuple

from netviz.core.check.netpol.check import Seen, see
from netviz.core.check.netpol.enforced import Enforced, judge, tried
from netviz.core.check.netpol.pods import Pod, Pods
from netviz.core.intent.parties import policies_of
from netviz.core.intent.subjects import Policy, is_for
from netviz.core.sim.reads import Reads
from netviz.core.sim.trace import Flow
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects

SPEND_S = 1.5
MAX_KEPT = 2000


class Judged(NamedTuple):
    """What was found by node; `left` has how many of a node's flows weren't tried yet."""

    nodes: dict[str, Enforced]
    left: Counter[str]


class Enforcement:
    """What became of flows, from one request to the next; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Flow, tuple[Seen, Reads]] = {}
        self._pods = Pods()
        self._at: tuple[ClusterState, Objects, list[Pod]] | None = None

    def judged(self, cluster: ClusterState, objects: Objects, policy: Policy) -> Judged:
        """Try a policy on the nodes of the pods that it selects, as long as there is time."""
        until_s = time.monotonic() + SPEND_S
        nodes: dict[str, Enforced] = {}
        left: Counter[str] = Counter()
        with self._lock:
            pods = self._pods_of(cluster, objects)
            mine = [one for one in pods if is_for(policy, one.pod, objects.kube_namespaces)]
            nodes |= {pod.netns.node: Enforced() for pod in mine}
            for node, one, flow in tried(policies_of(objects), policy, pods, mine):
                known = self._known.get(flow)
                if known is None or not known[1].hold(cluster):
                    if time.monotonic() > until_s:
                        left[node] += 1
                        continue
                    self._known.pop(flow, None)
                    known = self._known[flow] = see(cluster, flow)
                judge(nodes[node], node, one, known[0])
            for flow in list(self._known)[: max(len(self._known) - MAX_KEPT, 0)]:
                del self._known[flow]
        return Judged(nodes, left)

    def _pods_of(self, cluster: ClusterState, objects: Objects) -> list[Pod]:
        if self._at is None or self._at[0] is not cluster or self._at[1] is not objects:
            self._at = cluster, objects, self._pods.now(cluster, objects)
        return self._at[2]


enforcement = Enforcement()
