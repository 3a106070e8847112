"""A MAC that two nodes have on one wire."""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_mac
from tests.core.check.judging import kinds, only
from tests.core.sim.build import textbook


def test_two_nodes_with_one_mac() -> None:
    net, made = textbook(3)
    made["node-3"].change("ens3", mac=made["node-1"].named("ens3").mac)
    problem = only(net)
    assert problem.headline == "node-1 and node-3 have the same MAC address 02:00:00:00:00:02 on ens3"
    assert (problem.where.node, problem.where.dev) == ("node-3", "ens3")
    assert [one.node for one in problem.check] == ["node-1", "node-3"]


def test_links_on_different_wires_may_have_one_mac() -> None:
    net, made = textbook()
    for number, node in enumerate(("node-1", "node-2")):
        made[node].nic("ens4", f"172.16.{number}.1/24", mac=pack_mac("02:aa:00:00:00:01"))
    assert kinds(net) == []


@pytest.mark.parametrize("mac", ["00:00:5e:00:01:07", "00:00:5e:00:02:07"])
def test_virtual_routers_share_theirs_by_design(mac: str) -> None:
    net, made = textbook()
    for node in ("node-1", "node-2"):
        made[node].change("ens3", mac=pack_mac(mac))
    assert kinds(net) == []
