"""What a check finds: problems, one for each cause, and what was judged to find them.

A check is a module that looks at a cluster's state; `Checker` puts what they find together as a `Report`. None of it
knows a clock: when a problem began and whether somebody has acknowledged it is kept by whoever runs the checks
(`netviz/problems`), by the problem's `key`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.outcome import Outcome
from netviz.core.sim.trace import Flow

Severity = Literal["error", "warning"]
# How a problem hurts, worst first: as the page groups them.
Harm = Literal["breaks traffic", "breaks the contract", "degrades", "at risk", "not known"]
Certainty = Literal["certain", "likely"]
# What is said of a pair of pods; undecided: that would take too long.
Judgement = Outcome | Literal["denied", "undecided"]
Result = Literal["pass", "fail", "unknown", "nothing"]


class Where(msgspec.Struct, frozen=True, order=True):
    """The place of a problem's cause. `netns` is what people call the namespace; `key` is its key as text.

    What doesn't apply is "": a problem of a whole node has no namespace, and of a whole namespace no device.
    """

    node: str = ""
    netns: str = ""
    dev: str = ""
    key: str = ""


class Command(msgspec.Struct, frozen=True):
    """A shell command, and where it is to be run: on which machine, in which namespace ("" is the node's own)."""

    node: str
    netns: str
    command: str


class Between(msgspec.Struct, frozen=True):
    """Ordered pairs of pods that a problem affects: from whom, to whom (a pod, or so many of a node), how many pairs."""

    source: str
    target: str
    pairs: int


class Affects(msgspec.Struct, frozen=True):
    """Whom a problem affects: how many ordered pairs of pods, and which pods (`NAMESPACE/NAME`, sorted).

    `pods` may be cut; `more` is how many are left out. `between` are the pairs, those of the same nodes together, the
    most first; it may be cut, too.
    """

    pairs: int = 0
    pods: tuple[str, ...] = ()
    more: int = 0
    between: tuple[Between, ...] = ()


class Edit(msgspec.Struct, frozen=True):
    """One record of a namespace's section as it should be; None: there should be none with that key."""

    netns: NetnsKey
    section: str
    key: Hashable
    record: Any = None


class Problem(msgspec.Struct, frozen=True):
    """One cause.

    `kind` is of the closed list in docs/problems.md. `cause` tells two problems of a kind apart, and stays the same
    as long as the cause does, whatever it affects meanwhile. Where one cause shows in IPv4 and in IPv6, `both` is the
    same in either's problem, and they are told as one. `headline` names cause and place in at most 20 words,
    `also_at` are the other places where the cause is, as those of all who share an address.
    `consequence` says in one sentence what follows; `also` what else would have to change before traffic passes.
    `fix` is never run by netviz. `flow` is a flow that fails for it: its trace is the evidence. `rests_on` names the
    (node, section) pairs of the state that it was judged from, and `doubts` says in a sentence each which of them are
    old or not whole. What is true of every pod for a moment while it begins or ends is to be told only when it has
    stood for `grace_s` seconds. `family` is the only one that a cause is about, where it could be about both. `repair`
    are the records as they should be, for the checks themselves: what fails no more with them follows from this
    cause. A report's problems have none.
    """

    kind: str
    cause: str
    severity: Severity
    harm: Harm
    headline: str
    consequence: str
    where: Where
    also_at: tuple[Where, ...] = ()
    both: str = ""
    certainty: Certainty = "certain"
    affects: Affects = Affects()
    check: tuple[Command, ...] = ()
    fix: tuple[Command, ...] = ()
    also: tuple[str, ...] = ()
    flow: Flow | None = None
    rests_on: tuple[tuple[str, str], ...] = ()
    doubts: tuple[str, ...] = ()
    grace_s: float = 0.0
    family: Literal["", "IPv4", "IPv6"] = ""
    repair: tuple[Edit, ...] = ()

    @property
    def key(self) -> str:
        """What the problem is known by, as long as its cause stays."""
        return f"{self.kind}:{self.cause}"

    @property
    def told_as(self) -> str:
        """The key of the problem that it is told as: one for both families, where it shows in both."""
        return f"{self.kind}:{self.both or self.cause}"


def result_of(failed: bool, unknown: bool, judged: int) -> Result:
    """Say how a check ended that found a problem, or lacked something, or looked at so many things."""
    return "fail" if failed else "unknown" if unknown else "pass" if judged else "nothing"


class CheckResult(msgspec.Struct, frozen=True):
    """How one check ended: `demands` is what it holds the state to, in one sentence.

    `judged` counts what it looked at, in its own `unit` ("pairs", "links", "entries"). `reason` says which part was
    not judged, and why: a check that found no problem is then "unknown", never "pass". One that looked at nothing, since
    nothing of its sort is there, is "nothing": it hasn't passed either.

    Of pairs besides: how many a policy denies (`denied`: they have passed), and of the audit, since this check began, how
    many were traced in full (`audited`) and how many of these differed from what the check said (`differed`).
    """

    name: str
    result: Result
    judged: int = 0
    unit: str = ""
    reason: str = ""
    demands: str = ""
    denied: int = 0
    audited: int = 0
    differed: int = 0


class Difference(msgspec.Struct, frozen=True):
    """A pair of which its full trace says otherwise than the check: a fault of the check.

    `flows` are what was traced, each with its namespace, addresses, port and what came of it: a trace of the same flow
    in the same state shows it again.
    """

    source: str
    target: str
    said: Judgement
    traced: Judgement
    flows: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source} to {self.target} is {self.traced} in a full trace, and was judged {self.said}"


class NodeHealth(msgspec.Struct, frozen=True):
    """What the server knows of a node's collector: whether it is connected, for how long it has said nothing.

    `late` are the sections that are older than they promise to be; `fault` says why the server can't use the node's
    state at all, "" where it can. `awaited`: it has been enrolled, and has never connected. `clock_s` is about how far the node's clock is ahead of the server's, 0 where that is
    next to nothing.
    """

    connected: bool = True
    silent_s: float = 0.0
    late: tuple[str, ...] = ()
    fault: str = ""
    clock_s: int = 0
    awaited: bool = False


class Report(msgspec.Struct, frozen=True):
    """All that the checks say of one state: problems by key, a result for each check, and what was judged.

    `differences` are the audited pairs by which a check is at fault.
    """

    problems: tuple[Problem, ...] = ()
    results: tuple[CheckResult, ...] = ()
    pods: int = 0
    pairs: int = 0
    classes: int = 0
    differences: tuple[Difference, ...] = ()
