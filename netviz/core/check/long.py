"""What a check is that takes long: it follows the cluster, and is worked at in slices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from netviz.core.check.problem import CheckResult, NodeHealth, Problem
from netviz.core.state.node import ClusterState


class LongCheck(Protocol):
    """A check that answers with what it knows so far.

    After `follow` everything that the change may have touched counts as not judged, until `work` has judged it. A
    slice of work takes some 50 ms at most.
    """

    def follow(
        self, cluster: ClusterState, changed: Collection[str], health: Mapping[str, NodeHealth]
    ) -> None:
        """Take a new state; `changed` are the nodes that came, went or changed since the last one."""

    def work(self) -> bool:
        """Do one slice; tell whether anything is left to do."""

    def problems(self) -> Collection[Problem]:
        """The problems that are known of the last state."""

    def result(self) -> CheckResult:
        """How the check stands: "unknown", with a reason, as long as something isn't judged."""

    def counts(self) -> tuple[int, int]:
        """How many ordered pairs of pods were judged, and in how many classes."""
