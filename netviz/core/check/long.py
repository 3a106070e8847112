"""What a check is that takes long: it follows the cluster, and is worked at in slices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

from netviz.core.check.problem import CheckResult, Difference, NodeHealth, Problem
from netviz.core.state.node import ClusterState

SLICE_MS = 40.0


class Ends(NamedTuple):
    """The ends of pairs of pods: each a pod and its node, or (without a node) some pods in words."""

    source_node: str
    source: str
    target_node: str
    target: str


class LongCheck(Protocol):
    """A check that answers with what it knows of the last state that it judged to the end, which is `done`.

    `follow` hands it another one, that `work` judges in slices of some 50 ms at most. Before the first is done, it
    knows nothing.
    """

    done: ClusterState | None

    def follow(
        self, cluster: ClusterState, changed: Collection[str], health: Mapping[str, NodeHealth]
    ) -> None:
        """Take a new state; `changed` are the nodes that came, went or changed since the last one.

        `health` maps sources, of clusters too, to what is known of who speaks for them.
        """

    def work(self) -> bool:
        """Do one slice; tell whether anything is left to do."""

    def problems(self) -> Collection[Problem]:
        """The problems of the state that is done; and those that are known already of the one that is being judged."""

    def follows(self, problem: Problem, fact: Problem) -> tuple[str, ...] | None:
        """Say what else is in a problem's way if a fact is repaired; None: the problem stays, or that isn't known."""

    def reach(self, problem: Problem) -> Mapping[Ends, int]:
        """What a problem affects: from whom to whom, as long as they are few each pair by itself -> how many pairs."""

    def found_in(self, problem: Problem) -> ClusterState | None:
        """Return the state that one of its problems was found in; None: that isn't known."""

    def lasts(self, problem: Problem, found_in: ClusterState, later: ClusterState) -> bool:
        """Tell whether a problem of one state is proved to be one of a later state; False: that isn't known."""

    def result(self) -> CheckResult | None:
        """How the check ended there: "unknown", with a reason, if something couldn't be judged; None: it has no subject."""

    def counts(self) -> tuple[int, int]:
        """How many ordered pairs of pods were judged, and in how many classes."""

    def audit(self, count: int) -> None:
        """Have so many random pairs traced in full, besides those of the first run."""

    def work_at_audit(self) -> bool:
        """Do one slice of that; tell whether anything is left to do."""

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The audited pairs of which the check says otherwise than their traces."""


def do_slice(job: Iterator[float]) -> bool:
    """Work at a job, which yields what each piece of its work costs, in ms; tell whether any of it is left."""
    spent = 0.0
    for cost in job:
        spent += cost
        if spent >= SLICE_MS:
            return True
    return False


def fault_text(err: Exception) -> str:
    """Say that a check could not be made of a state."""
    return f"the check failed on this state ({type(err).__name__}: {err})"
