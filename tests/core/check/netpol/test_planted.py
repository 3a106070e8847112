"""Differences between policies and kernels, planted one at a time in a recorded cluster: each is found, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from netviz.core.check.netpol.check import PoliciesCheck
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    Cidr,
    ClusterPolicy,
    ClusterRule,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    Selector,
)
from netviz.core.model.netfilter import IpSetElem
from netviz.core.state.node import ClusterState
from tests.core.check.judging import proper
from tests.core.check.netpol.judged import judged, news
from tests.core.check.services.recorded import (
    CLUSTER,
    change_members,
    change_rules,
    recorded,
    with_objects,
)

Change = Callable[[ClusterState], ClusterState]
ECHO, SOLO, DNS = ("default", "echo-only-from-cli"), ("locked", "allow-solo"), ("locked", "allow-dns-out")
FORWARD = (2, "filter", "KUBE-ROUTER-FORWARD")
FROM_CLI = "KUBE-SRC-NCDEEOW7P7U5LYXW"
LATER_ECHO = "echo-75fb7df6b7-tlszl"
EVERYBODY = PolicyPeer(namespaces=Selector())
OF_SHOP = PolicyPeer(namespaces=Selector({"kubernetes.io/metadata.name": "shop"}))
OF_ECHO = PolicyPeer(Selector({"app": "echo"}), Selector())


def policy(key: tuple[str, str], **fields: Any) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        known = cluster.clusters[CLUSTER].objects.network_policies
        return with_objects(
            cluster, network_policies={**known, key: msgspec.structs.replace(known[key], **fields)}
        )

    return change


def gone(key: tuple[str, str]) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        known = cluster.clusters[CLUSTER].objects.network_policies
        return with_objects(cluster, network_policies={one: known[one] for one in known if one != key})

    return change


def added(*made: NetworkPolicy) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        known = cluster.clusters[CLUSTER].objects.network_policies
        return with_objects(cluster, network_policies={**known, **{one.key: one for one in made}})

    return change


def cluster_wide(*made: ClusterPolicy) -> Change:
    return lambda cluster: with_objects(cluster, cluster_policies={one.key: one for one in made})


def labelled(name: str, **labels: str) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        known = cluster.clusters[CLUSTER].objects.kube_pods
        key = next(key for key in known if key[1].startswith(name))
        return with_objects(
            cluster, kube_pods={**known, key: msgspec.structs.replace(known[key], labels=labels)}
        )

    return change


def namespace(name: str, **labels: str) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        known = cluster.clusters[CLUSTER].objects.kube_namespaces
        return with_objects(
            cluster, kube_namespaces={**known, name: msgspec.structs.replace(known[name], labels=labels)}
        )

    return change


def without_rules(node: str, chain: tuple[int, str, str], text: str) -> Change:
    return lambda cluster: change_rules(
        cluster, node, chain, lambda said, rule: () if text in said else (rule,)
    )


def without_refusal(node: str, pod: str) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        root = cluster.nodes[node].root
        assert root is not None
        for key in root.nft_chains:
            if key[2].startswith("KUBE-POD-FW-"):
                try:
                    return without_rules(node, key, f"REJECT traffic destined for POD name:{pod}")(cluster)
                except AssertionError:
                    continue
        raise AssertionError(pod)

    return change


def member(node: str, *, out: str = "", more: str = "") -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        def elems(elem: IpSetElem) -> tuple[IpSetElem, ...]:
            if out and elem.ip == pack_ip(out):
                return ()
            return (elem, msgspec.structs.replace(elem, ip=pack_ip(more))) if more else (elem,)

        return change_members(cluster, node, FROM_CLI, elems)

    return change


def cnp(action: str, subject: PolicyPeer, peer: PolicyPeer, *ports: PolicyPort, **more: Any) -> ClusterPolicy:
    rules = (ClusterRule(action, (peer,), ports, "guard"),)
    kind = more.pop("kind", "ClusterNetworkPolicy")
    return ClusterPolicy(kind, "fence", subject=subject, ingress=rules, **more)


DROPPED, DELIVERED, IDLE = "policy-allowed-dropped", "policy-denied-delivered", "policy-not-enforced"
OPEN = (PolicyRule(),)
PLANTED: list[tuple[str, Change, str, str]] = [
    (
        "a policy that nobody enforces",
        added(NetworkPolicy("kube-system", "closed")),
        IDLE,
        "kube-system/closed",
    ),
    (
        "a policy for egress that nobody enforces",
        added(NetworkPolicy("shop", "in-only", restricts_ingress=False, restricts_egress=True)),
        IDLE,
        "shop/in-only",
    ),
    ("a policy that is gone", gone(ECHO), DROPPED, "default/echo"),
    ("one of three policies that is gone", gone(SOLO), DELIVERED, "default-deny"),
    ("a rule for every port now", policy(ECHO, ingress=OPEN), DROPPED, "echo-only-from-cli"),
    (
        "a rule for another port",
        policy(
            ECHO, ingress=(PolicyRule((PolicyPeer(Selector({"app": "cli"})),), (PolicyPort("TCP", "9090"),)),)
        ),
        DELIVERED,
        "TCP 8080",
    ),
    (
        "a rule for another protocol",
        policy(
            ECHO, ingress=(PolicyRule((PolicyPeer(Selector({"app": "cli"})),), (PolicyPort("UDP", "8080"),)),)
        ),
        DELIVERED,
        "TCP 8080",
    ),
    (
        "a rule for other pods",
        policy(
            ECHO,
            ingress=(PolicyRule((PolicyPeer(Selector({"app": "other"})),), (PolicyPort("TCP", "8080"),)),),
        ),
        DROPPED,
        "default/other",
    ),
    (
        "a rule for all namespaces now",
        policy(
            ECHO, ingress=(PolicyRule((PolicyPeer(Selector(), Selector()),), (PolicyPort("TCP", "8080"),)),)
        ),
        DROPPED,
        "echo-only-from-cli",
    ),
    (
        "a range without one that it had",
        policy(
            SOLO,
            ingress=(
                PolicyRule(
                    (
                        PolicyPeer(
                            block=Cidr(pack_ip("10.244.1.0"), 24), but=(Cidr(pack_ip("10.244.1.0"), 24),)
                        ),
                    ),
                    (PolicyPort("TCP", "8080"),),
                ),
            ),
        ),
        DELIVERED,
        "locked/",
    ),
    ("a policy for other pods", policy(ECHO, pods=Selector({"app": "other"})), DROPPED, "default/echo"),
    (
        "a policy for egress too",
        policy(ECHO, restricts_egress=True),
        DELIVERED,
        "echo-only-from-cli",
    ),
    ("no rule for DNS", policy(DNS, egress=()), DELIVERED, "coredns"),
    (
        "a pod with other labels",
        labelled("echo-75fb7df6b7-7ch77", app="new"),
        DROPPED,
        "echo-75fb7df6b7-7ch77",
    ),
    ("a pod that is let in now", labelled("other", app="cli"), DROPPED, "default/other"),
    ("a namespace with other labels", namespace("shop"), DELIVERED, "shop/solo"),
    (
        "a rule that is missing for one of two alike pods",
        without_rules("n2", FORWARD, f"name:{LATER_ECHO}"),
        DELIVERED,
        LATER_ECHO,
    ),
    ("a chain without its refusal", without_refusal("n2", LATER_ECHO), DELIVERED, LATER_ECHO),
    ("a pod that one node's set lacks", member("n2", out="10.244.3.3"), DROPPED, "n2 refuses default/cli"),
    ("a pod too many in one node's set", member("n3", more="10.244.1.4"), DELIVERED, "n3 lets default/other"),
    (
        "a denial for the whole cluster",
        cluster_wide(cnp("Deny", OF_SHOP, EVERYBODY)),
        IDLE,
        "ClusterNetworkPolicy fence",
    ),
    (
        "an acceptance for the whole cluster",
        cluster_wide(cnp("Accept", OF_ECHO, EVERYBODY)),
        DROPPED,
        "ClusterNetworkPolicy fence allows",
    ),
    (
        "a denial of the older kind",
        cluster_wide(cnp("Deny", OF_ECHO, EVERYBODY, PolicyPort("TCP", "8080"), kind="AdminNetworkPolicy")),
        DELIVERED,
        "AdminNetworkPolicy fence denies",
    ),
    (
        "a denial of the Baseline tier",
        cluster_wide(cnp("Deny", OF_SHOP, EVERYBODY, kind="BaselineAdminNetworkPolicy", tier="Baseline")),
        IDLE,
        "BaselineAdminNetworkPolicy fence",
    ),
]


@pytest.fixture(scope="module")
def check() -> PoliciesCheck:
    """A check that remembers from one state to the next, as it does in use."""
    return judged(recorded())


@pytest.mark.parametrize(
    ("change", "kind", "names"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_what_is_planted_is_found(check: PoliciesCheck, change: Change, kind: str, names: str) -> None:
    told = news(judged(change(recorded()), check))
    for problem in told:
        proper(problem)
    assert any(one.kind == kind and names in one.headline for one in told), [one.headline for one in told]


def test_a_set_that_is_not_known_is_why_a_flow_is_undecided(check: PoliciesCheck) -> None:
    """An agent has made a set, and it hasn't been read yet: rules know it by an index that means nothing so far."""
    cluster = recorded()
    node, root = cluster.nodes["n2"], cluster.nodes["n2"].root
    assert root is not None
    ipsets = {key: one for key, one in root.ipsets.items() if one.name != FROM_CLI}
    node = msgspec.structs.replace(
        node, netns={**node.netns, root.key: msgspec.structs.replace(root, ipsets=ipsets)}
    )
    cluster = msgspec.structs.replace(cluster, nodes={**cluster.nodes, "n2": node})
    check = judged(cluster, check)
    result = check.result()
    assert result is not None
    assert "n2: whether match set in a rule of KUBE-NWPLCY-" in result.reason


