"""A link to the outside that is down or has no carrier, if anything uses it."""

from __future__ import annotations

from netviz.core.model.link import IFF_UP
from tests.core.check.judging import kinds, only
from tests.core.sim.build import textbook


def test_a_cable_that_is_out() -> None:
    net, made = textbook()
    made["node-1"].change("ens3", flags=IFF_UP)
    problem = only(net)
    assert problem.headline == "ens3 on node-1 has no carrier"
    assert problem.fix == ()
    assert problem.affects.pods == ("default/pod-1-1", "default/pod-1-2")


def test_a_nic_that_was_taken_down() -> None:
    net, made = textbook()
    made["node-1"].change("ens3", flags=0)
    assert only(net).headline == "ens3 on node-1 is down"
    assert only(net).fix[0].command == "ip link set ens3 up"


def test_a_nic_that_nothing_uses_may_be_down() -> None:
    net, made = textbook()
    made["node-1"].nic("ens4", flags=0)
    assert kinds(net) == []


def test_a_nic_under_a_bridge_with_an_address_is_used() -> None:
    net, made = textbook()
    node = made["node-1"]
    node.bridge("br0", "192.168.7.1/24")
    node.nic("ens4", flags=0, master=node.named("br0").ifindex)
    assert only(net).where.dev == "ens4"
