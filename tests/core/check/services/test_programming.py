"""Each node's programming of a service of the recorded cluster, by endpoint."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netviz.core.check.services.datapath import Datapath
from netviz.core.check.services.programming import Programmed, programming
from netviz.core.model.addr import format_endpoint, pack_ip
from netviz.core.model.kubernetes import Endpoint, EndpointSlice
from netviz.core.state.node import ClusterState
from tests.core.check.services.recorded import (
    CLUSTER,
    WEB,
    change_elements,
    change_slice,
    recorded,
    without_chains,
)

NODES = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def datapath() -> Datapath:
    """What is known of the nodes' rules, from one state to the next."""
    return Datapath()


def said(
    datapath: Datapath, cluster: ClusterState, key: tuple[str, str] = WEB, nodes: tuple[str, ...] = NODES
) -> dict[str, Programmed]:
    for _ in datapath.follow(cluster):
        pass
    objects = cluster.clusters[CLUSTER].objects
    found = programming(datapath, objects, key, nodes)
    return {name: one for alike, one in found for name in alike}


def cells(one: Programmed) -> dict[str, str]:
    return {format_endpoint(*end): cell for (_, end), cell in one.cells.items()}


def test_all_nodes_do_as_the_api_asks_in_the_mode_that_they_have(datapath: Datapath) -> None:
    found = said(datapath, recorded(), nodes=(*NODES, "n9"))
    assert found.keys() == set(NODES), "the API knows no n9"
    assert {one.state for one in found.values()} == {"programmed"}
    assert {name: one.mode for name, one in found.items()} == {
        "n1": "iptables",
        "n2": "nftables",
        "n3": "iptables",
    }
    for one in found.values():
        assert len(one.cells) == 4
        assert set(one.cells.values()) == {"programmed"}


def _endpoints(change: Any) -> Any:
    def of(one: EndpointSlice) -> EndpointSlice:
        return msgspec.structs.replace(one, endpoints=tuple(change(one.endpoints)))

    return change_slice(recorded(), WEB, of)


def test_endpoints_that_are_gone_are_stale_and_new_ones_are_missing(datapath: Datapath) -> None:
    new = Endpoint((pack_ip("10.244.3.99"),), node="n3")
    cluster = _endpoints(
        lambda all_of: [*(one for one in all_of if one.addresses[0] != pack_ip("10.244.1.5")), new]
    )
    for one in said(datapath, cluster).values():
        assert one.state == "differs"
        by_end = cells(one)
        assert (by_end["10.244.1.5:8080"], by_end["10.244.3.99:8080"]) == ("stale", "missing")
        assert sorted(by_end.values()).count("programmed") == 3
        assert "no rule leads to 10.244.3.99:8080" in one.differs
        assert "still leads 1 in 4 connections to 10.244.1.5:8080" in one.differs


def test_one_node_that_lacks_a_service_differs_alone(datapath: Datapath) -> None:
    web = pack_ip("10.96.20.1")
    cluster = change_elements(
        recorded(), "n2", (2, "kube-proxy", "service-ips"), lambda elem: () if web in elem.key else (elem,)
    )
    found = said(datapath, cluster)
    assert {name: one.state for name, one in found.items()} == {
        "n1": "programmed",
        "n2": "differs",
        "n3": "programmed",
    }
    assert set(found["n2"].cells.values()) == {"missing"}
    assert found["n2"].differs == ("no rule leads to any endpoint",)


def test_a_node_without_any_services_rules_is_told_as_such(datapath: Datapath) -> None:
    one = said(datapath, without_chains(recorded(), "n2", "kube-proxy"))["n2"]
    assert (one.state, one.differs) == ("differs", ("it has no rules for any service, unlike other nodes",))
    alone = ClusterState(
        {"n2": without_chains(recorded(), "n2", "kube-proxy").nodes["n2"]},
        recorded().bodies,
        recorded().clusters,
    )
    one = said(datapath, alone, nodes=("n2",))["n2"]
    assert one.state == "unknown", "others may do it there, in ways that aren't seen"
    assert set(one.cells.values()) == {"unknown"}


def test_a_service_that_nobody_may_serve_is_refused_and_that_is_right(datapath: Datapath) -> None:
    found = said(datapath, recorded(), ("shop", "noeps"))
    assert found["n2"] == Programmed("programmed")
    assert found["n1"].differs == ("there is no endpoint, and packets aren't refused",)


def test_what_is_asked_of_each_node_by_its_name_is_judged_for_each(datapath: Datapath) -> None:
    """A node leads to its own endpoints alone where the policy is Local."""
    found = said(datapath, recorded(), ("shop", "web-local"))
    assert {one.state for one in found.values()} <= {"programmed", "unknown"}
    assert len(said(datapath, recorded(), ("shop", "web-itp"))) == len(NODES)
