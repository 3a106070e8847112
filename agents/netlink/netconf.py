"""Changes of per-device configuration that the kernel announces: RTM_NEWNETCONF.

Source: include/uapi/linux/netconf.h; net/ipv4/devinet.c inet_netconf_fill_devconf,
net/ipv6/addrconf.c inet6_netconf_fill_devconf (Linux 6.18).
"""

from __future__ import annotations

import msgspec

from agents.netlink.wire import attrs, s32
from netviz.core.model.addr import AF_INET, AF_INET6
from netviz.core.model.link import Link

RTM_NEWNETCONF, RTM_DELNETCONF = 80, 81
_IFINDEX = 1
_IPV4_FIELDS = {
    2: "forwarding",
    3: "rp_filter",
    4: "mc_forwarding",
    5: "proxy_arp",
    6: "ignore_routes_with_linkdown",
}
_IPV6_FIELDS = {2: "forwarding", 4: "mc_forwarding", 5: "proxy_ndp", 6: "ignore_routes_with_linkdown"}


def parse_netconf(body: bytes) -> tuple[int, int, dict[int, int]]:
    """Decode into (family, ifindex, values by attribute); ifindex -1 is `all`, -2 `default`. Raises: BadMessage."""
    values = {kind: s32(payload) for kind, payload in attrs(body, 4).items()}
    return body[0], values.pop(_IFINDEX, 0), values


def fold_netconf(link: Link, family: int, values: dict[int, int]) -> Link:
    """Return the link with the announced values."""
    if family == AF_INET and link.ipv4 is not None:
        changes = {_IPV4_FIELDS[k]: v for k, v in values.items() if k in _IPV4_FIELDS}
        return msgspec.structs.replace(link, ipv4=msgspec.structs.replace(link.ipv4, **changes))
    if family == AF_INET6 and link.ipv6 is not None:
        changes = {_IPV6_FIELDS[k]: v for k, v in values.items() if k in _IPV6_FIELDS}
        return msgspec.structs.replace(link, ipv6=msgspec.structs.replace(link.ipv6, **changes))
    return link
