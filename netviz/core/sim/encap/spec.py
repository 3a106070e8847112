"""What IP and Ethernet tunnels of each kind put around what they carry.

Source: net/ipv4/ip_tunnel.c, ip_tunnel_xmit; ip_gre.c, gre_calc_hlen; net/ipv6/ip6_tunnel.c, ip6_tnl_xmit;
drivers/net/geneve.c, geneve_xmit_skb (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.link import Link, TunnelInfo
from netviz.core.sim.encap import tunnel
from netviz.core.sim.packet import IPPROTO_UDP, Packet
from netviz.core.sim.route.saddr import is_multicast

IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_GRE = 4, 41, 47
GRE_KEY, GRE_CSUM, GRE_SEQ = 0x2000, 0x8000, 0x1000
GRE_KINDS = ("gre", "gretap", "ip6gre", "ip6gretap")
OVER_IPV6 = ("ip6tnl", "ip6gre", "ip6gretap")
TOS_INHERIT = 1
ETHER_BYTES = 14
IPV4_MIN_MTU = 68
GENEVE_OVERHEAD4, GENEVE_OVERHEAD6 = 50, 70


def overhead_of(kind: str, info: TunnelInfo) -> int:
    """Count the bytes that a device puts in front of what it carries."""
    size = 40 if kind in OVER_IPV6 else 20
    if kind in OVER_IPV6 and info.encap_limit >= 0:
        size += 8
    if kind in GRE_KINDS:
        size += 4 + (4 if info.oflags & GRE_KEY else 0)
    return size


def unmodelled(kind: str, info: TunnelInfo) -> str:
    """Name what a device does that isn't modelled; "" when it is a plain one."""
    if info.collect_metadata:
        return "external"
    if info.encap_type:
        return "FOU or GUE"
    if kind in GRE_KINDS and (info.iflags | info.oflags) & (GRE_CSUM | GRE_SEQ):
        return "GRE checksums or sequence numbers"
    return ""


def proto_of(kind: str, packet: Packet) -> int:
    """Return the outer packet's protocol."""
    if kind in GRE_KINDS:
        return IPPROTO_GRE
    return IPPROTO_IPV6 if packet.ipv6 else IPPROTO_IPIP


def outer_of(kind: str, info: TunnelInfo, packet: Packet, remote: bytes) -> tunnel.Outer:
    """Describe the outer packet for a remote."""
    proto = proto_of(kind, packet)
    ethernet = bool(kind.endswith("tap"))
    inner_df = packet.df and not packet.ipv6 and not info.ignore_df
    ttl = info.ttl or (0 if kind in OVER_IPV6 else packet.ttl)
    return tunnel.Outer(
        "gre" if kind in GRE_KINDS else "ipip",
        remote,
        proto,
        overhead_of(kind, info) + (ETHER_BYTES if ethernet else 0),
        src=info.local,
        link=info.link,
        ttl=ttl,
        tos=packet.tos if info.tos & TOS_INHERIT else info.tos,
        df=kind not in OVER_IPV6 and (info.pmtudisc or (inner_df and kind != "sit")),
        vni=info.okey if info.oflags & GRE_KEY else 0,
        keyed=bool(kind in GRE_KINDS and info.oflags & GRE_KEY),
    )


def ether_unmodelled(link: Link) -> str:
    """Name what a device does that isn't modelled; "" when it is a plain one."""
    if not isinstance(link.info, TunnelInfo):
        return "settings"
    if not any(link.info.remote) or is_multicast(link.info.remote):
        return "external" if link.info.collect_metadata else "without one remote"
    return unmodelled(link.kind, link.info)


def ether_outer(link: Link, info: TunnelInfo, packet: Packet) -> tunnel.Outer:
    """Describe the outer packet that carries a frame."""
    if link.kind != "geneve":
        return outer_of(link.kind, info, packet, info.remote)
    return tunnel.Outer(
        "geneve",
        info.remote,
        IPPROTO_UDP,
        GENEVE_OVERHEAD6 if len(info.remote) == 16 else GENEVE_OVERHEAD4,
        ttl=packet.ttl if info.ttl_inherit else info.ttl,
        tos=packet.tos if info.tos & TOS_INHERIT else info.tos,
        df=info.df == tunnel.DF_SET or (info.df == tunnel.DF_INHERIT and (packet.df or packet.ipv6)),
        sport=tunnel.flow_port(packet),
        dport=info.port,
        vni=info.vni,
        sport_unsure=True,
    )
