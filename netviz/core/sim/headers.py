"""A packet's headers as bytes, as far as they are known: what payload expressions look at.

A byte that nothing determines (a checksum, a sequence number) is None.
"""

from __future__ import annotations

from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, Packet

Bytes = list[int | None]
LL, NETWORK, TRANSPORT = 0, 1, 2
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
ARPHRD_ETHER, ARP_REQUEST = 1, 1


def _unknown(count: int) -> Bytes:
    return [None] * count


def ethertype(packet: Packet) -> int:
    """Return the protocol of what a frame carries."""
    return ETH_P_ARP if packet.arp else ETH_P_IPV6 if packet.ipv6 else ETH_P_IP


def _arp_message(packet: Packet) -> Bytes:
    """The ARP message: hardware and protocol types, their lengths, the operation, sender and target."""
    fixed = (*ARPHRD_ETHER.to_bytes(2, "big"), *ETH_P_IP.to_bytes(2, "big"), 6, 4, 0, packet.arp)
    target = bytes(6) if packet.arp == ARP_REQUEST else packet.dmac
    return [*fixed, *packet.smac, *packet.src, *target, *packet.dst]


def link_header(packet: Packet) -> Bytes:
    """The Ethernet header."""
    kind = ethertype(packet).to_bytes(2, "big")
    dmac: Bytes = list(packet.dmac) if packet.dmac else _unknown(6)
    smac: Bytes = list(packet.smac) if packet.smac else _unknown(6)
    return [*dmac, *smac, *kind]


def network_header(packet: Packet) -> Bytes:
    """The IPv4 or IPv6 header, or the ARP message. Unknown: identification, checksum, flow label."""
    if packet.arp:
        return _arp_message(packet)
    if packet.ipv6:
        first: Bytes = [0x60 | packet.tos >> 4, None, None, None]
        length = (packet.length - 40).to_bytes(2, "big")
        return [*first, *length, packet.proto, packet.ttl, *packet.src, *packet.dst]
    flags = 0x40 if packet.df else 0
    return [
        0x45,
        packet.tos,
        *packet.length.to_bytes(2, "big"),
        None,
        None,
        flags,
        0,
        packet.ttl,
        packet.proto,
        None,
        None,
        *packet.src,
        *packet.dst,
    ]


def transport_header(packet: Packet) -> Bytes:
    """The TCP, UDP or ICMP header."""
    ports: Bytes = [
        *(_unknown(2) if packet.sport_unsure else packet.sport.to_bytes(2, "big")),
        *(_unknown(2) if packet.dport_unsure else packet.dport.to_bytes(2, "big")),
    ]
    if packet.proto == IPPROTO_TCP:
        return [*ports, *_unknown(8), None, packet.tcp_flags, *_unknown(4), 0, 0]
    if packet.proto == IPPROTO_UDP:
        length = packet.length - (40 if packet.ipv6 else 20)
        return [*ports, *length.to_bytes(2, "big"), None, None]
    if packet.is_icmp:
        ident: Bytes = list(packet.sport.to_bytes(2, "big")) if packet.inner is None else _unknown(2)
        if packet.sport_unsure:
            ident = _unknown(2)
        return [packet.icmp_type, packet.icmp_code, None, None, *ident, None, None]
    return []


def read(packet: Packet, base: int, offset: int, length: int) -> bytes | None:
    """Read header bytes; None when one of them isn't known."""
    if base == LL:
        header = link_header(packet)
    elif base == NETWORK:
        header = network_header(packet)
    elif base == TRANSPORT:
        header = transport_header(packet)
    else:
        return None
    found = header[offset : offset + length]
    known = [byte for byte in found if byte is not None]
    return bytes(known) if len(known) == length else None
