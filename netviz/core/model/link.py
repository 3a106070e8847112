"""Links (network devices), their kinds' details, and per-device configuration.

Source: include/uapi/linux/if_link.h, if.h, if_bridge.h (Linux 6.18).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import (
    S32,
    U8,
    U16,
    U24,
    U32,
    U64,
    AltName,
    Check,
    Ifindex,
    IfindexRef,
    IfName,
    Ip,
    IpOrNone,
    Lladdr,
    Mac,
    Nsid,
    Port,
    PrefixLen,
    PublicKey,
    ShortName,
    VlanId,
    Words,
    one_family,
)
from netviz.core.model.devconf import Ipv4Conf, Ipv6Conf

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


EncapLimit = Annotated[int, Meta(ge=-1, le=255)]


def _ethernet(arptype: int, length: int) -> str:
    right = arptype not in (ARPHRD_ETHER, ARPHRD_LOOPBACK) or length in (0, 6)
    return "" if right else f"mac: {length} bytes of an Ethernet device"


_ETHERNET = Check((("arptype", None), ("mac", len)), _ethernet)


def _allowed(allowed: tuple[tuple[bytes, int], ...]) -> str:
    wrong = next((f"{bits} bits of {len(addr)} bytes" for addr, bits in allowed if bits > len(addr) * 8), "")
    return f"allowed: {wrong}" if wrong else ""


_ALLOWED = Check((("allowed", None),), _allowed)


class KindInfo(Part, frozen=True, tag_field="k", gc=False):
    """Details that only links of one kind have (IFLA_INFO_DATA)."""


class BridgeInfo(KindInfo, frozen=True, tag="bridge", gc=False):
    """A bridge. `ageing_time_cs` and `forward_delay_cs` are in centiseconds, as the kernel has them.

    `mcast_querier`: it asks for IPv6 group members itself; `other_querier6`: it hears somebody who does.
    `mst`: the spanning tree state is one of each VLAN (MSTP), not of the port.
    """

    stp_state: U32 = 0
    ageing_time_cs: U32 = 30000
    forward_delay_cs: U32 = 1500
    vlan_filtering: bool = False
    vlan_default_pvid: VlanId = 1
    vlan_protocol: U16 = 0x8100
    group_fwd_mask: U16 = 0
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

    vni: U24 = 0
    remote: IpOrNone = b""
    local: IpOrNone = b""
    link: IfindexRef = 0
    port: Port = 4789
    ttl: U8 = 0
    tos: U8 = 0
    learning: bool = True
    proxy: bool = False
    rsc: bool = False
    l2miss: bool = False
    l3miss: bool = False
    collect_metadata: bool = False
    ageing_s: U32 = 300
    udp_csum: bool = True
    gbp: bool = False
    port_low: Port = 0
    port_high: Port = 0
    df: U8 = 0
    ttl_inherit: bool = False
    gpe: bool = False
    vnifilter: bool = False
    localbypass: bool = True
    checks: ClassVar[tuple[Check, ...]] = (one_family("remote", "local"),)


class VlanInfo(KindInfo, frozen=True, tag="vlan", gc=False):
    """An 802.1Q device over the link in `Link.link`."""

    vid: VlanId = 0
    protocol: U16 = 0x8100


MACVLAN_PRIVATE, MACVLAN_VEPA, MACVLAN_BRIDGE, MACVLAN_PASSTHRU, MACVLAN_SOURCE = 1, 2, 4, 8, 16
MACVLAN_FLAG_NODST = 2


class MacvlanInfo(KindInfo, frozen=True, tag="macvlan", gc=False):
    """A macvlan over `Link.link`; `mode` is one of MACVLAN_*, `flags` MACVLAN_FLAG_*.

    `sources` are the MACs that a macvlan in source mode takes frames from, sorted.
    """

    mode: U32 = 0
    flags: U16 = 0
    sources: tuple[Mac, ...] = ()


class IpvlanInfo(KindInfo, frozen=True, tag="ipvlan", gc=False):
    """An ipvlan over `Link.link`; `mode` is 0 l2, 1 l3, 2 l3s; `flags` 1 private, 2 vepa."""

    mode: U16 = 0
    flags: U16 = 0


NETKIT_L2, NETKIT_L3 = 0, 1
NETKIT_PASS, NETKIT_DROP = 0, 2
NETKIT_SCRUB_NONE, NETKIT_SCRUB_DEFAULT = 0, 1


class NetkitInfo(KindInfo, frozen=True, tag="netkit", gc=False):
    """One end of a netkit pair; `mode` is NETKIT_L2 or _L3, `primary` the end from which the pair is managed.

    `policy` is what becomes of what this end sends while no program decides, NETKIT_PASS or _DROP; `scrub`: whether it
    loses its mark on its way into another namespace. `peer_policy` and `peer_scrub` are the other end's. `programs` are
    the BPF programs at this end, in order; None: they were not read.
    """

    mode: U32 = NETKIT_L3
    primary: bool = False
    policy: U32 = NETKIT_PASS
    peer_policy: U32 = NETKIT_PASS
    scrub: U32 = NETKIT_SCRUB_DEFAULT
    peer_scrub: U32 = NETKIT_SCRUB_DEFAULT
    programs: tuple[ShortName, ...] | None = None


class BondInfo(KindInfo, frozen=True, tag="bond", gc=False):
    """A bond; `active_slave` is an ifindex or 0; `xmit_hash_policy` as BOND_XMIT_POLICY_*.

    `all_slaves_active`: frames that come in by inactive slaves are taken too.
    """

    mode: U8 = 0
    active_slave: IfindexRef = 0
    xmit_hash_policy: U8 = 0
    all_slaves_active: bool = False


class VrfInfo(KindInfo, frozen=True, tag="vrf", gc=False):
    """A VRF and its route table."""

    table_id: U32 = 0


class TunInfo(KindInfo, frozen=True, tag="tun", gc=False):
    """A tun (type 1) or tap (type 2): what leaves by it enters a program and isn't known."""

    type: U8 = 0
    owner: S32 = -1
    group: S32 = -1


