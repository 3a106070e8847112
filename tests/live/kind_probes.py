"""What is sent through a cluster of each kind, and what must become of it: the tests' and the proof's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab.cluster import Cluster
from lab.reality import Outcome, Probe, send_all
from netviz.core.state.node import ClusterState
from tests.live.prediction import Comparison, compare, snapshot
from tests.live.translated import compare_translated

OPEN, CLOSED = 8080, 81
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("udp", CLOSED), ("icmp", 0))
# How long an answer may take on a busy machine before it counts as lost.
PATIENCE_S = 10.0
Judge = Callable[[ClusterState, Cluster, Outcome], Comparison]


def families(cluster: Cluster) -> tuple[int, ...]:
    """The address families that the cluster has."""
    return (4, 6) if cluster.state.spec.ipv6 else (4,)


def pairs(cluster: Cluster) -> list[tuple[str, str]]:
    """Every ordered pair of pods, every node to every pod that it can reach, every pod to the outside."""
    pods = list(cluster.pods)
    found = [(a, b) for a in pods for b in pods if a != b]
    home = cluster.kind.reaches_own_pods
    found += [(n, p) for n in cluster.nodes for p in pods if home or cluster.pod(p).node != n]
    return found + [(pod, "internet") for pod in pods]


def probes(cluster: Cluster, exchanges: tuple[tuple[str, int], ...] = EXCHANGES) -> list[Probe]:
    """Every exchange over every pair in every family."""
    return [
        Probe(a, b, proto, port, family=family)
        for a, b in pairs(cluster)
        for proto, port in exchanges
        for family in families(cluster)
    ]


def expected(probe: Probe) -> str:
    """What becomes of a probe in a healthy cluster."""
    return "refused" if probe.dport == CLOSED else "delivered"


def unhealthy(cluster: Cluster, outcome: Outcome) -> str:
    """Say what an outcome lacks to be a healthy cluster's, or ""."""
    probe = outcome.probe
    if outcome.result != expected(probe):
        return f"expected {expected(probe)}"
    between_pods = probe.src in cluster.pods and probe.dst in cluster.pods
    own = cluster.address_of(probe.src, probe.family)
    if between_pods and cluster.kind.keeps_sources(cluster.state.spec) and outcome.seen_source != own:
        return f"expected source {own}"
    return ""


def sent(cluster: Cluster, wanted: list[Probe]) -> list[Outcome]:
    """Send probes; what was lost or wrong is sent again, alone and with patience."""
    outcomes = send_all(cluster, wanted)
    return [
        send_all(cluster, [outcome.probe], timeout_s=PATIENCE_S)[0]
        if unhealthy(cluster, outcome)
        else outcome
        for outcome in outcomes
    ]


def hold(
    cluster: Cluster, directory: Path, wanted: list[Probe], judge: Judge = compare
) -> tuple[ClusterState, list[Comparison]]:
    """Collect, send, predict: all is healthy, and each prediction right and certain."""
    state = snapshot(cluster, directory)
    outcomes = sent(cluster, wanted)
    ill = [f"{outcome}: {why}" for outcome in outcomes if (why := unhealthy(cluster, outcome))]
    assert not ill, f"{len(ill)} of {len(outcomes)} not healthy:\n" + "\n".join(ill[:10])
    compared = [judge(state, cluster, outcome) for outcome in outcomes]
    bad = [one.describe() for one in compared if one.verdict != "right"]
    assert not bad, f"{len(bad)} of {len(compared)} not predicted:\n" + "\n".join(bad[:10])
    return state, compared


def service_probes(cluster: Cluster, sources: list[str]) -> list[Probe]:
    """Every address and port of every service that the lab's echo servers are behind, from some senders."""
    found = []
    for service in cluster.state.services:
        spec, status = service["spec"], service["status"]
        if service["metadata"]["namespace"] == "kube-system":
            continue
        balancers = [one["ip"] for one in status["loadBalancer"].get("ingress", [])]
        addresses = [
            ip for ip in [*spec["clusterIPs"], *spec.get("externalIPs", []), *balancers] if ip != "None"
        ]
        for src in sources:
            for port in spec["ports"]:
                proto = port["protocol"].lower()
                found += [
                    Probe(src, ip, proto, port["port"], family=6 if ":" in ip else 4) for ip in addresses
                ]
                if "nodePort" in port:
                    found += [Probe(src, node, proto, port["nodePort"]) for node in cluster.nodes]
    return found


def hold_services(cluster: Cluster, directory: Path, wanted: list[Probe]) -> list[Comparison]:
    """Collect, send, predict: nothing is wrong or unknown, though an endpoint may be one of several."""
    state = snapshot(cluster, directory)
    compared = [compare_translated(state, cluster, outcome) for outcome in send_all(cluster, wanted)]
    late = [n for n, one in enumerate(compared) if one.verdict == "wrong"]
    for number in late:
        (outcome,) = send_all(cluster, [wanted[number]], timeout_s=PATIENCE_S)
        compared[number] = compare_translated(state, cluster, outcome)
    bad = [one.describe() for one in compared if one.verdict in ("wrong", "unknown")]
    assert not bad, f"{len(bad)} of {len(compared)} not predicted:\n" + "\n".join(bad[:10])
    return compared
