"""Links: RTM_*LINK messages of family AF_UNSPEC, their kinds' details, per-device configuration.

One dump tells everything about a device: kind details, bridge port settings, counters (unless they
are skipped) and both families' devconf arrays, which arrive in IFLA_AF_SPEC. Devices mostly share
the same configuration, so equal arrays decode to the same object.

Source: include/uapi/linux/if_link.h, ip.h, ipv6.h; net/core/rtnetlink.c rtnl_fill_ifinfo (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

from agents.netlink.kind import parse_kind
from agents.netlink.wire import Message, attr, attr_list, attrs, s32, text, u8, u32
from netviz.core.model.devconf import Ipv4Conf, Ipv6Conf
from netviz.core.model.link import BondSlave, BridgePort, Link, LinkCounters, Program

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10

IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change

RTEXT_FILTER_SKIP_STATS = 1 << 3

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64, IFLA_AF_SPEC = 16, 18, 20, 23, 26
IFLA_GROUP, IFLA_EXT_MASK, IFLA_LINK_NETNSID, IFLA_XDP, IFLA_TARGET_NETNSID = 27, 29, 37, 43, 46
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_XDP_ATTACHED = 2
IFLA_XDP_PROG_IDS = (4, 5, 6, 7)  # of one mode, or of the driver, the stack and the hardware
IFLA_INET_CONF, IFLA_INET6_CONF = 1, 2

# Field -> index in the devconf array. IPv4's array starts with IPV4_DEVCONF_FORWARDING, which is 1.
_IPV4_CONF = {
    "forwarding": 0,
    "mc_forwarding": 1,
    "proxy_arp": 2,
    "send_redirects": 5,
    "rp_filter": 7,
    "arp_filter": 12,
    "arp_announce": 17,
    "arp_ignore": 18,
    "arp_accept": 20,
    "accept_local": 22,
    "src_valid_mark": 23,
    "proxy_arp_pvlan": 24,
    "route_localnet": 25,
    "ignore_routes_with_linkdown": 28,
    "drop_unicast_in_l2_multicast": 29,
}
_IPV6_CONF = {
    "forwarding": 0,
    "hop_limit": 1,
    "mtu6": 2,
    "accept_ra": 3,
    "proxy_ndp": 22,
    "accept_source_route": 24,
    "mc_forwarding": 25,
    "disable_ipv6": 26,
    "ignore_routes_with_linkdown": 39,
    "drop_unicast_in_l2_multicast": 40,
    "ndisc_evict_nocarrier": 56,
}


def link_dump_request(*, stats: bool = False, target_nsid: int | None = None) -> bytes:
    """Make the body of a dump of all links, with or without counters, perhaps of another namespace."""
    body = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    if not stats:
        body += attr(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
    return body + _target(target_nsid)


def _target(nsid: int | None) -> bytes:
    return b"" if nsid is None else attr(IFLA_TARGET_NETNSID, struct.pack("=i", nsid))


@lru_cache(maxsize=4096)
def parse_ipv4_conf(data: bytes) -> Ipv4Conf:
    """Decode IFLA_INET_CONF. An older kernel's array is shorter; fields beyond it keep their defaults."""
    values = struct.unpack_from(f"={len(data) // 4}i", data)
    return Ipv4Conf(**{name: values[i] for name, i in _IPV4_CONF.items() if i < len(values)})


@lru_cache(maxsize=4096)
def parse_ipv6_conf(data: bytes) -> Ipv6Conf:
    """Decode IFLA_INET6_CONF."""
    values = struct.unpack_from(f"={len(data) // 4}i", data)
    return Ipv6Conf(**{name: values[i] for name, i in _IPV6_CONF.items() if i < len(values)})


_PORT_FLAGS = {
    "hairpin": 4,
    "guard": 5,
    "protect": 6,
    "learning": 8,
    "unicast_flood": 9,
    "proxy_arp": 10,
    "proxy_arp_wifi": 12,
    "mcast_flood": 27,
    "mcast_to_unicast": 28,
    "vlan_tunnel": 29,
    "bcast_flood": 30,
    "neigh_suppress": 32,
    "isolated": 33,
    "locked": 39,
    "neigh_vlan_suppress": 43,
}
_IFLA_BRPORT_STATE, _IFLA_BRPORT_BACKUP_PORT = 1, 34
_IFLA_BOND_SLAVE_STATE, _IFLA_BOND_SLAVE_MII_STATUS = 1, 2


def parse_bridge_port(data: bytes) -> BridgePort:
    """Decode IFLA_INFO_SLAVE_DATA of kind bridge (IFLA_BRPORT_*)."""
    a = attrs(data)
    flags = {name: bool(a[i][0]) for name, i in _PORT_FLAGS.items() if i in a}
    return BridgePort(
        state=u8(a.get(_IFLA_BRPORT_STATE)), backup_port=u32(a.get(_IFLA_BRPORT_BACKUP_PORT)), **flags
    )


