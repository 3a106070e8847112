"""What a session tells its owner: frozen events, in the order in which they happened."""

from __future__ import annotations

import msgspec

from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import NodeState
from netviz.core.wire.messages import AgentStatus, BadRecord, Hello, Watched


class Event(msgspec.Struct, frozen=True):
    """Base of all events."""


class Welcomed(Event, frozen=True):
    """Agent: the server accepts. `resumed`: nothing was lost; else a snapshot is wanted next."""

    resumed: bool


class SnapshotWanted(Event, frozen=True):
    """Agent: the server asks for a snapshot; the owner is to call `send_snapshot`."""

    reason: str


class BodiesWanted(Event, frozen=True):
    """Agent: the owner is to call `send_bodies` with what it has of these."""

    digests: tuple[bytes, ...]


class Acked(Event, frozen=True):
    """Agent: the server made everything up to `seq` durable."""

    seq: int


class Noticed(Event, frozen=True):
    """Agent: the server left records out, `more` of which aren't named."""

    code: str
    records: tuple[BadRecord, ...]
    more: int


class WatchChanged(Event, frozen=True):
    """Agent: this is to be read so often from now on, and nothing else more often than by itself."""

    watched: tuple[Watched, ...]


class ProbeWanted(Event, frozen=True):
    """Agent: an order about an observation."""

    id: str
    body: bytes


class HelloReceived(Event, frozen=True):
    """Server: the owner is to call `welcome` or `refuse`."""

    hello: Hello


class SnapshotReceived(Event, frozen=True):
    """Server: a whole state that stands for everything up to `seq`."""

    epoch: int
    seq: int
    state: NodeState


class DeltaReceived(Event, frozen=True):
    """Server: the next change."""

    epoch: int
    seq: int
    at_ns: int
    delta: NodeDelta


class GapFound(Event, frozen=True):
    """Server: changes are missing before `got`; the session has asked for a snapshot."""

    expected: int
    got: int


class BodiesReceived(Event, frozen=True):
    """Server: bodies that were asked for; their digests are the owner's to check.

    Of `unknown` the collector has no body, of `refused` one that breaks a bound: asking again is of no use.
    """

    bodies: tuple[Body, ...]
    unknown: tuple[bytes, ...]
    refused: tuple[bytes, ...] = ()


class StatusReceived(Event, frozen=True):
    """Server: the collector's health."""

    status: AgentStatus


class ProbeSeen(Event, frozen=True):
    """Server: a report on an observation."""

    id: str
    body: bytes


class Refused(Event, frozen=True):
    """Either: the other side ended the session, and why."""

    code: str
    message: str


class HeartbeatDue(Event, frozen=True):
    """Agent: the owner is to call `send_heartbeat` with its status."""


class TimedOut(Event, frozen=True):
    """Either: the other side was silent for too long; the connection is to be closed."""

    silent_s: float
