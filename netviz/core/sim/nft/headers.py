"""A packet's bytes, as far as they are known: what payload expressions look at, and what they write.

A byte that nothing determines (a checksum, a sequence number) is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, TH_ACK, Packet

Bytes = list[int | None]
LL, NETWORK, TRANSPORT, INNER = 0, 1, 2, 3
ETH_P_IP, ETH_P_IPV6, ETH_P_ARP, ETH_P_8021Q = 0x0800, 0x86DD, 0x0806, 0x8100
ARPHRD_ETHER, ARP_REQUEST, ARP_REPLY = 1, 1, 2
MAX_DATA, MAX_PACKET = 256, 1 << 16
VXLAN_FLAGS = 0x08
NEXTHDR_FRAGMENT = 44


class Absent(Enum):
    """There is no such header, or the packet ends before the bytes that are asked for."""

    ABSENT = 0


def protocol(packet: Packet) -> int:
    """Return the packet's ETH_P_*."""
    if packet.arp:
        return ETH_P_ARP
    return ETH_P_IPV6 if packet.ipv6 else ETH_P_IP


def _unknown(count: int) -> Bytes:
    return [None] * max(count, 0)


def link_header(packet: Packet) -> Bytes:
    """The Ethernet header, with the VLAN tag that the skb carries beside it."""
    dmac: Bytes = list(packet.dmac) if packet.dmac else _unknown(6)
    smac: Bytes = list(packet.smac) if packet.smac else _unknown(6)
    tags: Bytes = [
        byte for proto, vid in packet.tags for byte in (*proto.to_bytes(2, "big"), *vid.to_bytes(2, "big"))
    ]
    return [*dmac, *smac, *tags, *protocol(packet).to_bytes(2, "big")]


def arp_message(packet: Packet) -> Bytes:
    """The ARP message: in a request the target's MAC is zero."""
    target = packet.dmac if packet.arp == ARP_REPLY else bytes(6)
    head = (
        ARPHRD_ETHER.to_bytes(2, "big")
        + ETH_P_IP.to_bytes(2, "big")
        + b"\x06\x04"
        + packet.arp.to_bytes(2, "big")
    )
    return [*head, *packet.smac, *packet.src, *target, *packet.dst]


def network_header(packet: Packet) -> Bytes:
    """The ARP message, or the IPv4 or IPv6 header. Unknown: identification, checksum, flow label; a fragment's length."""
    if packet.arp:
        return arp_message(packet)
    if packet.ipv6:
        first: Bytes = [0x60 | packet.tos >> 4, None, None, None]
        size: Bytes = _unknown(2) if packet.fragment else list((packet.length - 40).to_bytes(2, "big"))
        kind = NEXTHDR_FRAGMENT if packet.fragment else packet.proto
        return [*first, *size, kind, packet.ttl, *packet.src, *packet.dst]
    flags: Bytes = _unknown(2) if packet.fragment else [0x40 if packet.df else 0, 0]
    length: Bytes = _unknown(2) if packet.fragment else list(packet.length.to_bytes(2, "big"))
    tail: Bytes = [packet.ttl, packet.proto, None, None, *packet.src, *packet.dst]
    return [0x45, packet.tos, *length, None, None, *flags, *tail]


def header_length(packet: Packet) -> int:
    """Return the length of the IP header."""
    return 40 if packet.ipv6 else 20


def transport_header(packet: Packet) -> Bytes:
    """The TCP, UDP or ICMP header."""
    ports: Bytes = [
        *(_unknown(2) if packet.sport_unsure else packet.sport.to_bytes(2, "big")),
        *(_unknown(2) if packet.dport_unsure else packet.dport.to_bytes(2, "big")),
    ]
    if packet.proto == IPPROTO_TCP:
        ack: Bytes = _unknown(4) if packet.tcp_flags & TH_ACK else [0, 0, 0, 0]
        offset = (packet.length - header_length(packet)) // 4 << 4
        return [*ports, *_unknown(4), *ack, offset & 0xF0, packet.tcp_flags, None, None, None, None, 0, 0]
    if packet.proto == IPPROTO_UDP:
        length = packet.length - header_length(packet)
        return [*ports, *length.to_bytes(2, "big"), None, None]
    if packet.is_icmp:
        if packet.inner is not None:
            return [packet.icmp_type, packet.icmp_code, *_unknown(6)]
        ident: Bytes = _unknown(2) if packet.sport_unsure else list(packet.sport.to_bytes(2, "big"))
        return [packet.icmp_type, packet.icmp_code, None, None, *ident, None, None]
    return []


def tcp_options(packet: Packet) -> dict[int, int] | None:
    """Map the kinds of a SYN's options to their lengths; None where they aren't known.

    A sender with all its settings at their defaults makes 40 bytes of header: maximum segment size,
    selective acknowledgements, time stamps, window scaling. A reset has no options.

    Source: net/ipv4/tcp_output.c, tcp_syn_options, tcp_options_write (Linux 6.18).
    """
    length = packet.length - header_length(packet)
    if length == 20:
        return {}
    return {2: 4, 4: 2, 8: 10, 1: 1, 3: 3} if length == 40 else None


