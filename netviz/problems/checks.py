"""Which checks run, and what the checking process asks of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from django.conf import settings

from netviz.core.check.checker import Checker
from netviz.core.check.dns.check import KINDS as DNS_KINDS
from netviz.core.check.dns.check import DnsCheck
from netviz.core.check.facts import FACTS
from netviz.core.check.netpol.check import KINDS as POLICY_KINDS
from netviz.core.check.netpol.check import PoliciesCheck
from netviz.core.check.paths.audit import Picker
from netviz.core.check.paths.check import KINDS as PATH_KINDS
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.problem import NodeHealth, Problem, Report
from netviz.core.check.services.check import KINDS as SERVICE_KINDS
from netviz.core.check.services.check import ServicesCheck
from netviz.core.check.watchers import KINDS as WATCHER_KINDS
from netviz.core.state.node import ClusterState

# What these find is judged with each state; other checks take longer, in slices.
AT_ONCE: Collection[str] = frozenset(
    (*WATCHER_KINDS, *(kind for fact in FACTS if not fact.lazy for kind in fact.kinds))
)


# All kinds that there are.
KINDS: Collection[str] = (
    frozenset(
        (
            *WATCHER_KINDS,
            *SERVICE_KINDS,
            *POLICY_KINDS,
            *DNS_KINDS,
            *(kind for fact in FACTS for kind in fact.kinds),
        )
    )
    | PATH_KINDS
)


class Judge(Protocol):
    """The checks: they remember from one state to the next what they judged."""

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth]) -> Report:
        """Judge a state of all nodes."""

    def work(self) -> bool:
        """Do one slice of what takes long; tell whether anything is left to do."""

    def audit(self, count: int) -> None:
        """Have `work` trace so many random pairs in full, besides those of the first run."""

    @property
    def done(self) -> tuple[ClusterState | None, ...]:
        """What each part has judged to the end last; None: nothing yet."""

    def found_in(self, problem: Problem) -> ClusterState | None:
        """Return the state in which a check that takes long found a problem of the report; None: that isn't known."""

    def lasts(self, problem: Problem, later: ClusterState) -> bool:
        """Tell whether a problem of the report is proved to be one of a later state, before that is judged."""

    def report(self) -> Report:
        """What is known now: of each part, in the state that it has judged to the end last."""


def make_judge(pick: Picker, *, one_state: bool = False) -> Judge:
    """Make the checks, which know nothing yet; for `one_state`, those alone that need no second one to compare.

    `pick` picks the pairs that are audited.
    """
    facts = [fact for fact in FACTS if not (one_state and fact.compares)]
    return Checker(
        facts, (PathsCheck(settings.MASQUERADE, pick), ServicesCheck(), PoliciesCheck(), DnsCheck())
    )
