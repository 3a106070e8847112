"""Devices that lead nowhere: dummy swallows; tun, ifb, team, netkit and others are opaque, by name.

    [pod-1-1] - cni0 (node-1) -- a device with the route to 203.0.113.0/24

Dummy, netkit, team and ifb are constructed: the kernel of the tests lacks them. Source: drivers/net/dummy.c,
dummy_xmit; drivers/net/netkit.c, netkit_xmit (Linux 6.18).
"""

from __future__ import annotations

import pytest

from netviz.core.model.link import IFF_LOWER_UP, IFF_NOARP, IFF_UP
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import textbook


def through(kind: str) -> Trace:
    net, made = textbook(1)
    node = made["node-1"]
    node.link("dev0", kind, flags=IFF_UP | IFF_LOWER_UP | IFF_NOARP)
    node.route("203.0.113.0/24", dev="dev0")
    return net.trace("pod-1-1", "203.0.113.9", "udp", 53)


def test_constructed_dummy_swallows() -> None:
    trace = through("dummy")
    assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "CONSUMED")


@pytest.mark.parametrize("kind", ["tun", "netkit", "ifb", "team", "nlmon", "vcan"])
def test_constructed_opaque_kinds_are_named(kind: str) -> None:
    trace = through(kind)
    assert (trace.disposition, trace.reason) == (Disposition.UNKNOWN, f"{kind} device")
    assert trace.branches[0].forward.hops[-1].steps[-1].kind == "opaque"
