"""Connections that stand: listed from tables and sockets, and held against what a new one would meet."""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import IPS_DST_NAT, IPS_SEEN_REPLY, CtEntry
from netviz.core.model.socket import TCP_ESTABLISHED, Socket
from netviz.core.observe.connections import Connection, connections_of, free_port, request_of, untold
from netviz.core.observe.standing import Standing, standing
from netviz.core.state.node import NetnsState
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import DROP, FORWARD, PREROUTING, chain, ct_state, daddr, dnat, verdict

SERVICE = "10.96.0.1"
CONFIRMED = 0x188
ESTABLISHED = 3


def entry(client: str, sport: int, to: str, target: str, port: int = 80, **fields: Any) -> CtEntry:
    """An answered TCP connection from a client to `to`, which `target` answers."""
    nat = IPS_DST_NAT if target != to else 0
    fields.setdefault("tcp_state", ESTABLISHED)
    return CtEntry(
        6,
        pack_ip(client),
        pack_ip(to),
        sport,
        80,
        pack_ip(target),
        pack_ip(client),
        port,
        sport,
        status=IPS_SEEN_REPLY | CONFIRMED | nat,
        **fields,
    )


def service(node: Ns, endpoint: str) -> None:
    """A service's address is translated to one endpoint."""
    chain(node, "pre", (*daddr(SERVICE), *dnat(endpoint, 80)), hook=PREROUTING, priority=-100, type="nat")


def state_of(net: Net, pod: Ns) -> tuple[Any, NetnsState]:
    cluster = net.cluster()
    return cluster, cluster.nodes[pod.key.node].netns[pod.key]


def judged(net: Net, pod: Ns) -> tuple[Connection, Standing]:
    """The only connection of a pod, and how it stands."""
    cluster, ns = state_of(net, pod)
    (one,) = connections_of(cluster, ns)
    return one, standing(cluster, one, free_port([one]))


def test_a_client_is_seen_from_both_ends() -> None:
    """The endpoint's node knows the translated connection alone; the client's node what was asked for."""
    net, made = textbook()
    service(made["node-1"], "10.1.2.11")
    made["node-1"].conntrack(entry("10.1.1.11", 40000, SERVICE, "10.1.2.11"))
    made["node-2"].conntrack(entry("10.1.1.11", 40000, "10.1.2.11", "10.1.2.11"))
    seen = {name: judged(net, made[name])[0] for name in ("pod-1-1", "pod-2-1")}
    assert [one.side for one in seen.values()] == ["client", "server"]
    for one in seen.values():
        assert one.orig.dst == pack_ip(SERVICE)
        assert one.target == (pack_ip("10.1.2.11"), 80)
        assert one.at == made["node-1"].key
        assert request_of(net.cluster(), one) == {
            "from": "default/pod-1-1",
            "to": SERVICE,
            "proto": "tcp",
            "sport": 40000,
            "dport": 80,
        }
    assert judged(net, made["pod-1-1"])[1] == Standing("same")


def test_sockets_without_a_table() -> None:
    net, made = textbook()
    made["pod-1-1"].add(
        "sockets",
        Socket(6, pack_ip("10.1.1.11"), 40000, pack_ip("10.1.2.11"), 80, TCP_ESTABLISHED, cookie=901),
    )
    mapped = bytes(10) + b"\xff\xff"
    made["pod-2-1"].add(
        "sockets",
        Socket(
            6,
            mapped + pack_ip("10.1.2.11"),
            80,
            mapped + pack_ip("10.1.1.11"),
            40000,
            TCP_ESTABLISHED,
            cookie=902,
        ),
    )
    made["pod-2-1"].add(
        "sockets",
        Socket(6, pack_ip("127.0.0.1"), 80, pack_ip("127.0.0.1"), 40000, TCP_ESTABLISHED, cookie=903),
    )
    client, server = judged(net, made["pod-1-1"])[0], judged(net, made["pod-2-1"])[0]
    assert (client.side, server.side) == ("client", "server")
    assert client.orig == server.orig
    assert client.has_socket
    assert server.has_socket
    assert client.entry is None


