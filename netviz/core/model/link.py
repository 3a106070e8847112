"""Links (network devices), their kinds' details, and per-device configuration.

Source: include/uapi/linux/if_link.h, if.h, if_bridge.h (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.base import Part, Record

# net_device flags (IFF_*), and the link-layer types (ARPHRD_*) that forwarding depends on.
IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_PROMISC = 0x100
IFF_MASTER = 0x400
IFF_SLAVE = 0x800
IFF_LOWER_UP = 0x10000
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
ARPHRD_NONE = 0xFFFE

OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")

# Bridge port states (BR_STATE_*).
BR_STATE_DISABLED, BR_STATE_LISTENING, BR_STATE_LEARNING, BR_STATE_FORWARDING, BR_STATE_BLOCKING = range(5)


class KindInfo(Part, frozen=True, tag_field="k", gc=False):
    """Details that only links of one kind have (IFLA_INFO_DATA)."""


class BridgeInfo(KindInfo, frozen=True, tag="bridge", gc=False):
    """A bridge. `ageing_time_cs` and `forward_delay_cs` are in centiseconds, as the kernel has them.

    `mcast_querier`: it asks for IPv6 group members itself; `other_querier6`: it hears somebody who does.
    `mst`: the spanning tree state is one of each VLAN (MSTP), not of the port.
    """

    stp_state: int = 0
    ageing_time_cs: int = 30000
    forward_delay_cs: int = 1500
    vlan_filtering: bool = False
    vlan_default_pvid: int = 1
    vlan_protocol: int = 0x8100
    group_fwd_mask: int = 0
    mcast_snooping: bool = True
    mcast_querier: bool = False
    other_querier6: bool = False
    mst: bool = False
    nf_call_iptables: bool = False
    nf_call_ip6tables: bool = False
    nf_call_arptables: bool = False


class VxlanInfo(KindInfo, frozen=True, tag="vxlan", gc=False):
    """A VXLAN device. `link` is its underlay ifindex or 0; `remote` is a unicast or multicast default.

    `df` is 0 for fragments allowed, 1 for DF set, 2 for inherited from the inner packet; `localbypass`: a frame for
    a remote of this very host goes straight to its device there.
    """

    vni: int = 0
    remote: bytes = b""
    local: bytes = b""
    link: int = 0
    port: int = 4789
    ttl: int = 0
    tos: int = 0
    learning: bool = True
    proxy: bool = False
    rsc: bool = False
    l2miss: bool = False
    l3miss: bool = False
    collect_metadata: bool = False
    ageing_s: int = 300
    udp_csum: bool = True
    gbp: bool = False
    port_low: int = 0
    port_high: int = 0
    df: int = 0
    ttl_inherit: bool = False
    gpe: bool = False
    vnifilter: bool = False
    localbypass: bool = True


class VlanInfo(KindInfo, frozen=True, tag="vlan", gc=False):
    """An 802.1Q device over the link in `Link.link`."""

    vid: int = 0
    protocol: int = 0x8100


MACVLAN_PRIVATE, MACVLAN_VEPA, MACVLAN_BRIDGE, MACVLAN_PASSTHRU, MACVLAN_SOURCE = 1, 2, 4, 8, 16
MACVLAN_FLAG_NODST = 2


class MacvlanInfo(KindInfo, frozen=True, tag="macvlan", gc=False):
    """A macvlan over `Link.link`; `mode` is one of MACVLAN_*, `flags` MACVLAN_FLAG_*.

    `sources` are the MACs that a macvlan in source mode takes frames from, sorted.
    """

    mode: int = 0
    flags: int = 0
    sources: tuple[bytes, ...] = ()


class IpvlanInfo(KindInfo, frozen=True, tag="ipvlan", gc=False):
    """An ipvlan over `Link.link`; `mode` is 0 l2, 1 l3, 2 l3s; `flags` 1 private, 2 vepa."""

    mode: int = 0
    flags: int = 0


class BondInfo(KindInfo, frozen=True, tag="bond", gc=False):
    """A bond; `active_slave` is an ifindex or 0; `xmit_hash_policy` as BOND_XMIT_POLICY_*.

    `all_slaves_active`: frames that come in by inactive slaves are taken too.
    """

    mode: int = 0
    active_slave: int = 0
    xmit_hash_policy: int = 0
    all_slaves_active: bool = False


class VrfInfo(KindInfo, frozen=True, tag="vrf", gc=False):
    """A VRF and its route table."""

    table_id: int = 0


class TunInfo(KindInfo, frozen=True, tag="tun", gc=False):
    """A tun (type 1) or tap (type 2): what leaves by it enters a program and isn't known."""

    type: int = 0
    owner: int = -1
    group: int = -1


class TunnelInfo(KindInfo, frozen=True, tag="tunnel", gc=False):
    """ipip, sit, gre, gretap, ip6tnl, ip6gre and geneve devices; the link's `kind` says which.

    `ttl` 0 means the inner packet's for all but geneve, where `ttl_inherit` says so. `tos` 1 means the inner
    packet's. `proto` is what ipip, sit and ip6tnl devices carry (4, 41; 0: any). `iflags` and `oflags` are GRE's
    (0x2000: keyed). `df` is as in VxlanInfo, geneve's alone. `encap_limit` is ip6tnl's, -1 for none.
    """

    local: bytes = b""
    remote: bytes = b""
    link: int = 0
    vni: int = 0
    port: int = 0
    ttl: int = 0
    ikey: int = 0
    okey: int = 0
    iflags: int = 0
    oflags: int = 0
    pmtudisc: bool = True
    collect_metadata: bool = False
    tos: int = 0
    proto: int = 0
    ttl_inherit: bool = False
    df: int = 0
    ignore_df: bool = False
    fwmark: int = 0
    encap_limit: int = -1
    encap_type: int = 0


