"""The packet that a walk carries: its headers as they are on the wire at this moment, and its skb's marks.

A packet is frozen: a decision that changes it makes a new one, so a step can keep the packet as it
was after that step without copying, and what changed is found by comparing two of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.conntrack import CtTuple

IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6 = 1, 6, 17, 58
PROTO_NAMES = {IPPROTO_ICMP: "icmp", IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp", IPPROTO_ICMPV6: "icmpv6"}

TH_SYN, TH_RST, TH_ACK = 0x02, 0x04, 0x10

# ICMP types (v4) and ICMPv6 types.
ICMP_ECHOREPLY, ICMP_DEST_UNREACH, ICMP_ECHO, ICMP_TIME_EXCEEDED = 0, 3, 8, 11
ICMPV6_DEST_UNREACH, ICMPV6_PKT_TOOBIG, ICMPV6_TIME_EXCEED = 1, 2, 3
ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY = 128, 129
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
IPV6_MIN_MTU = 1280

SMALL_ANSWER = 60  # how long a datagram's answer is taken to be: what a program says isn't known
BROADCAST_MAC = b"\xff" * 6

# Destination unreachable codes by family: what `reject` and the stack send, and their names.
ICMP_UNREACH_NAMES = {
    0: "icmp-net-unreachable",
    1: "icmp-host-unreachable",
    2: "icmp-proto-unreachable",
    3: "icmp-port-unreachable",
    4: "icmp-fragmentation-needed",
    9: "icmp-net-prohibited",
    10: "icmp-host-prohibited",
    13: "icmp-admin-prohibited",
}
ICMPV6_UNREACH_NAMES = {
    0: "icmpv6-no-route",
    1: "icmpv6-admin-prohibited",
    2: "icmpv6-not-neighbour",
    3: "icmpv6-addr-unreachable",
    4: "icmpv6-port-unreachable",
    5: "icmpv6-policy-fail",
    6: "icmpv6-reject-route",
}


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One packet.

    Addresses are packed bytes; `length` is the whole IP packet in bytes, and `fragment` the largest
    fragment's length once it travels in fragments (0: it is whole); for ICMP echo, `sport` is
    the identifier and `dport` 0. `inner` is the tuple of the packet that an ICMP error quotes.
    `payload` is the frame that a tunnel packet carries under VXLAN network identifier `vni`: the
    kernel works on the outer packet then. `ct` is the number of its connection in the run's memory. `mark` and the `ct` fields belong to the skb and die with
    it when the packet crosses into another namespace; so do `physin` and `physout`, the bridge ports
    (ifindex) by which a bridged packet that goes through the IP hooks came and goes, and `sdif`, the device
    by which a packet came into a VRF, and `ipvs`: IPVS has seen it. A port that the kernel chose at random is
    `unsure`: its value here stands for any. `tags` are the frame's VLAN tags, (protocol, VLAN id), outermost
    first. `tunnel` names the encapsulation of `payload` ("vxlan", "geneve", "ipip", "gre", "wireguard"), of which
    `vni` is the network identifier or, where it is `keyed`, the GRE key; `sender` is the WireGuard key that it is
    sealed with. `sk` is the cookie of the socket that a rule gave the packet to, `pkttype` what a rule says that it
    is (None: what its MAC says). `arp` is an ARP message's operation: `src` and `dst` are the addresses that it
    speaks of then. `template`: a rule has laid down how to track the packet. `own`: it still belongs to
    the socket in this namespace that sent it. `redirects`: it leaves by the link that it came in by, and its sender is
    sent a redirect.
    """

    src: bytes
    dst: bytes
    proto: int
    sport: int = 0
    dport: int = 0
    ttl: int = 64
    mark: int = 0
    length: int = 60
    fragment: int = 0
    smac: bytes = b""
    dmac: bytes = b""
    df: bool = False
    tos: int = 0
    tcp_flags: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    inner: CtTuple | None = None
    payload: Packet | None = None
    vni: int = 0
    ct: int | None = None
    ct_reply: bool = False
    ct_related: bool = False
    untracked: bool = False
    physin: int = 0
    physout: int = 0
    zone: int = 0
    tags: tuple[tuple[int, int], ...] = ()
    tunnel: str = ""
    keyed: bool = False
    sender: bytes = b""
    sdif: int = 0
    ipvs: bool = False
    template: bool = False
    sport_unsure: bool = False
    dport_unsure: bool = False
    sk: int = 0
    pkttype: int | None = None
    arp: int = 0
    own: bool = False
    redirects: bool = False

    @property
    def ipv6(self) -> bool:
        """Whether this is an IPv6 packet."""
        return len(self.src) == 16

    @property
    def vlan(self) -> int:
        """The id of the outermost VLAN tag, 0 for none."""
        return self.tags[0][1] if self.tags else 0

    @property
    def wire_length(self) -> int:
        """The length of the largest piece that is on the wire."""
        return self.fragment or self.length

    @property
    def is_icmp(self) -> bool:
        """ICMP or ICMPv6."""
        return self.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6)

    @property
    def innermost(self) -> Packet:
        """The packet that tunnels' outer ones carry, itself where it is no tunnel's."""
        packet = self
        while packet.payload is not None:
            packet = packet.payload
        return packet

    def but(self, **changes: object) -> Packet:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def scrubbed(self, other_netns: bool) -> Packet:
        """Forget what belongs to the skb.

        Source: net/core/skbuff.c, skb_scrub_packet (Linux 6.18).
        """
        inner = self.payload
        return self.but(
            payload=inner.scrubbed(other_netns) if inner is not None else None,
            ct=None,
            ct_reply=False,
            ct_related=False,
            untracked=False,
            physin=0,
            physout=0,
            sdif=0,
            ipvs=self.ipvs and not other_netns,
            zone=0,
            sk=0,
            pkttype=None,
            template=False,
            own=self.own and not other_netns,
            redirects=False,
            mark=0 if other_netns else self.mark,
        )

    def tuple(self) -> CtTuple:
        """Return the conntrack tuple: for ICMP, (id, type << 8 | code) stand for the ports.

        Source: net/netfilter/nf_conntrack_core.c, nf_ct_get_tuple (Linux 6.18).
        """
        if self.is_icmp:
            return CtTuple(self.src, self.dst, self.proto, self.sport, self.icmp_type << 8 | self.icmp_code)
        return CtTuple(self.src, self.dst, self.proto, self.sport, self.dport)

    def tuples(self) -> Sequence[CtTuple]:
        """Return the tuples of the packet and of what it carries: of two in one tunnel the outer ones are alike."""
        inner = self.payload
        return (self.tuple(), *(inner.tuples() if inner is not None else ()))

    def fields(self) -> dict[str, object]:
        """Return the packet as the trace's JSON shows it: the innermost, with its outer headers in `encap`."""
        inner, outers = self, []
        while inner.payload is not None:
            outers.append({**inner._own_fields(), "vni": inner.vni})
            inner = inner.payload
        shown = inner._own_fields()
        shown["encap"] = outers
        return shown

    def _own_fields(self) -> dict[str, object]:
        return {
            "src": format_ip(self.src),
            "dst": format_ip(self.dst),
            "proto": PROTO_NAMES.get(self.proto, str(self.proto)),
            "sport": None if self.sport_unsure else self.sport,
            "dport": None if self.dport_unsure else self.dport,
            "ttl": self.ttl,
            "mark": self.mark,
            "len": self.wire_length,
            "smac": format_mac(self.smac),
            "dmac": format_mac(self.dmac),
        }

    def describe(self) -> str:
        """Say in a few words what this packet is."""
        name = PROTO_NAMES.get(self.proto, f"protocol {self.proto}")
        if self.is_icmp:
            return f"{_icmp_name(self)} {format_ip(self.src)} > {format_ip(self.dst)}"
        flags = _flag_names(self.tcp_flags) if self.proto == IPPROTO_TCP else ""
        return (
            f"{name} {_endpoint(self.src, '?' if self.sport_unsure else self.sport)} > "
            f"{_endpoint(self.dst, '?' if self.dport_unsure else self.dport)}"
            f"{' ' + flags if flags else ''}"
        )


