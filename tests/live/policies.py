"""Random NetworkPolicies in a lab cluster whose agent enforces them: what is intended, predicted, and done with real packets.

A round is one set of random policies, and random flows of TCP and UDP from pods and nodes to pods, and from pods to the
internet. Of each flow the API's lists say by `core/intent` whether it is allowed, the simulator whether it arrives, and the
sniffers whether it came to its destination's namespace. The agent runs through all policies of a pod in one chain for both
directions, as kube-router does; so a pod that policies restrict in both may be let through where the API says no.
A `plain` round has no such pods: each role is restricted in one direction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from lab import plan
from lab.cluster import Cluster
from lab.reality import Outcome, Probe, send_all
from netviz.core.check.netpol.check import PoliciesCheck, seen_in
from netviz.core.check.problem import Problem
from netviz.core.intent.policies import Decision, Party, Policies
from netviz.core.model.addr import format_ip
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState
from tests.live.listed import CLUSTER, with_objects
from tests.live.prediction import snapshot

OPEN, OTHERS = 8080, (81, 8081)
PATIENCE_S = 10.0
OUTSIDE = "internet"
Json = dict[str, Any]


class Held(msgspec.Struct):
    """A flow: what policies intend, what is predicted ("arrives", "refused", else why), and whether it came."""

    probe: Probe
    intended: Decision
    predicted: str
    came: bool

    @property
    def predicted_right(self) -> bool:
        """What was predicted is what happened."""
        return self.predicted == ("arrives" if self.came else "refused")

    @property
    def agrees(self) -> bool:
        """Intent, prediction and packet agree."""
        return self.predicted_right and self.intended.allowed is self.came

    def describe(self) -> str:
        """Say what each of the three says."""
        came = "came" if self.came else "did not come"
        one = self.probe
        flow = f"{one.src} to {one.dst} {one.proto} {one.dport} IPv{one.family}"
        return f"{flow}: allowed {self.intended.allowed}, predicted {self.predicted}, {came}"


def random_policies(pick: Random, *, plain: bool) -> list[Json]:
    """Invent policies for the roles of the lab's pods."""
    ways = {role: pick.choice(("Ingress", "Egress")) for role in plan.ROLES}
    made = []
    for number in range(pick.randint(2, 5)):
        way = pick.choice(("Ingress", "Egress"))
        roles = [role for role in plan.ROLES if not plain or ways[role] == way]
        types = [way] if plain or pick.random() < 0.6 else ["Ingress", "Egress"]
        spec: Json = {"podSelector": _roles(pick, roles), "policyTypes": types}
        for one in types:
            field, peers = ("ingress", "from") if one == "Ingress" else ("egress", "to")
            spec[field] = [_rule(pick, peers) for _ in range(pick.choice((0, 1, 1, 2)))]
        made.append({"kind": "NetworkPolicy", "metadata": {"name": f"p{number}"}, "spec": spec})
    return made


def _roles(pick: Random, roles: Sequence[str]) -> Json:
    if not roles:
        return {"matchLabels": {"app": "nobody"}}
    some = pick.sample(list(roles), pick.randint(1, min(3, len(roles))))
    if len(some) == 1:
        return {"matchLabels": {"app": some[0]}}
    return {"matchExpressions": [{"key": "app", "operator": "In", "values": some}]}


def _rule(pick: Random, peers: str) -> Json:
    rule: Json = {}
    if pick.random() < 0.85:
        rule[peers] = [_peer(pick) for _ in range(pick.choice((1, 1, 2)))]
    if pick.random() < 0.6:
        rule["ports"] = [_port(pick)]
    return rule


def _peer(pick: Random) -> Json:
    kind = pick.random()
    if kind < 0.45:
        return {"podSelector": _roles(pick, plan.ROLES)}
    if kind < 0.6:
        return {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}}
    if kind < 0.75:
        space = pick.choice(("default", "kube-system"))
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
    if kind < 0.9:
        inner = [f"10.244.{pick.randint(1, 3)}.0/24"] if pick.random() < 0.5 else []
        return {"ipBlock": {"cidr": "10.244.0.0/16", **({"except": inner} if inner else {})}}
    return {"ipBlock": {"cidr": pick.choice(("0.0.0.0/0", "::/0", "fd44::/16", "10.244.2.0/24"))}}


def _port(pick: Random) -> Json:
    protocol = pick.choice(("TCP", "TCP", "UDP"))
    kind = pick.random()
    if kind < 0.2:
        return {"protocol": protocol}
    if kind < 0.4:
        return {"protocol": protocol, "port": 8000, "endPort": 8080}
    return {"protocol": protocol, "port": pick.choice((OPEN, OPEN, *OTHERS))}


