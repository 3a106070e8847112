"""What failing pairs are put together as: a case for each cause."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import msgspec

from netviz.core.check.long import Ends
from netviz.core.check.paths.contract import Demand
from netviz.core.check.paths.pairs import Key
from netviz.core.check.problem import Judgement
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.headline.cause import Cause
from netviz.core.sim.outcome import GOOD
from netviz.core.sim.trace import Trace
from netviz.core.state.node import ClusterState, NodeState

Token = tuple[Any, ...]
MAX_SINGLE = 2000


class Looked(msgspec.Struct):
    """What came of tracing a failing pair, and the states of the nodes that it came through."""

    nodes: dict[str, NodeState]
    demand: Demand | None = None
    trace: Trace | None = None
    cause: Cause | None = None
    verdict: Judgement = GOOD
    beyond: tuple[str, ...] | None = None

    def holds(self, cluster: ClusterState) -> bool:
        """Tell whether all of these nodes are as they were."""
        return all(cluster.nodes.get(name) is node for name, node in self.nodes.items())


class Group(NamedTuple):
    """Pods that a pair stands for: what they are counted once by, how many they are, and some of them."""

    token: Token
    size: int
    pods: tuple[NetnsKey, ...]


class Case(msgspec.Struct):
    """A cause, one flow that fails for it, and what it affects so far; `widths` are the lengths of the addresses."""

    kind: str
    detail: str
    looked: Looked
    pods: dict[Token, Group]
    pairs: dict[tuple[Key, Token, Token], int]
    widths: set[int] = set()

    @property
    def key(self) -> tuple[str, str]:
        """What cases are put together by."""
        return self.kind, self.detail


def reach_of(case: Case, name: Callable[[NetnsKey], str]) -> dict[Ends, int]:
    """The ordered pairs of pods that a case is about, each by itself as long as they are few -> how many."""
    found: dict[Ends, int] = {}
    for token, count in case.pairs.items():
        key, sources, targets = token[0], case.pods[token[1]], case.pods[token[2]]
        whole = all(len(group.pods) == group.size for group in (sources, targets))
        if not whole or count > MAX_SINGLE:
            ends = Ends(*_words(sources, name), *_words(targets, name))
            found[ends] = found.get(ends, 0) + count
            continue
        for one in sources.pods:
            for other in targets.pods:
                if one != other and (key[0] == "alone" or (one.node == other.node) == (key[0] == "near")):
                    found[Ends(one.node, name(one), other.node, name(other))] = 1
    return found


def _words(group: Group, name: Callable[[NetnsKey], str]) -> tuple[str, str]:
    """A group's node, where it is one's, and what it is called."""
    first = group.pods[0]
    if group.size == 1:
        return first.node, name(first)
    if group.token[0] == "node":
        return "", f"{first.node}, {group.size} pods such as {name(first)}"
    return "", f"{group.size} pods such as {name(first)}"


def nodes_of(trace: Trace) -> Collection[str]:
    """Name the nodes that a trace comes through."""
    return dict.fromkeys(
        hop.netns.node
        for branch in trace.branches
        for path in (branch.forward, branch.reply)
        if path is not None
        for hop in path.hops
    )
