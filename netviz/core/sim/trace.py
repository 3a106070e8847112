"""What a trace is: Trace -> branches -> Hop (one namespace) -> Step (one decision).

The walk records each decision where it is made (`Recorder.step`), typed (`steps`), with the packet as it left the
decision. Nothing here knows how the decisions are made, or how they are put in words (`words`).

| disposition    | the packet ...                                                             |
|----------------|----------------------------------------------------------------------------|
| `DELIVERED`    | reached a listener, or the kernel itself for an ICMP echo                    |
| `NO_LISTENER`  | arrived at its address; nothing listens: RST or port unreachable             |
| `LEFT_NETWORK` | went out of a device behind which no state is known                          |
| `DROPPED`      | was dropped; the reason is the kernel's drop reason                          |
| `REJECTED`     | was rejected by a rule or a route; the reason is the ICMP type or `tcp-reset` |
| `LOOP`         | came back to where it was, or went on too long                               |
| `UNKNOWN`      | met something that the state or the simulator doesn't know                   |
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns
from netviz.core.plain import quoted
from netviz.core.sim.one_read import one_read
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import Assumption, Copy, Place, What


class Disposition(StrEnum):
    """How a packet ends. The list is closed."""

    DELIVERED = "DELIVERED"
    NO_LISTENER = "NO_LISTENER"
    LEFT_NETWORK = "LEFT_NETWORK"
    DROPPED = "DROPPED"
    REJECTED = "REJECTED"
    LOOP = "LOOP"
    UNKNOWN = "UNKNOWN"


CERTAIN, BRANCH, UNCERTAIN = "certain", "branch", "unknown"


MAX_MOVES = 1600


class Flow(msgspec.Struct, frozen=True, gc=False):
    """The packet to trace, as its sender would make it.

    Addresses are packed bytes, `length` is the whole IP packet in bytes, `proto` IPPROTO_*. For
    ICMP, `sport` is the echo identifier and `dport` None. `bound`: the sender's socket was given `src`; else
    the kernel chose it, after it had looked for a route without one. `oif` is the ifindex of the device that
    the socket is bound to (SO_BINDTODEVICE), 0 for none. `own_sport`: the request names `sport`, so the packet may be
    one of a connection that stood; else it is the first of a new flow. `by` is the node's link by which the packet comes
    in from somebody outside; None: the namespace sends it.
    """

    src_netns: NetnsKey
    src: bytes
    dst: bytes
    proto: int
    sport: int | None = None
    dport: int | None = None
    length: int = 60
    df: bool = False
    ttl: int = 64
    tos: int = 0
    mark: int = 0
    bound: bool = True
    oif: int = 0
    own_sport: bool = False
    by: LinkKey | None = None


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What the counter of a rule stood at, at the time `at` (as text)."""

    packets: int
    bytes: int
    at: str


