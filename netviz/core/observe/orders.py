"""What server and collectors say to each other about one probe: the bodies of ProbeRequest and ProbeEvent.

    server                           collector
    Prepare --------------------->   watches, and opens the probe's socket if it is the sender's
            <--------------------    Ready, or Refused
    Send ------------------------>   (the sender's alone)
            <--------------------    News, whenever there is any
    Pick ------------------------>   a SYN is known by its sequence number, which the sender's collector sees first
    Finish ---------------------->   removes everything
            <--------------------    Finished

A collector ends by itself when its connection does, or after `limit_s`. Of drops, instead of one probe:

    WatchDrops ----------------->   watches
            <--------------------    Drops, all groups so far, now and then; or Refused
    Finish ---------------------->   removes everything
            <--------------------    Drops, the last (`over`)

and so of a capture: Capture, Packets (and Drops in between, where it asks for them), Finish, Packets.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from netviz.core.observe.counters import Counts, XtTable
from netviz.core.observe.drops import MOST_GROUPS, Group
from netviz.core.observe.evidence import Kernel, Sending, Source
from netviz.core.observe.pcapng import Captured
from netviz.core.observe.sighting import Clocks, RuleEvent, Sighting, Tracked
from netviz.core.sim.trace import Flow

MAX_SIGHTINGS = 4096
MAX_EVENTS = 50_000
MOST_POINTS = 256
MOST_CAPTURED = 2000
_Sightings = Annotated[tuple[Sighting, ...], msgspec.Meta(max_length=MAX_SIGHTINGS)]
_Rules = Annotated[tuple[RuleEvent, ...], msgspec.Meta(max_length=MAX_SIGHTINGS)]
_Text = Annotated[str, msgspec.Meta(max_length=2000)]


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """Watch for a probe of this flow, whose source port is given. `sends`: the sender is here; `tracepoints`: listen to them too.

    `number` stands in the probe's cookie. `limit_s`: end after so long, whatever is heard. `addrs` (packed): tell of
    lookups of routes to these, of none where there are none. `legacy`: read these tables' counters.
    """

    flow: Flow
    number: int
    sends: bool
    tracepoints: bool
    limit_s: float
    addrs: Annotated[frozenset[bytes], msgspec.Meta(max_length=MOST_POINTS)] = frozenset()
    legacy: Annotated[frozenset[XtTable], msgspec.Meta(max_length=MOST_POINTS)] = frozenset()


class Send(msgspec.Struct, frozen=True, tag="send"):
    """Send the probe."""


class Pick(msgspec.Struct, frozen=True, tag="pick"):
    """The probe is the SYN with this sequence number."""

    seq: int


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """Tell what is left to tell, and remove everything. `elsewhere`: what others saw on the same kernel."""

    elsewhere: _Sightings = ()


class WatchDrops(msgspec.Struct, frozen=True, tag="watch drops"):
    """Watch what this kernel drops. `shared` are names of devices that other nodes on this kernel have too.

    `limit_s`: end after so long, whatever is heard.
    """

    limit_s: float
    shared: Annotated[frozenset[str], msgspec.Meta(max_length=MAX_EVENTS)] = frozenset()


class Point(msgspec.Struct, frozen=True):
    """A device to capture at; `number` is its interface's in the capture."""

    number: int
    place: str
    dev: str


class Capture(msgspec.Struct, frozen=True, tag="capture"):
    """Capture at some devices what goes from one of `addrs` (packed) to another; all where there are none.

    Only headers, unless `full`. It ends with `most_packets` or `most_bytes`, or when told to, or after `limit_s`. `drops`: what
    the node drops of it is told too, as by WatchDrops with `shared`.
    """

    points: Annotated[tuple[Point, ...], msgspec.Meta(max_length=MOST_POINTS)]
    limit_s: float
    most_packets: int
    most_bytes: int
    addrs: Annotated[frozenset[bytes], msgspec.Meta(max_length=MOST_POINTS)] = frozenset()
    full: bool = False
    drops: bool = False
    shared: Annotated[frozenset[str], msgspec.Meta(max_length=MAX_EVENTS)] = frozenset()


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """All is watched that can be: the places `watched`. `at_ns` is the wall clock when it was said."""

    at_ns: int
    watched: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_SIGHTINGS)]
    clocks: Clocks


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """This collector doesn't observe, in a sentence why."""

    why: _Text


class News(msgspec.Struct, frozen=True, tag="news", omit_defaults=True):
    """What was seen since the last news. `sending` once, when it was sent; `told` once, when the sender was told."""

    sightings: _Sightings = ()
    rules: _Rules = ()
    sending: Sending | None = None
    told: Annotated[str, msgspec.Meta(max_length=64)] = ""
    tracked: Annotated[tuple[Tracked, ...], msgspec.Meta(max_length=MAX_SIGHTINGS)] = ()


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The rest. `at_ns` is the wall clock when it was said; of the kernel's events those that may be of the probe."""

    at_ns: int
    sources: Annotated[tuple[Source, ...], msgspec.Meta(max_length=64)]
    kernel: Kernel
    counts: Counts = Counts()


class Drops(msgspec.Struct, frozen=True, tag="drops", omit_defaults=True):
    """What was dropped so far: groups, and how many `others` there was no room to tell. `copies` went to no packet socket alone."""

    groups: Annotated[tuple[Group, ...], msgspec.Meta(max_length=MOST_GROUPS)]
    sources: Annotated[tuple[Source, ...], msgspec.Meta(max_length=64)]
    others: int = 0
    copies: int = 0
    over: bool = False


class Packets(msgspec.Struct, frozen=True, tag="packets", omit_defaults=True):
    """What was captured since the last report. `full`: a bound is reached, and nothing more comes."""

    packets: Annotated[tuple[Captured, ...], msgspec.Meta(max_length=MOST_CAPTURED)]
    sources: Annotated[tuple[Source, ...], msgspec.Meta(max_length=64)]
    full: bool = False
    over: bool = False


Order = Prepare | Send | Pick | Finish | WatchDrops | Capture
Report = Ready | Refused | News | Finished | Drops | Packets

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def encode(what: Order | Report) -> bytes:
    """Encode one."""
    return _encoder.encode(what)


def read_order(body: bytes) -> Order:
    """Read an order. Raises: ValueError."""
    return _orders.decode(body)


def read_report(body: bytes) -> Report:
    """Read a report. Raises: ValueError."""
    return _reports.decode(body)
