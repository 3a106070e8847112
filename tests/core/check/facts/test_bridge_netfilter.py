"""A bridge whose packets go by no rule, on a node with kube-proxy's rules."""

from __future__ import annotations

from netviz.core.model.netfilter import NFPROTO_IPV4, NftChain, NftTable
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, Ns, textbook

SETTING = "net.bridge.bridge-nf-call-iptables"


def with_services(pods: int = 2) -> tuple[Net, Ns]:
    net, made = textbook(1, pods)
    node = made["node-1"]
    node.add("nft_tables", NftTable(NFPROTO_IPV4, "nat"))
    node.add("nft_chains", NftChain(NFPROTO_IPV4, "nat", "KUBE-SERVICES"))
    return net, node


def test_switched_off() -> None:
    net, node = with_services()
    node.sysctl(SETTING, 0)
    problem = only(net)
    assert problem.headline == f"what cni0 on node-1 passes on goes by no rule: {SETTING} is 0"
    assert [one.command for one in problem.fix] == [f"sysctl -w {SETTING}=1"]


def test_not_loaded() -> None:
    net, _ = with_services()
    assert only(net).headline.endswith(f"{SETTING} is missing")
    assert only(net).fix[0].command == "modprobe br_netfilter"


def test_on_without_services_or_with_one_pod_it_is_no_problem() -> None:
    net, node = with_services()
    node.sysctl(SETTING, 1)
    assert kinds(net) == []
    assert kinds(with_services(1)[0]) == []
    assert kinds(textbook()[0]) == []
