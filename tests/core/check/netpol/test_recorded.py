"""NetworkPolicies of a recorded cluster (kube-router enforces), held against what its nodes do with packets."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.check.netpol.check import PoliciesCheck
from netviz.core.model.kubernetes import NetworkPolicy, PolicyRule, Selector
from netviz.core.state.node import ClusterState, SectionStatus
from tests.core.check.judging import proper
from tests.core.check.netpol.judged import USUAL, judged, news
from tests.core.check.services.recorded import CLUSTER, change_rules, recorded, with_objects


@pytest.fixture(scope="module")
def check() -> PoliciesCheck:
    """A check that remembers from one state to the next, as it does in use."""
    return judged(recorded())


def test_intent_and_kernels_differ_only_where_the_agent_mixes_directions(check: PoliciesCheck) -> None:
    result = judged(recorded(), check).result()
    assert result is not None
    (problem,) = check.problems()
    proper(problem)
    assert problem.key == USUAL
    assert "n1 lets locked/vault-684d757bbf-k59g9 reach locked/vault-684d757bbf-pt6qg" in problem.headline
    assert result.reason == ""
    assert result.judged > 100


def _policies(cluster: ClusterState, *more: NetworkPolicy, without: str = "") -> ClusterState:
    known = cluster.clusters[CLUSTER].objects.network_policies
    left = {key: one for key, one in known.items() if "/".join(key) != without}
    return with_objects(cluster, network_policies={**left, **{one.key: one for one in more}})


def _change(cluster: ClusterState, name: str, **fields: object) -> ClusterState:
    known = cluster.clusters[CLUSTER].objects.network_policies
    one = next(one for key, one in known.items() if "/".join(key) == name)
    return _policies(cluster, msgspec.structs.replace(one, **fields))


OPEN = (PolicyRule(),)


def test_what_is_denied_and_nobody_refuses_is_not_enforced(check: PoliciesCheck) -> None:
    new = NetworkPolicy("kube-system", "closed", Selector(), restricts_ingress=True)
    (problem,) = news(judged(_policies(recorded(), new), check))
    proper(problem)
    assert problem.kind == "policy-not-enforced"
    assert "kube-system/closed is not enforced on n1" in problem.headline


def test_a_policy_that_is_gone_is_still_enforced(check: PoliciesCheck) -> None:
    """What it allowed is delivered though others deny it, and what it denied is refused."""
    known = recorded().clusters[CLUSTER].objects.network_policies
    kinds = set()
    for key in known:
        told = news(judged(_policies(recorded(), without="/".join(key)), check))
        # The only pods that default-deny selects are restricted in both directions by the others, too.
        assert bool(told) == (key != ("locked", "default-deny")), key
        for problem in told:
            proper(problem)
            assert problem.kind != "policy-allowed-dropped" or problem.also[0].startswith("The rule: ")
        kinds |= {problem.kind for problem in told}
    assert kinds == {"policy-allowed-dropped", "policy-denied-delivered"}


def test_a_rule_that_allows_more_now_is_not_written(check: PoliciesCheck) -> None:
    known = recorded().clusters[CLUSTER].objects.network_policies
    names = [
        "/".join(key) for key, one in known.items() if one.restricts_ingress and one.namespace == "locked"
    ]
    told = news(judged(_change(recorded(), names[0], ingress=OPEN), check))
    assert {problem.kind for problem in told} == {"policy-allowed-dropped"}
    assert all(names[0] in problem.headline for problem in told)


def test_a_node_whose_chain_lost_its_refusal_lets_pass(check: PoliciesCheck) -> None:
    cluster = recorded()
    root = cluster.nodes["n2"].root
    assert root is not None
    chains = {key: one for key, one in root.nft_chains.items() if not key[2].startswith("KUBE-POD-FW-")}
    assert len(chains) < len(root.nft_chains)
    for key in chains:
        if key[2] in ("KUBE-ROUTER-FORWARD", "KUBE-ROUTER-INPUT", "KUBE-ROUTER-OUTPUT"):
            cluster = change_rules(
                cluster, "n2", key, lambda text, rule: () if "KUBE-POD-FW-" in text else (rule,)
            )
    told = news(judged(cluster, check))
    for problem in told:
        proper(problem)
    assert {(problem.kind, problem.where.node) for problem in told} == {("policy-denied-delivered", "n2")}


def test_a_list_that_is_not_whole_is_held_against_nobody() -> None:
    state = recorded().clusters[CLUSTER]
    status = {**state.status, "kube_namespaces": SectionStatus(whole=False, reason="refused")}
    state = msgspec.structs.replace(state, status=status)
    check = judged(ClusterState(recorded().nodes, recorded().bodies, {CLUSTER: state}))
    result = check.result()
    assert result is not None
    assert (result.result, result.judged, list(check.problems())) == ("unknown", 0, [])


def test_rules_that_are_not_known_whole_are_unknown() -> None:
    node = recorded().nodes["n2"]
    status = {**node.status, "nft_chains": SectionStatus(whole=False, reason="no permission")}
    changed = msgspec.structs.replace(node, status=status)
    check = judged(ClusterState({**recorded().nodes, "n2": changed}, recorded().bodies, recorded().clusters))
    result = check.result()
    assert result is not None
    assert "no permission" in result.reason or "nft_chains" in result.reason
    assert news(check) == []


def test_what_ebpf_decides_is_unknown_and_not_fine() -> None:
    """A program stands at each pod's link of n2, as an agent's would that enforces in eBPF."""
    node = recorded().nodes["n2"]
    root = node.root
    assert root is not None
    links = {
        key: msgspec.structs.replace(link, tc=("clsact",)) if link.kind == "veth" else link
        for key, link in root.links.items()
    }
    changed = msgspec.structs.replace(
        node, netns={**node.netns, root.key: msgspec.structs.replace(root, links=links)}
    )
    check = judged(ClusterState({**recorded().nodes, "n2": changed}, recorded().bodies, recorded().clusters))
    result = check.result()
    assert result is not None
    assert "clsact" in result.reason
    assert news(check) == []
