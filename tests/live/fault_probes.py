"""Which pairs a fault really affects: what real packets meet with it, compared with what they met before."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from lab.cluster import Cluster
from lab.faults.model import DNS, FLOW_PORT, LARGE, OUTSIDE, SMALL, Pair, dns_addresses
from lab.kubernetes.dns import PORT as DNS_PORT
from lab.reality import Outcome, Probe, send_all

# How long to wait for an answer that must not come.
LOST_S = 0.5
PATIENCE_S = 5.0
LARGE_BYTES = 1420
SERVICE_PORT = 80
DNS_SERVICE = f"svc/{DNS}"
# How often a fault that strikes by chance may spare everybody.
TRIES = 25
Met = tuple[str, str | None, tuple[str, ...]]


def pairs(cluster: Cluster) -> list[Pair]:
    """Every pair that a fault may affect: pods and nodes to pods, pods to the outside, small and large."""
    pods = list(cluster.pods)
    home = cluster.kind.reaches_own_pods
    ways = [(src, dst) for src in pods for dst in [*pods, OUTSIDE] if src != dst]
    ways += [(n, pod) for n in cluster.nodes for pod in pods if home or cluster.pod(pod).node != n]
    services = [f"svc/default/{name}" for name in service_addresses(cluster)]
    families = (4, 6) if cluster.state.spec.ipv6 else (4,)
    found = [Pair(a, b, f, SMALL) for a in [*pods, *cluster.nodes] for b in services for f in families]
    asked = [DNS_SERVICE] if services else []
    found += [
        Pair(a, b, f, SMALL, port) for a in pods for b in asked for f in families for port in (0, FLOW_PORT)
    ]
    return found + [Pair(a, b, f, size) for a, b in ways for f in families for size in (SMALL, LARGE)]


def service_addresses(cluster: Cluster) -> dict[str, list[str]]:
    """The cluster addresses of the services of namespace default."""
    return {
        one["metadata"]["name"]: one["spec"]["clusterIPs"]
        for one in cluster.state.services
        if one["metadata"]["namespace"] == "default" and one["spec"]["clusterIP"] != "None"
    }


def _probe(cluster: Cluster, pair: Pair) -> Probe:
    if pair.dst == DNS_SERVICE:
        address = dns_addresses(cluster.state)[pair.family]
        return Probe(pair.src, address, "udp", DNS_PORT, family=pair.family, sport=pair.sport)
    if pair.dst.startswith("svc/"):
        address = service_addresses(cluster)[pair.dst.rpartition("/")[2]][pair.family == 6]
        return Probe(pair.src, address, "tcp", 80, family=pair.family)
    if pair.size == SMALL:
        return Probe(pair.src, pair.dst, "tcp", family=pair.family)
    return Probe(pair.src, pair.dst, "udp", size=LARGE_BYTES, family=pair.family)


def meet(cluster: Cluster, wanted: list[Pair], timeout_s: float = LOST_S) -> dict[Pair, Met]:
    """Send one packet for each pair: what came of it, the source that was seen, and where it arrived."""
    outcomes = send_all(cluster, [_probe(cluster, pair) for pair in wanted], timeout_s=timeout_s)
    return {pair: _met(outcome) for pair, outcome in zip(wanted, outcomes, strict=True)}


def _met(outcome: Outcome) -> Met:
    lost = outcome.result in ("lost", "unreachable", "too_big", "prohibited")
    if outcome.probe.dport in (
        SERVICE_PORT,
        DNS_PORT,
    ):  # which endpoint it is is chance, and so is its source
        return "lost" if lost else outcome.result, None, ()
    arrived = () if lost else outcome.arrived_at
    return "lost" if lost else outcome.result, None if lost else outcome.seen_source, arrived


def healthy(cluster: Cluster) -> dict[Pair, Met]:
    """What packets meet without a fault: all are delivered."""
    met = meet(cluster, pairs(cluster), PATIENCE_S)
    ill = [pair for pair, (result, _, _) in met.items() if result != "delivered"]
    assert not ill, ill
    return met


def differences(cluster: Cluster, before: Mapping[Pair, Met], expected: Mapping[Pair, bool]) -> list[str]:
    """Say where what packets meet now isn't what a fault is expected to affect."""
    # What becomes of a service follows from its endpoints' pairs: it is looked at where it is meant itself.
    # With a fault that breaks nothing, everything is.
    by_services = not expected or any(pair.dst.startswith("svc/") for pair in expected)
    asks_dns = not expected or any(pair.dst == DNS_SERVICE for pair in expected)
    left_out = {pair for pair in before if pair.dst == DNS_SERVICE and not asks_dns}
    if not by_services:
        left_out = {pair for pair in before if pair.dst.startswith("svc/")}
    now = meet(cluster, [pair for pair in before if pair not in left_out])
    changed = {pair for pair, met in now.items() if met != before[pair]}
    # An answer may come late on a busy machine: what isn't expected to suffer gets a second, patient chance.
    late = [pair for pair in changed if pair not in expected]
    again = meet(cluster, late, PATIENCE_S) if late else {}
    changed -= {pair for pair, met in again.items() if met == before[pair]}
    for _ in range(TRIES):
        if changed or not expected:
            break
        now = meet(cluster, list(expected))
        changed = {pair for pair, met in now.items() if met != before[pair]}
    found = [f"not expected: {pair}: {now[pair]}" for pair in changed if pair not in expected]
    found += [
        f"not affected: {pair}" for pair, certain in expected.items() if certain and pair not in changed
    ]
    if expected and not changed:
        found.append("nothing is affected")
    return sorted(found)


def kernel_state(cluster: Cluster) -> dict[str, list[str]]:
    """Everything a fault could have touched, in every namespace, without what changes by itself."""
    script = """
        ip -o -d link; ip -o addr; ip route; ip -6 route; ip rule; ip neigh show nud permanent
        nft --stateless list ruleset; ss -Hltun | awk '{print $1, $2, $5}'
        grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward 2>&- ||:
    """

    def seen(target: str) -> list[str]:
        lines = cluster.exec(target, ["sh", "-c", script]).stdout.splitlines()
        return sorted(without_timers(line) for line in lines)

    targets = [*cluster.nodes, *cluster.pods, "router", "fabric"]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(targets, pool.map(seen, targets), strict=True))


def left_behind(cluster: Cluster, before: Mapping[str, list[str]]) -> list[str]:
    """Say what differs from an earlier state, once the kernel has had time to see that links are up again."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := kernel_state(cluster)) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    return [f"{name}: {line}" for name in before for line in set(before[name]) ^ set(now[name])]


def without_timers(line: str) -> str:
    """Drop the bridge's running timers from a line of `ip -d link`, and a link's index from those of `ip`."""
    if " macvlan " in line:  # which is up for the kernel a second later
        line = line.replace("state UNKNOWN", "state UP")
    words = re.sub(r"^\d+: ", "", line).split()
    return " ".join(
        word for before, word in zip(["", *words], words, strict=False) if not before.endswith("_timer")
    )
