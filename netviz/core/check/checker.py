"""The checker: it is handed one state of the cluster after the other, and says what is wrong in each.

Only what changed is looked at again. What a node's records say by themselves is kept until a section that the check
reads is another one; what crosses nodes stands in tables that follow the differences, and whoever asked for a key is
asked again when its answer changes. A node that a check fails on takes nobody else down: it is "not understood",
and what the check says of it is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from netviz.core.check.fact import Fact, Gathered, Look, Table
from netviz.core.check.facts import FACTS
from netviz.core.check.facts.collectors import doubt, not_understood
from netviz.core.check.long import LongCheck
from netviz.core.check.one_cause import put_together
from netviz.core.check.problem import CheckResult, NodeHealth, Problem, Report
from netviz.core.check.standing import Attempt, Keys, Standing, reasons_text
from netviz.core.check.watchers import Watchers
from netviz.core.check.wiring import Wiring
from netviz.core.model.netfilter import Body
from netviz.core.state.bodies import digests_of
from netviz.core.state.node import BODY_SECTIONS, SECTIONS, ClusterState, NodeState
from netviz.core.state.objects import NO_OBJECTS, cluster_of

HEALTHY = NodeHealth()
NO_HEALTH: Mapping[str, NodeHealth] = MappingProxyType({})
# How problems are told: the worst first.
HARMS = ("breaks traffic", "breaks the contract", "degrades", "at risk", "not known")


class Checker:
    """Judges one state of the cluster after the other. Not to be used by two threads at once."""

    def __init__(self, facts: Sequence[Fact] = FACTS, long: Sequence[LongCheck] = ()) -> None:
        self._long = long
        self._standing = [Standing(fact) for fact in facts]
        tables = dict.fromkeys(table for fact in facts for table in (*fact.asks, fact.table) if table)
        self._gathered: dict[Table[Any], Gathered[Any]] = {table: Gathered() for table in tables}
        self._nodes: dict[str, NodeState] = {}
        self._pods: dict[str, int] = {}
        self._health: dict[str, NodeHealth] = {}
        self._awaited: frozenset[str] = frozenset()  # nodes that only an enrolment names
        self._faults: dict[str, str] = {}  # of tables
        self._bodies: Mapping[bytes, Body] = {}
        self._lacking: dict[str, frozenset[bytes]] = {}  # bodies that a node refers to and that aren't here
        self._wirings: dict[str, Wiring] = {}  # of the nodes that are being looked at
        self._watchers = Watchers()
        self._cluster: ClusterState | None = None
        self._done: ClusterState | None = None
        self._found: dict[str, tuple[LongCheck, ClusterState | None]] = {}

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth] = NO_HEALTH) -> Report:
        """Follow the cluster to a new state and say what is wrong there.

        `health` maps sources (nodes, and clusters as sources are named) to what is known of their collectors; one that
        isn't named is connected and in time. A source that only `health` names never sent anything.
        """
        self._cluster = cluster
        doubted = self._watchers.follow(cluster, health)
        every, health = health, {name: one for name, one in health.items() if cluster_of(name) is None}
        known, nodes = self._nodes, cluster.nodes
        news = {name: node for name, node in nodes.items() if known.get(name) is not node}
        silent = [name for name in health if name not in nodes]
        awaited = frozenset(name for name in silent if health[name].awaited)
        other, self._awaited = awaited ^ self._awaited, awaited
        news |= {
            name: NodeState(name)
            for name in silent
            if name not in known or known[name].status or name in other
        }
        changed = {
            name: changed_sections(known.get(name) if name not in other else None, node)
            for name, node in news.items()
        }
        known.update(news)
        for name, node in news.items():
            self._pods[name] = sum(ns.netns.pod is not None for ns in node.netns.values())
        changed |= self._follow_bodies(cluster.bodies, changed)
        more = len(known) > len(nodes) + len(silent)
        gone = [name for name in known if name not in nodes and name not in health] if more else []
        touched = self._follow_tables(changed, gone)
        ailing = {name: _settled(one) for name, one in health.items() if one is not HEALTHY}
        ailing = {name: one for name, one in ailing.items() if one != HEALTHY}
        ill = {name for name in (*ailing, *self._health) if name in self._nodes}
        ill = {name for name in ill if ailing.get(name, HEALTHY) != self._health_of(name)}
        self._health = ailing
        if doubted:
            ill |= {name for name, node in nodes.items() if node.objects is not NO_OBJECTS}
        self._look_again(changed, ill, touched)
        for check in self._long:
            check.follow(cluster, (*changed, *gone), every)
        return self.report()

    def work(self) -> bool:
        """Do one slice of what takes long; False: there was nothing left to do, and `report` is final.

        What was judged to the end can be told before anything is audited: that is another slice.
        """
        for standing in self._standing:
            if standing.due:
                name = next(iter(standing.due))
                del standing.due[name]
                self._look(standing, Wiring(self._nodes[name]))
                return True
        before = [check.done for check in self._long]
        if any(check.work() for check in self._long):
            return True
        if any(check.done is not was for check, was in zip(self._long, before, strict=True)):
            return True
        return any(check.work_at_audit() for check in self._long)

    def audit(self, count: int) -> None:
        """Have each check that takes long audit so many random pairs by `work`, when all is judged."""
        for check in self._long:
            check.audit(count)

    @property
    def done(self) -> tuple[ClusterState | None, ...]:
        """What each part has judged to the end last: the facts together, and each check that takes long; None: nothing."""
        if not any(standing.due for standing in self._standing):
            self._done = self._cluster
        return (self._done, *(check.done for check in self._long))

    def report(self) -> Report:
        """What is known now: of checks that take long, in the last state that they judged to the end."""
        found: dict[str, Problem] = {}
        results = []
        doubts = {name: text for name, one in sorted(self._health.items()) if (text := doubt(name, one))}
        lost = {name: text for name, text in doubts.items() if name not in self._awaited}
        faults = dict(self._faults)
        for standing in self._standing:
            mine = standing.problems()
            found |= mine
            results.append(standing.result(bool(mine), lost))
            faults |= dict(standing.faults())
        for name, fault in faults.items():
            problem = not_understood(name, fault)
            found[problem.key] = problem
        of_sources = {problem.key: problem for problem in self._watchers.problems()}
        found |= of_sources
        results += filter(None, (self._watchers.result(bool(of_sources)),))
        pairs = classes = 0
        for check in self._long:
            if (result := check.result()) is not None:
                results.append(_with(result, {**self._unshown(doubts), **lost}))
            pairs, classes = pairs + check.counts()[0], classes + check.counts()[1]
        self._found = {
            one.told_as: (check, check.found_in(one)) for check in self._long for one in check.problems()
        }
        every = put_together(found.values(), self._long)
        problems = sorted((_doubted(problem, lost) for problem in every), key=_rank)
        differences = tuple(one for check in self._long for one in check.differences)
        pods = sum(self._pods.values())
        return Report(tuple(problems), tuple(results), pods, pairs, classes, differences)

    def _unshown(self, doubts: Mapping[str, str]) -> dict[str, str]:
        """Say of the nodes that the API has and no collector shows why: what all nodes and pods are to do isn't known of them."""
        cluster = self._cluster or ClusterState()
        listed = {name for one in cluster.clusters.values() for name in one.objects.kube_nodes}
        return {
            name: doubts.get(name, f"no collector shows {name}")
            for name in sorted(listed - cluster.nodes.keys())
        }

    def lasts(self, problem: Problem, later: ClusterState) -> bool:
        """Tell whether a problem of the report is proved to be one of a later state, before that is judged."""
        check, found_in = self._found.get(problem.key, (None, None))
        return check is not None and found_in is not None and check.lasts(problem, found_in, later)

    def found_in(self, problem: Problem) -> ClusterState | None:
        """Return the state in which a check that takes long found a problem of the report; None: that isn't known."""
        return self._found.get(problem.key, (None, None))[1]

    def _follow_bodies(
        self, bodies: Mapping[bytes, Body], changed: Mapping[str, frozenset[str]]
    ) -> dict[str, frozenset[str]]:
        """Take the bodies of a state; return the nodes that lacked one that is here now, with what that changes.

        A node's chains are told before their bodies, which are asked for.
        """
        came: dict[str, frozenset[str]] = {}
        if bodies is not self._bodies:
            self._bodies = bodies
            for name, digests in self._lacking.items():
                if any(digest in bodies for digest in digests):
                    came[name] = changed.get(name, NOTHING) | BODIES
        for name in {**changed, **came}:
            if not (changed.get(name, NOTHING) | came.get(name, NOTHING)).isdisjoint(BODIES):
                spaces = self._nodes[name].netns.values()
                lacking = frozenset(one for ns in spaces for one in digests_of(ns) if one not in bodies)
                if lacking:
                    self._lacking[name] = lacking
                else:
                    self._lacking.pop(name, None)
        return came

    def _follow_tables(
        self, changed: Mapping[str, frozenset[str]], gone: Iterable[str]
    ) -> dict[Table[Any], set[Hashable]]:
        """Follow the nodes with the tables; return the keys under which something changed."""
        touched: dict[Table[Any], set[Hashable]] = {table: set() for table in self._gathered}
        for name in gone:
            for of_nodes in (self._nodes, self._pods, self._faults, self._lacking):
                of_nodes.pop(name, None)
            for table, gathered in self._gathered.items():
                touched[table] |= gathered.put(name, {})
            for standing in self._standing:
                standing.forget(name)
        for name, sections in changed.items():
            self._faults.pop(name, None)
            with Attempt() as attempt:
                wiring = self._wirings[name] = Wiring(self._nodes[name])
                for table, gathered in self._gathered.items():
                    if not table.sections.isdisjoint(sections):
                        touched[table] |= gathered.put(name, table.build(wiring))
            if attempt.fault:
                self._faults[name] = attempt.fault
        return touched

    def _look_again(
        self,
        changed: Mapping[str, frozenset[str]],
        ill: Collection[str],
        touched: Mapping[Table[Any], set[Hashable]],
    ) -> None:
        """Look at all that may be judged otherwise now, node by node, so that a node's wiring is made once."""
        concerned: dict[str, list[tuple[Standing, Keys]]] = {}
        for standing in self._standing:
            names = self._concerned(standing, changed, ill, touched)
            if standing.fact.needs:
                for name in self._awaited & names.keys():
                    standing.forget(name)
                    del names[name]
            if standing.fact.lazy:
                standing.due |= dict.fromkeys(names)
                continue
            for name, only in names.items():
                concerned.setdefault(name, []).append((standing, only))
        for name, standings in concerned.items():
            wiring = self._wirings.pop(name, None) or Wiring(self._nodes[name])
            for standing, only in standings:
                self._look(standing, wiring, only)
        self._wirings.clear()
        for standing in self._standing:
            if (table := standing.fact.table) is not None:
                for key in touched[table]:
                    standing.judge(key, self._gathered[table])

    def _look(self, standing: Standing, wiring: Wiring, only: Keys = None) -> None:
        health = self._health_of(wiring.name)
        look = Look(standing.fact, wiring, self._gathered, self._bodies, health, self._watchers.api)
        standing.look(look, only)

    def _concerned(
        self,
        standing: Standing,
        changed: Mapping[str, frozenset[str]],
        ill: Collection[str],
        touched: Mapping[Table[Any], set[Hashable]],
    ) -> dict[str, Keys]:
        names = dict(standing.asking(touched))
        if standing.fact.watches_health:
            names |= dict.fromkeys(ill)
        names |= dict.fromkeys(
            name for name, sections in changed.items() if not sections.isdisjoint(standing.sections)
        )
        return names

    def _health_of(self, name: str) -> NodeHealth:
        return self._health.get(name, HEALTHY)


