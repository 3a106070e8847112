"""WireGuard: the peer by its allowed addresses, the outer datagram, and the check of what comes back.

The longest of the allowed prefixes around the destination names the peer; the peer's endpoint is where the
datagram goes, with the device's own port and mark. The other end knows the sender by its key, and takes
only what has a source that is allowed for it; it then answers to where the datagram came from.

A handshake is taken to succeed where each end knows the other's key. What is inside is padded to 16 bytes.

Source: drivers/net/wireguard/device.c, wg_xmit; allowedips.c, wg_allowedips_lookup_dst; socket.c, send4,
wg_socket_set_peer_endpoint; receive.c, wg_packet_consume_data_done; send.c, calculate_skb_padding
(Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.addr import in_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link, WireguardInfo, WireguardPeer
from netviz.core.sim.actions import Action, Ended, Rx, Send
from netviz.core.sim.encap import tunnel
from netviz.core.sim.node_index import wireguard_netns
from netviz.core.sim.packet import IPPROTO_UDP, Packet, icmp_error
from netviz.core.sim.route.icmp import error_source
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Decap, Encap
from netviz.core.sim.trace import Disposition
from netviz.core.state.node import NetnsState

PADDING = 16
HEADER, TAG = 16, 16


def peer_for(info: WireguardInfo, addr: bytes) -> WireguardPeer | None:
    """Find the peer whose allowed prefixes hold an address, the longest first."""
    best, found = -1, None
    for peer in info.peers:
        for prefix, length in peer.allowed:
            if len(prefix) == len(addr) and length > best and in_prefix(addr, prefix, length):
                best, found = length, peer
    return found


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """Send a packet to the peer that its destination is allowed for."""
    info = link.info
    if not isinstance(info, WireguardInfo) or not info.public_key:
        run.end_unknown(ns, link, packet, Encap("unknown", "peers"))
    peer = peer_for(info, packet.dst)
    key = LinkKey(ns.key, link.ifindex)
    endpoint = None
    if peer is not None:
        endpoint = run.memory.endpoints.get((key, peer.public_key)) or (peer.endpoint, peer.port)
    if peer is None or endpoint is None or not endpoint[0]:
        name = "icmpv6-addr-unreachable" if packet.ipv6 else "icmp-host-unreachable"
        run.record(
            ns, link, packet, Encap("reject", "no peer" if peer is None else "no endpoint"), reason=name
        )
        source, sourceless = error_source(ns, None, packet)
        raise Ended(Disposition.REJECTED, name, icmp_error(packet, "host", source), ns.key, sourceless)
    space = _space(run, ns, link, packet)
    padded = min(packet.wire_length + -packet.wire_length % PADDING, max(link.mtu, packet.wire_length))
    ipv6 = len(endpoint[0]) == 16
    overhead = (40 if ipv6 else 20) + 8 + HEADER + TAG + padded - packet.wire_length
    outer = tunnel.Outer(
        "wireguard",
        endpoint[0],
        IPPROTO_UDP,
        overhead,
        sport=info.listen_port,
        dport=endpoint[1],
        mark=info.fwmark,
    )
    wrapped = tunnel.wrap(space, packet.scrubbed(True), outer)
    if wrapped is None:
        tunnel.no_route(run, ns, link, packet, endpoint[0])
    run.record(
        ns,
        link,
        wrapped,
        Encap(
            "encapsulate",
            "wireguard",
            peer=peer.public_key,
            remote=endpoint[0],
            port=endpoint[1],
            allowed=peer.allowed,
        ),
    )
    return Send(space.key, wrapped.but(sender=info.public_key))


def _space(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NetnsState:
    key = wireguard_netns(run.node(ns.key).netns, ns.key, link)
    if key is None:
        run.end_unknown(ns, link, packet, Encap("unknown", "socket namespace"))
    return run.netns(key)


def accepts(link: Link, packet: Packet) -> bool:
    """Tell whether a device's socket takes an outer packet: by port."""
    return isinstance(link.info, WireguardInfo) and link.up and link.info.listen_port == packet.dport


def take(run: Run, ns: NetnsState, dev: Link, packet: Packet, devices: list[LinkKey]) -> Action:
    """Take the packet out if its sender's key is a peer's and its source is allowed for that peer."""
    key = devices[0]
    own, link = run.netns(key.netns), run.netns(key.netns).links[key.ifindex]
    info, inner = link.info, packet.payload
    assert isinstance(info, WireguardInfo)
    assert inner is not None
    sender = packet.sender
    peer = next((peer for peer in info.peers if peer.public_key == sender), None)
    if peer is None:
        run.end_dropped(own, link, packet, "NOT_SPECIFIED", Decap("drop", "no session"))
    known = {**run.memory.endpoints, (key, peer.public_key): (packet.src, packet.sport)}
    run.memory = run.memory.but(endpoints=known)
    if peer_for(info, inner.src) is not peer:
        run.end_dropped(own, link, packet, "NOT_SPECIFIED", Decap("drop", "not allowed"))
    inner = inner.scrubbed(True)
    run.record(own, link, inner, Decap("decapsulate", "wireguard", outer_src=packet.src))
    return Rx(key, inner)
