"""What one check of state says at the moment: of each node, and of each key that nodes must agree on."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netviz.core.check.fact import Asked, Fact, Gathered, Look
from netviz.core.check.problem import CheckResult, Problem, result_of
from netviz.core.check.wiring import Wiring, who
from netviz.core.plain import plain

MAX_TEXT = 200
MAX_REASONS = 3


Keys = frozenset[Hashable] | None


class Part(msgspec.Struct, frozen=True):
    """What one check says of one node: problems, how much it judged, what it doesn't know, what it asked."""

    problems: tuple[Problem, ...] = ()
    judged: int = 0
    unknown: tuple[str, ...] = ()
    asked: Asked = {}
    fault: str = ""


NOTHING = Part()


class Attempt:
    """Work that may fail; `fault` says in a line what went wrong, "" when nothing did."""

    fault = ""

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: object, err: BaseException | None, traceback: object) -> bool:
        if isinstance(err, Exception):
            self.fault = plain(f"{type(err).__name__}: {err}"[:MAX_TEXT])[:MAX_TEXT]
        return bool(self.fault)


class Standing:
    """One check's answers."""

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.sections = frozenset((*fact.needs, *fact.reads))
        self._memory: dict[str, Any] = {}
        self._shared: dict[Any, Any] = {}
        self.due: dict[str, None] = {}  # nodes that a lazy check has yet to look at
        self.asked: dict[str, Asked] = {}
        self._parts: dict[str, Part] = {}  # those that say anything
        self._judged: dict[str, int] = {}
        self._total = 0
        self._across: dict[Hashable, tuple[Problem, ...]] = {}
        self._fault_of: dict[Hashable, str] = {}
        self._said: tuple[dict[str, Problem], list[str]] | None = None  # until something changes

    def look(self, look: Look, only: Keys = None) -> None:
        """Look at a node; at what asked for these keys alone, where the check can and nothing else changed."""
        name = look.node.node
        look.memory, look.shared = self._memory.get(name), self._shared
        if only is not None and look.memory is not None:
            look.only, look.asked, look.judged = only, self.asked[name], self._judged[name]
        missing = tuple(missing_of(look.wiring, self.fact.needs))
        found: tuple[Problem, ...] = ()
        with Attempt() as attempt:
            if not look.blind:
                found = tuple(self.fact.find(look))
        self._memory[name] = look.memory
        if attempt.fault:
            self._put(name, Part(fault=attempt.fault, asked=look.asked))
        else:
            self._put(name, Part(found, look.judged, (*missing, *look.unknown), look.asked))

    def asking(self, touched: Mapping[Any, set[Hashable]]) -> Iterator[tuple[str, Keys]]:
        """Yield the nodes of which the check asked for any of these keys, and which, if it need only look at those."""
        tables = [table for table in self.fact.asks if touched.get(table)]
        if not tables:
            return
        for name, asked in self.asked.items():
            hit = [
                table for table in tables if table in asked and not asked[table].isdisjoint(touched[table])
            ]
            if hit:
                alone = hit == [self.fact.by_key]
                yield name, frozenset(touched[hit[0]] & asked[hit[0]]) if alone else None

    def forget(self, name: str) -> None:
        """Drop a node that is gone."""
        self._put(name, NOTHING)
        self._judged.pop(name, None)
        self._memory.pop(name, None)
        self.due.pop(name, None)

    def judge(self, key: Hashable, gathered: Gathered[Any]) -> None:
        """Judge what stands under one key of the check's table."""
        held = gathered.get(key)
        found: tuple[Problem, ...] = ()
        with Attempt() as attempt:
            if held and self.fact.across is not None:
                found = tuple(self.fact.across(key, held))
        if found or attempt.fault or key in self._across or key in self._fault_of:
            _set(self._across, key, found)
            _set(self._fault_of, key, attempt.fault)
            self._said = None

    def problems(self) -> dict[str, Problem]:
        """All problems by key. The same one may come from several nodes or keys: the order of words decides."""
        return self._say()[0]

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield (node, what went wrong) of the nodes that the check failed on."""
        return ((name, part.fault) for name, part in self._parts.items() if part.fault)

    def result(self, failed: bool, lost: Mapping[str, str]) -> CheckResult:
        """How the check ended; `lost` says of nodes why what is known of them may not be so any more."""
        fact = self.fact
        reasons = [*lost.values(), *self._say()[1]]
        reasons += [f"{name} is not judged yet" for name in self.due if name not in self._judged]
        reason = reasons_text(reasons)
        result = result_of(failed, bool(reasons), self._total)
        return CheckResult(fact.name, result, self._total, fact.unit, reason, fact.demands)

    def _say(self) -> tuple[dict[str, Problem], list[str]]:
        """All problems by key, and what isn't known."""
        if self._said is None:
            every = [problem for part in self._parts.values() for problem in part.problems]
            every += [problem for found in self._across.values() for problem in found]
            every.sort(key=lambda problem: problem.headline, reverse=True)
            unknown = [f"not judged: {fault}" for fault in self._fault_of.values()]
            for name, part in sorted(self._parts.items()):
                unknown += [f"{name} is not understood"] if part.fault else part.unknown
            self._said = {problem.key: problem for problem in every}, unknown
        return self._said

    def _put(self, name: str, part: Part) -> None:
        self._total += part.judged - self._judged.get(name, 0)
        self._judged[name] = part.judged
        _set(self.asked, name, part.asked)
        says = part if part.problems or part.unknown or part.fault else None
        if says is not None or name in self._parts:
            _set(self._parts, name, says)
            self._said = None


def _set(mapping: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an entry; one that says nothing is taken out."""
    if value:
        mapping[key] = value
    else:
        mapping.pop(key, None)


def reasons_text(reasons: Sequence[str]) -> str:
    """Write why something isn't known: the first few reasons, and how many more there are."""
    more = len(reasons) - MAX_REASONS
    return "; ".join((*reasons[:MAX_REASONS], *([f"and {more} more"] if more > 0 else [])))


def missing_of(wiring: Wiring, needs: tuple[str, ...]) -> Iterator[str]:
    """Say in a line each what of the needed sections isn't known of a node."""
    for section in needs:
        if reason := wiring.missing.get(section):
            yield f"{wiring.name}: {section}: {reason}"
    for ns in wiring.gappy:
        for gap in ns.gaps:
            if gap.section in needs and gap.section not in wiring.missing:
                yield f"{who(ns.netns)}: {gap.section}: {gap.reason}"
