"""WireGuard between nodes, from constructed state: the kernel of the tests has none.

    [pod-1-1] - cni0 - wg0 (node-1) ens3 :51820 ==== UDP ==== :51820 ens3 (node-2) wg0 - cni0 - [pod-2-1]

Source: drivers/net/wireguard/device.c, wg_xmit; allowedips.c; receive.c, wg_packet_consume_data_done;
socket.c, send4 (Linux 6.18).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.link import (
    ARPHRD_NONE,
    IFF_LOWER_UP,
    IFF_NOARP,
    IFF_UP,
    WireguardInfo,
    WireguardPeer,
)
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import Net, Ns, textbook

PORT = 51820
KEYS = {1: b"\x01" * 32, 2: b"\x02" * 32}


def tunnelled(**changes: Any) -> tuple[Net, dict[str, Ns]]:
    """Join two nodes by wg0; `changes` are of node-2's peer record for node-1."""
    net, made = textbook()
    for n in (1, 2):
        node, m = made[f"node-{n}"], 3 - n
        allowed = ((pack_ip(f"10.1.{m}.0"), 24), (pack_ip("10.1.0.0"), 16))
        peer = WireguardPeer(KEYS[m], pack_ip(f"192.168.0.{m}"), PORT, allowed)
        if n == 2:
            peer = msgspec.structs.replace(peer, **changes)
        info = WireguardInfo(PORT, 0, KEYS[n], (peer,))
        flags = IFF_UP | IFF_LOWER_UP | IFF_NOARP
        node.link("wg0", "wireguard", info=info, flags=flags, arptype=ARPHRD_NONE, mac=b"", mtu=1420)
        node.listen("udp", PORT)
        node.no_route(f"10.1.{m}.0/24")
        node.route(f"10.1.{m}.0/24", dev="wg0")
    return net, made


def ends(trace: Trace) -> tuple[Disposition, Disposition | None]:
    reply = trace.branches[0].reply
    return trace.disposition, reply.disposition if reply is not None else None


def test_constructed_wireguard_both_ways() -> None:
    net, _made = tunnelled()
    trace = net.trace("pod-1-1", "pod-2-1")
    assert ends(trace) == (Disposition.DELIVERED, Disposition.DELIVERED)
    step = next(s for h in trace.branches[0].forward.hops for s in h.steps if s.action == "encapsulate")
    outer: Any = step.packet.fields()["encap"]
    # 60 bytes padded to 64, 16 of header, 16 of tag, 8 of UDP, 20 of IPv4
    assert (outer[0]["len"], outer[0]["sport"], outer[0]["dport"], outer[0]["mark"]) == (124, PORT, PORT, 0)


def test_constructed_wireguard_no_peer_for_the_destination() -> None:
    net, made = tunnelled()
    made["node-1"].route("10.7.0.0/24", dev="wg0")
    trace = net.trace("pod-1-1", "10.7.0.1")
    assert (trace.disposition, trace.reason) == (Disposition.REJECTED, "icmp-host-unreachable")


def test_constructed_wireguard_a_peer_without_an_endpoint_is_answered_once_it_has_spoken() -> None:
    """node-2 knows no endpoint for node-1 until a datagram of node-1 comes: its reply goes back there."""
    net, _made = tunnelled(endpoint=b"", port=0)
    assert net.trace("pod-2-1", "pod-1-1").reason == "icmp-host-unreachable"
    assert ends(net.trace("pod-1-1", "pod-2-1")) == (Disposition.DELIVERED, Disposition.DELIVERED)


@pytest.mark.parametrize("changes", [{"allowed": ((pack_ip("10.9.0.0"), 16),)}, {"public_key": b"\x09" * 32}])
def test_constructed_wireguard_takes_only_what_is_allowed_for_the_peer(changes: dict[str, Any]) -> None:
    net, _made = tunnelled(**changes)
    trace = net.trace("pod-1-1", "pod-2-1")
    assert (trace.disposition, trace.branches[0].forward.hops[-1].steps[-1].dev) == (
        Disposition.DROPPED,
        "wg0",
    )


def test_constructed_wireguard_the_longest_allowed_prefix_names_the_peer() -> None:
    net, made = tunnelled()
    node = made["node-1"]
    info = node.named("wg0").info
    assert isinstance(info, WireguardInfo)
    wide = WireguardPeer(b"\x07" * 32, pack_ip("192.168.0.77"), PORT, ((pack_ip("10.1.2.8"), 29),))
    node.change("wg0", info=msgspec.structs.replace(info, peers=(*info.peers, wide)))
    assert net.trace("pod-1-1", "pod-2-1").disposition is not Disposition.DELIVERED  # 10.1.2.11 is in the /29


def test_constructed_wireguard_without_its_peers_is_unknown() -> None:
    net, made = tunnelled()
    made["node-1"].change("wg0", info=None)
    assert net.trace("pod-1-1", "pod-2-1").reason == "wireguard peers"


def test_constructed_wireguard_another_port_is_refused() -> None:
    net, made = tunnelled()
    info = made["node-2"].named("wg0").info
    made["node-2"].change("wg0", info=msgspec.structs.replace(info, listen_port=1))
    made["node-2"].lists["sockets"] = []
    assert net.trace("pod-1-1", "pod-2-1").reason == "NO_SOCKET"