class Step(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One decision: where it was taken, `what` it was, the packet before it and as it left.

    `at` is the link, or the namespace where there is no device; `dev` that link's name. `reason` is the kernel's drop
    reason, or the ICMP error or reset that is sent. `copies` are those that others than the followed packet get.
    `meaning` is what the step means in Kubernetes' terms, as a sentence. `counted` is what the rule that decided had
    counted, where that is known.
    """

    seq: int
    at: LinkKey | NetnsKey
    dev: str
    packet: Packet
    before: Packet | None
    what: What
    reason: str = ""
    certainty: str = CERTAIN
    copies: tuple[Copy, ...] = ()
    meaning: str = ""
    counted: Counted | None = None

    @property
    def kind(self) -> str:
        """The kind of decision, as the JSON names it."""
        return self.what.kind

    @property
    def action(self) -> str:
        """What was decided."""
        return self.what.action

    @property
    def cause(self) -> str:
        """On which ground, where an action has several."""
        return self.what.cause

    @property
    def node(self) -> str:
        """The node."""
        return self.at.node if isinstance(self.at, NetnsKey) else self.at.netns.node

    @property
    def diff(self) -> dict[str, tuple[Any, Any]]:
        """The packet's shown fields that changed."""
        return packet_diff(self.before, self.packet)


class Hop(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The steps that a packet took in one namespace."""

    place: Place
    steps: tuple[Step, ...]

    @property
    def netns(self) -> NetnsKey:
        """The namespace."""
        return self.place.netns


class Limit(msgspec.Struct, frozen=True, gc=False):
    """The largest packet, in bytes with its IP header, that passes a path whole, and the link that allows no more.

    `silent`: larger ones are dropped there and nobody is told; else the sender is told, or sends no larger ones itself.
    """

    bytes: int
    at: LinkKey
    dev: str
    silent: bool = False


class Path(msgspec.Struct, frozen=True, gc=False):
    """One direction's path and its end, and the `limit` that was met so far."""

    disposition: Disposition
    reason: str
    hops: tuple[Hop, ...]
    limit: Limit | None = None


class Branch(msgspec.Struct, frozen=True, gc=False):
    """One possible course. `probability` is None when nothing tells how likely it is."""

    probability: float | None
    forward: Path
    reply: Path | None = None


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where the flow starts, for people. `outside`: at an address outside; the node is where it comes in then."""

    node: str
    netns: str
    pod: str
    name: str = ""
    outside: bool = False


class Owner(msgspec.Struct, frozen=True, gc=False):
    """Who has an address: the only namespace that does. `prefix` is the address's range on its link, None for one alone.

    `down` are links that are down by which packets would come to it: its own, and its node's end of that, which is
    `end`. `mac` is that of its link.
    """

    addr: bytes
    place: Place
    prefix: tuple[bytes, int] | None = None
    down: tuple[tuple[Place, str], ...] = ()
    end: tuple[Place, str] | None = None
    mac: bytes = b""


class ServiceName(msgspec.Struct, frozen=True, gc=False):
    """The service that a flow's target belongs to, by the API. `by` is which of its addresses the target is.

    `has_port`: it has the flow's port, called `port` ("" where ports have no names).
    """

    namespace: str
    name: str
    port: str
    by: str
    has_port: bool


class Trace(msgspec.Struct, frozen=True, gc=False):
    """All the courses that a flow can take, in a fixed order.

    `assumed` is what no state says and the answer rests on. `largest` are the largest packets that pass forward and in
    reply, None where nothing passes or that isn't known. `source` and `target`
    are who has the flow's addresses, and `service` whose the target is; `down` are links with addresses that are down where a path ends for want of a route.
    """

    flow: Flow
    origin: Origin
    disposition: Disposition
    reason: str
    certainty: str
    branches: tuple[Branch, ...]
    assumed: tuple[Assumption, ...] = ()
    largest: tuple[Limit | None, Limit | None] = (None, None)
    source: Owner | None = None
    target: Owner | None = None
    down: tuple[tuple[Place, str], ...] = ()
    service: ServiceName | None = None


_SHOWN = (
    "src",
    "dst",
    "proto",
    "sport",
    "dport",
    "sport_unsure",
    "dport_unsure",
    "ttl",
    "mark",
    "wire_length",
    "smac",
    "dmac",
    "payload",
)


_shown = attrgetter(*_SHOWN)


def packet_diff(before: Packet | None, after: Packet) -> dict[str, tuple[Any, Any]]:
    """Return the shown fields that changed, as JSON has them: field -> (before, after)."""
    if before is None or before is after:
        return {}
    if _shown(before) == _shown(after):
        return {}
    was, now = before.fields(), after.fields()
    return {name: (was[name], value) for name, value in now.items() if was[name] != value}


class Recorded(NamedTuple):
    """How much is recorded: how many hops, and steps in the last; the recorder's own fields besides."""

    hops: int
    steps: int
    seq: int
    last: Packet | None
    limit: Limit | None


class Recorder:
    """Collects the steps of one path. `seq` goes on from `first`, so a reply's steps follow the forward's."""

    def __init__(self, first: int = 1) -> None:
        self.seq = first
        self._hops: list[tuple[Netns, list[Step]]] = []
        self.last: Packet | None = None
        self.limit: Limit | None = None

    def step(
        self,
        netns: Netns,
        dev: Link | int | None,
        packet: Packet,
        what: What,
        reason: str = "",
        certainty: str = CERTAIN,
        copies: tuple[Copy, ...] = (),
    ) -> None:
        """Record a decision made in a namespace. `dev` is the link, or the ifindex of one that is not in the state."""
        key, hops = netns.key, self._hops
        if not hops or (hops[-1][0] is not netns and hops[-1][0].key != key):
            hops.append((netns, []))
        at: LinkKey | NetnsKey = key
        name = ""
        if isinstance(dev, Link):
            at, name = LinkKey(key, dev.ifindex), dev.ifname
        elif dev is not None:
            at, name = LinkKey(key, dev), f"if{dev}"
        hops[-1][1].append(Step(self.seq, at, name, packet, self.last, what, reason, certainty, copies))
        self.last = packet
        self.seq += 1

    @property
    def recorded(self) -> Recorded:
        """How far the path is, for `go_back`."""
        hops = self._hops
        return Recorded(len(hops), len(hops[-1][1]) if hops else 0, self.seq, self.last, self.limit)

    def go_back(self, to: Recorded) -> None:
        """Forget what was recorded since."""
        del self._hops[to.hops :]
        if self._hops:
            del self._hops[-1][1][to.steps :]
        self.seq, self.last, self.limit = to.seq, to.last, to.limit

    @property
    def netns(self) -> Netns | None:
        """The namespace of the last step."""
        return self._hops[-1][0] if self._hops else None

    @property
    def visited(self) -> frozenset[NetnsKey]:
        """The namespaces that the path has been in."""
        return frozenset(netns.key for netns, _ in self._hops)

    @property
    def last_step(self) -> Step | None:
        """The last step."""
        return self._hops[-1][1][-1] if self._hops else None

    def steps_backwards(self) -> Iterator[Step]:
        """Go through the steps, the last first."""
        for _, steps in reversed(self._hops):
            yield from reversed(steps)

    def path(self, disposition: Disposition, reason: str) -> Path:
        """Close the path."""
        hops = tuple(Hop(place_of(netns), tuple(steps)) for netns, steps in self._hops)
        return Path(disposition, reason, hops, self.limit)


def pod_name(netns: Netns) -> str:
    """Name the pod as `namespace/name`, or "" when it is none."""
    return f"{netns.pod.namespace}/{netns.pod.name}" if netns.pod is not None else ""


def display_name(netns: Netns) -> str:
    """Name a namespace for people."""
    return netns.name or ("" if not netns.root else netns.key.node)


@one_read()
def place_of(netns: Netns) -> Place:
    """Describe a namespace for people, and say how to enter it."""
    return Place(netns.key, str(netns.key), display_name(netns), pod_name(netns), netns.root, _enter(netns))


def _enter(netns: Netns) -> str:
    """Return the shell prefix that runs a command inside a namespace, from the node's own."""
    if netns.root:
        return ""
    for holder in netns.holders:
        if holder.kind == "process" and holder.pid:
            return f"nsenter -t {holder.pid} -n "
    for holder in netns.holders:
        if holder.kind == "mount":
            return f"nsenter --net={quoted(holder.name)} "
    return f"ip netns exec {quoted(netns.name)} " if netns.name else ""
