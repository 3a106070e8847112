"""The messages between a collector and the server.

Each is a tagged msgspec Struct; unknown fields are ignored, an unknown tag is an error. The
collector speaks first (`Hello`), the server answers `Welcome` or `Error`. State then flows one way:
`SnapshotBegin`, `SnapshotPart`..., `SnapshotEnd`, then `Delta`s numbered from the snapshot's `seq` + 1.
The server acknowledges what it has made durable, and asks for `Resync` when it finds a gap.

Numbering: an `epoch` is one run of a collector (a random number); `seq` counts its deltas.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from netviz.core.model.bounds import Seconds, ShortName, Words
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta

PROTOCOL_VERSIONS: tuple[int, ...] = (1,)
# How many digests one message asks for or answers; lengths are checked before the items are read.
MAX_DIGESTS = 4096
NOTICE = "notice"
WATCH = "watch"
OBSERVE = "observe"
OBJECTS = "objects"
MAX_WATCHED = 256
MAX_BAD_RECORDS = 64


class Message(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", gc=False):
    """Base of all messages."""


class Hello(Message, frozen=True, tag="hello", gc=False):
    """Collector's first words. `node` is the source that it speaks for: a node, or a cluster. `acked` is the last seq that it saw acknowledged in this epoch; -1 for none.

    `understands` names what was added to this version of the protocol since: "notice", "watch", and "observe" where the
    collector may observe.
    """

    node: Words
    versions: Annotated[tuple[int, ...], msgspec.Meta(max_length=64)]
    agent_version: Words
    epoch: int
    acked: int = -1
    kernel: Words = ""
    boot_id: ShortName = ""
    understands: Annotated[tuple[ShortName, ...], msgspec.Meta(max_length=64)] = ()


class Welcome(Message, frozen=True, tag="welcome", gc=False):
    """The server accepts. `resume_after` is the last seq of this epoch that the server holds; None asks for a snapshot.

    `understands` names what was added to this version of the protocol since: "objects", to who speaks for a cluster.
    """

    version: int
    resume_after: int | None = None
    heartbeat_s: float = 10.0
    understands: Annotated[tuple[ShortName, ...], msgspec.Meta(max_length=64)] = ()


class SnapshotBegin(Message, frozen=True, tag="snap_begin", gc=False):
    """A whole state follows; it stands for everything up to and including `seq`."""

    epoch: int
    seq: int


class SnapshotPart(Message, frozen=True, tag="snap_part", gc=False):
    """One part of a snapshot: a delta on top of the parts before it, the first on an empty state."""

    index: int
    delta: NodeDelta


class SnapshotEnd(Message, frozen=True, tag="snap_end", gc=False):
    """The snapshot is whole: `parts` were sent."""

    parts: int


class Delta(Message, frozen=True, tag="delta", gc=False):
    """One change. `at_ns` is the collector's wall clock when the kernel's event was read (Unix ns)."""

    epoch: int
    seq: int
    at_ns: int
    delta: NodeDelta


class Ack(Message, frozen=True, tag="ack", gc=False):
    """The server holds everything up to and including `seq` of `epoch`."""

    epoch: int
    seq: int


class Resync(Message, frozen=True, tag="resync", gc=False):
    """Send a snapshot: `reason` says why, for logs."""

    reason: str


class WantBodies(Message, frozen=True, tag="want", gc=False):
    """The server lacks these netfilter bodies (digests)."""

    digests: tuple[bytes, ...]


class Bodies(Message, frozen=True, tag="bodies", gc=False):
    """Bodies asked for. The server checks each digest; `unknown` are those that the collector no longer has.

    `refused` isn't said: reading sets it to (digest, reason) of those that broke a bound and are left out.
    """

    bodies: Annotated[tuple[Body, ...], msgspec.Meta(max_length=MAX_DIGESTS)] = ()
    unknown: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_DIGESTS)] = ()
    refused: tuple[tuple[bytes, str], ...] = ()


class AgentStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A collector's own health. `lag_s`: age of the oldest unsent change; `cpu` in cores since the last report.

    `bad_records` counts records that the server could not use. `at_ns` is the collector's wall clock when it says this
    (Unix ns), 0 where it doesn't say.
    """

    rss_bytes: int = 0
    cpu: float = 0.0
    lag_s: float = 0.0
    unacked_bytes: int = 0
    lost_events: int = 0
    shed_events: int = 0
    resyncs: int = 0
    netns: int = 0
    bad_records: int = 0
    at_ns: int = 0


class Heartbeat(Message, frozen=True, tag="beat", gc=False):
    """Either side is alive; the collector's carries its status."""

    status: AgentStatus | None = None


class Watched(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Sections that somebody looks at, of a namespace or (None) of all, to be read every `every_s` seconds."""

    sections: Annotated[tuple[ShortName, ...], msgspec.Meta(max_length=64)]
    every_s: Seconds
    netns: NetnsKey | None = None


class Watch(Message, frozen=True, tag="watch", gc=False):
    """What somebody looks at now: it replaces the Watch before. What isn't named is read as seldom as ever.

    Sent to collectors alone whose Hello says that they understand it; the connection's end ends it.
    """

    watched: Annotated[tuple[Watched, ...], msgspec.Meta(max_length=MAX_WATCHED)] = ()


class ProbeRequest(Message, frozen=True, tag="probe", gc=False):
    """An order about one observation: `body` is as netviz.core.observe.orders has it.

    Sent to collectors alone whose Hello says that they may observe; the connection's end ends the observation.
    """

    id: ShortName
    body: bytes = b""


class ProbeEvent(Message, frozen=True, tag="probe_event", gc=False):
    """A report about one observation."""

    id: ShortName
    body: bytes = b""


class BadRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A record that the server left out: its namespace ("" for a body), section, key as text, and why."""

    netns: str
    section: str
    record: str
    reason: str


class Notice(Message, frozen=True, tag="notice", gc=False):
    """The server could not use some of what it got, and goes on. `code` is "bad_message".

    `more` counts records that aren't named. Sent to collectors alone whose Hello says that they understand it.
    """

    code: str
    records: tuple[BadRecord, ...]
    more: int = 0


class Error(Message, frozen=True, tag="error", gc=False):
    """The sender closes the session. `code`: bad_frame, too_large, bad_message, bad_version, bad_state,
    wrong_node, revoked, not_approved, replaced, timeout, overload, internal."""

    code: str
    message: str


AnyMessage = (
    Hello
    | Welcome
    | SnapshotBegin
    | SnapshotPart
    | SnapshotEnd
    | Delta
    | Ack
    | Resync
    | WantBodies
    | Bodies
    | Heartbeat
    | ProbeRequest
    | ProbeEvent
    | Notice
    | Watch
    | Error
)
