"""What links of each kind say of themselves (IFLA_INFO_DATA).

A kind that isn't in `_PARSERS` has no details here; the link's `kind` still names it. WireGuard's
details come from its own generic netlink family, not from here.

Source: include/uapi/linux/if_link.h, if_tunnel.h; the fill_info of each driver (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agents.netlink.wire import BE32, attr_list, attrs, be16, s32, u8, u16, u32
from netviz.core.model.link import (
    NETKIT_L3,
    NETKIT_SCRUB_DEFAULT,
    AnyKindInfo,
    BondInfo,
    BridgeInfo,
    IpvlanInfo,
    MacvlanInfo,
    NetkitInfo,
    TunInfo,
    TunnelInfo,
    VlanInfo,
    VrfInfo,
    VxlanInfo,
)

_Attrs = dict[int, bytes]
_BOOLOPT_MST = 1 << 2
_IPV6_OTHER_TIMER = 7  # in IFLA_BR_MCAST_QUERIER_STATE: somebody else asks for IPv6 group members
_MACADDR = 4
_IGN_ENCAP_LIMIT = 1


def parse_kind(kind: str, data: bytes) -> AnyKindInfo | None:
    """Decode a kind's details; None for kinds without any that matter here. Raises: BadMessage."""
    parser = _PARSERS.get(kind)
    return parser(attrs(data)) if parser is not None else None


def _bridge(a: _Attrs) -> BridgeInfo:
    return BridgeInfo(
        stp_state=u32(a.get(5)),
        ageing_time_cs=u32(a.get(4), 30000),
        forward_delay_cs=u32(a.get(1), 1500),
        vlan_filtering=bool(u8(a.get(7))),
        vlan_default_pvid=u16(a.get(39), 1),
        vlan_protocol=be16(a.get(8), 0x8100),
        group_fwd_mask=u16(a.get(9)),
        mcast_snooping=bool(u8(a.get(23))),
        mcast_querier=bool(u8(a.get(25))),
        other_querier6=_IPV6_OTHER_TIMER in attrs(a.get(47, b"")),
        mst=bool(u32(a.get(46)) & _BOOLOPT_MST),
        nf_call_iptables=bool(u8(a.get(36))),
        nf_call_ip6tables=bool(u8(a.get(37))),
        nf_call_arptables=bool(u8(a.get(38))),
    )


def _vxlan(a: _Attrs) -> VxlanInfo:
    ports = a.get(10, b"\0\0\0\0")
    return VxlanInfo(
        vni=u32(a.get(1)),
        remote=a.get(2) or a.get(16, b""),
        local=a.get(4) or a.get(17, b""),
        link=u32(a.get(3)),
        port=be16(a.get(15)),
        ttl=u8(a.get(5)),
        tos=u8(a.get(6)),
        learning=bool(u8(a.get(7))),
        proxy=bool(u8(a.get(11))),
        rsc=bool(u8(a.get(12))),
        l2miss=bool(u8(a.get(13))),
        l3miss=bool(u8(a.get(14))),
        collect_metadata=bool(u8(a.get(25))),
        ageing_s=u32(a.get(8)),
        udp_csum=bool(u8(a.get(18))),
        gbp=23 in a,
        port_low=be16(ports[:2]),
        port_high=be16(ports[2:4]),
        df=u8(a.get(29)),
        ttl_inherit=bool(u8(a.get(28))),
        gpe=27 in a,
        vnifilter=bool(u8(a.get(30))),
        localbypass=bool(u8(a.get(31), 1)),
    )


def _vlan(a: _Attrs) -> VlanInfo:
    return VlanInfo(vid=u16(a.get(1)), protocol=be16(a.get(5), 0x8100))


def _macvlan(a: _Attrs) -> MacvlanInfo:
    sources = sorted(mac for kind, mac in attr_list(a.get(5, b"")) if kind == _MACADDR)
    return MacvlanInfo(mode=u32(a.get(1)), flags=u16(a.get(2)), sources=tuple(sources))


def _ipvlan(a: _Attrs) -> IpvlanInfo:
    return IpvlanInfo(mode=u16(a.get(1)), flags=u16(a.get(2)))


