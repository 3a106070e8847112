"""A report as it is told offline: as text for people, as the JSON of the API, as JUnit's XML for pipelines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import msgspec
from django.conf import settings

from netviz.core.check.facts import FACTS
from netviz.core.check.paths.check import KINDS as PATH_KINDS
from netviz.core.check.problem import CheckResult, Command, Problem, Report
from netviz.core.check.text import counted
from netviz.core.plain import plain, singular
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.render import trace_json
from netviz.problems.shown import HARMS, VERSION
from netviz.tracing.predict import describe, nodes_of
from netviz.tracing.states import View

MAX_PODS = 5
# A kind of problem -> the check that finds it.
CHECK_OF: Mapping[str, str] = {
    **dict.fromkeys(PATH_KINDS, "paths"),
    **{kind: fact.name for fact in FACTS for kind in fact.kinds},
}


def time_of(view: View) -> datetime:
    """What is told is as old as the oldest state that it was judged from."""
    return datetime.fromtimestamp(min(one.at_s for one in view.inputs.values()), UTC)


def as_json(report: Report, view: View) -> dict[str, Any]:
    """The object that DESIGN.md fixes for `verify --json`."""
    at = time_of(view).isoformat()
    return {
        "version": VERSION,
        "checked": {
            "pods": report.pods,
            "pairs": report.pairs,
            "classes": report.classes,
            "checks": [{**msgspec.to_builtins(one), "at": at} for one in report.results],
            "differences": msgspec.to_builtins(report.differences),
        },
        "problems": [_problem_json(problem, view) for problem in report.problems],
    }


def _problem_json(problem: Problem, view: View) -> dict[str, Any]:
    return {
        "id": problem.key,
        "kind": problem.kind,
        "severity": problem.severity,
        "harm": problem.harm,
        "certainty": problem.certainty,
        "headline": problem.headline,
        "consequence": problem.consequence,
        "since": None,
        "until": None,
        "state": "open",
        "grace_s": problem.grace_s,
        "doubts": list(problem.doubts),
        "where": msgspec.to_builtins(problem.where),
        "also_at": msgspec.to_builtins(problem.also_at),
        "affects": msgspec.to_builtins(problem.affects),
        "check": msgspec.to_builtins(problem.check),
        "fix": msgspec.to_builtins(problem.fix),
        "also": list(problem.also),
        "trace": _trace(problem, view),
    }


def _trace(problem: Problem, view: View) -> dict[str, Any] | None:
    if problem.flow is None:
        return None
    trace = simulate_in_context(view.cluster, problem.flow)
    return trace_json(trace, describe(view, sorted(nodes_of(trace))), settings.ENTER)


def as_text(report: Report, view: View) -> Iterator[str]:
    """The lines for people: what is wrong, the worst first, then what was checked and how much of it."""
    yield _summary(report)
    for harm in HARMS:
        found = [problem for problem in report.problems if problem.harm == harm]
        if found:
            yield ""
            yield harm.upper()
            for problem in found:
                yield from map(plain, _problem_text(problem))
    yield ""
    yield from map(plain, _checked(report, view))


def _summary(report: Report) -> str:
    unknown = [one for one in report.results if one.result == "unknown"]
    if not report.problems:
        found = "No problem found in what was checked."
    else:
        counts: Counter[str] = Counter(problem.harm for problem in report.problems)
        harms = ", ".join(f"{counts[harm]} {harm}" for harm in HARMS if counts[harm])
        found = f"{counted(len(report.problems), 'problem')}: {harms}."
    return f"{found} {counted(len(unknown), 'check')} undecided." if unknown else found


def _problem_text(problem: Problem) -> Iterator[str]:
    mark = {"error": "ERROR", "warning": "warning"}[problem.severity]
    yield ""
    yield f"{mark}: {problem.headline}" + (" (likely)" if problem.certainty == "likely" else "")
    yield f"    {problem.consequence}"
    affects = problem.affects
    whom = list(affects.pods[:MAX_PODS])
    left = len(affects.pods) - len(whom) + affects.more
    if whom:
        pairs = f"{counted(affects.pairs, 'pair')} of pods; " if affects.pairs else ""
        yield f"    affects: {pairs}{', '.join(whom)}" + (f" and {left} more" if left else "")
    for also in problem.also:
        yield f"    also: {also}"
    for doubt in problem.doubts:
        yield f"    not certain: {doubt}"
    if problem.grace_s:
        yield f"    may pass by itself: a server reports it only once it has lasted {problem.grace_s:.0f} s"
    for what, commands in (("check", problem.check), ("fix", problem.fix)):
        for command in commands:
            yield f"    {what} on {_machine(command)}:  {command.command}"


def _machine(command: Command) -> str:
    return f"{command.node} ({command.netns})" if command.netns else command.node


def _checked(report: Report, view: View) -> Iterator[str]:
    nodes = counted(len(view.cluster.nodes), "node")
    pods, pairs = counted(report.pods, "pod"), counted(report.pairs, "pair")
    kinds = "1 class" if report.classes == 1 else f"{report.classes} classes"
    more = f", {pairs} in {kinds}" if report.pairs else ""
    yield f"CHECKED: {nodes}, {pods}{more}; the oldest state is of {time_of(view):%Y-%m-%d %H:%M:%S} UTC"
    idle = [one.name for one in report.results if one.result == "nothing"]
    for one in report.results:
        if one.result == "nothing":
            continue
        amount = f"{one.judged} {one.unit if one.judged != 1 else singular(one.unit)}"
        yield f"  {one.result:8}{one.name:18}{amount:24}{one.demands}".rstrip()
        for note in pairs_notes(one):
            yield f"          {note}"
        if one.reason:
            yield f"          not judged: {one.reason}"
    if idle:
        yield f"  nothing to judge: {', '.join(idle)}"


def pairs_notes(result: CheckResult) -> Iterator[str]:
    """Say of a check of pairs how many a policy denies, and what its audit found."""
    if result.denied:
        yield f"{counted(result.denied, 'pair')} denied by policy"
    if result.audited:
        differed = f"{result.differed or 'none'} judged otherwise"
        yield f"{counted(result.audited, 'random pair')} also traced in full: {differed}"


def as_junit(report: Report, strict: bool, warnings: bool) -> str:
    """JUnit's XML: a test case for each check.

    A problem that counts is a failure, another one stands in the output. A check that is undecided is skipped;
    with `strict` it fails. One that has nothing to judge is skipped.
    """
    suite = ElementTree.Element("testsuite", name="netviz verify")
    names = {one.name for one in report.results}
    by_check: dict[str, list[Problem]] = {}
    for problem in report.problems:
        name = CHECK_OF.get(problem.kind, problem.kind)
        by_check.setdefault(name if name in names else problem.kind, []).append(problem)
    results = list(report.results)
    results += [CheckResult(name, "fail") for name in by_check if name not in names]
    tally = Counter(_case(suite, one, by_check.get(one.name, []), strict, warnings) for one in results)
    suite.set("tests", str(len(results)))
    suite.set("failures", str(tally["failure"]))
    suite.set("skipped", str(tally["skipped"]))
    suite.set("errors", "0")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True)


def _case(
    suite: ElementTree.Element, result: CheckResult, problems: list[Problem], strict: bool, warnings: bool
) -> str:
    case = ElementTree.SubElement(suite, "testcase", classname="netviz", name=plain(result.name))
    outcome = "passed"
    for problem in problems:
        text = "\n".join(map(plain, _problem_text(problem))).strip()
        if warnings or problem.severity == "error":
            outcome = "failure"
            failure = ElementTree.SubElement(
                case, "failure", message=plain(problem.headline), type=problem.kind
            )
            failure.text = text
        else:
            ElementTree.SubElement(case, "system-out").text = text
    if result.result == "nothing":
        outcome = "skipped"
        ElementTree.SubElement(case, outcome, message="nothing to judge")
    elif result.result == "unknown" and outcome == "passed":
        outcome = "failure" if strict else "skipped"
        element = ElementTree.SubElement(case, outcome, message=plain(result.reason))
        if strict:
            element.set("type", "undecided")
    return outcome
