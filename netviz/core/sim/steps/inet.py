"""Decisions of the network layer: source checks, forwarding, sizes, connections, translation, delivery."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from netviz.core.model.conntrack import CtTuple
from netviz.core.model.ipvs import IpvsServer, IpvsService
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps.base import Decision, DropReason, Place
from netviz.core.sim.steps.hook import ChainRef, RuleHit


class SourceRefusal(msgspec.Struct, frozen=True):
    """Why a source isn't accepted on a link: the kernel's drop reason, and rp_filter's `level`.

    `unknown` says why that can't be found out; there is no reason then.
    """

    reason: DropReason | Literal[""]
    cause: Literal["reverse path", "own address", "special address", "lookup"]
    ifname: str
    level: int = 0
    unknown: str = ""


class RpFilter(Decision, frozen=True, tag="rp_filter"):
    """An IPv4 packet's source is refused on arrival, or whether it is isn't known."""

    kind: ClassVar[str] = "rp_filter"

    action: Literal["drop", "unknown"]
    cause: Literal["refused", "lookup", "section not read"]
    refusal: SourceRefusal | None = None
    rp_filter: int | None = None


class Forward(Decision, frozen=True, tag="forward"):
    """A packet is forwarded out of `oif`, or isn't: by which setting (`sysctl`, with its value).

    `icmp` is the error that its sender should be sent and isn't.
    """

    kind: ClassVar[str] = "forward"

    action: Literal["forward", "drop", "unknown"]
    cause: Literal[
        "",
        "by a rule",
        "forwarding off",
        "given to a socket",
        "link-local source",
        "setting not read",
        "link-local destination",
        "redirect sent",
    ] = ""
    oif: str = ""
    sysctl: str = ""
    value: int | None = None
    icmp: str = ""


class Ttl(Decision, frozen=True, tag="ttl"):
    """The TTL or hop limit is used up."""

    kind: ClassVar[str] = "ttl"

    action: Literal["drop"]
    cause: Literal["forwarding", "IPVS"]


class Mtu(Decision, frozen=True, tag="mtu"):
    """A packet of `length` bytes is larger than the `mtu` of a device (`taker`) or of its route by that.
    `taker_node` is the taker's node, where that may be another.

    Of what TCP has to send, a "segment" as large as fits is followed.

    `by` is the kind of device that drops a frame. `kernel_reason` is what the kernel says where that isn't
    PKT_TOO_BIG.
    """

    kind: ClassVar[str] = "mtu"

    action: Literal["fragment", "segment", "drop"]
    cause: Literal[
        "", "bridged", "bridged DF", "bridged IPv6", "frame", "sending fails", "DF", "device", "route"
    ] = ""
    mtu: int = 0
    length: int = 0
    taker: str = ""
    taker_node: str = ""
    taker_mtu: int = 0
    bridge: str = ""
    by: str = ""
    errno: str = ""
    icmp: str = ""
    kernel_reason: DropReason | Literal[""] = ""


class Conntrack(Decision, frozen=True, tag="conntrack"):
    """A packet is attached to its connection, in the direction of the `reply` or not, or begins one.

    `entries` fill the table of `limit`; `helper` watches connections of the destination.
    """

    kind: ClassVar[str] = "conntrack"

    action: Literal[
        "new",
        "established",
        "related",
        "untracked",
        "invalid",
        "assume known connection",
        "assume new connection",
        "assume new",
        "assume known",
        "unknown",
    ]
    cause: Literal[
        "",
        "known",
        "SYN in reply direction",
        "cannot start one",
        "error about none",
        "connections not read",
        "full table",
        "helper",
    ] = ""
    orig: CtTuple | None = None
    reply: CtTuple | None = None
    is_reply: bool = False
    entries: int | None = None
    limit: int = 0
    helper: str = ""


class Nat(Decision, frozen=True, tag="nat"):
    """An address is translated, by the connection's entry or by IPVS, or a real server is chosen.

    `was` and `now` are the address before and after; `unsure`: nobody can know the port. `hit` is the rule that asks
    for what isn't modelled (`what`), in the chain `within`.
    """

    kind: ClassVar[str] = "nat"

    action: Literal["snat", "dnat", "schedule", "reject", "drop", "unknown"]
    cause: Literal[
        "",
        "IPVS",
        "no server",
        "no address",
        "connections not read",
        "forwarding method",
        "no free port",
        "statement",
        "section not read",
    ] = ""
    orig: CtTuple | None = None
    reply: CtTuple | None = None
    was: bytes = b""
    now: bytes = b""
    port: int = 0
    unsure: bool = False
    service: IpvsService | None = None
    server: IpvsServer | None = None
    servers: tuple[IpvsServer, ...] = ()
    forward: str = ""
    icmp: str = ""
    hit: RuleHit | None = None
    within: ChainRef | None = None
    what: str = ""


class LocalDelivery(Decision, frozen=True, tag="local_in"):
    """The packet is for this namespace and goes on to whoever takes it there."""

    kind: ClassVar[str] = "local_in"

    action: Literal["deliver"] = "deliver"
    cause: Literal[""] = ""


class Untranslated(msgspec.Struct, frozen=True):
    """Where the packet `orig` was translated, which the answer to it misses: it takes another path, or is bridged there.

    `setting` is what keeps a bridge's packets from being translated.
    """

    place: Place
    orig: CtTuple
    cause: Literal["", "other path", "bridged"] = ""
    setting: str = ""


class SocketLookup(Decision, frozen=True, tag="socket"):
    """Who takes the packet: a socket (`addr`, `port`, `cookie`), the kernel, or nobody, who sends `answer`.

    `source` is the address that an answer would have, or that the route chooses; `route_error` why it finds none.
    `missed` is the translation that an answer should have gone back through.
    """

    kind: ClassVar[str] = "socket"

    action: Literal[
        "deliver",
        "echo",
        "ignore",
        "no socket",
        "no answer",
        "plain source",
        "same source",
        "drop",
        "unknown",
    ]
    cause: Literal[
        "",
        "sender",
        "marked for others",
        "another device",
        "nobody waits",
        "protocol",
        "sender's address",
        "random port",
        "untranslated",
        "section not read",
    ] = ""
    addr: bytes | None = None
    port: int = 0
    cookie: int | None = None
    answer: Packet | None = None
    source: bytes = b""
    route_error: str = ""
    sysctl: str = ""
    error: bool = False
    missed: Untranslated | None = None
