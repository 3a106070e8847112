"""Network policies in the lab: the agent's rules are those that a real one wrote, and they are enforced."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab import xtables
from lab.cluster import Cluster, ClusterSpec
from lab.kubernetes import policies
from lab.kubernetes.policies import Member
from lab.reality import Probe
from lab.spec import LabError
from netviz.core.model.netfilter import IpSetBody
from netviz.core.state.node import ClusterState
from tests.live import recorded
from tests.live.kind_probes import hold_services
from tests.live.policies import hold, random_policies, random_probes
from tests.live.prediction import snapshot
from tests.live.problem_proof import Watch, found_and_gone, unhealthy, warm
from tests.slow import first_quick

pytestmark = pytest.mark.live
FOUND_AS = {
    "policy-stale-chain": "stale-policy",
    "policy-pod-missing": "policy-allowed-dropped",
    "policy-drops-neighbours": "rule-drops",
}
_CHAIN = re.compile(r"KUBE-(POD-FW|NWPLCY)-[A-Z2-7]{16}")


def test_rules_are_those_that_a_real_agent_wrote(tmp_path: Path) -> None:
    """From the recorded lists come the recorded rules and sets of addresses; only names have another digest."""
    pods = [
        Member(
            one["metadata"]["name"],
            one["metadata"]["namespace"],
            one["metadata"].get("labels", {}),
            one["status"].get("podIP", ""),
            one["spec"]["nodeName"],
        )
        for one in recorded.items("pods")
        if not one["spec"].get("hostNetwork")
    ]
    namespaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in recorded.items("namespaces")}
    rules = policies.rules_of("n1", recorded.items("networkpolicies"), pods, namespaces, "10.96.0.0/16", 4)
    with Cluster.up(ClusterSpec(f"t{os.getpid()}-np", nodes=1, pods=0)) as cluster:
        policies.write(cluster.nodes["node1"].root, 4, rules)
        state = snapshot(cluster, tmp_path)
    made, real = named(state), named(recorded.node("n1"))
    assert set(made) == set(real)
    assert len(made) >= 9
    for name, texts in made.items():
        # The agent goes through maps, whose order is any.
        assert sorted(texts) == sorted(real[name]), name


def named(state: ClusterState) -> dict[str, list[str]]:
    """The agent's chains, named after pods and policies instead of digests, with sets written out."""
    (node,) = state.nodes.values()
    assert node.root is not None
    sets = {
        found.name: str(sorted((e.ip, e.cidr) for e in body.elems))
        for found in node.root.ipsets.values()
        if isinstance(body := state.bodies.get(found.body), IpSetBody)
    }
    chains = {name: texts for (family, _, name), texts in recorded.chains(state).items() if family == 2}
    texts = "\n".join(rule for rules in chains.values() for rule in rules)
    whom = {chain: pod for pod, chain in re.findall(r"POD name:(\S+) namespace: .*? to chain (\S+)\"", texts)}
    whom |= {chain: policy for policy, chain in re.findall(r"run through nw policy (\S+)\" -j (\S+)", texts)}

    def plain(text: str) -> str:
        text = _CHAIN.sub(lambda found: whom.get(found[0], found[0]), text)
        text = re.sub(r"KUBE-(SRC|DST)-[A-Z2-7]{16}", lambda found: sets[found[0]], text)
        return re.sub(r" - [A-Z2-7]{16}\"", '"', text)

    own = {
        plain(name): [plain(rule) for rule in rules]
        for name, rules in chains.items()
        if name.startswith(policies.OWN)
    }
    return {name: rules for name, rules in own.items() if rules or name in whom.values()}


def policy(name: str, app: str, **spec: Any) -> dict[str, Any]:
    """A policy for the pods of a role."""
    selector = {"podSelector": {"matchLabels": {"app": app}}}
    return {"kind": "NetworkPolicy", "metadata": {"name": name}, "spec": {**selector, **spec}}