class WireguardPeer(Part, frozen=True, gc=False):
    """A WireGuard peer; `allowed` holds (network bytes, prefix length)."""

    public_key: bytes
    endpoint: bytes = b""
    port: int = 0
    allowed: tuple[tuple[bytes, int], ...] = ()


class WireguardInfo(KindInfo, frozen=True, tag="wireguard", gc=False):
    """A WireGuard device: listening port, fwmark, its own public key, peers. Private keys are never kept."""

    listen_port: int = 0
    fwmark: int = 0
    public_key: bytes = b""
    peers: tuple[WireguardPeer, ...] = ()


AnyKindInfo = (
    BridgeInfo
    | VxlanInfo
    | VlanInfo
    | MacvlanInfo
    | IpvlanInfo
    | BondInfo
    | VrfInfo
    | TunInfo
    | TunnelInfo
    | WireguardInfo
)


class BridgePort(Part, frozen=True, gc=False):
    """A link's settings as a bridge port (IFLA_INFO_SLAVE_DATA of kind bridge)."""

    state: int = BR_STATE_FORWARDING
    learning: bool = True
    unicast_flood: bool = True
    mcast_flood: bool = True
    bcast_flood: bool = True
    hairpin: bool = False
    guard: bool = False
    protect: bool = False
    isolated: bool = False
    locked: bool = False
    proxy_arp: bool = False
    proxy_arp_wifi: bool = False
    neigh_suppress: bool = False
    vlan_tunnel: bool = False
    mcast_to_unicast: bool = False
    backup_port: int = 0
    neigh_vlan_suppress: bool = False


class BondSlave(Part, frozen=True, gc=False):
    """A link's part in its bond (IFLA_INFO_SLAVE_DATA of kind bond); `active`: it may send and receive now."""

    active: bool = True
    mii_up: bool = True


class Ipv4Conf(Part, frozen=True, gc=False):
    """net.ipv4.conf.DEV.* as forwarding needs them; each the device's own value, not combined with `all`.

    Source: include/uapi/linux/ip.h, IPV4_DEVCONF_*.
    """

    forwarding: int = 0
    mc_forwarding: int = 0
    proxy_arp: int = 0
    proxy_arp_pvlan: int = 0
    rp_filter: int = 0
    accept_local: int = 0
    route_localnet: int = 0
    src_valid_mark: int = 0
    arp_filter: int = 0
    arp_announce: int = 0
    arp_ignore: int = 0
    arp_accept: int = 0
    send_redirects: int = 1
    ignore_routes_with_linkdown: int = 0
    drop_unicast_in_l2_multicast: int = 0


class Ipv6Conf(Part, frozen=True, gc=False):
    """net.ipv6.conf.DEV.* as forwarding needs them.

    Source: include/uapi/linux/ipv6.h, DEVCONF_*.
    """

    forwarding: int = 0
    hop_limit: int = 64
    mtu6: int = 0
    accept_ra: int = 1
    proxy_ndp: int = 0
    disable_ipv6: int = 0
    mc_forwarding: int = 0
    accept_source_route: int = 0
    ignore_routes_with_linkdown: int = 0
    drop_unicast_in_l2_multicast: int = 0
    ndisc_evict_nocarrier: int = 1


class Link(Record, frozen=True, gc=False):
    """One network device.

    `kind` is IFLA_INFO_KIND: "" for a physical device and for loopback (told apart by `arptype`).
    `link` is IFLA_LINK, the ifindex of the lower device or veth peer, relative to the namespace that
    this namespace numbers `link_nsid` (None: this one). The kernel leaves IFLA_LINK out when it
    equals the link's own ifindex; `link` is 0 then: resolve.py knows how to read that.
    `tc` names what is attached to the device's ingress and egress beyond plain queueing
    ("clsact", "ingress", ...); `xdp` is the XDP attach mode, 0 for none.
    """

    ifindex: int
    ifname: str
    kind: str = ""
    arptype: int = ARPHRD_ETHER
    flags: int = 0
    operstate: int = 0
    mtu: int = 1500
    mac: bytes = b""
    master: int = 0
    link: int = 0
    link_nsid: int | None = None
    group: int = 0
    alias: str = ""
    altnames: tuple[str, ...] = ()
    info: AnyKindInfo | None = None
    port: BridgePort | None = None
    bond_slave: BondSlave | None = None
    slave_kind: str = ""
    xdp: int = 0
    tc: tuple[str, ...] = ()
    ipv4: Ipv4Conf | None = None
    ipv6: Ipv6Conf | None = None

    @property
    def key(self) -> int:
        """The ifindex."""
        return self.ifindex

    @property
    def up(self) -> bool:
        """Administratively up."""
        return bool(self.flags & IFF_UP)

    @property
    def carrier(self) -> bool:
        """Lower layer up (IFF_LOWER_UP)."""
        return bool(self.flags & IFF_LOWER_UP)


class LinkCounters(Record, frozen=True, gc=False):
    """A link's packet counters when last sampled (IFLA_STATS64)."""

    ifindex: int
    rx_packets: int = 0
    tx_packets: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0
    rx_errors: int = 0
    tx_errors: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0

    @property
    def key(self) -> int:
        """The ifindex."""
        return self.ifindex
