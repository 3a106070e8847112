"""The recorded cluster (kube-router enforces), judged by the check of policies."""

from __future__ import annotations

from netviz.core.check.netpol.check import PoliciesCheck
from netviz.core.check.problem import Problem
from netviz.core.state.node import ClusterState

# kube-router runs through a pod's policies in one chain for both directions. On n1, the policy that lets 10.244.1.0/24 in to
# vault's pods so lets out what a vault of n1 sends to another one, which the policies for egress deny.
USUAL = "policy-denied-delivered:locked/allow-dns-out:n1"


def news(check: PoliciesCheck) -> list[Problem]:
    """The problems that the recorded cluster doesn't have."""
    return [problem for problem in check.problems() if problem.key != USUAL]


def judged(cluster: ClusterState, check: PoliciesCheck | None = None) -> PoliciesCheck:
    """Judge a state to the end."""
    check = check or PoliciesCheck()
    check.follow(cluster)
    while check.work():
        pass
    return check
