"""Policies as users read them: whom they select, what may come and go, and whether the nodes enforce them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from netviz.core.check.netpol.check import KINDS, NEEDS
from netviz.core.check.netpol.enforced import Enforced
from netviz.core.intent.matrix import OTHER, At, fits, ports_for, rows_for
from netviz.core.intent.parties import policies_of
from netviz.core.intent.policies import Policies, restricted
from netviz.core.intent.subjects import Direction, Policy, decides, home_of, rules_of, selected_by
from netviz.core.intent.words import peers_text, ports_text, selected_text
from netviz.core.model.kubernetes import ClusterRule, KubePod, NetworkPolicy
from netviz.core.sim.endpoints import lowest_port
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import joined
from netviz.kubernetes.enforcement import Judged, enforcement
from netviz.kubernetes.pods import Places, pod_row
from netviz.problems.models import Problem
from netviz.tracing.apis import Api
from netviz.tracing.states import View

MOST_PODS = 200
MOST_NAMED = 12
MOST_ROWS = 60
STATES = ("differs", "unknown", "enforced")
DIRECTIONS: tuple[tuple[Direction, str], ...] = (("ingress", "in"), ("egress", "out"))


# Of AdminNetworkPolicies' older Baseline, a cluster has one, which has none.
PRIORITIES = ("ClusterNetworkPolicy", "AdminNetworkPolicy")


class Narrow(NamedTuple):
    """What a matrix is narrowed to, by texts in names and labels: some of its pods, and some other ends; "" to none."""

    pods: str = ""
    peers: str = ""


EVERYBODY = Narrow()
NOTHING = Judged({}, Counter())


def summary(policy: Policy, pods: int) -> dict[str, Any]:
    """A policy as lists show it. One for the whole cluster has no namespace, but a tier, and a priority in it."""
    wide = None if isinstance(policy, NetworkPolicy) else policy
    return {
        "kind": wide.kind if wide is not None else "NetworkPolicy",
        "namespace": home_of(policy) or None,
        "name": policy.name,
        "tier": wide.tier if wide is not None else None,
        "priority": wide.priority if wide is not None and wide.kind in PRIORITIES else None,
        "selects": selected_text(policy),
        "pods": pods,
        "restricts": [way for direction, way in DIRECTIONS if decides(policy, direction)],
    }


def detail(view: View, api: Api, policy: Policy, narrow: Narrow = EVERYBODY) -> dict[str, Any]:
    """All that is known of a policy."""
    cluster, objects = view.cluster, api.state.objects
    pods = selected_by(policy, objects)
    places = Places(cluster)
    why = api.doubt(NEEDS)
    judged = NOTHING if why else enforcement.judged(cluster, objects, policy)
    return {
        **summary(policy, len(pods)),
        "rules": [
            {
                "direction": way,
                "number": number + 1,
                "name": rule.name or None if isinstance(rule, ClusterRule) else None,
                "action": rule.action if isinstance(rule, ClusterRule) else None,
                "peers": peers_text(home_of(policy), rule),
                "ports": ports_text(rule),
            }
            for direction, way in DIRECTIONS
            for number, rule in enumerate(rules_of(policy, direction))
        ],
        "rows": [pod_row(pod, objects, places) for pod in pods[:MOST_PODS]],
        "left_off": max(0, len(pods) - MOST_PODS),
        "matrix": {
            way: matrix(cluster, objects, pods, direction, narrow, judged) for direction, way in DIRECTIONS
        },
        "enforced": {
            "why": why or None,
            "left": judged.left.total(),
            "rows": _enforced(view, policy, judged),
        },
    }


def matrix(
    cluster: ClusterState,
    objects: Objects,
    pods: list[KubePod],
    direction: Direction,
    narrow: Narrow = EVERYBODY,
    judged: Judged = NOTHING,
) -> dict[str, Any] | None:
    """Who may reach some pods, or whom they may reach; None in a direction that no policy has a say in."""
    policies = policies_of(objects)
    wanted = narrow.pods.strip().lower()
    mine = [pod for pod in pods if fits(objects, pod, wanted)] if wanted else pods
    selecting = [one for one in policies.selecting(pods) if decides(one, direction)]
    if not selecting:
        return None
    ports = ports_for(selecting, mine, direction, _listened(cluster, mine))
    found = rows_for(policies, objects, selecting, mine, direction, ports, narrow.peers)
    wrong = _wrong(judged, policies, direction, ports)
    return {
        "ports": [None if at == OTHER else {"protocol": at.protocol, "port": at.port} for at in ports],
        "policies": ["/".join(one.key) for one in selecting],
        "pods": len(restricted(mine)),
        "rows": [
            {
                "name": row.name,
                "pods": row.pods,
                "cells": list(row.cells),
                "differs": [
                    next((wrong[sort, at] for sort in row.sorts if (sort, at) in wrong), None) for at in ports
                ],
                "by": ["/".join(key) for key in row.by],
            }
            for row in found.rows[:MOST_ROWS]
        ],
        "left_off": max(0, len(found.rows) - MOST_ROWS),
        "pods_left_off": found.mine_left_off,
        "peers_left_off": found.peers_left_off,
    }


def _listened(cluster: ClusterState, pods: list[KubePod]) -> list[int]:
    """The lowest TCP ports that some of the pods listen on."""
    found = []
    for name in sorted({pod.node for pod in pods if pod.node in cluster.nodes}):
        node = cluster.nodes[name]
        places = joined(node)
        for pod in pods:
            if pod.node == name and pod.key in places and places[pod.key] in node.netns:
                port = lowest_port(node.netns[places[pod.key]], 6)
                if port is not None:
                    found.append(port)
        if found:
            break
    return found


def _wrong(
    judged: Judged, policies: Policies, direction: Direction, ports: list[At]
) -> dict[tuple[Any, At], str]:
    """Where kernels do otherwise: by the other end's sort and the column of the port."""
    found: dict[tuple[Any, At], str] = {}
    for one in judged.nodes.values():
        for wrong in one.wrong:
            peer = wrong.one.source if direction == "ingress" else wrong.one.target
            at = At(wrong.one.protocol, wrong.one.port)
            found[policies.sort(peer.party), at if at in ports else ports[-1]] = wrong.kind
    return found


