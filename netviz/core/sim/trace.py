"""What a trace is: Trace -> branches -> Hop (one namespace) -> Step (one decision).

The walk records each decision where it is made (`Recorder.step`), with the packet as it left the
decision and the evidence that decided it. Nothing here knows how the decisions are made.

| disposition    | the packet ...                                                             |
|----------------|----------------------------------------------------------------------------|
| `DELIVERED`    | reached a listener, or the kernel itself for an ICMP echo                    |
| `NO_LISTENER`  | arrived at its address; nothing listens: RST or port unreachable             |
| `LEFT_NETWORK` | went out of a device behind which no state is known                          |
| `DROPPED`      | was dropped; the reason is the kernel's drop reason                          |
| `REJECTED`     | was refused by a rule or a route; the reason is the ICMP type or `tcp-reset` |
| `LOOP`         | came back to where it was, or went on too long                               |
| `UNKNOWN`      | met something that the state or the simulator doesn't know                   |
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.packet import Packet


class Disposition(StrEnum):
    """How a packet ends. The list is closed."""

    DELIVERED = "DELIVERED"
    NO_LISTENER = "NO_LISTENER"
    LEFT_NETWORK = "LEFT_NETWORK"
    DROPPED = "DROPPED"
    REJECTED = "REJECTED"
    LOOP = "LOOP"
    UNKNOWN = "UNKNOWN"


KINDS = frozenset(
    (
        "origin",
        "socket",
        "rule",
        "route",
        "neigh",
        "link_tx",
        "link_rx",
        "bridge",
        "netfilter",
        "nat",
        "conntrack",
        "encap",
        "decap",
        "local_in",
        "forward",
        "ttl",
        "mtu",
        "rp_filter",
        "opaque",
    )
)

CERTAIN, BRANCH, UNCERTAIN = "certain", "branch", "unknown"


class Flow(msgspec.Struct, frozen=True):
    """The packet to trace, as its sender would make it.

    Addresses are packed bytes, `length` is the whole IP packet in bytes, `proto` IPPROTO_*. For
    ICMP, `sport` is the echo identifier and `dport` None. `bound`: the sender's socket was given `src`; else
    the kernel chose it, after it had looked for a route without one. `oif` is the ifindex of the device that
    the socket is bound to (SO_BINDTODEVICE), 0 for none. `own_sport`: the asker named `sport`, so the packet may be
    one of a connection that stood; else it is the first of a new flow.
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


class Step(msgspec.Struct, frozen=True):
    """One decision. `why` is a sentence; `evidence` what decided it; `packet` how it left."""

    seq: int
    kind: str
    dev: str
    packet: Packet
    diff: dict[str, tuple[Any, Any]]
    decision: str
    reason: str
    evidence: dict[str, Any]
    why: str
    certainty: str = CERTAIN


class Hop(msgspec.Struct, frozen=True):
    """The steps that a packet took in one namespace. `pod` is `namespace/name` or empty."""

    netns: NetnsKey
    name: str
    pod: str
    steps: tuple[Step, ...]


class Path(msgspec.Struct, frozen=True):
    """One direction's way and its end."""

    disposition: Disposition
    reason: str
    hops: tuple[Hop, ...]


class Branch(msgspec.Struct, frozen=True):
    """One possible course. `probability` is None when nothing tells how likely it is."""

    probability: float | None
    forward: Path
    reply: Path | None = None


class Origin(msgspec.Struct, frozen=True):
    """Where the flow starts, for people."""

    node: str
    netns: str
    pod: str
    name: str = ""


class Trace(msgspec.Struct, frozen=True):
    """All the courses that a flow can take, in a fixed order.

    `assumed` says in sentences what no state tells and the answer rests on.
    """

    flow: Flow
    origin: Origin
    disposition: Disposition
    reason: str
    certainty: str
    branches: tuple[Branch, ...]
    assumed: tuple[str, ...] = ()


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


def packet_diff(before: Packet | None, after: Packet) -> dict[str, tuple[Any, Any]]:
    """Return the shown fields that changed, as JSON has them: field -> (before, after)."""
    if before is None or before is after:
        return {}
    if all(getattr(before, name) == getattr(after, name) for name in _SHOWN):
        return {}
    was, now = before.fields(), after.fields()
    return {name: (was[name], value) for name, value in now.items() if was[name] != value}


class Recorder:
    """Collects the steps of one path. `seq` goes on from `first`, so a reply's steps follow the forward's."""

    def __init__(self, first: int = 1) -> None:
        self.seq = first
        self._hops: list[tuple[NetnsKey, str, str, list[Step]]] = []
        self.last: Packet | None = None

    def step(
        self,
        where: tuple[NetnsKey, str, str],
        kind: str,
        dev: str,
        packet: Packet,
        decision: str,
        why: str,
        *,
        reason: str = "",
        evidence: dict[str, Any] | None = None,
        certainty: str = CERTAIN,
    ) -> None:
        """Record a decision made in namespace `where` (key, name, pod).

        Raises: ValueError for a kind outside the closed list.
        """
        if kind not in KINDS:
            raise ValueError(f"not a step kind: {kind!r}")
        if not self._hops or self._hops[-1][0] != where[0]:
            self._hops.append((*where, []))
        diff = packet_diff(self.last, packet)
        self._hops[-1][3].append(
            Step(self.seq, kind, dev, packet, diff, decision, reason, evidence or {}, why, certainty)
        )
        self.last = packet
        self.seq += 1

    @property
    def where(self) -> tuple[NetnsKey, str, str] | None:
        """The namespace of the last step (key, name, pod)."""
        return self._hops[-1][:3] if self._hops else None

    def path(self, disposition: Disposition, reason: str) -> Path:
        """Close the path."""
        hops = tuple(Hop(key, name, pod, tuple(steps)) for key, name, pod, steps in self._hops)
        return Path(disposition, reason, hops)
