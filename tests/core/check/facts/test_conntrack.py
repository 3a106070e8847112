"""UDP flows that conntrack leads to an address that nobody has, and a table that is full."""

from __future__ import annotations

from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_DST_NAT, CtEntry
from netviz.core.model.netns import Gap
from tests.core.check.judging import finished, proper
from tests.core.sim.build import Net, textbook

SERVICE = pack_ip("10.96.0.10")


def flow(endpoint: str, proto: int = 17, sport: int = 40053) -> CtEntry:
    source = pack_ip("10.1.1.11")
    return CtEntry(
        proto, source, SERVICE, sport, 53, pack_ip(endpoint), source, 53, sport, status=IPS_DST_NAT
    )


def judged(net: Net) -> list[Problem]:
    found = list(finished(Checker(), net.cluster()).problems)
    for problem in found:
        proper(problem)
    return found


def test_a_flow_to_an_endpoint_that_is_gone() -> None:
    net, made = textbook()
    made["node-1"].conntrack(flow("10.1.2.99"))
    made["node-1"].conntrack(flow("10.1.2.99", sport=40054))
    (problem,) = judged(net)
    assert (
        problem.headline
        == "node-1's conntrack leads 2 UDP flows for 10.96.0.10:53 to 10.1.2.99, which nobody has"
    )
    assert problem.affects.pods == ("default/pod-1-1",)
    assert problem.fix[0].command == "conntrack -D -p udp --orig-dst 10.96.0.10 --reply-src 10.1.2.99"


def test_an_endpoint_that_is_there_or_beyond_what_is_known_is_no_problem() -> None:
    net, made = textbook()
    for number, endpoint in enumerate(("10.1.2.11", "8.8.8.8", "192.168.0.77", "10.1.9.1")):
        made["node-1"].conntrack(flow(endpoint, sport=40000 + number))
    made["node-1"].conntrack(flow("10.1.2.99", proto=6))
    assert judged(net) == []


def test_an_address_on_a_node_that_isnt_known_whole_may_be_there() -> None:
    net, made = textbook()
    made["node-1"].conntrack(flow("10.1.2.99"))
    made["pod-2-1"].gaps = (Gap("addrs", "it went away"),)
    assert judged(net) == []


def test_the_flow_is_no_problem_any_more_when_somebody_has_the_address() -> None:
    net, made = textbook()
    made["node-1"].conntrack(flow("10.1.2.99"))
    checker = Checker()
    assert len(finished(checker, net.cluster()).problems) == 1
    net.pod(made["node-2"], "new", "cni0", "10.1.2.99/24", via="10.1.2.1")
    assert finished(checker, net.cluster()).problems == ()


def test_until_a_node_was_looked_at_it_is_unknown() -> None:
    net, _ = textbook()
    checker = Checker()
    results = {one.name: one for one in checker.judge(net.cluster()).results}
    assert results["conntrack"].result == "unknown"
    assert results["conntrack"].reason == "node-1 is not judged yet; node-2 is not judged yet"
    assert {one.name: one for one in finished(checker, net.cluster()).results}[
        "conntrack"
    ].result == "nothing"


def test_a_table_that_is_full_or_nearly() -> None:
    net, made = textbook()
    for sport in range(9):
        made["node-1"].conntrack(flow("10.1.2.11", sport=sport))
    made["node-1"].sysctl("net.netfilter.nf_conntrack_max", 10)
    (nearly,) = judged(net)
    assert nearly.headline == "node-1's conntrack table is nearly full: nf_conntrack_max is 10"
    made["node-1"].conntrack(flow("10.1.2.11", sport=9))
    assert [(p.severity, p.harm) for p in judged(net)] == [("error", "breaks traffic")]