def _enforced(view: View, policy: Policy, judged: Judged) -> list[dict[str, Any]]:
    """Nodes that do the same are one row."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for node, one in sorted(judged.nodes.items()):
        groups.setdefault(_of_node(view, node, one, judged.left[node]), []).append(node)
    since = {} if not groups else _since(policy)
    rows = []
    for (state, said), nodes in sorted(
        groups.items(), key=lambda row: (STATES.index(row[0][0]), -len(row[1]), row[1])
    ):
        problem, began = since.get(nodes[0], (None, None)) if state == "differs" else (None, None)
        rows.append(
            {
                "nodes": nodes[:MOST_NAMED],
                "count": len(nodes),
                "state": state,
                "said": list(said),
                "since": began,
                "problem": problem,
            }
        )
    return rows[:MOST_ROWS]


def _of_node(view: View, node: str, one: Enforced, left: int) -> tuple[str, tuple[str, ...]]:
    known = view.inputs.get(node)
    if known is not None and known.contact is not None and not known.contact.connected:
        return "unknown", ("its collector isn't connected",)
    if left and one.state != "differs":
        return "unknown", ("not all of its flows are traced yet",)
    return one.state, tuple(one.said)


def _since(policy: Policy) -> dict[str, tuple[str, str | None]]:
    """The problems that say that nodes don't do what a policy says, by node: (id, since when)."""
    found: dict[str, tuple[str, str | None]] = {}
    name = "/".join(policy.key)
    for row in Problem.objects.filter(ended_at=None, gone_at=None, kind__in=KINDS).defer("packed"):
        cause = row.key.removeprefix(f"{row.kind}:")
        if cause == name or cause.startswith(f"{name}:"):
            since = row.began_at.isoformat() if row.began_at is not None else None
            for node in (row.node, *(where.node for where in row.found.also_at)):
                found.setdefault(node, (str(row.pk), since))
    return found
