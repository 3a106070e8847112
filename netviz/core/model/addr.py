"""Addresses and prefixes: packed bytes in state, text at the edges.

An IP address is 4 or 16 bytes in network byte order, so its length tells its family; a MAC is 6.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

AF_INET = 2
AF_INET6 = 10
AF_BRIDGE = 7


def pack_ip(text: str) -> bytes:
    """Pack an IPv4 or IPv6 address given as text.

    Raises: ValueError if `text` is not an address.
    """
    return ipaddress.ip_address(text).packed


@lru_cache(maxsize=65536)
def format_ip(addr: bytes) -> str:
    """Format a packed address; the empty address formats as the empty string."""
    if len(addr) == 4:
        return "{}.{}.{}.{}".format(*addr)
    if len(addr) == 16:
        return str(ipaddress.IPv6Address(addr))
    return addr.hex(":") if addr else ""


def format_endpoint(addr: bytes, port: int) -> str:
    """Write an address with a port."""
    text = format_ip(addr)
    return f"[{text}]:{port}" if len(addr) == 16 else f"{text}:{port}"


def pack_prefix(text: str) -> tuple[bytes, int]:
    """Pack `10.1.0.0/16` into (network bytes, prefix length). A bare address is a host prefix.

    Raises: ValueError if `text` is not a prefix, or has host bits set.
    """
    net = ipaddress.ip_network(text)
    return net.network_address.packed, net.prefixlen


def format_prefix(addr: bytes, length: int) -> str:
    """Format a packed prefix as CIDR text."""
    return f"{format_ip(addr)}/{length}"


def pack_mac(text: str) -> bytes:
    """Pack `aa:bb:cc:dd:ee:ff`. Raises: ValueError."""
    return bytes.fromhex(text.replace(":", ""))


def format_mac(mac: bytes) -> str:
    """Format a link-layer address as colon-separated hex."""
    return mac.hex(":") if mac else ""


def in_prefix(addr: bytes, prefix: bytes, length: int) -> bool:
    """Tell whether `addr` lies in `prefix`/`length`. Another family is never inside."""
    width = len(prefix) * 8
    if len(addr) != len(prefix):
        return False
    shift = width - length
    return int.from_bytes(addr, "big") >> shift == int.from_bytes(prefix, "big") >> shift


def mask_ip(addr: bytes, length: int) -> bytes:
    """Clear the host bits of `addr` below a prefix of `length` bits."""
    shift = len(addr) * 8 - length
    return (int.from_bytes(addr, "big") >> shift << shift).to_bytes(len(addr), "big")