ALL_SECTIONS = frozenset(("netns", "kube_pods", *SECTIONS))
BODIES = frozenset(BODY_SECTIONS)
NOTHING: frozenset[str] = frozenset()


def changed_sections(old: NodeState | None, new: NodeState) -> frozenset[str]:
    """Name the sections that a node's states differ in, in any namespace; "netns" is the namespaces' own records.

    "kube_pods" is what the API says of the node. A section whose completeness changed differs too, and so do rules'
    counters that were read again: those that stand still aren't told again.
    """
    if old is None or old.netns.keys() != new.netns.keys():
        return ALL_SECTIONS
    found = {
        section
        for section in old.status.keys() | new.status.keys()
        if _complete(old, section) != _complete(new, section)
    }
    if old.objects is not new.objects:
        found.add("kube_pods")
    for key, ns in new.netns.items():
        was = old.netns[key]
        if was is not ns:
            found.update(name for name in ("netns", *SECTIONS) if getattr(was, name) is not getattr(ns, name))
    if "netns" in found or "refused" in found:
        return ALL_SECTIONS
    return frozenset(found)


def _complete(node: NodeState, section: str) -> tuple[bool, str, float] | None:
    status = node.status.get(section)
    if status is None:
        return None
    return (status.complete, status.reason, status.read_at_s if section == "rule_counters" else 0.0)


def _settled(health: NodeHealth) -> NodeHealth:
    """What checks see of a node's health: how long exactly it has been silent changes all the time."""
    return msgspec.structs.replace(health, silent_s=0.0)


def _doubted(problem: Problem, lost: Mapping[str, str]) -> Problem:
    """A problem with what is to be said of the collectors that it rests on."""
    doubts = tuple(dict.fromkeys(lost[node] for node, _ in problem.rests_on if node in lost))
    return msgspec.structs.replace(problem, doubts=doubts) if doubts else problem


def _with(result: CheckResult, lost: Mapping[str, str]) -> CheckResult:
    """A result with what is to be said of collectors: what rests on a lost one hasn't passed."""
    reason = reasons_text([*lost.values(), *filter(None, (result.reason,))])
    state = "unknown" if lost and result.result == "pass" else result.result
    return msgspec.structs.replace(result, result=state, reason=reason)


def _rank(problem: Problem) -> tuple[Any, ...]:
    affects = problem.affects
    return (
        problem.severity != "error",
        HARMS.index(problem.harm),
        -affects.pairs,
        -len(affects.pods) - affects.more,
        problem.key,
    )
