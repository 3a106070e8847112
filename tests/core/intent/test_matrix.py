"""Who may reach whom at which port, as a matrix: a column for all other ports says no more than what holds for each of them."""

from __future__ import annotations

import pytest

from netviz.core.intent.matrix import OTHER, At, decisions_at, ports_for, without_column
from netviz.core.intent.policies import Party, Policies
from netviz.core.intent.preview import preview, preview_json
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    KubeNamespace,
    KubePod,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    Selector,
)
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects

SPACES = {"shop": KubeNamespace("shop", {})}
WEB = KubePod("shop", "web", node="n1", ips=(pack_ip("10.0.0.3"),), labels={"app": "web"})
DB = KubePod("shop", "db", node="n1", ips=(pack_ip("10.0.0.2"),), labels={"app": "db"})


def policy(*ports: PolicyPort, name: str = "db") -> NetworkPolicy:
    rule = PolicyRule((PolicyPeer(Selector({"app": "web"})),), ports)
    return NetworkPolicy("shop", name, Selector({"app": "db"}), ingress=(rule,))


def cells(one: NetworkPolicy) -> dict[At, set[bool | None]]:
    policies = Policies({one.key: one}, SPACES)
    ports = ports_for([one], [DB], "ingress", ())
    web, db = Party(WEB.ips[0], WEB), Party(DB.ips[0], DB)
    return {at: {each.allowed for each in decisions_at(policies, web, db, at, ports)} for at in ports}


@pytest.mark.parametrize(
    ("ports", "others"),
    [
        ((), {True}),
        ((PolicyPort("TCP", "80"),), {False}),
        ((PolicyPort("TCP", "40000", 50000),), {True, False}),  # the range's other ports
        ((PolicyPort("UDP", "40000"), PolicyPort("UDP", "40001")), {False}),
        ((PolicyPort("TCP"),), {True, False}),  # every port of TCP, none of UDP
        (tuple(PolicyPort("TCP", str(port)) for port in range(1, 9)), {True, False}),  # two have no column
    ],
)
def test_the_other_ports_are_said_to_be_what_all_of_them_are(
    ports: tuple[PolicyPort, ...], others: set[bool | None]
) -> None:
    found = cells(policy(*ports))
    assert found.pop(OTHER) == others
    assert all(answers == {True} for answers in found.values())


def test_a_column_leaves_the_rest_of_its_range() -> None:
    firsts = [("TCP", 1), ("TCP", 80), ("TCP", 82), ("UDP", 1)]
    assert without_column(firsts, [At("TCP", 80), OTHER]) == [
        At("TCP", 1),
        At("TCP", 81),
        At("TCP", 82),
        At("UDP", 1),
    ]
    assert At("TCP", 80) not in without_column(firsts, [At("TCP", 80), At("TCP", 81)])


def test_a_change_of_some_ports_that_have_no_column_is_told_as_that() -> None:
    """A range that takes the place of another: neither all other ports change, nor none."""
    before, after = policy(PolicyPort("TCP", "7000", 8000)), policy(PolicyPort("TCP", "7000", 9000))
    objects = Objects(
        kube_pods={one.key: one for one in (WEB, DB)},
        kube_namespaces=SPACES,
        network_policies={before.key: before},
    )
    (change,) = preview_json(preview(ClusterState(), objects, [after]))["changes"]
    assert (change["from"], change["to"], change["becomes"]) == ("shop/web", "shop/db", "allowed")
    assert change["ports"] == ["some other ports"]
    assert preview(ClusterState(), objects, [before]).changes == ()