def _netkit(a: _Attrs) -> NetkitInfo:
    return NetkitInfo(
        mode=u32(a.get(5), NETKIT_L3),
        primary=bool(u8(a.get(2))),
        policy=u32(a.get(3)),
        peer_policy=u32(a.get(4)),
        scrub=u32(a.get(6), NETKIT_SCRUB_DEFAULT),
        peer_scrub=u32(a.get(7), NETKIT_SCRUB_DEFAULT),
    )


def _bond(a: _Attrs) -> BondInfo:
    return BondInfo(
        mode=u8(a.get(1)),
        active_slave=u32(a.get(2)),
        xmit_hash_policy=u8(a.get(14)),
        all_slaves_active=bool(u8(a.get(17))),
    )


def _vrf(a: _Attrs) -> VrfInfo:
    return VrfInfo(table_id=u32(a.get(1)))


def _tun(a: _Attrs) -> TunInfo:
    return TunInfo(type=u8(a.get(3)), owner=s32(a.get(1), -1), group=s32(a.get(2), -1))


def _iptun(a: _Attrs) -> TunnelInfo:
    """ipip, sit: IFLA_IPTUN_*."""
    return TunnelInfo(
        local=a.get(2, b""),
        remote=a.get(3, b""),
        link=u32(a.get(1)),
        ttl=u8(a.get(4)),
        tos=u8(a.get(5)),
        proto=u8(a.get(9)),
        pmtudisc=bool(u8(a.get(10), 1)),
        encap_type=u16(a.get(15)),
        collect_metadata=19 in a,
        fwmark=u32(a.get(20)),
    )


def _ip6tnl(a: _Attrs) -> TunnelInfo:
    """ip6tnl: IFLA_IPTUN_*, with the encapsulation limit that IPv6 carriers put in."""
    limit = -1 if u32(a.get(8)) & _IGN_ENCAP_LIMIT else u8(a.get(6))
    return msgspec.structs.replace(_iptun(a), encap_limit=limit)


def _gre(a: _Attrs) -> TunnelInfo:
    """gre, gretap, erspan: IFLA_GRE_*."""
    return TunnelInfo(
        local=a.get(6, b""),
        remote=a.get(7, b""),
        link=u32(a.get(1)),
        ttl=u8(a.get(8)),
        tos=u8(a.get(9)),
        iflags=be16(a.get(2)),
        oflags=be16(a.get(3)),
        ikey=BE32.unpack(a[4])[0] if 4 in a else 0,
        okey=BE32.unpack(a[5])[0] if 5 in a else 0,
        pmtudisc=bool(u8(a.get(10), 1)),
        encap_type=u16(a.get(14)),
        collect_metadata=18 in a,
        ignore_df=bool(u8(a.get(19))),
        fwmark=u32(a.get(20)),
    )


def _ip6gre(a: _Attrs) -> TunnelInfo:
    """ip6gre, ip6gretap, ip6erspan: IFLA_GRE_*, with the encapsulation limit."""
    limit = -1 if u32(a.get(13)) & _IGN_ENCAP_LIMIT else u8(a.get(11))
    return msgspec.structs.replace(_gre(a), encap_limit=limit)


def _geneve(a: _Attrs) -> TunnelInfo:
    return TunnelInfo(
        remote=a.get(2) or a.get(7, b""),
        vni=u32(a.get(1)),
        port=be16(a.get(5)),
        ttl=u8(a.get(3)),
        tos=u8(a.get(4)),
        collect_metadata=6 in a,
        ttl_inherit=bool(u8(a.get(12))),
        df=u8(a.get(13)),
    )


_PARSERS: dict[str, Callable[[_Attrs], AnyKindInfo]] = {
    "bridge": _bridge,
    "vxlan": _vxlan,
    "vlan": _vlan,
    "macvlan": _macvlan,
    "macvtap": _macvlan,
    "ipvlan": _ipvlan,
    "ipvtap": _ipvlan,
    "netkit": _netkit,
    "bond": _bond,
    "vrf": _vrf,
    "tun": _tun,
    "ipip": _iptun,
    "sit": _iptun,
    "ip6tnl": _ip6tnl,
    "gre": _gre,
    "gretap": _gre,
    "erspan": _gre,
    "ip6gre": _ip6gre,
    "ip6gretap": _ip6gre,
    "ip6erspan": _ip6gre,
    "geneve": _geneve,
}