def test_nobody_who_is_known_refuses_what_was_tried(check: PoliciesCheck) -> None:
    told = news(judged(added(NetworkPolicy("kube-system", "closed"))(recorded()), check))
    idle = next(problem for problem in told if problem.kind == IDLE)
    assert idle.consequence.endswith(" Of the flows tried that it alone denies, no known agent refuses any.")


def test_policy_rule_pair_and_port_are_named(check: PoliciesCheck) -> None:
    (problem,) = news(judged(cluster_wide(cnp("Deny", OF_SHOP, EVERYBODY))(recorded()), check))
    assert problem.also == ("Denied by ingress rule 1 (guard) of ClusterNetworkPolicy fence.",)
    assert problem.check[-1].command == "kubectl describe clusternetworkpolicy fence"
    assert " at TCP " in problem.consequence
    allowed = news(judged(cluster_wide(cnp("Accept", OF_ECHO, EVERYBODY))(recorded()), check))
    assert all(
        one.also[1] == "Allowed by ingress rule 1 (guard) of ClusterNetworkPolicy fence." for one in allowed
    )


def test_what_is_passed_on_and_comes_to_the_same_is_no_problem(check: PoliciesCheck) -> None:
    assert not news(judged(cluster_wide(cnp("Pass", EVERYBODY, EVERYBODY))(recorded()), check))


@pytest.mark.parametrize("number", [16, 20])
def test_what_is_remembered_is_what_a_fresh_check_says(check: PoliciesCheck, number: int) -> None:
    changed = PLANTED[number][1](recorded())
    assert judged(changed, check).problems() == judged(changed).problems()
