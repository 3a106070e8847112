"""Policies for the whole cluster out of the API's lists: each kind, and what must not be guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import (
    Cidr,
    ClusterPolicy,
    ClusterRule,
    PolicyPeer,
    PolicyPort,
    Requirement,
    Selector,
)
from netviz.core.state.door import fold, sift
from netviz.core.state.node import NodeState
from netviz.core.wire.kubernetes.api import RESOURCES, Event, Resource
from netviz.core.wire.kubernetes.files import read_lists
from netviz.core.wire.kubernetes.pending import Pending

KINDS: dict[str, Resource] = {one.kind: one for one in RESOURCES}
Json = dict[str, Any]
SHOP: Json = {"namespaces": {"matchLabels": {"team": "shop"}}}
WEB: Json = {
    "pods": {
        "namespaceSelector": {},
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]},
    }
}


def policy(kind: str = "ClusterNetworkPolicy", version: str = "", **spec: Any) -> Json:
    made: Json = {"metadata": {"name": "p", "resourceVersion": "7"}, "spec": {"subject": SHOP, **spec}}
    if kind == "ClusterNetworkPolicy":
        made["spec"] = {"tier": "Admin", "priority": 3, **made["spec"]}
    return {**made, "apiVersion": f"policy.networking.k8s.io/{version}", "kind": kind} if version else made


def listed(kind: str, *items: Json) -> NodeState:
    return read_lists("c1", [("x.json", json.dumps({"kind": f"{kind}List", "items": items}).encode())])


def only(state: NodeState) -> ClusterPolicy:
    assert not state.objects.refused
    (found,) = state.objects.cluster_policies.values()
    return found


def test_a_cluster_network_policy() -> None:
    to = [WEB, {"nodes": {}}, {"networks": ["10.0.0.0/8", "fd00::/8"]}, {"domainNames": ["*.example.org"]}]
    protocols = [
        {"tcp": {"destinationPort": {"number": 443}}},
        {"udp": {"destinationPort": {"range": {"start": 100, "end": 200}}}},
        {"sctp": {}},
        {"destinationNamedPort": "http"},
    ]
    found = only(
        listed(
            "ClusterNetworkPolicy",
            policy(
                version="v1alpha2",
                egress=[{"name": "out", "action": "Accept", "to": to, "protocols": protocols}],
                ingress=[{"action": "Pass", "from": [SHOP]}],
            ),
        )
    )
    app = Selector(expressions=(Requirement("app", "In", ("web", "api")),))
    shop = PolicyPeer(namespaces=Selector({"team": "shop"}))
    assert found == ClusterPolicy(
        "ClusterNetworkPolicy",
        "p",
        "Admin",
        3,
        shop,
        (ClusterRule("Pass", (shop,)),),
        (
            ClusterRule(
                "Accept",
                (
                    PolicyPeer(app, Selector()),
                    PolicyPeer(nodes=Selector()),
                    PolicyPeer(block=Cidr(pack_ip("10.0.0.0"), 8)),
                    PolicyPeer(block=Cidr(pack_ip("fd00::"), 8)),
                    PolicyPeer(domains=("*.example.org",)),
                ),
                (
                    PolicyPort("TCP", "443"),
                    PolicyPort("UDP", "100", 200),
                    PolicyPort("SCTP"),
                    *(PolicyPort(protocol, "http") for protocol in ("TCP", "UDP", "SCTP")),
                ),
                "out",
            ),
        ),
    )
    assert found.key == ("ClusterNetworkPolicy", "p")


def test_the_older_kinds() -> None:
    ports = [
        {"portNumber": {"protocol": "UDP", "port": 53}},
        {"portRange": {"start": 1, "end": 9}},
        {"namedPort": "dns"},
    ]
    rule = {"action": "Allow", "from": [WEB], "ports": ports}
    admin = only(listed("AdminNetworkPolicy", policy("AdminNetworkPolicy", priority=70, ingress=[rule])))
    assert (admin.tier, admin.priority, admin.ingress[0].action) == ("Admin", 70, "Accept")
    assert admin.ingress[0].ports[:2] == (PolicyPort("UDP", "53"), PolicyPort("TCP", "1", 9))
    assert {one.port for one in admin.ingress[0].ports[2:]} == {"dns"}
    kind = "BaselineAdminNetworkPolicy"
    base = only(listed(kind, policy(kind, ingress=[{**rule, "action": "Deny"}])))
    assert (base.kind, base.tier, base.ingress[0].action) == (kind, "Baseline", "Deny")


DENY: Json = {"action": "Deny", "from": [SHOP]}


@pytest.mark.parametrize(
    ("kind", "one", "why"),
    [
        ("ClusterNetworkPolicy", policy(version="v7"), "version v7"),
        ("ClusterNetworkPolicy", policy(tier="Middle"), "Middle"),
        ("ClusterNetworkPolicy", policy(priority=1001), "1000"),
        ("ClusterNetworkPolicy", policy(colour="red"), "colour"),
        ("ClusterNetworkPolicy", policy(subject={"serviceAccounts": {}}), "serviceAccounts"),
        ("ClusterNetworkPolicy", policy(subject={}), "subject"),
        ("ClusterNetworkPolicy", policy(subject={**SHOP, **WEB}), "subject"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "action": "Log"}]), "Log"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "action": "Allow"}]), "Allow"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "when": "night"}]), "when"),
        ("ClusterNetworkPolicy", policy(ingress=[{"action": "Deny"}]), "peers"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "from": [{}]}]), "from"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "from": [{"networks": ["::/0"]}]}]), "from"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "from": [{"galaxy": {}}]}]), "galaxy"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "protocols": [{"icmp": {}}]}]), "icmp"),
        ("ClusterNetworkPolicy", policy(ingress=[{**DENY, "protocols": [{}]}]), "protocols"),
        (
            "ClusterNetworkPolicy",
            policy(ingress=[{**DENY, "protocols": [{"tcp": {"flags": "syn"}}]}]),
            "flags",
        ),
        # As v1alpha1 was before it was settled: what isn't known there must not select everything.
        (
            "AdminNetworkPolicy",
            policy("AdminNetworkPolicy", subject={"namespaces": {"namespaceSelector": {}}}),
            "namespaceSelector",
        ),
        (
            "AdminNetworkPolicy",
            policy("AdminNetworkPolicy", ingress=[{**DENY, "action": "Accept"}]),
            "Accept",
        ),
        (
            "BaselineAdminNetworkPolicy",
            policy("BaselineAdminNetworkPolicy", ingress=[{**DENY, "action": "Pass"}]),
            "Pass",
        ),
    ],
)
def test_what_is_not_known_is_left_out_and_named(kind: str, one: Json, why: str) -> None:
    other = {**policy(kind), "metadata": {"name": "q"}}
    state = listed(kind, one, other)
    assert list(state.objects.cluster_policies) == [(kind, "q")]
    (refused,) = state.objects.refused.values()
    assert (refused.section, refused.record) == ("cluster_policies", f"{kind},p")
    assert why in refused.reason
    assert "cluster_policies" in state.gaps


def test_a_policy_that_changes_into_what_is_not_known_is_no_more_what_it_was() -> None:
    kind = "ClusterNetworkPolicy"
    state, resource = listed(kind, policy(ingress=[DENY])), KINDS[kind]

    def after(type_: str, one: Json) -> NodeState:
        pending = Pending()
        event: Event = resource.event(json.dumps({"type": type_, "object": one}).encode())
        pending.add(resource, event)
        return fold(state, sift(pending.take(state)))

    state = after("MODIFIED", policy(ingress=[{**DENY, "when": "night"}]))
    assert not state.objects.cluster_policies
    assert "when" in state.gaps["cluster_policies"]
    state = after("MODIFIED", policy(ingress=[DENY]))
    assert len(state.objects.cluster_policies) == 1
    assert "cluster_policies" not in state.gaps
    assert not after("DELETED", policy()).objects.cluster_policies


def test_a_kind_keeps_what_another_one_has_of_the_same_name() -> None:
    both = {"kind": "List", "items": [policy(version="v1beta1"), policy("AdminNetworkPolicy", "v1alpha1")]}
    state = read_lists("c1", [("all.json", json.dumps(both).encode())])
    assert sorted(state.objects.cluster_policies) == [
        ("AdminNetworkPolicy", "p"),
        ("ClusterNetworkPolicy", "p"),
    ]


def test_a_list_that_is_not_there_is_taken_to_be_empty_and_told() -> None:
    status = listed("ClusterNetworkPolicy").status["cluster_policies"]
    assert status.whole
    assert status.reason == "no list of adminnetworkpolicies; no list of baselineadminnetworkpolicies"