class TunnelInfo(KindInfo, frozen=True, tag="tunnel", gc=False):
    """ipip, sit, gre, gretap, ip6tnl, ip6gre and geneve devices; the link's `kind` says which.

    `ttl` 0 means the inner packet's for all but geneve, where `ttl_inherit` says so. `tos` 1 means the inner
    packet's. `proto` is what ipip, sit and ip6tnl devices carry (4, 41; 0: any). `iflags` and `oflags` are GRE's
    (0x2000: keyed). `df` is as in VxlanInfo, geneve's alone. `encap_limit` is ip6tnl's, -1 for none.
    """

    local: IpOrNone = b""
    remote: IpOrNone = b""
    link: IfindexRef = 0
    vni: U24 = 0
    port: Port = 0
    ttl: U8 = 0
    ikey: U32 = 0
    okey: U32 = 0
    iflags: U16 = 0
    oflags: U16 = 0
    pmtudisc: bool = True
    collect_metadata: bool = False
    tos: U8 = 0
    proto: U8 = 0
    ttl_inherit: bool = False
    df: U8 = 0
    ignore_df: bool = False
    fwmark: U32 = 0
    encap_limit: EncapLimit = -1
    encap_type: U16 = 0
    checks: ClassVar[tuple[Check, ...]] = (one_family("remote", "local"),)


class WireguardPeer(Part, frozen=True, gc=False):
    """A WireGuard peer; `allowed` holds (network bytes, prefix length)."""

    public_key: PublicKey
    endpoint: IpOrNone = b""
    port: Port = 0
    allowed: tuple[tuple[Ip, PrefixLen], ...] = ()
    checks: ClassVar[tuple[Check, ...]] = (_ALLOWED,)


