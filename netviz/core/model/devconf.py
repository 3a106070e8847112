"""Per-device configuration (net.ipv4.conf, net.ipv6.conf)."""

from __future__ import annotations

from netviz.core.model.base import Part
from netviz.core.model.bounds import S32


class Ipv4Conf(Part, frozen=True, gc=False):
    """net.ipv4.conf.DEV.* as forwarding needs them; each the device's own value, not combined with `all`.

    Source: include/uapi/linux/ip.h, IPV4_DEVCONF_*.
    """

    forwarding: S32 = 0
    mc_forwarding: S32 = 0
    proxy_arp: S32 = 0
    proxy_arp_pvlan: S32 = 0
    rp_filter: S32 = 0
    accept_local: S32 = 0
    route_localnet: S32 = 0
    src_valid_mark: S32 = 0
    arp_filter: S32 = 0
    arp_announce: S32 = 0
    arp_ignore: S32 = 0
    arp_accept: S32 = 0
    send_redirects: S32 = 1
    ignore_routes_with_linkdown: S32 = 0
    drop_unicast_in_l2_multicast: S32 = 0


class Ipv6Conf(Part, frozen=True, gc=False):
    """net.ipv6.conf.DEV.* as forwarding needs them.

    Source: include/uapi/linux/ipv6.h, DEVCONF_*.
    """

    forwarding: S32 = 0
    hop_limit: S32 = 64
    mtu6: S32 = 0
    accept_ra: S32 = 1
    proxy_ndp: S32 = 0
    disable_ipv6: S32 = 0
    mc_forwarding: S32 = 0
    accept_source_route: S32 = 0
    ignore_routes_with_linkdown: S32 = 0
    drop_unicast_in_l2_multicast: S32 = 0
    ndisc_evict_nocarrier: S32 = 1