def test_a_socket_and_its_entry_are_one() -> None:
    net, made = textbook()
    made["node-2"].conntrack(entry("10.1.1.11", 40000, "10.1.2.11", "10.1.2.11"))
    made["pod-2-1"].add(
        "sockets",
        Socket(6, pack_ip("10.1.2.11"), 80, pack_ip("10.1.1.11"), 40000, TCP_ESTABLISHED, cookie=902),
    )
    one, found = judged(net, made["pod-2-1"])
    assert (one.side, one.state, one.has_socket, found.result) == ("server", "established", True, "same")


def test_an_entry_that_leads_to_nobody() -> None:
    net, made = textbook()
    service(made["node-1"], "10.1.2.11")
    made["node-1"].conntrack(entry("10.1.1.11", 40000, SERVICE, "10.1.2.99"))
    assert judged(net, made["pod-1-1"])[1] == Standing(
        "otherwise",
        "its entry translates 10.96.0.1:80 to 10.1.2.99:80, an address that no known namespace has; "
        "a new connection would go to 10.1.2.11:80",
    )


def test_a_service_that_has_moved_on() -> None:
    """The old endpoint is still there and answers, so nothing is broken; but a new connection goes elsewhere."""
    net, made = textbook()
    service(made["node-1"], "10.1.2.11")
    made["node-1"].conntrack(entry("10.1.1.11", 40000, SERVICE, "10.1.2.12"))
    found = judged(net, made["pod-1-1"])[1]
    assert found == Standing(
        "otherwise",
        "its entry translates 10.96.0.1:80 to 10.1.2.12:80; a new connection would go to 10.1.2.11:80",
    )


def test_a_rule_that_came_since() -> None:
    net, made = textbook()
    rules = ((*ct_state(2), verdict(1)), (*daddr("10.1.2.11"), verdict(DROP)))
    chain(made["node-1"], "policy", *rules, hook=FORWARD)
    made["node-1"].conntrack(entry("10.1.1.11", 40000, "10.1.2.11", "10.1.2.11"))
    found = judged(net, made["pod-1-1"])[1]
    assert found.result == "otherwise"
    assert found.why.startswith("it passes as it began; a new connection would fail: ")
    assert "policy" in found.why


def test_a_listener_that_is_gone() -> None:
    """What was accepted goes on; nobody takes a new one."""
    net, made = textbook()
    made["pod-2-1"].lists["sockets"] = [
        Socket(6, pack_ip("10.1.2.11"), 80, pack_ip("10.1.1.11"), 40000, TCP_ESTABLISHED, cookie=902)
    ]
    made["node-1"].conntrack(entry("10.1.1.11", 40000, "10.1.2.11", "10.1.2.11"))
    found = judged(net, made["pod-1-1"])[1]
    assert found.result == "otherwise"
    assert found.why.startswith("it passes as it began; a new connection would fail: ")


def test_what_is_closing_or_from_nobody_known_is_not_judged() -> None:
    net, made = textbook()
    made["node-1"].conntrack(entry("10.1.1.11", 40000, "10.1.2.11", "10.1.2.11", tcp_state=7))
    assert judged(net, made["pod-1-1"])[1] == Standing("unknown", "it is closing or closed")
    net, made = textbook()
    made["node-1"].conntrack(entry("203.0.113.9", 40000, "10.1.1.11", "10.1.1.11"))
    one, found = judged(net, made["pod-1-1"])
    assert request_of(net.cluster(), one) is None
    assert found == Standing("unknown", "who has 203.0.113.9 isn't known")


def test_those_that_differ_in_the_port_alone_are_of_one_sort() -> None:
    net, made = textbook()
    for sport in (40000, 40001):
        made["node-1"].conntrack(entry("10.1.1.11", sport, "10.1.2.11", "10.1.2.11"))
    made["node-1"].conntrack(entry("10.1.1.11", 40002, "10.1.2.11", "10.1.2.11", mark=7))
    cluster, ns = state_of(net, made["pod-1-1"])
    found = connections_of(cluster, ns)
    assert [one.orig.sport for one in found] == [40000, 40001, 40002]
    assert len({one.sort for one in found}) == 2
    assert free_port(found) == 40003


def test_what_may_be_missing_is_said() -> None:
    net, made = textbook()
    made["pod-1-1"].gaps = ()
    cluster, ns = state_of(net, made["pod-1-1"])
    assert untold(cluster, ns) == []
