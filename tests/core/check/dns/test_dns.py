"""DNS on the recorded cluster: whom pods ask, and what becomes of their questions, as it was and with faults planted."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
import pytest

from netviz.core.check.dns.check import DnsCheck
from netviz.core.check.problem import CheckResult, Problem
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import EndpointSlice
from netviz.core.model.l3 import RTN_LOCAL, Addr, Nexthop, Route
from netviz.core.model.netfilter import NftRuleBody
from netviz.core.model.netns import Resolv
from netviz.core.model.socket import IPPROTO_TCP, TCP_CLOSE, TCP_LISTEN, Socket
from netviz.core.state.node import ClusterState, NetnsState, SectionStatus
from tests.core.check.judging import proper
from tests.core.check.services.recorded import (
    CLUSTER,
    change_rules,
    change_service,
    change_slice,
    recorded,
    with_objects,
)
from tests.core.sim.nft import DROP, dport, l4proto, verdict

IPPROTO_UDP = 17
DNS = ("kube-system", "kube-dns")
SERVER = "10.96.0.53"
COREDNS = "10.244.1.2"
NODE_CACHE = "169.254.20.10"
Change = Callable[[ClusterState], ClusterState]


def judged(cluster: ClusterState, check: DnsCheck | None = None) -> DnsCheck:
    check = check or DnsCheck()
    check.follow(cluster)
    while check.work():
        pass
    return check


def result_of(check: DnsCheck) -> CheckResult:
    result = check.result()
    assert result is not None
    return result


def _each(cluster: ClusterState, change: Callable[[NetnsState], NetnsState]) -> ClusterState:
    nodes = {
        name: msgspec.structs.replace(node, netns={key: change(ns) for key, ns in node.netns.items()})
        for name, node in cluster.nodes.items()
    }
    return ClusterState(nodes, cluster.bodies, cluster.clusters)


def asking(cluster: ClusterState, *servers: str, on: Collection[str] = ("n1", "n2", "n3")) -> ClusterState:
    """The cluster, whose pods on some nodes have these servers in resolv.conf."""
    resolv = Resolv(tuple(map(pack_ip, servers)))

    def change(ns: NetnsState) -> NetnsState:
        pod = ns.netns.pod
        if pod is None or ns.netns.key.node not in on:
            return ns
        pod = msgspec.structs.replace(pod, resolv=resolv)
        return msgspec.structs.replace(ns, netns=msgspec.structs.replace(ns.netns, pod=pod))

    return _each(cluster, change)


def usual() -> ClusterState:
    """The cluster with the resolv.conf that its kubelets write."""
    return asking(recorded(), SERVER)


def _deaf(proto: int) -> Change:
    """CoreDNS doesn't listen by a protocol."""

    def change(ns: NetnsState) -> NetnsState:
        if all(one.addr != pack_ip(COREDNS) for one in ns.addrs.values()):
            return ns
        left = {key: one for key, one in ns.sockets.items() if (one.proto, one.sport) != (proto, 53)}
        assert len(left) < len(ns.sockets)
        return msgspec.structs.replace(ns, sockets=left)

    return lambda cluster: _each(cluster, change)


def _unready(cluster: ClusterState) -> ClusterState:
    def change(one: EndpointSlice) -> EndpointSlice:
        ends = tuple(
            msgspec.structs.replace(end, ready=False, serving=False, terminating=False)
            for end in one.endpoints
        )
        return msgspec.structs.replace(one, endpoints=ends)

    return change_slice(cluster, DNS, change)


def _only(protocol: str) -> Change:
    def change(cluster: ClusterState) -> ClusterState:
        ports = cluster.clusters[CLUSTER].objects.services[DNS].ports
        return change_service(cluster, DNS, ports=tuple(one for one in ports if one.protocol == protocol))

    return change


def _dropping(proto: int, node: str) -> Change:
    """A rule on a node drops questions by a protocol, and nothing else."""
    drop = NftRuleBody((*l4proto(proto), *dport(53), verdict(DROP)))
    return lambda cluster: change_rules(
        cluster, node, (2, "filter", "FORWARD"), lambda text, rule: (drop, rule)
    )


def _node_cache(listens: bool) -> Change:
    """Pods ask an address of their own node, where a cache answers, or doesn't."""
    addr = pack_ip(NODE_CACHE)
    new = Addr(ifindex=1, addr=addr, prefixlen=32)
    route = Route(
        table_id=255, dst=addr, dst_len=32, type=RTN_LOCAL, prefsrc=addr, nexthops=(Nexthop(oif=1),)
    )
    ears = [
        Socket(proto=proto, state=state, src=addr, sport=53, cookie=9_000_000 + proto)
        for proto, state in ((IPPROTO_UDP, TCP_CLOSE), (IPPROTO_TCP, TCP_LISTEN))
    ]

    def change(ns: NetnsState) -> NetnsState:
        if not ns.netns.root:
            return ns
        sockets = {**ns.sockets, **{one.key: one for one in ears}} if listens else ns.sockets
        routes = {**ns.routes, route.key: route}
        return msgspec.structs.replace(ns, addrs={**ns.addrs, new.key: new}, routes=routes, sockets=sockets)

    return lambda cluster: asking(_each(cluster, change), NODE_CACHE)


def test_pods_ask_the_service_and_are_answered() -> None:
    check = judged(usual())
    result = result_of(check)
    assert (result.result, result.reason, *check.problems()) == ("pass", "")
    assert result.judged >= 2 * 3, "each node's pods, by UDP and TCP"


