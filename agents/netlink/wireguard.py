"""WireGuard devices over generic netlink: port, mark, own public key, peers with endpoint and allowed addresses.

The kernel sends private and preshared keys along with the rest to who may read them; they are skipped here.
A device with many peers is told in several messages, and a peer with many addresses in several parts.

Source: include/uapi/linux/wireguard.h; include/uapi/linux/genetlink.h; drivers/net/wireguard/netlink.c,
wg_get_device_dump, get_peer (Linux 6.18).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

import msgspec

from agents.netlink.wire import Message, attr, attr_list, attrs, dump, request, u8, u16, u32
from netviz.core.model.link import Link, WireguardInfo, WireguardPeer

NETLINK_GENERIC = 16
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY = 16, 3
_CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 1, 2
_GENLMSGHDR = struct.Struct("=BBH")  # cmd, version, reserved
_WG_CMD_GET_DEVICE, _WG_GENL_VERSION = 0, 1
_A_IFINDEX, _A_PUBLIC_KEY, _A_LISTEN_PORT, _A_FWMARK, _A_PEERS = 1, 4, 6, 7, 8
_P_PUBLIC_KEY, _P_ENDPOINT, _P_ALLOWED = 1, 4, 9
_IP_ADDR, _IP_CIDR = 2, 3
_AF_INET, _AF_INET6 = 2, 10


def family_request() -> bytes:
    """Make the question for WireGuard's family number."""
    name = attr(_CTRL_ATTR_FAMILY_NAME, b"wireguard\0")
    return _GENLMSGHDR.pack(_CTRL_CMD_GETFAMILY, 1, 0) + name


def parse_family(message: Message) -> int:
    """Read a family's number."""
    return u16(attrs(message.body, _GENLMSGHDR.size).get(_CTRL_ATTR_FAMILY_ID))


def device_request(ifindex: int) -> bytes:
    """Make the dump request for a device."""
    head = _GENLMSGHDR.pack(_WG_CMD_GET_DEVICE, _WG_GENL_VERSION, 0)
    return head + attr(_A_IFINDEX, struct.pack("=I", ifindex))


def parse_device(messages: Iterable[Message]) -> WireguardInfo:
    """Put a device together from the messages of its dump. Raises: BadMessage."""
    info = WireguardInfo()
    peers: dict[bytes, WireguardPeer] = {}
    for message in messages:
        a = attrs(message.body, _GENLMSGHDR.size)
        if _A_LISTEN_PORT in a:
            info = WireguardInfo(u16(a[_A_LISTEN_PORT]), u32(a.get(_A_FWMARK)), a.get(_A_PUBLIC_KEY, b""))
        for _, payload in attr_list(a.get(_A_PEERS, b"")):
            peer = _peer(attrs(payload))
            known = peers.get(peer.public_key)
            if known is not None:
                peer = msgspec.structs.replace(known, allowed=(*known.allowed, *peer.allowed))
            peers[peer.public_key] = peer
    ordered = (msgspec.structs.replace(p, allowed=tuple(sorted(p.allowed))) for p in peers.values())
    return msgspec.structs.replace(info, peers=tuple(sorted(ordered, key=lambda p: p.public_key)))


def _peer(a: dict[int, bytes]) -> WireguardPeer:
    endpoint, port = _endpoint(a.get(_P_ENDPOINT, b""))
    allowed = []
    for _, payload in attr_list(a.get(_P_ALLOWED, b"")):
        ip = attrs(payload)
        allowed.append((ip.get(_IP_ADDR, b""), u8(ip.get(_IP_CIDR))))
    return WireguardPeer(a.get(_P_PUBLIC_KEY, b""), endpoint, port, tuple(allowed))


def _endpoint(sockaddr: bytes) -> tuple[bytes, int]:
    """Read a sockaddr_in or sockaddr_in6; nothing for a peer without an endpoint."""
    if len(sockaddr) < 8:
        return b"", 0
    (family,) = struct.unpack_from("=H", sockaddr)
    (port,) = struct.unpack_from("!H", sockaddr, 2)
    if family == _AF_INET:
        return sockaddr[4:8], port
    return (sockaddr[8:24], port) if family == _AF_INET6 and len(sockaddr) >= 24 else (b"", 0)


def read_peers(sock: socket.socket, links: Iterable[Link]) -> list[Link]:
    """Add what generic netlink tells of the WireGuard devices among a namespace's links. Raises: OSError."""
    family = parse_family(request(sock, _GENL_ID_CTRL, family_request()))
    return [
        msgspec.structs.replace(link, info=parse_device(dump(sock, family, device_request(link.ifindex))))
        if link.kind == "wireguard"
        else link
        for link in links
    ]