class WireguardInfo(KindInfo, frozen=True, tag="wireguard", gc=False):
    """A WireGuard device: listening port, fwmark, its own public key, peers. Private keys are never kept."""

    listen_port: Port = 0
    fwmark: U32 = 0
    public_key: PublicKey = b""
    peers: tuple[WireguardPeer, ...] = ()


AnyKindInfo = (
    BridgeInfo
    | VxlanInfo
    | VlanInfo
    | MacvlanInfo
    | IpvlanInfo
    | NetkitInfo
    | BondInfo
    | VrfInfo
    | TunInfo
    | TunnelInfo
    | WireguardInfo
)


class BridgePort(Part, frozen=True, gc=False):
    """A link's settings as a bridge port (IFLA_INFO_SLAVE_DATA of kind bridge)."""

    state: U8 = BR_STATE_FORWARDING
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
    backup_port: IfindexRef = 0
    neigh_vlan_suppress: bool = False


class BondSlave(Part, frozen=True, gc=False):
    """A link's part in its bond (IFLA_INFO_SLAVE_DATA of kind bond); `active`: it may send and receive now."""

    active: bool = True
    mii_up: bool = True


class Program(Part, frozen=True, gc=False):
    """A BPF program, or another filter of tc, at a `hook` of a link.

    Hooks are "xdp", "tcx/ingress", "tcx/egress", "tc/ingress", "tc/egress", "netkit/primary" and "netkit/peer". `id` is
    the kernel's, 0 for what has none or isn't known; `tag` has 8 bytes. A filter of another kind is named by that.
    """

    hook: ShortName
    id: U32 = 0
    name: ShortName = ""
    tag: Lladdr = b""

    @property
    def text(self) -> str:
        """Its hook, its name, and its id and tag where they are known."""
        number = f" (id {self.id}, tag {self.tag.hex()})" if self.id and self.tag else ""
        return f"{self.hook} {self.name or self.id or 'program'}{number}"


class Link(Record, frozen=True, gc=False):
    """One network device.

    `kind` is IFLA_INFO_KIND: "" for a physical device and for loopback (told apart by `arptype`).
    `link` is IFLA_LINK, the ifindex of the lower device or veth peer, relative to the namespace that
    this namespace numbers `link_nsid` (None: this one). The kernel leaves IFLA_LINK out when it
    equals the link's own ifindex; `link` is 0 then: resolve.py knows how to read that.
    `tc` names what is attached to the device's ingress and egress beyond plain queueing
    ("clsact", "ingress", ...); `xdp` is the XDP attach mode, 0 for none. `programs` are what stands there, in order for
    each hook; None: nobody could ask for them.
    """

    ifindex: Ifindex
    ifname: IfName
    kind: ShortName = ""
    arptype: U16 = ARPHRD_ETHER
    flags: U32 = 0
    operstate: U8 = 0
    mtu: U32 = 1500
    mac: Lladdr = b""
    master: IfindexRef = 0
    link: IfindexRef = 0
    link_nsid: Nsid | None = None
    group: U32 = 0
    alias: Words = ""
    altnames: tuple[AltName, ...] = ()
    info: AnyKindInfo | None = None
    port: BridgePort | None = None
    bond_slave: BondSlave | None = None
    slave_kind: ShortName = ""
    xdp: U8 = 0
    tc: tuple[ShortName, ...] = ()
    programs: tuple[Program, ...] | None = None
    ipv4: Ipv4Conf | None = None
    ipv6: Ipv6Conf | None = None

    checks: ClassVar[tuple[Check, ...]] = (_ETHERNET,)

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

    ifindex: Ifindex
    rx_packets: U64 = 0
    tx_packets: U64 = 0
    rx_bytes: U64 = 0
    tx_bytes: U64 = 0
    rx_errors: U64 = 0
    tx_errors: U64 = 0
    rx_dropped: U64 = 0
    tx_dropped: U64 = 0

    @property
    def key(self) -> int:
        """The ifindex."""
        return self.ifindex
