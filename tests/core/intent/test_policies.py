"""NetworkPolicies by a direct, slow reading of the API's documentation, against the evaluation that is used."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from netviz.core.intent.policies import Party, Policies, RuleName
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    ContainerPort,
    KubeNamespace,
    KubePod,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    Selector,
)
from tests.core.intent import readings as slow


def test_the_fast_evaluation_agrees_with_the_slow_reading_on_10000_random_flows() -> None:
    pick = Random(12)
    told: dict[Any, int] = {True: 0, False: 0, None: 0}
    for _ in range(200):
        spaces = {name: KubeNamespace(name, slow.random_labels(pick)) for name in slow.NAMESPACES}
        made = [slow.random_policy(pick, number) for number in range(pick.randint(1, 8))]
        pods = [slow.random_pod(pick, number) for number in range(1, 13)]
        policies = Policies({one.key: one for one in made}, spaces)
        for _ in range(50):
            source, target = slow.random_party(pick, pods), slow.random_party(pick, pods)
            flow = source, target, pick.choice((*slow.PROTOCOLS, "ICMP")), pick.choice(slow.PORTS)
            wanted = slow.reads(made, spaces, *flow)
            assert policies.decide(*flow).allowed is wanted, (made, spaces, flow)
            told[wanted] += 1
    assert sum(told.values()) == 10_000
    assert min(told[True], told[False]) > 1_500
    assert told[None] > 100


@pytest.fixture
def shop() -> tuple[Policies, Party, Party]:
    """A pod web, and a pod db that a policy lets it reach at its named port; another one denies the rest."""
    spaces = {"shop": KubeNamespace("shop", {"team": "shop"}), "dev": KubeNamespace("dev", {})}
    db = KubePod("shop", "db", node="n1", ips=(pack_ip("10.0.0.2"),), labels={"app": "db"})
    db = KubePod(
        "shop", "db", node="n1", ips=db.ips, labels=db.labels, ports=(ContainerPort(5432, "TCP", "sql"),)
    )
    web = KubePod("shop", "web", node="n2", ips=(pack_ip("10.0.0.3"),), labels={"app": "web"})
    made = [
        NetworkPolicy("shop", "default-deny"),
        NetworkPolicy(
            "shop",
            "db",
            Selector({"app": "db"}),
            ingress=(PolicyRule((PolicyPeer(Selector({"app": "web"})),), (PolicyPort("TCP", "sql"),)),),
        ),
    ]
    policies = Policies({one.key: one for one in made}, spaces)
    return policies, Party(web.ips[0], web), Party(db.ips[0], db)


def test_the_rule_that_allows_is_named(shop: tuple[Policies, Party, Party]) -> None:
    policies, web, db = shop
    found = policies.decide(web, db, "TCP", 5432)
    assert found.allowed is True
    assert found.ingress.rule == RuleName(("shop", "db"), "ingress", 0)
    assert found.ingress.policies == (("shop", "db"), ("shop", "default-deny"))
    assert found.egress.policies == ()


def test_what_no_rule_allows_is_denied_by_those_that_select(shop: tuple[Policies, Party, Party]) -> None:
    policies, web, db = shop
    found = policies.decide(web, db, "TCP", 80)
    assert found.allowed is False
    assert found.ingress.rule is None
    assert policies.decide(db, web, "TCP", 80).ingress.policies == (("shop", "default-deny"),)


def test_a_pod_reaches_itself_and_its_node_reaches_it(shop: tuple[Policies, Party, Party]) -> None:
    policies, _, db = shop
    assert policies.decide(db, db, "TCP", 80).allowed is True
    assert policies.decide(Party(pack_ip("192.0.2.1"), node="n1"), db, "TCP", 80).allowed is True
    assert policies.decide(Party(pack_ip("192.0.2.2"), node="n2"), db, "TCP", 80).allowed is False
    assert policies.decide(Party(pack_ip("192.0.2.9")), db, "TCP", 80).allowed is False
