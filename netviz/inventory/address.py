"""From which address a request comes, also through proxies.

A proxy that is trusted (NETVIZ_TRUSTED_PROXIES) adds the address that it was called from to the end of
X-Forwarded-For. So the header is read from its end, for as long as trusted proxies wrote it: what a
caller has written into it itself stands before that and is never reached.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.http import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)


def resolve_address(peer: str, forwarded_for: str) -> str:
    """Find who called: `peer` is the other end of the connection. Empty when that has no address."""
    address = _parse(peer)
    if address is None:
        return ""
    for text in reversed(forwarded_for.split(",")):
        if not _is_trusted(address):
            break
        before = _parse(text)
        if before is None:
            break
        address = before
    return str(address)


def address_of(request: HttpRequest) -> str:
    """Find from which address a request comes."""
    return resolve_address(request.META.get("REMOTE_ADDR", ""), request.headers.get("X-Forwarded-For", ""))


def address_of_socket(scope: dict[str, Any]) -> str:
    """Find from which address a WebSocket comes."""
    headers = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return resolve_address((scope.get("client") or ("",))[0], ",".join(headers))


def whose(address: str) -> str:
    """Name the party behind an address: an IPv6 caller has a whole /64 to call from."""
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