def data(packet: Packet) -> Bytes:
    """What is behind the transport header: a tunnel's frame, or bytes that aren't known."""
    if packet.payload is not None and packet.vni and packet.proto == IPPROTO_UDP:
        inner = packet.payload
        vxlan: Bytes = [VXLAN_FLAGS, 0, 0, 0, *packet.vni.to_bytes(3, "big"), 0]
        return [*vxlan, *link_header(inner), *network_header(inner), *transport_header(inner)]
    known = header_length(packet) + len(transport_header(packet))
    return _unknown(min(packet.length - known, MAX_DATA))


def _parts(packet: Packet, base: int) -> Iterator[Bytes]:
    """Yield the packet's headers, and its data, from a header on; nothing where there is no such header."""
    if base == LL and (packet.smac or packet.dmac):
        yield link_header(packet)
        base = NETWORK
    if base == NETWORK:
        yield network_header(packet)
        base = TRANSPORT
    if packet.arp:
        return
    if base == TRANSPORT:
        header = transport_header(packet)
        yield _unknown(len(header)) if packet.fragment else header  # each piece has another part of it
    if base == TRANSPORT or (base == INNER and packet.proto in (IPPROTO_TCP, IPPROTO_UDP)):
        rest = data(packet)
        yield _unknown(len(rest)) if packet.fragment and base == TRANSPORT else rest


def _from(packet: Packet, base: int, length: int) -> Bytes:
    """Return the packet's bytes from a header on, `length` of them or more where there are so many."""
    found: Bytes = []
    for part in _parts(packet, base):
        found += part
        if len(found) >= length:
            break
    return found


def read(packet: Packet, base: int, offset: int, length: int) -> bytes | Absent | None:
    """Read header bytes: None when one of them isn't known.

    Source: net/netfilter/nft_payload.c, nft_payload_eval (Linux 6.18).
    """
    header = _from(packet, base, offset + length)
    if not header or len(header) < offset + length:
        return Absent.ABSENT
    found = header[offset : offset + length]
    known = [byte for byte in found if byte is not None]
    return bytes(known) if len(known) == length else None


# Which bytes may be written: (base, offset, length) of fields that are kept, and of those that don't matter.
_IP4 = {(1, 1): "tos", (8, 1): "ttl", (12, 4): "src", (16, 4): "dst"}
_IP6 = {(7, 1): "ttl", (8, 16): "src", (24, 16): "dst"}
_ARP = {(14, 4): "src", (24, 4): "dst"}
_ETHER = {(0, 6): "dmac", (6, 6): "smac"}
_PORTS = {(0, 2): "sport", (2, 2): "dport"}
_ICMP = {(0, 1): "icmp_type", (1, 1): "icmp_code"}
_HARMLESS4, _HARMLESS6 = range(4, 6), range(1, 4)


def _fields(packet: Packet, base: int) -> dict[tuple[int, int], str]:
    if base == LL:
        return _ETHER
    if base == NETWORK:
        return _ARP if packet.arp else _IP6 if packet.ipv6 else _IP4
    if base == TRANSPORT and packet.proto in (IPPROTO_TCP, IPPROTO_UDP):
        return _PORTS
    return _ICMP if base == TRANSPORT and packet.is_icmp and packet.inner is None else {}


def write(packet: Packet, base: int, offset: int, new: bytes) -> Packet | None:
    """Write header bytes; None where they change something that isn't modelled.

    Bytes that stay as they are may be written anywhere: that is how a field of a few bits is set.
    """
    header = _from(packet, base, MAX_PACKET)
    after = [*header[:offset], *new, *header[offset + len(new) :]]
    changed = {at for at in range(offset, offset + len(new)) if after[at] != header[at]}
    made: dict[str, object] = {}
    for (at, length), name in _fields(packet, base).items():
        mine = set(range(at, at + length)) & changed
        if not mine:
            continue
        raw = [byte for byte in after[at : at + length] if byte is not None]
        if len(raw) != length:
            return None
        changed -= mine
        plain = name in ("src", "dst", "smac", "dmac")
        made[name] = bytes(raw) if plain else int.from_bytes(bytes(raw), "big")
    if base == NETWORK and not packet.arp:
        changed -= set(_HARMLESS6 if packet.ipv6 else _HARMLESS4)
        if packet.ipv6 and (0 in changed or 1 in range(offset, offset + len(new))):
            changed -= _traffic_class(packet, after, changed, made)
        if not packet.ipv6 and 6 in changed and after[6] in (0, 0x40):
            changed.discard(6)
            made["df"] = after[6] == 0x40
    if "sport" in made or "dport" in made:
        made |= {f"{name}_unsure": False for name in ("sport", "dport") if name in made}
    return None if changed else packet.but(**made)


def _traffic_class(packet: Packet, after: Bytes, changed: set[int], made: dict[str, object]) -> set[int]:
    """Set the traffic class from the first two bytes of an IPv6 header. Returns the bytes that it accounts for."""
    first, second = after[0], after[1]
    if first is None or first >> 4 != 6:
        return set()
    low = second >> 4 if second is not None else packet.tos & 0xF
    made["tos"] = (first & 0xF) << 4 | low
    return {0} & changed