def random_probes(pick: Random, cluster: Cluster, count: int) -> list[Probe]:
    """Invent flows: three of four between pods."""
    pods, nodes = list(cluster.pods), list(cluster.nodes)
    found: dict[Probe, None] = {}
    while len(found) < count:
        kind = pick.random()
        src = pick.choice(nodes) if kind < 0.12 and cluster.kind.reaches_own_pods else pick.choice(pods)
        dst = OUTSIDE if src in pods and kind > 0.9 else pick.choice(pods)
        proto, port = pick.choice(("tcp", "udp")), pick.choice((OPEN, OPEN, *OTHERS))
        if dst == OUTSIDE:
            port = OPEN  # its source is rewritten on the way: only an answer says that it came
        if src != dst:
            found[Probe(src, dst, proto, port, family=pick.choice((4, 4, 6)))] = None
    return list(found)


def hold(
    cluster: Cluster, made: list[Json], probes: list[Probe]
) -> tuple[list[Held], list[Problem], list[Problem]]:
    """Apply policies, hold flows against them; the policies go again.

    Returns what was held, the policy check's problems, and those of them that a packet of their flow shows not to be so.
    """
    cluster.apply(made)
    try:
        with tempfile.TemporaryDirectory() as folder:
            state = with_objects(cluster, snapshot(cluster, Path(folder)))
        held = [_held(cluster, state, outcome) for outcome in send_all(cluster, probes)]
        for number, one in enumerate(held):
            if not one.agrees:
                (again,) = send_all(cluster, [one.probe], timeout_s=PATIENCE_S)
                held[number] = _held(cluster, state, again)
        problems = judged(state)
        return held, problems, [one for one in problems if not is_so(cluster, one)]
    finally:
        for one in made:
            cluster.delete("networkpolicy", one["metadata"]["name"])


def is_so(cluster: Cluster, problem: Problem) -> bool:
    """Send a packet of a problem's flow: what is told to be refused doesn't come, all else does."""
    flow = problem.flow
    assert flow is not None
    names = {pod.address(family): name for name, pod in cluster.pods.items() for family in (4, 6)}
    proto, family = {6: "tcp", 17: "udp"}[flow.proto], 4 if len(flow.src) == 4 else 6
    src, dst = names[format_ip(flow.src)], names[format_ip(flow.dst)]
    (outcome,) = send_all(cluster, [Probe(src, dst, proto, flow.dport, family=family)], timeout_s=PATIENCE_S)
    return outcome.arrived is (problem.kind != "policy-allowed-dropped")


def judged(state: ClusterState) -> list[Problem]:
    """What the policy check says of a state. Nothing is undecided."""
    check = PoliciesCheck()
    check.follow(state)
    while check.work():
        pass
    result = check.result()
    assert result is not None
    assert not result.reason, result.reason
    return list(check.problems())


def _held(cluster: Cluster, state: ClusterState, outcome: Outcome) -> Held:
    probe = outcome.probe
    address = cluster.address_of(probe.dst, probe.family)
    flow = resolve_flow(state, probe.src, address, probe.proto, probe.sport or None, probe.dport, None, False)
    paths = [branch.forward for branch in simulate(state, flow).branches]
    left = all(path.disposition is Disposition.LEFT_NETWORK for path in paths)
    seen = seen_in(paths)
    predicted = "arrives" if left or seen.what == "arrives" else seen.what
    if predicted not in ("arrives", "refused"):
        predicted = f"{predicted}: {paths[0].disposition.value} {paths[0].reason}"
    return Held(
        probe,
        _intended(state, probe, flow.src, flow.dst),
        predicted,
        outcome.arrived or outcome.result == "delivered",
    )


def _intended(state: ClusterState, probe: Probe, src: bytes, dst: bytes) -> Decision:
    objects = state.clusters[CLUSTER].objects
    policies = Policies(
        objects.network_policies, objects.kube_namespaces, objects.cluster_policies, objects.kube_nodes
    )
    pods = {addr: pod for pod in objects.kube_pods.values() if not pod.host_network for addr in pod.ips}

    def party(addr: bytes, name: str) -> Party:
        return Party(addr, pods.get(addr), name if name in state.nodes else "")

    return policies.decide(party(src, probe.src), party(dst, probe.dst), probe.proto.upper(), probe.dport)