ONLY_API = policy(
    "only-api",
    "web",
    ingress=[
        {
            "from": [{"podSelector": {"matchLabels": {"app": "api"}}}],
            "ports": [{"protocol": "TCP", "port": 8080}],
        }
    ],
    policyTypes=["Ingress"],
)
SILENT = policy("silent", "db", policyTypes=["Egress"])
BLOCK = policy(
    "block",
    "api",
    ingress=[
        {
            "from": [
                {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.2.0/24"]}},
                {"ipBlock": {"cidr": "fd44::/16", "except": ["fd44:2::/64"]}},
            ]
        }
    ],
)


@pytest.fixture(scope="module", params=["vxlan", "ptp"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three roles on two nodes, and the rules of services beside those of policies."""
    services = 1 if request.param == "vxlan" else 0
    spec = ClusterSpec(
        f"t{os.getpid()}-p", nodes=2, pods=3, kind=request.param, services=services, proxy="iptables"
    )
    with Cluster.up(spec) as made:
        made.apply([ONLY_API, SILENT, BLOCK])
        yield made


def allowed(cluster: Cluster) -> Callable[[Probe], bool]:
    """What the policies allow a pod to send to another."""

    def tell(probe: Probe) -> bool:
        src, dst = cluster.pod(probe.src).labels["app"], cluster.pod(probe.dst).labels["app"]
        if src == "db":
            return False
        if dst == "web":
            return src == "api" and probe.proto == "tcp"
        return dst != "api" or cluster.pod(probe.src).node == "node1"

    return tell


def test_what_policies_allow_is_delivered_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    """By pods, by blocks with exceptions, egress; on one node and between two; predicted too."""
    pods = [name for name, pod in cluster.pods.items() if pod.app == "echo"]
    wanted = [
        Probe(a, b, p, family=f) for a in pods for b in pods if a != b for p in ("tcp", "udp") for f in (4, 6)
    ]
    tell = allowed(cluster)
    for one in hold_services(cluster, tmp_path, wanted):
        assert (one.outcome.result == "delivered") == tell(one.probe), one.describe()
        assert one.verdict == "right", one.describe()


@pytest.mark.parametrize(
    "fault", first_quick(("policy-pod-missing", "policy-stale-chain", "policy-drops-neighbours"), 1)
)
def test_what_an_agent_left_or_forgot_is_found_and_named(fault: str) -> None:
    """Each on the node that is to blame, and gone when it is mended."""
    with Cluster.up(ClusterSpec(f"t{os.getpid()}-pf", nodes=2, pods=3)) as cluster:
        warm(cluster)
        watch = Watch(cluster, objects=True)
        assert unhealthy(watch.look()) == []
        found, wrong = found_and_gone(cluster, watch, fault)
    assert wrong == []
    assert found[0].kind == FOUND_AS[fault], found[0].headline


def test_pods_and_policies_that_go_leave_nothing(cluster: Cluster) -> None:
    added = cluster.add_pod("node1", "web-9")
    root = cluster.nodes["node1"].root
    rules = xtables.run(root, ["iptables", "-S"])
    assert f"-d {added.ipv4}/32" in rules
    cluster.remove_pod("web-9")
    assert f"{added.ipv4}/32" not in xtables.run(root, ["iptables", "-S"])
    for name in ("only-api", "silent", "block"):
        cluster.delete("networkpolicy", name)
    for program in ("iptables", "ip6tables"):
        left = xtables.run(root, [program, "-S"])
        assert not [own for own in policies.OWN if own in left]
    assert xtables.run(root, ["ipset", "list", "-n"]) == ""
    with pytest.raises(LabError, match="no networkpolicy default/silent"):
        cluster.delete("networkpolicy", "silent")
    with pytest.raises(LabError, match="the lab keeps services and networkpolicies, no Pod"):
        cluster.apply([{"kind": "Pod", "metadata": {"name": "x"}, "spec": {}}])


def test_intent_prediction_and_packets_agree(cluster: Cluster) -> None:
    """A sample of `make proof-policies`. No other policies are there any more."""
    pick = Random(7)
    held, _, not_so = hold(cluster, random_policies(pick, plain=True), random_probes(pick, cluster, 40))
    assert [one.describe() for one in held if not one.agrees] == []
    assert {one.came for one in held} == {True, False}
    assert [one.headline for one in not_so] == []
