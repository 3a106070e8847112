"""What all decisions have in common, and the two kinds that belong to no part of the stack."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey

# The kernel's names (include/net/dropreason-core.h, drivers/net/vxlan's among them), as skb:kfree_skb says them.
DropReason = Literal[
    "BRIDGE_INGRESS_STP_STATE",
    "CONSUMED",
    "DEV_READY",
    "IPV6DISABLED",
    "IP_INADDRERRORS",
    "IP_INHDR",
    "IP_INNOROUTES",
    "IP_INVALID_DEST",
    "IP_INVALID_SOURCE",
    "IP_LOCALNET",
    "IP_LOCAL_SOURCE",
    "IP_OUTNOROUTES",
    "IP_RPFILTER",
    "IP_TUNNEL_ECN",
    "LOCAL_MAC",
    "NEIGH_FAILED",
    "NETFILTER_DROP",
    "NOT_SPECIFIED",
    "NO_SOCKET",
    "NO_TX_TARGET",
    "OTHERHOST",
    "PKT_TOO_BIG",
    "QDISC_DROP",
    "RECURSION_LIMIT",
    "TUNNEL_TXINFO",
    "UDP_CSUM",
    "VXLAN_ENTRY_EXISTS",
    "VXLAN_VNI_NOT_FOUND",
]


class Place(msgspec.Struct, frozen=True, gc=False):
    """A namespace, for people: its node, its own name, its pod (`namespace/name`) where it is one's.

    `key` is its key as text; `enter` is what runs a command in it from the node's own namespace ("" for that one).
    """

    netns: NetnsKey
    key: str
    name: str = ""
    pod: str = ""
    root: bool = False
    enter: str = ""


class Copy(msgspec.Struct, frozen=True, gc=False):
    """A copy of the packet that another than the followed one gets: its link, else its address, else its device's name."""

    link: LinkKey | None = None
    addr: bytes = b""
    ifname: str = ""


class Stray(msgspec.Struct, frozen=True, gc=False):
    """A known namespace has the address that a packet leaves the known network for."""

    addr: bytes
    owner: Place
    leaves: str


SourceFault = Literal["", "another link", "not translated"]


class Edge(msgspec.Struct, frozen=True, gc=False):
    """What speaks against a packet that leaves the known network.

    `source`: its source is the address of another link (`source_dev`), or a private one that isn't the sender's host's.
    `translator` has NAT rules that name its destination.
    """

    source: SourceFault = ""
    source_dev: str = ""
    translator: Place | None = None

    @property
    def doubtful(self) -> bool:
        """Whether an answer is doubtful; a private source alone may be translated, or routed, further on."""
        return self.source == "another link" or self.translator is not None


class Assumption(msgspec.Struct, frozen=True, gc=False):
    """What no state says and a trace rests on.

    "new flow": a node's connections of then aren't kept, so the flow is taken to be new; "no tcx": its collector could not
    ask for tcx programs, so none is taken to be there; "comes in here": a packet from outside is taken to come to this
    node, by `dev`.
    """

    node: str
    what: Literal["new flow", "no tcx", "comes in here"] = "new flow"
    dev: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decision. Each kind has an `action` and, where an action has several grounds, a `cause`, both of closed lists.

    `section` names a part of the state that was not read whole, and `missing` why.
    """

    section: str = ""
    missing: str = ""


class Origin(Decision, frozen=True, tag="origin"):
    """The packet is sent: the flow's own, or an `answer`.

    `default_ttl` is what net.ipv4.ip_default_ttl gave it where that isn't the usual 64; `inbound`: an ICMP error whose
    source icmp_errors_use_inbound_ifaddr chose.
    """

    kind: ClassVar[str] = "origin"

    action: Literal["send"] = "send"
    cause: Literal["", "answer"] = ""
    default_ttl: int = 0
    inbound: bool = False


class Opaque(Decision, frozen=True, tag="opaque"):
    """Something may do anything with the packet: a program, a device that isn't modelled, a state that makes no sense.

    `names` are what it meets: programs, or devices by whose name a neighbour request goes on.
    """

    kind: ClassVar[str] = "opaque"

    action: Literal["unknown"]
    cause: Literal[
        "program",
        "device",
        "macvtap",
        "ipvtap",
        "bond mode",
        "flow offload",
        "request that returns",
        "request through",
        "state",
    ]
    names: tuple[str, ...] = ()
    device_kind: str = ""
    upper: str = ""
    receiving: bool = False
    nexthop: bytes = b""
    asked: int | None = None
    entry: str = ""
    error: str = ""
