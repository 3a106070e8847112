"""From names and addresses to flows."""

from __future__ import annotations

import re

import pytest

from netviz.core.model.addr import format_ip
from netviz.core.model.netns import Pod
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from tests.core.sim.build import textbook


@pytest.mark.parametrize(
    "name", ["pod-1-1", "default/pod-1-1", "node-1-pod-1-1", "node-1:4:102:0", "10.1.1.11"]
)
def test_a_source_by_every_kind_of_name(name: str) -> None:
    flow = resolve_flow(textbook()[0].cluster(), name, "pod-2-1")
    assert (str(flow.src_netns), format_ip(flow.src)) == ("node-1:4:102:0", "10.1.1.11")


def test_a_node_sends_from_the_address_of_the_route() -> None:
    cluster = textbook()[0].cluster()
    assert format_ip(resolve_flow(cluster, "node-1", "pod-2-1").src) == "192.168.0.1"
    assert format_ip(resolve_flow(cluster, "node-1", "pod-1-1").src) == "10.1.1.1"


def test_ports_and_lengths_by_default() -> None:
    cluster = textbook()[0].cluster()
    flow = resolve_flow(cluster, "pod-1-1", "pod-2-1", "udp")
    assert (flow.sport, flow.dport, flow.length) == (40000, 53, 60)
    assert resolve_flow(cluster, "pod-1-1", "203.0.113.1", "udp").dport == 80
    ping = resolve_flow(cluster, "pod-1-1", "pod-2-1", "icmp")
    assert (ping.dport, ping.length) == (None, 84)


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("nobody", "pod-1-1"), "no pod, namespace or node is called 'nobody'"),
        (("pod-1-1", "nobody"), "no pod is called 'nobody', and it is not an address"),
        (
            ("10.1.1.99", "pod-1-1"),
            "no namespace has the address 10.1.1.99, and it isn't outside: it is in 10.1.1.0/24",
        ),
        (("pod-1-1", "fd00::1"), "pod-1-1 has no IPv6 address, and fd00::1 is one"),
        (("10.1.1.11", "fd00::1"), "10.1.1.11 and fd00::1 are addresses of different families"),
        (("pod-1-1", "pod-1-2", "sctp"), "unknown protocol 'sctp': use tcp, udp, icmp or auto"),
        (("pod-1-1", "pod-1-2", "tcp", 70000), "source port 70000 is not a port (1 to 65535)"),
        (("pod-1-1", "pod-1-2", "tcp", None, 0), "destination port 0 is not a port (1 to 65535)"),
        (("pod-1-1", "pod-1-2", "tcp", None, None, 10), "length 10 is not between 40 and 65535 bytes"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_a_sentence(args: tuple[object, ...], complaint: str) -> None:
    with pytest.raises(EndpointError, match=f"^{re.escape(complaint)}$"):
        resolve_flow(textbook()[0].cluster(), *args)  # type: ignore[arg-type]


def test_an_ambiguous_name_lists_the_candidates() -> None:
    net, made = textbook()
    made["pod-2-1"].pod = Pod("pod-1-1", "other", source="file")
    with pytest.raises(EndpointError, match=r"ambiguous: default/pod-1-1 on node-1, other/pod-1-1 on node-2"):
        resolve_flow(net.cluster(), "pod-1-1", "pod-2-2")
    assert resolve_flow(net.cluster(), "other/pod-1-1", "pod-2-2").src_netns.node == "node-2"


def test_an_address_that_two_have_is_ambiguous_as_a_source_only() -> None:
    net, made = textbook()
    made["pod-1-2"].addr("eth0", "10.1.1.11/24")
    with pytest.raises(EndpointError, match=r"the address 10\.1\.1\.11 is ambiguous"):
        resolve_flow(net.cluster(), "10.1.1.11", "pod-2-1")
    assert format_ip(resolve_flow(net.cluster(), "pod-2-1", "10.1.1.11").dst) == "10.1.1.11"
