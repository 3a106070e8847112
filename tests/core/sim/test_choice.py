"""Each branch is called by what sets it apart: the endpoint, the route, the link, the match that isn't known."""

from __future__ import annotations

from netviz.core.model.addr import pack_ip
from netviz.core.sim.nft.words import typed_text
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import Trace
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import JUMP, chain, daddr, dnat, e, verdict


def choices(trace: Trace) -> list[str | None]:
    return [branch["choice"] for branch in trace_json(trace)["branches"]]


def service(*endpoints: str) -> tuple[Net, dict[str, Ns]]:
    """A service of node-1 that leads to one of several endpoints by chance."""
    net, made = textbook()
    node = made["node-1"]
    count = len(endpoints)
    rules = []
    for number, addr in enumerate(endpoints):
        chain(node, f"ep{number}", dnat(addr, 80))
        draw = (
            e("numgen", dreg=1, modulus=count - number, type=1, offset=0),
            e("cmp", sreg=1, op=0, data=bytes(4)),
        )
        rules.append((*(draw if number < count - 1 else ()), verdict(JUMP, f"ep{number}")))
    chain(node, "svc", *rules)
    to = (*daddr("10.96.0.1"), verdict(JUMP, "svc"))
    chain(node, "pre", to, hook=0, priority=-100, type="nat")
    chain(node, "out", to, hook=3, priority=-100, type="nat")
    return net, made


def test_a_services_branches_are_its_endpoints() -> None:
    net, _ = service("10.1.1.12", "10.1.2.11", "10.1.2.12")
    for source in ("pod-1-1", "node-1"):
        assert choices(net.trace(source, "10.96.0.1", "tcp", 80)) == [
            "10.1.1.12:80 (default/pod-1-2)",
            "10.1.2.11:80 (default/pod-2-1)",
            "10.1.2.12:80 (default/pod-2-2)",
        ]


def test_an_endpoint_that_is_nobodys_is_called_by_its_address() -> None:
    net, _ = service("10.1.1.99", "10.1.2.11")
    trace = net.trace("pod-1-1", "10.96.0.1", "tcp", 80)
    assert choices(trace) == ["10.1.1.99:80", "10.1.2.11:80 (default/pod-2-1)"]
    assert "branch 1 of 2, probability 0.5: 10.1.1.99:80" in render_text(trace)


def test_one_path_has_no_choice() -> None:
    assert choices(textbook()[0].trace("pod-1-1", "pod-2-1")) == [None]


def test_links_that_share_a_mac() -> None:
    net, made = textbook(3)
    made["node-3"].change("ens3", mac=made["node-2"].named("ens3").mac)
    named = choices(net.trace("pod-1-1", "pod-2-1"))
    assert named == ["by ens3 to node-2", "by ens3 to node-3"]


def test_a_maps_values_are_written_by_their_datatype() -> None:
    """nft's datatypes: 7 ipv4_addr, 8 ipv6_addr, 13 inet_service, 19 mark; six bits each of a concatenation."""
    endpoint = pack_ip("10.1.2.11") + (8080).to_bytes(2, "big") + bytes(2)
    assert typed_text(7 << 6 | 13, endpoint) == "10.1.2.11 . 8080"
    assert typed_text(8 << 6 | 13, pack_ip("fd00::1") + endpoint[4:]) == "fd00::1 . 8080"
    assert typed_text(19, b"\x10\0\0\0") == "0x10"
    assert typed_text(12 << 6 | 13, b"\x06\0\0\0" + endpoint[4:]) == "tcp . 8080"
    assert typed_text(0, endpoint) == "0xa01020b1f900000"
    assert typed_text(63, b"\x01\x02") == "0x102"
