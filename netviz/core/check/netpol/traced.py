"""A check that traces what pods send, a flow of each sort: what such checks remember from one state to the next."""

from __future__ import annotations

from typing import Generic

from netviz.core.check.netpol.pods import Pods
from netviz.core.check.sliced import A, Answers, K, SlicedCheck


class TracingCheck(SlicedCheck, Generic[K, A]):
    """Remembers the answers to traced flows, and the pods of each cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forget all answers, and all pods."""
        self._answers: Answers[K, A] = Answers()
        self._pods: dict[str, Pods] = {}

    def pods_of(self, cluster: str) -> Pods:
        """The pods of a cluster, by its name, as they were followed so far."""
        return self._pods.setdefault(cluster, Pods())
