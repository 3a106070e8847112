"""What the rules of one tier of policies for the whole cluster may decide: those of a lower priority number come first.

A rule decides before those after it in its policy. Which of two policies of one priority decides is left open by the
API, as is what comes first of ClusterNetworkPolicies and the older AdminNetworkPolicies, and whether an address has a
domain's name isn't known here. So a tier has a list of decisions, any of which may be the one; one is the usual case.

Source: policy.networking.k8s.io/v1beta1, ClusterNetworkPolicySpec and ClusterNetworkPolicyRuleAction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple, TypeVar

R = TypeVar("R")


class Listed(NamedTuple):
    """A policy for the whole cluster by what orders it: its generation, its tier, its priority, and its number."""

    generation: str
    tier: str
    priority: int
    number: int


def tier_decisions(
    policies: Iterable[Listed],
    rules_of: Callable[[int], Iterable[R]],
    matches: Callable[[R], bool | None],
) -> tuple[list[R], bool]:
    """Say which rules may decide, and whether it may be that none does.

    `policies` are those of one tier that are for a party, `rules_of` gives a policy's rules in order by its number, and
    `matches` is None where it isn't known whether a rule matches.
    """
    decisions: list[R] = []
    passes = True
    for _, generation in groupby(sorted(policies), key=lambda one: one.generation):
        found, undecided = _of_generation(generation, rules_of, matches)
        decisions += found
        passes = passes and undecided
    return decisions, passes


def _of_generation(
    policies: Iterable[Listed],
    rules_of: Callable[[int], Iterable[R]],
    matches: Callable[[R], bool | None],
) -> tuple[list[R], bool]:
    decisions: list[R] = []
    for _, level in groupby(policies, key=lambda one: one.priority):
        undecided = True
        for policy in level:
            found, open_ended = _of_policy(rules_of(policy.number), matches)
            decisions += found
            undecided = undecided and open_ended
        if not undecided:
            return decisions, False
    return decisions, True


def _of_policy(rules: Iterable[R], matches: Callable[[R], bool | None]) -> tuple[list[R], bool]:
    decisions: list[R] = []
    for rule in rules:
        matched = matches(rule)
        if matched is not False:
            decisions.append(rule)
        if matched:
            return decisions, False
    return decisions, True
