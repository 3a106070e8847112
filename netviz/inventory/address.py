"""From which address a request or socket comes.

The ASGI application (`netviz.asgi`) has put the caller in place of the proxies that are trusted by then
(NETVIZ_TRUSTED_PROXIES). What such a proxy forwards may be no address at all: then there is none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest


def _parse(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _written(text: str) -> str:
    address = _parse(text)
    return "" if address is None else str(address)


def address_of(request: HttpRequest) -> str:
    """Say from which address a request comes; empty when it has none (a Unix socket)."""
    return _written(request.META.get("REMOTE_ADDR", ""))


def address_of_socket(scope: Mapping[str, Any]) -> str:
    """Say from which address a WebSocket comes."""
    return _written((scope.get("client") or ("",))[0])


def party_of(address: str, ipv6_bits: int = 64) -> str:
    """Name the party behind an address: an IPv6 caller has a whole /64 to call from, and a site a /48."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, ipv6_bits), strict=False))
    return address
