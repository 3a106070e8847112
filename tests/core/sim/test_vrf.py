"""VRF (l3mdev), from constructed state: the kernel of the tests has none.

Source: drivers/net/vrf.c, vrf_ip_rcv, vrf_xmit; net/l3mdev/l3mdev.c, l3mdev_update_flow,
l3mdev_fib_rule_match; include/net/inet_sock.h, inet_bound_dev_eq (Linux 6.18).
"""

from __future__ import annotations

import pytest

from netviz.core.model.devconf import Ipv4Conf
from netviz.core.model.l3 import RTN_UNREACHABLE
from netviz.core.model.link import IFF_LOWER_UP, IFF_NOARP, IFF_UP, VrfInfo
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.evidence import evidence_of
from tests.core.sim.build import Net, Ns

TABLE = 10


def site(accept: int = 0) -> tuple[Net, dict[str, Ns]]:
    """Build a router whose two links to a and b are in the VRF blue (table 10); c's is in none.

    [a] 10.1.0.2 -- va \\
                         blue [router] vc -- [c] 10.3.0.2
    [b] 10.2.0.2 -- vb /
    """
    net = Net()
    router = net.node("router")
    router.sysctl("net.ipv4.tcp_l3mdev_accept", accept)
    flags = IFF_UP | IFF_LOWER_UP | IFF_NOARP
    blue = router.link("blue", "vrf", flags=flags, info=VrfInfo(TABLE))
    router.rule(1000, table_id=0, l3mdev=True)
    made = {"router": router}
    for number, name in enumerate("abc", 1):
        host = made[name] = net.netns("router", name)
        net.veth(host, "eth0", router, f"v{name}")
        if name != "c":
            router.change(f"v{name}", master=blue.ifindex, slave_kind="vrf")
        host.addr("eth0", f"10.{number}.0.2/24")
        host.route("0.0.0.0/0", f"10.{number}.0.1")
        host.listen("tcp", 80)
        before = len(router.lists["routes"])
        router.addr(f"v{name}", f"10.{number}.0.1/24")
        if name != "c":
            moved = [_in_table(route) for route in router.lists["routes"][before:]]
            router.lists["routes"][before:] = moved
    return net, made


def _in_table(route: object) -> object:
    import msgspec

    return msgspec.structs.replace(route, table_id=TABLE)  # type: ignore[type-var]


def end(trace: Trace) -> tuple[Disposition, str]:
    return trace.disposition, trace.reason


def test_constructed_vrf_joins_its_slaves() -> None:
    net, _made = site()
    trace = net.trace("a", "b")
    assert end(trace) == (Disposition.DELIVERED, "")
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED
    routes = [evidence_of(s).get("table_id") for h in trace.branches[0].forward.hops for s in h.steps]
    assert TABLE in routes


def test_constructed_vrf_without_a_route_falls_through_to_main() -> None:
    """Without an unreachable default in the VRF's table, the rules after l3mdev's answer: a packet leaks out."""
    net, made = site()
    assert end(net.trace("a", "c"))[0] is Disposition.DELIVERED
    made["router"].route("0.0.0.0/0", table_id=TABLE, type=RTN_UNREACHABLE, metric=4278198272)
    assert end(net.trace("a", "c")) == (Disposition.REJECTED, "icmp-host-unreachable")


def test_constructed_vrf_is_closed_to_others() -> None:
    net, _made = site()
    assert end(net.trace("c", "a"))[0] is Disposition.DROPPED


@pytest.mark.parametrize("accept", [0, 1])
def test_constructed_vrf_and_an_unbound_socket(accept: int) -> None:
    net, made = site(accept)
    made["router"].listen("tcp", 80)
    trace = net.trace("a", "10.1.0.1", "tcp", 80)
    assert trace.disposition is (Disposition.DELIVERED if accept else Disposition.NO_LISTENER)
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED  # the SYN+ACK or the RST goes back by the VRF


@pytest.mark.parametrize(("dev", "taken"), [("blue", True), ("va", True), ("vb", False)])
def test_constructed_vrf_and_a_bound_socket(dev: str, taken: bool) -> None:
    net, made = site()
    made["router"].listen("tcp", 80, ifindex=made["router"].named(dev).ifindex)
    assert (net.trace("a", "10.1.0.1", "tcp", 80).disposition is Disposition.DELIVERED) == taken


def test_constructed_vrf_answers_pings() -> None:
    net, _made = site()
    trace = net.trace("a", "10.1.0.1", "icmp")
    assert trace.disposition is Disposition.DELIVERED
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED


def test_constructed_vrf_checks_the_reverse_path_in_its_table() -> None:
    net, made = site()
    blue = made["router"].named("blue")
    made["router"].change("blue", ipv4=Ipv4Conf(forwarding=1, rp_filter=1))
    assert blue.ifindex
    assert net.trace("a", "b").disposition is Disposition.DELIVERED


def test_constructed_vrf_device_as_a_leak() -> None:
    """A route of the main table out of the VRF's device is looked up again in the VRF's table."""
    net, made = site()
    made["router"].route("10.1.0.0/24", dev="blue")
    trace = net.trace("c", "a")
    assert "to vrf" in [s.action for h in trace.branches[0].forward.hops for s in h.steps]
    assert trace.disposition is Disposition.DELIVERED