def _endpoint(addr: bytes, port: int | str) -> str:
    text = format_ip(addr)
    return f"[{text}]:{port}" if len(addr) == 16 else f"{text}:{port}"


def _flag_names(flags: int) -> str:
    names = [name for bit, name in ((TH_SYN, "SYN"), (TH_RST, "RST"), (TH_ACK, "ACK")) if flags & bit]
    return ",".join(names)


def _icmp_name(packet: Packet) -> str:
    if packet.proto == IPPROTO_ICMPV6:
        known = {ICMPV6_ECHO_REQUEST: "icmpv6 echo request", ICMPV6_ECHO_REPLY: "icmpv6 echo reply"}
        unreach, names = ICMPV6_DEST_UNREACH, ICMPV6_UNREACH_NAMES
    else:
        known = {ICMP_ECHO: "icmp echo request", ICMP_ECHOREPLY: "icmp echo reply"}
        unreach, names = ICMP_DEST_UNREACH, ICMP_UNREACH_NAMES
    if packet.icmp_type == unreach:
        return names.get(packet.icmp_code, "icmp unreachable")
    return known.get(packet.icmp_type, f"icmp type {packet.icmp_type}")


def invert(t: CtTuple) -> CtTuple:
    """Return the tuple of the answer to `t`.

    Source: net/netfilter/nf_conntrack_core.c, nf_ct_invert_tuple; nf_conntrack_proto_icmp.c,
    icmp_invmap (Linux 6.18).
    """
    if t.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        kind = t.dport >> 8
        answer = {ICMP_ECHO: ICMP_ECHOREPLY, ICMP_ECHOREPLY: ICMP_ECHO}
        if t.proto == IPPROTO_ICMPV6:
            answer = {ICMPV6_ECHO_REQUEST: ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REPLY: ICMPV6_ECHO_REQUEST}
        return CtTuple(t.dst, t.src, t.proto, t.sport, answer.get(kind, kind) << 8 | t.dport & 0xFF)
    return CtTuple(t.dst, t.src, t.proto, t.dport, t.sport)


