"""A drop explained by tracing its flow: by the rule or socket at which the trace ends too, or said not to be explained."""

from __future__ import annotations

from netviz.core.model.addr import pack_ip
from netviz.core.observe.drops import Drop
from netviz.core.observe.explain import explain
from netviz.core.observe.headers import Headers
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import DROP, FORWARD, chain, daddr, verdict

P11, P21 = pack_ip("10.1.1.11"), pack_ip("10.1.2.11")
SYN, SYN_ACK = 2, 0x12


def denied() -> tuple[Net, dict[str, Ns]]:
    net, made = textbook()
    chain(made["node-1"], "policy", (*daddr("10.1.2.11"), verdict(DROP)), hook=FORWARD)
    return net, made


def drop(ns: Ns, reason: str, headers: Headers, dev: str = "cni0") -> Drop:
    return Drop(1, reason, str(ns.key), dev, headers=headers)


def test_by_the_rule_that_drops_it() -> None:
    net, made = denied()
    found = explain(net.cluster(), drop(made["node-1"], "NETFILTER_DROP", Headers(6, P11, P21, 0, 80, SYN)))
    assert found.is_explained
    assert "policy" in found.text
    assert found.request == {
        "from": "default/pod-1-1",
        "to": "10.1.2.11",
        "proto": "tcp",
        "dport": 80,
    }
    assert [one["node"] for one in found.check] == ["node-1"]


def test_an_answer_by_its_own_flow() -> None:
    """The answer of a flow from node-2 is dropped on node-1's way out."""
    net, made = denied()
    answer = Headers(6, P11, P21, 80, 40000, SYN_ACK)
    found = explain(net.cluster(), drop(made["node-1"], "NETFILTER_DROP", answer))
    assert found.is_explained
    assert found.request is not None
    assert (found.request["from"], found.request["dport"]) == ("default/pod-2-1", 80)


def test_by_the_socket_that_is_not_there() -> None:
    net, made = textbook()
    found = explain(net.cluster(), drop(made["pod-2-1"], "NO_SOCKET", Headers(17, P11, P21, 0, 99), "eth0"))
    assert found.is_explained


def test_what_the_state_does_not_say() -> None:
    net, made = textbook()
    there = drop(made["node-1"], "NETFILTER_DROP", Headers(6, P11, P21, 0, 80, SYN))
    found = explain(net.cluster(), there)
    assert not found.is_explained
    assert found.text.startswith("the state doesn't say why; traced by it now: ")
    assert found.request is not None
    elsewhere = drop(made["node-2"], "NETFILTER_DROP", Headers(6, P11, P21, 0, 80, SYN))
    assert not explain(denied()[0].cluster(), elsewhere).is_explained
    nobody = explain(net.cluster(), drop(made["node-1"], "NO_SOCKET", Headers(6, b"\1" * 4, b"\2" * 4, 9, 9)))
    assert (nobody.is_explained, nobody.text) == (False, "who sent it isn't known")
    assert (
        "no device was seen to carry it" in explain(net.cluster(), Drop(1, "NEIGH_FAILED", never=True)).text
    )