def test_what_resolv_conf_says_is_not_known_of_older_bundles() -> None:
    """What was recorded before collectors read it: the service itself is tried, and the rest said to be unknown."""
    check = judged(recorded())
    result = result_of(check)
    assert (result.result, *check.problems()) == ("unknown",)
    assert result.reason.startswith("what resolv.conf says isn't known of ")
    assert result.judged >= 2 * 3


PLANTED: list[tuple[str, Change, set[tuple[str, str]]]] = [
    (
        "another server on one node",
        lambda cluster: asking(cluster, "10.96.0.99", on=["n2"]),
        {
            (
                "dns-other-server",
                "Pods of n2 ask 10.96.0.99 for names, and not the cluster's DNS, kube-system/kube-dns",
            )
        },
    ),
    (
        "no server on one node",
        lambda cluster: asking(cluster, on=["n3"]),
        {
            (
                "dns-other-server",
                "Pods of n3 ask no server for names, and not the cluster's DNS, kube-system/kube-dns",
            )
        },
    ),
    (
        "a server that has no TCP",
        _deaf(IPPROTO_TCP),
        {
            (
                "dns-unreachable",
                f"Nothing listens for DNS by TCP at {COREDNS}:53, kube-system/coredns-9974448b5-x5zjq on n1",
            )
        },
    ),
    (
        "a server that has no UDP",
        _deaf(IPPROTO_UDP),
        {
            (
                "dns-unreachable",
                f"Nothing listens for DNS by UDP at {COREDNS}:53, kube-system/coredns-9974448b5-x5zjq on n1",
            )
        },
    ),
    (
        "no endpoint is ready",
        _unready,
        {
            (
                "dns-no-endpoint",
                f"The cluster's DNS service kube-system/kube-dns has no ready endpoint for {by}",
            )
            for by in ("UDP", "TCP")
        },
    ),
    (
        "a service without TCP",
        _only("UDP"),
        {("dns-no-endpoint", "The cluster's DNS service kube-system/kube-dns has no port 53 for TCP")},
    ),
    (
        "a rule that drops questions",
        _dropping(IPPROTO_UDP, "n3"),
        {("dns-unreachable", "A rule in n3 stops DNS by UDP from pods of n3")},
    ),
    (
        "a node's cache that doesn't listen",
        _node_cache(listens=False),
        {
            ("dns-unreachable", f"Nothing listens for DNS by {by} at {NODE_CACHE}:53, {node}")
            for by in ("UDP", "TCP")
            for node in ("n1", "n2", "n3")
        },
    ),
]


@pytest.mark.parametrize(("change", "told"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED])
def test_what_is_planted_is_found(change: Change, told: set[tuple[str, str]]) -> None:
    check = judged(change(usual()))
    found: list[Problem] = list(check.problems())
    assert {(one.kind, one.headline) for one in found} == told
    for one in found:
        if one.kind != "dns-no-endpoint":  # it is of the API's objects, and of no node
            proper(one)
    judged(usual(), check)
    assert not check.problems(), "what is mended is a problem no more"


def test_a_cache_of_the_node_stands_for_the_service() -> None:
    check = judged(_node_cache(listens=True)(usual()))
    result = result_of(check)
    assert (result.result, result.reason, *check.problems()) == ("pass", "")


def test_where_all_ask_others_the_cluster_is_set_up_so() -> None:
    check = judged(asking(recorded(), "10.0.0.1"))
    result = result_of(check)
    assert (result.result, *check.problems()) == ("unknown",)
    assert "pods of cluster default ask 10.0.0.1" in result.reason


def test_what_is_no_matter_of_dns_is_for_others_to_tell() -> None:
    """A rule that drops all that a node forwards is the check of pairs' to tell."""
    drop = NftRuleBody((verdict(DROP),))
    broken = change_rules(usual(), "n3", (2, "filter", "FORWARD"), lambda text, rule: (drop, rule))
    assert not judged(broken).problems()
    assert not judged(_dropping(IPPROTO_TCP, "n3")(usual())).problems(), "pairs are tried at TCP port 53"


def _policy(policy: str) -> ClusterState:
    cluster = usual()
    pods = cluster.clusters[CLUSTER].objects.kube_pods
    changed = {key: msgspec.structs.replace(one, dns_policy=policy) for key, one in pods.items()}
    return asking(with_objects(cluster, kube_pods=changed), "10.0.0.1")


def test_pods_that_are_to_ask_others_are_not_judged() -> None:
    result = result_of(judged(_policy("Default")))
    assert (result.result, result.judged, result.reason) == ("nothing", 0, "")


def test_a_watcher_that_tells_no_dns_policy_leaves_it_open() -> None:
    result = result_of(judged(_policy("")))
    assert (result.result, result.judged) == ("unknown", 0)
    assert result.reason.startswith("which DNS policy it has isn't known of ")


def test_a_cluster_without_known_dns_is_unknown() -> None:
    services = recorded().clusters[CLUSTER].objects.services
    left = {key: one for key, one in services.items() if key != DNS}
    result = result_of(judged(with_objects(usual(), services=left)))
    assert (result.result, result.reason) == (
        "unknown",
        "no service of cluster default is known to be its DNS",
    )


def test_a_list_that_is_not_whole_is_held_against_nobody() -> None:
    state = usual().clusters[CLUSTER]
    status = {**state.status, "endpoint_slices": SectionStatus(whole=False, reason="cut off")}
    state = msgspec.structs.replace(state, status=status)
    check = judged(ClusterState(usual().nodes, usual().bodies, {CLUSTER: state}))
    result = result_of(check)
    assert (result.result, result.judged, *check.problems()) == ("unknown", 0)
    assert result.reason == "cluster default: endpoint_slices: cut off"
