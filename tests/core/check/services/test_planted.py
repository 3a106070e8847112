"""Each difference that is planted in a recorded cluster, in the API's lists or in a node's rules, is found and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest

from netviz.core.check.problem import Problem
from netviz.core.check.services.check import ServicesCheck
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import Endpoint, EndpointPort, EndpointSlice
from netviz.core.model.netfilter import NftRuleBody, SetElem
from netviz.core.state.node import ClusterState
from netviz.core.state.pods import ZONE
from tests.core.check.judging import proper
from tests.core.check.services.recorded import (
    WEB,
    change_elements,
    change_node,
    change_ports,
    change_rules,
    change_service,
    change_slice,
    judged,
    recorded,
    without_chains,
)

IPV4 = 2
Change = Callable[[ClusterState], ClusterState]
# A pod's endpoints of shop/web, by node; n2 has two.
ON_N1, ON_N3 = "10.244.1.5", "10.244.3.5"


def _endpoints(change: Callable[[Endpoint], Endpoint | None], service: tuple[str, str] = WEB) -> Change:
    def of(one: EndpointSlice) -> EndpointSlice:
        found = tuple(new for old in one.endpoints if (new := change(old)) is not None)
        assert found != one.endpoints
        return msgspec.structs.replace(one, endpoints=found)

    return lambda cluster: change_slice(cluster, service, of)


def _at(addr: str, **fields: object) -> Callable[[Endpoint], Endpoint]:
    def change(one: Endpoint) -> Endpoint:
        return msgspec.structs.replace(one, **fields) if one.addresses[0] == pack_ip(addr) else one

    return change


def _all(**fields: object) -> Callable[[Endpoint], Endpoint]:
    return lambda one: msgspec.structs.replace(one, **fields)


def _without(addr: str) -> Callable[[Endpoint], Endpoint | None]:
    return lambda one: one if one.addresses[0] != pack_ip(addr) else None


def _one_more(cluster: ClusterState) -> ClusterState:
    more = Endpoint((pack_ip("10.244.3.99"),), node="n3")
    return change_slice(
        cluster, WEB, lambda one: msgspec.structs.replace(one, endpoints=(*one.endpoints, more))
    )


def _zones(cluster: ClusterState) -> ClusterState:
    for name, zone in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        cluster = change_node(cluster, name, labels={ZONE: zone})

    def hinted(one: Endpoint) -> Endpoint:
        return msgspec.structs.replace(one, hints=("b",) if one.addresses[0] == pack_ip(ON_N3) else ("a",))

    return _endpoints(hinted)(cluster)


def _rule(name: str, table: str, chain: str, having: str, times: int = 0) -> Change:
    def change(text: str, rule: NftRuleBody) -> Iterable[NftRuleBody]:
        return (rule,) * times if having in text else (rule,)

    return lambda cluster: change_rules(cluster, name, (IPV4, table, chain), change)


def _element(name: str, key: str, holds: bytes, becomes: dict[str, object] | None = None) -> Change:
    def change(elem: SetElem) -> Iterable[SetElem]:
        if holds not in (elem.key, elem.data) and holds not in elem.key and holds not in elem.data:
            return (elem,)
        return (msgspec.structs.replace(elem, **becomes),) if becomes else ()

    return lambda cluster: change_elements(cluster, name, (IPV4, "kube-proxy", key), change)


def _behind(cluster: ClusterState) -> ClusterState:
    for service in ("web", "solo", "web-np", "web-ext", "web-local"):
        cluster = _rule("n3", "nat", "KUBE-SERVICES", f'shop/{service} cluster IP"')(cluster)
    return cluster


SEP_N1 = "KUBE-SEP-JEWKWDKY4ODQIXQB"  # of shop/web on n1 and n3, for 10.244.1.5
WEB_IP, NODE_PORT = pack_ip("10.96.20.1"), (30080).to_bytes(2, "big")
NO_ENDPOINTS = pack_ip("10.96.20.8")

PLANTED: list[tuple[str, Change, str, str]] = [
    # what, how, the kind that is to be told, what the headline names
    ("an endpoint more in the API", _one_more, "service-endpoint-missing", "10.244.3.99:8080"),
    ("an endpoint less in the API", _endpoints(_without(ON_N1)), "service-endpoint-stale", f"{ON_N1}:8080"),
    ("one isn't ready", _endpoints(_at(ON_N1, ready=False, serving=False)), "service-endpoint-stale", ON_N1),
    (
        "one ends, and others are ready",
        _endpoints(_at(ON_N3, ready=False, serving=True, terminating=True)),
        "service-endpoint-stale",
        ON_N3,
    ),
    (
        "one alone serves on, all others are gone",
        _endpoints(
            lambda one: msgspec.structs.replace(
                one, ready=False, serving=one.addresses[0] == pack_ip(ON_N3), terminating=True
            )
        ),
        "service-endpoint-stale",
        ON_N1,
    ),
    ("none is ready", _endpoints(_all(ready=False, serving=False)), "service-endpoint-stale", "shop/web "),
    ("hints keep zones apart", _zones, "service-endpoint-stale", ON_N3),
    (
        "endpoints listen to another port",
        lambda cluster: change_slice(
            cluster, WEB, lambda one: msgspec.structs.replace(one, ports=(EndpointPort(8081),))
        ),
        "service-endpoint-stale",
        ":8080",
    ),
    (
        "the service has another address",
        lambda cluster: change_service(cluster, WEB, cluster_ips=(pack_ip("10.96.77.7"),)),
        "service-not-programmed",
        "shop/web ",
    ),
    (
        "the service has another port",
        lambda c: change_ports(c, WEB, port=81),
        "service-not-programmed",
        "shop/web ",
    ),
    (
        "the service has another protocol",
        lambda c: change_slice(
            change_ports(c, WEB, protocol="UDP"),
            WEB,
            lambda one: msgspec.structs.replace(one, ports=(EndpointPort(8080, "UDP"),)),
        ),
        "service-not-programmed",
        "shop/web ",
    ),
    (
        "another node port",
        lambda c: change_ports(c, ("shop", "web-np"), node_port=30099),
        "service-not-programmed",
        "node port",
    ),
    (
        "another external address",
        lambda c: change_service(c, ("shop", "web-ext"), external_ips=(pack_ip("10.99.0.201"),)),
        "service-not-programmed",
        "external address",
    ),
    (
        "the internal policy is Local now",
        lambda c: change_service(c, WEB, internal_local=True),
        "service-endpoint-stale",
        "shop/web ",
    ),
    (
        "the internal policy is Cluster now",
        lambda c: change_service(c, ("shop", "web-itp"), internal_local=False),
        "service-not-programmed",
        "shop/web-itp ",
    ),
    (
        "the external policy is Local now",
        lambda c: change_service(c, ("shop", "web-np"), external_local=True),
        "service-endpoint-stale",
        "by its node port",
    ),
    (
        "a service gets its first endpoint",
        lambda cluster: change_slice(
            cluster,
            ("shop", "noeps"),
            lambda one: msgspec.structs.replace(
                one, endpoints=(Endpoint((pack_ip(ON_N1),), node="n1"),), ports=(EndpointPort(8080),)
            ),
        ),
        "service-not-programmed",
        "shop/noeps ",
    ),
    (
        "a rule to a service is missing on one node",
        _rule("n1", "nat", "KUBE-SERVICES", 'shop/web cluster IP"'),
        "service-not-programmed",
        "n1: no rule leads service shop/web ",
    ),
    (
        "a rule to an endpoint is missing on one node",
        _rule("n3", "nat", "KUBE-SVC-E3PXEPMWAWIUT6ZV", SEP_N1),
        "service-endpoint-missing",
        f"n3: no rule leads service shop/web to {ON_N1}:8080",
    ),
    (
        "an element of a map is missing on one node",
        _element("n2", "service-ips", WEB_IP),
        "service-not-programmed",
        "n2: no rule leads service shop/web ",
    ),
    (
        "a map leads to an address that nobody has",
        _element("n2", "__map4", pack_ip(ON_N1), {"data": pack_ip("10.244.1.250") + bytes((31, 144))}),
        "service-endpoint-stale",
        "10.244.1.250:8080, not its endpoint",
    ),
    (
        "a map leads twice to one endpoint",
        _element("n2", "__map4", pack_ip(ON_N3), {"data": pack_ip(ON_N1).ljust(4) + bytes((31, 144, 0, 0))}),
        "service-endpoint-doubled",
        ON_N1,
    ),
    (
        "a node port is missing on one node",
        _element("n2", "service-nodeports", NODE_PORT),
        "service-not-programmed",
        "n2: no rule leads service shop/web-np by its node port",
    ),
    (
        "a service without endpoints is refused no more",
        lambda c: _element("n2", "no-endpoint-services", NO_ENDPOINTS)(
            _rule("n2", "kube-proxy", "cluster-ips-check", "")(c)
        ),
        "service-not-refused",
        "n2 doesn't refuse packets to a service without usable endpoints: shop/noeps",
    ),
    (
        "a node's rules are flushed",
        lambda c: without_chains(c, "n2", "kube-proxy"),
        "service-rules-absent",
        "n2",
    ),
    ("a node lags behind", _behind, "service-rules-behind", "n3 differ from the API's for 5 services"),
]


USUAL = {"service-not-refused:n1", "service-not-refused:n3"}  # test_recorded.py says why


@pytest.fixture(scope="module")
def check() -> ServicesCheck:
    """A check that remembers from one state to the next, as it does in use."""
    return judged(recorded())


@pytest.mark.parametrize(
    ("change", "kind", "names"), [row[1:] for row in PLANTED], ids=[row[0] for row in PLANTED]
)
def test_what_is_planted_is_found(check: ServicesCheck, change: Change, kind: str, names: str) -> None:
    found: list[Problem] = [
        one for one in judged(change(recorded()), check).problems() if one.key not in USUAL
    ]
    for problem in found:
        proper(problem)
    told = [problem.headline for problem in found if problem.kind == kind]
    assert any(names in headline + " " for headline in told), [(one.kind, one.headline) for one in found]
    assert {problem.key for problem in judged(recorded(), check).problems()} == USUAL


@pytest.mark.parametrize("number", [0, 6, 17, 20, 25])
def test_what_is_remembered_is_what_a_fresh_check_says(check: ServicesCheck, number: int) -> None:
    changed = PLANTED[number][1](recorded())
    assert judged(changed, check).problems() == judged(changed).problems()
