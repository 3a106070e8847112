"""Policies of either sort, NetworkPolicies and those for the whole cluster, by what they have in common: whom they are for, and their rules.

A policy's key is (namespace, name), and of one for the whole cluster (kind, name): kinds begin with a capital letter,
which no namespace does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from netviz.core.intent.peers import is_meant, selects
from netviz.core.model.kubernetes import (
    ClusterPolicy,
    ClusterRule,
    KubeNamespace,
    KubePod,
    Labels,
    NetworkPolicy,
    ObjectKey,
    PolicyRule,
)
from netviz.core.sim.index import Index
from netviz.core.state.naming import ENDED
from netviz.core.state.objects import Objects

Direction = Literal["egress", "ingress"]
Policy = NetworkPolicy | ClusterPolicy
Namespaces = Mapping[Any, KubeNamespace]


def is_cluster_wide(policy: ObjectKey) -> bool:
    """Tell whether a policy's key is of one for the whole cluster."""
    return policy[0][:1].isupper()


def every_policy(objects: Objects) -> list[Policy]:
    """All policies: those for the whole cluster first, each in the order of their keys."""
    found: list[Policy] = [one for _, one in sorted(objects.cluster_policies.items())]
    return [*found, *(one for _, one in sorted(objects.network_policies.items()))]


def policy_at(objects: Objects, key: ObjectKey) -> Policy | None:
    """The policy that has a key."""
    return objects.cluster_policies.get(key) or objects.network_policies.get(key)


def home_of(policy: Policy) -> str:
    """The namespace that a policy is in; "" of one for the whole cluster."""
    return policy.namespace if isinstance(policy, NetworkPolicy) else ""


def rules_of(policy: Policy, direction: Direction) -> Sequence[PolicyRule | ClusterRule]:
    """A policy's rules of one direction."""
    return policy.ingress if direction == "ingress" else policy.egress


def decides(policy: Policy, direction: Direction) -> bool:
    """Tell whether a policy has a say in a direction."""
    if isinstance(policy, NetworkPolicy):
        return policy.restricts_ingress if direction == "ingress" else policy.restricts_egress
    return bool(rules_of(policy, direction))


def is_for(policy: Policy, pod: KubePod, namespaces: Namespaces) -> bool:
    """Tell whether a policy selects a pod. Those for the whole cluster never select one that has its node's network."""
    return _is_for(policy, pod.namespace, pod.labels, pod.host_network, namespaces)


def _is_for(policy: Policy, namespace: str, labels: Labels, is_host: bool, namespaces: Namespaces) -> bool:
    if isinstance(policy, NetworkPolicy):
        return namespace == policy.namespace and selects(policy.pods, labels)
    return not is_host and is_meant(policy.subject, namespaces.get(namespace), labels)


def build_alike(pods: Mapping[Any, KubePod]) -> dict[str, list[tuple[Labels, bool, int]]]:
    """Count pods that haven't ended by what selectors see: namespace -> (labels, whether it has its node's network, count)."""
    counts: Counter[tuple[str, frozenset[tuple[str, str]], bool]] = Counter()
    for pod in pods.values():
        if pod.phase not in ENDED:
            counts[pod.namespace, frozenset(pod.labels.items()), pod.host_network] += 1
    found: dict[str, list[tuple[Labels, bool, int]]] = {}
    for (namespace, labels, is_host), count in counts.items():
        found.setdefault(namespace, []).append((dict(labels), is_host, count))
    return found


_alike: Index[Mapping[Any, KubePod], dict[str, list[tuple[Labels, bool, int]]]] = Index(build_alike)


def counts(objects: Objects) -> dict[ObjectKey, int]:
    """How many pods each policy selects, but for those that ended."""
    alike, found = _alike(objects.kube_pods), dict[ObjectKey, int]()
    for policy in every_policy(objects):
        spaces = (policy.namespace,) if isinstance(policy, NetworkPolicy) else alike
        found[policy.key] = sum(
            count
            for space in spaces
            for labels, is_host, count in alike.get(space, ())
            if _is_for(policy, space, labels, is_host, objects.kube_namespaces)
        )
    return found


def selected_by(policy: Policy, objects: Objects) -> list[KubePod]:
    """The pods that a policy selects, but for those that ended, by namespace and name."""
    found = [
        pod
        for pod in objects.kube_pods.values()
        if pod.phase not in ENDED and is_for(policy, pod, objects.kube_namespaces)
    ]
    return sorted(found, key=lambda pod: pod.key)
