"""Who may reach whom at which port, as a matrix: a column for all other ports says no more than what holds for each of them."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.intent import matrix
from netviz.core.intent.matrix import OTHER, At, decisions_at, ports_for, rows_for, without_column
from netviz.core.intent.parties import policies_of
from netviz.core.intent.policies import Party, Policies
from netviz.core.intent.preview import preview, preview_json
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    ClusterPolicy,
    ClusterRule,
    KubeNamespace,
    KubeNode,
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


NODES = {
    f"n{number}": KubeNode(
        f"n{number}",
        labels={"role": "worker" if number > 1 else "control"},
        addresses=(pack_ip(f"192.0.2.{number}"),),
    )
    for number in (1, 2, 3)
}
ALL_NAMESPACES = PolicyPeer(namespaces=Selector())


def whole(*rules: ClusterRule, tier: str = "Admin", out: bool = False) -> ClusterPolicy:
    how = {"egress": rules} if out else {"ingress": rules}
    return ClusterPolicy("ClusterNetworkPolicy", "all", tier, 1, ALL_NAMESPACES, **how)


def cluster(*policies: ClusterPolicy | NetworkPolicy, pods: tuple[KubePod, ...] = (WEB, DB)) -> Objects:
    return Objects(
        kube_nodes=NODES,
        kube_pods={one.key: one for one in pods},
        kube_namespaces=SPACES,
        network_policies={one.key: one for one in policies if isinstance(one, NetworkPolicy)},
        cluster_policies={one.key: one for one in policies if isinstance(one, ClusterPolicy)},
    )


def test_policies_for_the_whole_cluster_decide_before_and_after_those_of_namespaces() -> None:
    deny = whole(ClusterRule("Deny", (ALL_NAMESPACES,), (PolicyPort("TCP", "80"),)))
    objects = cluster(deny, policy())
    policies = policies_of(objects)
    selecting = policies.selecting([DB])
    assert [one.key for one in selecting] == [deny.key, ("shop", "db")]
    ports = ports_for(selecting, [DB], "ingress", ())
    rows = {row.name: row for row in rows_for(policies, objects, selecting, [DB], "ingress", ports).rows}
    assert ports == [At("TCP", 80), OTHER]
    assert rows["shop/web"].cells == ("denied", "allowed")
    assert rows["shop/web"].by == (deny.key, ("shop", "db"))
    assert rows["shop/db"].cells == ("denied", "denied") or rows["shop/db"].cells == ("allowed", "allowed")
    assert rows["outside"].cells == ("denied", "denied"), (
        "the rule isn't for somebody outside, the other policy is"
    )


def test_nodes_that_policies_tell_apart_are_rows_of_their_own() -> None:
    out = whole(ClusterRule("Deny", (PolicyPeer(nodes=Selector({"role": "control"})),)), out=True)
    far = msgspec.structs.replace(DB, name="far", node="n2", ips=(pack_ip("10.0.0.9"),))
    objects = cluster(out, pods=(DB, far))
    policies = policies_of(objects)
    found = rows_for(policies, objects, [out], [DB, far], "egress", [OTHER])
    cells = {row.name: row.cells for row in found.rows}
    assert cells["n1"] == ("denied",)
    assert cells["n2 and n3"] == ("allowed",)
    assert cells["their own node"] == ("mixed",), (
        "of one pod that is the control plane's, of the other one not"
    )
    assert cells["outside"] == ("allowed",)


def test_what_a_matrix_has_no_room_for_is_counted_and_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matrix, "MOST_SORTS", 1)
    monkeypatch.setattr(matrix, "MOST_PEERS", 1)
    web = [msgspec.structs.replace(WEB, name=f"web-{n}", ips=(pack_ip(f"10.0.1.{n}"),)) for n in (1, 2)]
    objects = cluster(policy(), pods=(*web, DB))
    policies = policies_of(objects)
    found = rows_for(policies, objects, [policy()], [DB, *web], "ingress", [OTHER])
    assert (found.mine_left_off, found.peers_left_off) == (1, 1)
    assert "shop/db" not in {row.name for row in found.rows}
    found = rows_for(policies, objects, [policy()], [DB], "ingress", [OTHER], "app=D")
    assert (found.mine_left_off, found.peers_left_off) == (0, 0)
    assert [row.name for row in found.rows] == ["shop/db"]
    found = rows_for(policies, objects, [policy()], [DB], "ingress", [OTHER], "outs")
    assert [row.name for row in found.rows] == ["outside"]


def test_what_a_policy_for_the_whole_cluster_would_change_is_told_once_for_all_that_are_alike() -> None:
    objects = cluster(policy())
    deny = whole(ClusterRule("Deny", (ALL_NAMESPACES,)))
    (change,) = preview_json(preview(ClusterState(), objects, [deny]))["changes"]
    assert (change["becomes"], change["by"]) == ("denied", ["ClusterNetworkPolicy/all"])
    assert (change["from"], change["from_pods"]) == ("shop/db and shop/web", 2)
    assert (change["to"], change["to_pods"]) == ("shop/db and shop/web", 2)
    assert preview_json(preview(ClusterState(), cluster(deny), [deny]))["changes"] == []
    less = whole(ClusterRule("Deny", (ALL_NAMESPACES,), (PolicyPort("TCP", "80"),)))
    (change,) = preview_json(preview(ClusterState(), cluster(deny), [less]))["changes"]
    assert (change["becomes"], change["ports"]) == ("allowed", ["other ports"])