def parse_bond_slave(data: bytes) -> BondSlave:
    """Decode IFLA_INFO_SLAVE_DATA of kind bond (IFLA_BOND_SLAVE_*)."""
    a = attrs(data)
    return BondSlave(
        active=not u8(a.get(_IFLA_BOND_SLAVE_STATE)), mii_up=not u8(a.get(_IFLA_BOND_SLAVE_MII_STATUS))
    )


def parse_link(body: bytes) -> Link:
    """Decode one RTM_NEWLINK of family AF_UNSPEC. `tc` isn't in it and stays empty. Raises: BadMessage."""
    _family, arptype, ifindex, flags, _change = IFINFOMSG.unpack_from(body)
    a = attrs(body, 16)
    kind = slave_kind = ""
    info = port = bond_slave = None
    if IFLA_LINKINFO in a:
        li = attrs(a[IFLA_LINKINFO])
        kind, slave_kind = text(li.get(IFLA_INFO_KIND)), text(li.get(IFLA_INFO_SLAVE_KIND))
        if IFLA_INFO_DATA in li:
            info = parse_kind(kind, li[IFLA_INFO_DATA])
        if slave_kind == "bridge" and IFLA_INFO_SLAVE_DATA in li:
            port = parse_bridge_port(li[IFLA_INFO_SLAVE_DATA])
        if slave_kind == "bond" and IFLA_INFO_SLAVE_DATA in li:
            bond_slave = parse_bond_slave(li[IFLA_INFO_SLAVE_DATA])
    ipv4 = ipv6 = None
    if IFLA_AF_SPEC in a:
        spec = attrs(a[IFLA_AF_SPEC])
        if AF_INET in spec and (conf := attrs(spec[AF_INET]).get(IFLA_INET_CONF)):
            ipv4 = parse_ipv4_conf(conf)
        if AF_INET6 in spec and (conf := attrs(spec[AF_INET6]).get(IFLA_INET6_CONF)):
            ipv6 = parse_ipv6_conf(conf)
    link = u32(a.get(IFLA_LINK))
    nsid = s32(a.get(IFLA_LINK_NETNSID), -1)
    return Link(
        ifindex=ifindex,
        ifname=text(a.get(IFLA_IFNAME)),
        kind=kind,
        arptype=arptype,
        flags=flags,
        operstate=u8(a.get(IFLA_OPERSTATE)),
        mtu=u32(a.get(IFLA_MTU)),
        mac=a.get(IFLA_ADDRESS, b""),
        master=u32(a.get(IFLA_MASTER)),
        link=0 if link == ifindex and nsid < 0 else link,
        link_nsid=nsid if nsid >= 0 else None,
        group=u32(a.get(IFLA_GROUP)),
        alias=text(a.get(IFLA_IFALIAS)),
        altnames=_altnames(a.get(IFLA_PROP_LIST)),
        info=info,
        port=port,
        bond_slave=bond_slave,
        slave_kind=slave_kind,
        xdp=_xdp(a.get(IFLA_XDP)),
        programs=_xdp_programs(a.get(IFLA_XDP)),
        ipv4=ipv4,
        ipv6=ipv6,
    )


def _altnames(data: bytes | None) -> tuple[str, ...]:
    if not data:
        return ()
    return tuple(text(value) for kind, value in attr_list(data) if kind == IFLA_ALT_IFNAME)


def _xdp(data: bytes | None) -> int:
    return u8(attrs(data).get(IFLA_XDP_ATTACHED)) if data else 0


def _xdp_programs(data: bytes | None) -> tuple[Program, ...] | None:
    """List the XDP programs by their ids; None for none, for of the rest nothing is known yet."""
    a = attrs(data) if data else {}
    ids = [u32(a[kind]) for kind in IFLA_XDP_PROG_IDS if kind in a]
    return tuple(Program("xdp", number) for number in dict.fromkeys(ids) if number) or None


def parse_links(messages: Iterable[Message]) -> Iterator[Link]:
    """Decode a dump of links."""
    for message in messages:
        if message.type == RTM_NEWLINK and message.body[0] == AF_UNSPEC:
            yield parse_link(message.body)


_STATS64 = struct.Struct("=8Q")


def parse_counters(messages: Iterable[Message]) -> Iterator[LinkCounters]:
    """Decode the counters of a dump of links that was asked for with them."""
    for message in messages:
        if message.type != RTM_NEWLINK:
            continue
        stats = attrs(message.body, 16).get(IFLA_STATS64)
        if stats is not None:
            yield LinkCounters(IFINFOMSG.unpack_from(message.body)[2], *_STATS64.unpack_from(stats))