def is_group(mac: bytes) -> bool:
    """Tell whether a MAC is broadcast or multicast."""
    return bool(mac) and bool(mac[0] & 1)


def answer_to(packet: Packet, listening: bool) -> Packet | None:
    """Make the packet that the receiving kernel, or a willing listener, sends back.

    A listener answers a SYN with SYN+ACK and a datagram with a datagram; without one, TCP answers
    with RST, and UDP not itself (see `icmp_error`). An ICMP error or reply is never answered. Whether a listener's
    answer has DF is found out where it is sent.

    Source: net/ipv4/tcp_ipv4.c, tcp_v4_send_reset; net/ipv4/udp.c, __udp4_lib_rcv;
    net/ipv4/icmp.c, icmp_echo; include/net/ip.h, ip_dont_fragment (Linux 6.18).
    """
    back = Packet(packet.dst, packet.src, packet.proto, packet.dport, packet.sport)
    back = back.but(sport_unsure=packet.dport_unsure, dport_unsure=packet.sport_unsure)
    if packet.proto == IPPROTO_TCP:
        if packet.tcp_flags & TH_RST:
            return None
        if listening:
            return back.but(tcp_flags=TH_SYN | TH_ACK, length=80 if packet.ipv6 else 60)
        return back.but(tcp_flags=TH_RST | TH_ACK, df=True, length=60 if packet.ipv6 else 40, tos=packet.tos)
    if packet.is_icmp:
        echo, reply = (ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY) if packet.ipv6 else (ICMP_ECHO, ICMP_ECHOREPLY)
        if packet.icmp_type != echo:
            return None
        same_id = back.but(sport_unsure=packet.sport_unsure, dport_unsure=False)
        return same_id.but(sport=packet.sport, dport=0, icmp_type=reply, length=packet.length, tos=packet.tos)
    if packet.proto == IPPROTO_UDP:
        if not listening:
            return None
        return back.but(length=min(packet.length, SMALL_ANSWER))
    return None


def icmp_error(packet: Packet, what: str, src: bytes) -> Packet | None:
    """Make the ICMP error of kind `what` (net, host, port, prohibited, ttl, too-big, neighbour) about `packet`.

    Returns None where the kernel sends none: about an ICMP error.

    Source: net/ipv4/icmp.c, __icmp_send; net/ipv6/icmp.c, icmp6_send (Linux 6.18).
    """
    if packet.inner is not None or not src or packet.pkttype:
        return None
    if packet.ipv6:
        kind, code = {
            "net": (ICMPV6_DEST_UNREACH, 0),
            "neighbour": (ICMPV6_DEST_UNREACH, 2),
            "host": (ICMPV6_DEST_UNREACH, 3),
            "port": (ICMPV6_DEST_UNREACH, 4),
            "prohibited": (ICMPV6_DEST_UNREACH, 1),
            "ttl": (ICMPV6_TIME_EXCEED, 0),
            "too-big": (ICMPV6_PKT_TOOBIG, 0),
        }[what]
        length, proto, tos = min(IPV6_MIN_MTU, packet.length + 48), IPPROTO_ICMPV6, 0
    else:
        kind, code = {
            "net": (ICMP_DEST_UNREACH, 0),
            "host": (ICMP_DEST_UNREACH, 1),
            "port": (ICMP_DEST_UNREACH, 3),
            "prohibited": (ICMP_DEST_UNREACH, 13),
            "ttl": (ICMP_TIME_EXCEEDED, 0),
            "too-big": (ICMP_DEST_UNREACH, 4),
        }[what]
        length, proto, tos = min(576, packet.length + 28), IPPROTO_ICMP, packet.tos & 0x1E | 0xC0
    return Packet(
        src,
        packet.src,
        proto,
        icmp_type=kind,
        icmp_code=code,
        length=length,
        inner=packet.tuple(),
        tos=tos,
        # icmp_glue_bits and icmpv6_getfrag attach the packet's own connection, confirmed or not.
        ct=packet.ct,
        ct_reply=packet.ct is not None and not packet.ct_reply,
        ct_related=packet.ct is not None,
    )
