"""Rules that lead to an endpoint that nobody has, list one twice, or give a source that isn't the node's."""

from __future__ import annotations

import pytest

from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import (
    NFPROTO_IPV4,
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
    NftSet,
    SetBody,
    SetElem,
    body_digest,
)
from netviz.core.state.node import ClusterState
from tests.core.check.judging import finished, judge, proper
from tests.core.sim.build import Net, textbook


def with_rule(*exprs: NftExpr, elems: tuple[SetElem, ...] = (), chain: str = "service") -> Net:
    """A cluster with one rule on node-1, and perhaps a map that it uses."""
    net, made = textbook()
    body = ChainBody((NftRuleBody(exprs),))
    net.bodies[body_digest(body)] = body
    made["node-1"].add("nft_chains", NftChain(NFPROTO_IPV4, "t", chain, body=body_digest(body)))
    if elems:
        content = SetBody(elems)
        net.bodies[body_digest(content)] = content
        made["node-1"].add("nft_sets", NftSet(NFPROTO_IPV4, "t", "__map0", body=body_digest(content)))
    return net


def nat(addr: str, source: bool = False) -> tuple[NftExpr, NftExpr]:
    return (
        NftExpr("immediate", {"dreg": 1, "data": pack_ip(addr)}),
        NftExpr("nat", {"type": int(not source), "family": 2, "reg_addr_min": 1, "reg_addr_max": 1}),
    )


def by_map(*addrs: str) -> Net:
    elems = tuple(
        SetElem(number.to_bytes(4, "little"), data=pack_ip(addr) + b"\x1f\x90\0\0")
        for number, addr in enumerate(addrs)
    )
    return with_rule(
        NftExpr("numgen", {"dreg": 1, "modulus": len(addrs), "type": 1}),
        NftExpr("lookup", {"sreg": 1, "dreg": 1, "set": "__map0"}),
        NftExpr("nat", {"type": 1, "family": 2, "reg_addr_min": 1, "reg_addr_max": 1, "reg_proto_min": 9}),
        elems=elems,
    )


def judged(net: Net) -> list[Problem]:
    found = list(finished(Checker(), net.cluster()).problems)
    for problem in found:
        proper(problem)
    return found


@pytest.mark.parametrize("net", [with_rule(*nat("10.1.2.99")), by_map("10.1.2.11", "10.1.2.99")])
def test_an_endpoint_that_is_gone(net: Net) -> None:
    (problem,) = judged(net)
    assert problem.headline == "node-1's rules lead to 10.1.2.99, which nobody has: chain service"
    assert problem.check[0].command == "nft list chain ip t service"


def test_endpoints_that_are_there_and_outside_are_no_problem() -> None:
    assert judged(by_map("10.1.2.11", "10.1.1.12", "203.0.113.7")) == []


def test_an_endpoint_that_is_listed_twice() -> None:
    (problem,) = judged(by_map("10.1.2.11", "10.1.2.12", "10.1.2.11"))
    assert problem.headline == "node-1's rules list 10.1.2.11:8080 more than once: chain service"
    assert (problem.severity, problem.harm) == ("warning", "degrades")


def test_a_chain_of_kube_proxys_that_goes_to_an_endpoint_twice() -> None:
    goes = NftExpr("immediate", {"dreg": 0, "data": {"code": -3, "chain": "KUBE-SEP-A"}})
    net, made = textbook()
    body = ChainBody((NftRuleBody((NftExpr("match", {"name": "statistic"}), goes)), NftRuleBody((goes,))))
    net.bodies[body_digest(body)] = body
    made["node-1"].add("nft_chains", NftChain(NFPROTO_IPV4, "nat", "KUBE-SVC-X", body=body_digest(body)))
    assert [p.kind for p in judged(net)] == ["doubled-endpoint"]


def test_a_source_that_is_another_nodes_or_nobodys_on_the_wire() -> None:
    (other,) = judged(with_rule(*nat("192.168.0.2", source=True)))
    assert (other.certainty, other.headline) == (
        "certain",
        "node-1 rewrites sources to 192.168.0.2, which is node-2's: chain service",
    )
    (nobody,) = judged(with_rule(*nat("192.168.0.99", source=True)))
    assert (nobody.certainty, nobody.headline.split(",")[1]) == (
        "likely",
        " which isn't its own: chain service",
    )


@pytest.mark.parametrize("addr", ["192.168.0.1", "10.1.1.1", "203.0.113.7"])
def test_its_own_address_and_a_routed_one_are_no_problem(addr: str) -> None:
    assert judged(with_rule(*nat(addr, source=True))) == []


def test_rules_that_are_missing_are_unknown() -> None:
    net = with_rule(*nat("10.1.2.99"))
    net.bodies.clear()
    results = {one.name: one for one in finished(Checker(), net.cluster()).results}
    assert results["translations"].reason == "node-1: the rules of chain service are missing"


def test_rules_that_come_later_are_judged_then() -> None:
    net, checker = with_rule(*nat("10.1.2.99")), Checker()
    state = net.cluster()
    assert finished(checker, ClusterState(state.nodes)).problems == ()
    late = finished(checker, ClusterState(state.nodes, state.bodies))
    assert late == judge(state)
    assert late.problems
