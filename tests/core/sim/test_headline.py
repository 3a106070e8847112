"""What a trace comes to, and the sentence that says it: cause and place."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netviz.core.model.l2 import NUD_REACHABLE
from netviz.core.sim.headline.cause import cause_of
from netviz.core.sim.headline.sentences import SENTENCES, headline_of
from netviz.core.sim.outcome import outcome_of
from netviz.core.sim.trace import Trace
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import DROP, FORWARD, POSTROUTING, chain, e, saddr, verdict

Made = dict[str, Ns]
Plant = Callable[[Net, Made], object]


def traced(plant: Plant, proto: str = "tcp", dst: str = "pod-2-1", **fields: object) -> Trace:
    net, made = textbook(2, 2)
    plant(net, made)
    return net.trace("pod-1-1", dst, proto, **fields)


def lose_routes(node: str, prefix: str) -> Plant:
    def plant(_net: Net, made: Made) -> None:
        made[node].no_route(prefix)
        made[node].no_route("0.0.0.0/0")

    return plant


def to_the_router(_net: Net, made: Made) -> None:
    """The packet leaves for the router, whose MAC was learned: nothing says that it is wrong."""
    made["node-1"].no_route("10.1.2.0/24")
    made["node-1"].neigh("ens3", "192.168.0.254", "02:00:00:00:0f:0f", NUD_REACHABLE)


def host_end_down(_net: Net, made: Made) -> None:
    """The node still has a pod's MAC from before the pod's link went down, and its bridge knows no port for it."""
    made["node-2"].neigh("cni0", "10.1.2.11", made["pod-2-1"].named("eth0").mac, NUD_REACHABLE)
    made["node-2"].down("veth-pod-2-1")


def flood_off(_net: Net, made: Made) -> None:
    """The pod's port takes no frames that are for an unknown MAC, and the bridge has forgotten where the pod's is."""
    made["node-2"].neigh("cni0", "10.1.2.11", made["pod-2-1"].named("eth0").mac, NUD_REACHABLE)
    for port in ("veth-pod-2-1", "veth-pod-2-2"):
        made["node-2"].port(port, unicast_flood=False)


CASES: list[tuple[Plant, str, tuple[str, ...]]] = [
    (
        lose_routes("node-1", "10.1.2.0/24"),
        "no-route",
        ("node-1", "no route", "node-2's pods", "10.1.2.0/24"),
    ),
    (
        lose_routes("node-2", "10.1.1.0/24"),
        "no-route",
        ("node-2", "no route", "node-1's pods", "10.1.1.0/24"),
    ),
    (lambda _, made: made["node-1"].no_route("10.1.2.0/24"), "no-route", ("node-1", "10.1.2.0/24")),
    (to_the_router, "no-route", ("node-1", "10.1.2.0/24")),
    (lambda _, made: made["pod-2-1"].down("eth0"), "link-down", ("eth0", "default/pod-2-1", "down")),
    (lambda _, made: made["node-2"].down("veth-pod-2-1"), "link-down", ("veth-pod-2-1", "node-2", "down")),
    (host_end_down, "link-down", ("veth-pod-2-1", "node-2", "down")),
    (flood_off, "bridge-drops", ("cni0", "node-2")),
    (lambda _, made: made["node-2"].down("cni0"), "link-down", ("cni0", "node-2", "down")),
    (lambda _, made: made["node-1"].down("ens3"), "link-down", ("ens3", "node-1", "down")),
    (
        lambda _, made: made["node-2"].port("veth-pod-2-1", state=0),
        "bridge-port",
        ("veth-pod-2-1", "cni0", "node-2", "disabled"),
    ),
    (
        lambda _, made: chain(made["node-2"], "fwd", (*saddr("10.1.1.11"), verdict(DROP)), hook=FORWARD),
        "rule-drops",
        ("rule", "fwd", "node-2", "drops", "10.1.2.11"),
    ),
    (
        lambda _, made: chain(made["node-2"], "fwd", hook=FORWARD, policy=DROP),
        "rule-drops",
        ("policy", "fwd", "node-2"),
    ),
    (
        lambda _, made: made["node-2"].conf4("ens3", forwarding=0),
        "forwarding-off",
        ("node-2", "net.ipv4.conf.ens3.forwarding is 0"),
    ),
    (
        lambda _, made: made["pod-1-1"].neigh("eth0", "10.1.1.1", "02:00:00:00:ff:ff"),
        "wrong-neighbour",
        ("10.1.1.1", "default/pod-1-1", "02:00:00:00:ff:ff"),
    ),
    (
        lambda _, made: chain(
            made["node-1"], "post", (e("masq", flags=0),), hook=POSTROUTING, priority=100, type="nat"
        ),
        "nat-between-pods",
        ("node-1", "10.1.1.11", "192.168.0.1"),
    ),
]


@pytest.mark.parametrize(("plant", "kind", "parts"), CASES)
def test_the_headline_names_cause_and_place(plant: Plant, kind: str, parts: tuple[str, ...]) -> None:
    trace = traced(plant)
    cause = cause_of(trace)
    assert cause is not None
    assert cause.kind == kind
    text = headline_of(trace)
    assert all(part in text for part in parts), text
    assert len(text.split()) <= 20
    assert outcome_of(trace) == ("breaks-contract" if kind == "nat-between-pods" else "broken")


def test_a_flow_that_passes_both_ways_is_good_and_says_so() -> None:
    trace = traced(lambda _net, _made: None)
    assert (outcome_of(trace), cause_of(trace)) == ("good", None)
    assert (
        headline_of(trace)
        == "default/pod-1-1 reaches pod default/pod-2-1 on tcp port 80, and the answer comes back"
    )
    assert outcome_of(traced(lambda _net, _made: None, "udp", "203.0.113.9")) == "good"


def test_a_lost_answer_is_broken_though_the_packet_arrives() -> None:
    trace = traced(lose_routes("node-2", "10.1.1.0/24"))
    assert trace.disposition == "DELIVERED"
    assert outcome_of(trace) == "broken"


def test_a_port_without_listener_is_broken_and_named() -> None:
    trace = traced(lambda _net, _made: None, dport=99)
    assert outcome_of(trace) == "broken"
    assert headline_of(trace) == "Nothing listens on TCP port 99 in pod default/pod-2-1"


def test_what_meets_something_unknown_is_uncertain() -> None:
    def plant(_net: Net, made: Made) -> None:
        made["node-1"].change("ens3", tc=("clsact",), xdp=1)

    trace = traced(plant)
    assert outcome_of(trace) == "uncertain"
    assert headline_of(trace).startswith("Unknown from ens3 of node-1 on")


def test_an_assumed_course_that_fails_leaves_the_flow_uncertain() -> None:
    """A rule that nobody can judge drops in one branch and passes in the other."""

    def plant(_net: Net, made: Made) -> None:
        chain(
            made["node-2"], "fwd", (e("match", name="mystery", rev=0, info=b""), verdict(DROP)), hook=FORWARD
        )

    trace = traced(plant)
    assert {branch.forward.disposition.value for branch in trace.branches} == {"DROPPED", "DELIVERED"}
    assert outcome_of(trace) == "uncertain"
    text = headline_of(trace)
    assert "node-2" in text
    assert "mystery" in text


def test_too_large_a_packet_names_the_link() -> None:
    def plant(_net: Net, made: Made) -> None:
        made["node-1"].change("ens3", mtu=500)

    text = headline_of(traced(plant, length=900, df=True))
    assert all(part in text for part in ("ens3", "node-1", "500", "900"))


def test_each_kind_of_cause_has_a_sentence() -> None:
    assert {kind for _, kind, _ in CASES} <= SENTENCES.keys()
    assert msgspec.json.encode(sorted(SENTENCES))
