"""Rules of a policy's agent for a pod that isn't there any more, at an address that another pod has."""

from __future__ import annotations

import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NFPROTO_IPV4, ChainBody, NftChain, NftExpr, NftRuleBody, body_digest
from tests.core.check.judging import finished, proper
from tests.core.sim.build import textbook


def judged(pod: str, addr: str, offset: int = 16) -> list[Problem]:
    """What is wrong where node-1 has kube-router's jump to a pod's chain, for an address."""
    net, made = textbook()
    name, namespace = pod.split("/")[::-1]
    said = f"rule to jump traffic destined to POD name:{name} namespace: {namespace} to chain KUBE-POD-FW-A"
    rule = NftRuleBody(
        (
            NftExpr("payload", {"base": 1, "dreg": 1, "len": 4, "offset": offset}),
            NftExpr("cmp", {"data": pack_ip(addr), "op": 0, "sreg": 1}),
            NftExpr("match", {"name": "comment", "info": said.encode() + bytes(8)}),
            NftExpr("immediate", {"data": {"chain": "KUBE-POD-FW-A", "code": -3}, "dreg": 0}),
        )
    )
    body = ChainBody((rule,))
    net.bodies[body_digest(body)] = body
    made["node-1"].add("nft_chains", NftChain(NFPROTO_IPV4, "filter", "FORWARD", body=body_digest(body)))
    found = list(finished(Checker(), net.cluster()).problems)
    for problem in found:
        proper(problem)
    return found


def test_a_chain_of_a_pod_that_is_gone() -> None:
    (problem,) = judged("batch/nightly", "10.1.1.11")
    assert (
        problem.headline
        == "policy rules on node-1 take 10.1.1.11 for batch/nightly, but it is default/pod-1-1's: chain FORWARD"
    )
    assert problem.check[0].command == "nft list chain ip filter FORWARD"
    assert problem.affects.pods == ("default/pod-1-1",)


@pytest.mark.parametrize(
    ("pod", "addr", "offset"),
    [
        ("default/pod-1-1", "10.1.1.11", 16),
        ("batch/nightly", "10.1.1.99", 16),
        ("batch/nightly", "10.1.1.11", 40),
    ],
)
def test_the_right_pod_nobody_and_what_is_no_address_are_no_problem(pod: str, addr: str, offset: int) -> None:
    assert judged(pod, addr, offset) == []
