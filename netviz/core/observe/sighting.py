"""What was seen of packets: frames at devices, by packet sockets, and what tracepoints said.

The two know different things. A packet socket knows namespace, device and headers, and nothing of drops. A tracepoint
knows the packet's address in the kernel (`skb`), and neither namespace nor headers. `correlate` joins them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from netviz.core.model.conntrack import CtEntry
from netviz.core.observe.frame import Frame

TracePoint = Literal[
    "net:net_dev_queue",
    "net:net_dev_start_xmit",
    "net:netif_receive_skb",
    "skb:kfree_skb",
    "skb:consume_skb",
    "fib:fib_table_lookup",
    "fib6:fib6_table_lookup",
]
RuleKind = Literal["policy", "return", "rule"]
ETHERNET_BYTES = 14
OWN_TABLES = "netviz-observe-"  # how the names of the tables begin that an observer makes


class Crossing(msgspec.Struct, frozen=True):
    """A packet crosses a device: goes `out` of it, or comes in."""

    place: str
    dev: str
    out: bool

    def __str__(self) -> str:
        return f"{self.place}:{self.dev}:{'out' if self.out else 'in'}"


class Sighting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A frame that belongs to a probe, seen at a device. `out`: sent, else received; `stray`: for another MAC.

    `at_ns` is of the wall clock. `length` is the whole frame with its Ethernet header, in bytes; 0 where not kept.
    """

    at_ns: int
    place: str
    dev: str
    out: bool
    stray: bool
    frame: Frame
    length: int = 0

    @property
    def crossing(self) -> Crossing:
        """Where."""
        return Crossing(self.place, self.dev, self.out)


class Lookup(msgspec.Struct, frozen=True, omit_defaults=True):
    """One table was searched for a route. `iif` is 1 for the host's own packets. `error` is an errno, 0 where a route was found: by
    `dev`, to `gateway`, which means nothing where the route has none; of several next hops the kernel names the first that is usable.
    """

    table: int
    iif: int
    src: str
    dst: str
    dev: str = ""
    gateway: str = ""
    error: int = 0


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tracepoint said. `at_ns` is of the monotonic clock, whole microseconds; `skb` the packet's address in the kernel,
    `pid` the thread that the kernel worked in, which need not be the sender's, and `cpu` the processor, -1 where it wasn't kept.

    `length` is the socket buffer's: with the Ethernet header on transmission, without it on reception; the frees have
    none. `protocol` is an EtherType, told by the frees alone, as is `reason`. A `lookup` names no packet: `skb` is the one that
    crossed a device on its processor before, and `then` after it; 0 where that isn't known.
    """

    at_ns: int
    point: TracePoint
    skb: int
    pid: int = 0
    dev: str = ""
    length: int = 0
    protocol: int = 0
    reason: str = ""
    cpu: int = -1
    lookup: Lookup | None = None
    then: int = 0

    @property
    def crosses(self) -> bool:
        """Whether a packet socket sees the packet there too."""
        return self.point in ("net:net_dev_start_xmit", "net:netif_receive_skb")

    @property
    def frees(self) -> bool:
        """Whether the packet ends with it."""
        return self.point in ("skb:kfree_skb", "skb:consume_skb")


class RuleEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What nftables said of a probe's packet in a chain: a rule that matched, by its `handle`, or the chain's policy.

    `verdict` is nft's word. `family` is that of the table. They come in the order of a namespace, without a time.
    `ct_state` are the bits of the connection's state, 0 where the kernel doesn't tell.
    """

    place: str
    family: int
    table: str
    chain: str
    kind: RuleKind
    verdict: str
    frame: Frame
    handle: int = 0
    ct_state: int = 0

    @property
    def own(self) -> bool:
        """Whether it is of a table that netviz made to have the probe traced."""
        return self.table.startswith(OWN_TABLES)

    @property
    def decides(self) -> bool:
        """Whether the base chain that it is within ends with it."""
        return self.kind == "policy" or self.verdict in ("accept", "drop", "stolen", "queue")


class Tracked(msgspec.Struct, frozen=True):
    """The kernel told of a new entry of connection tracking, the probe's, in a place."""

    place: str
    entry: CtEntry


class Clocks(msgspec.Struct, frozen=True):
    """The wall clock less the monotonic one, and how far that may be off, both in ns."""

    offset_ns: int
    uncertainty_ns: int

    @classmethod
    def of(cls, readings: list[tuple[int, int, int]]) -> Clocks:
        """Compare the clocks by readings (monotonic, wall, monotonic again), which bound the offset. Raises: ValueError.

        A wall clock that was set in between makes readings contradict each other; the uncertainty covers all then.
        """
        if not readings:
            raise ValueError("no reading of the clocks")
        bounds = [bound for first, wall, second in readings for bound in (wall - second, wall - first)]
        low, high = min(bounds), max(bounds)
        return cls((low + high) // 2, (high - low + 1) // 2)

    def wall_ns(self, monotonic_ns: int) -> int:
        """Convert a time of the monotonic clock."""
        return monotonic_ns + self.offset_ns
