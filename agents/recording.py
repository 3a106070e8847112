"""A recorded stream of a node's changes, and its replay against a server.

A recording is a magic, then records: a 4-byte big-endian length and so many bytes of zlib-compressed
MessagePack. The first record is the `Head` with the whole state, as the difference from an empty one;
the others are `Step`s in order. A recording that was cut short (the recorder was killed) is
replayed up to the last whole record.
"""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from agents.source import Sink, StateSource
from netviz.core.model.netfilter import Body, body_digest
from netviz.core.state.delta import NodeDelta, apply, diff
from netviz.core.state.node import BODY_SECTIONS, NodeState
from netviz.core.wire.messages import AgentStatus, Watched

T = TypeVar("T")

MAGIC = b"netviz-recording\x01\n"
MAX_RECORD_BYTES = 256 << 20
_LENGTH = struct.Struct("!I")


class RecordingError(ValueError):
    """The file is no recording that can be replayed; the message says why in one line."""


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a recording begins. `at_ns` is Unix time."""

    node: str
    at_ns: int
    delta: NodeDelta
    bodies: tuple[Body, ...] = ()


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change, when it was read, and the netfilter bodies that it is the first to need."""

    at_ns: int
    delta: NodeDelta
    bodies: tuple[Body, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_head_decoder = msgspec.msgpack.Decoder(Head)
_step_decoder = msgspec.msgpack.Decoder(Step)


def _digests(delta: NodeDelta) -> set[bytes]:
    """The digests of the bodies that a delta's records refer to."""
    out: set[bytes] = set()
    for change in delta.netns:
        for section in BODY_SECTIONS:
            if (changed := getattr(change, section)) is not None:
                out.update(record.body for record in changed.put)
    out.discard(b"")
    return out


class Recorder:
    """A `Sink` that writes what it is told to a file."""

    def __init__(self, file: BinaryIO, source: StateSource) -> None:
        self._file = file
        self._source = source
        self._written: set[bytes] = set()
        self.steps = 0

    def begin(self) -> None:
        """Write the state as it is now."""
        state = self._source.state()
        delta = diff(NodeState(state.node), state)
        self._write(Head(state.node, time.time_ns(), delta, self._new_bodies(delta)))

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        """Write one change."""
        self.steps += 1
        self._write(Step(at_ns, delta, self._new_bodies(delta)))

    def _new_bodies(self, delta: NodeDelta) -> tuple[Body, ...]:
        new = _digests(delta) - self._written
        self._written |= new
        return tuple(self._source.bodies(sorted(new)))

    def _write(self, record: Head | Step) -> None:
        data = zlib.compress(_encode(record), 6)
        self._file.write((MAGIC if isinstance(record, Head) else b"") + _LENGTH.pack(len(data)) + data)
        self._file.flush()


def read_recording(path: Path) -> tuple[Head, Iterator[Step]]:
    """Open a recording. Raises: RecordingError (also while iterating), OSError."""
    with path.open("rb") as file:
        head = _read_head(file, path)
    return head, _steps(path)


def _read_head(file: BinaryIO, path: Path) -> Head:
    if file.read(len(MAGIC)) != MAGIC:
        raise RecordingError(f"{path} is no netviz recording")
    data = _read_record(file)
    if data is None:
        raise RecordingError(f"{path} ends before its first record")
    return _decode(_head_decoder, data)


def _steps(path: Path) -> Iterator[Step]:
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        _read_record(file)
        while (data := _read_record(file)) is not None:
            yield _decode(_step_decoder, data)


def _read_record(file: BinaryIO) -> bytes | None:
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(length)[0]
    if size > MAX_RECORD_BYTES:
        raise RecordingError("the recording is damaged (a record is too large)")
    data = file.read(size)
    return data if len(data) == size else None


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(data, MAX_RECORD_BYTES)
        if not inflater.eof:
            raise RecordingError("the recording is damaged (a record is cut or too large)")
        return decoder.decode(raw)
    except (zlib.error, msgspec.DecodeError, RecursionError) as err:
        raise RecordingError(f"the recording is damaged ({err})") from None


class Replay:
    """A `StateSource` that lives through a recording again."""

    def __init__(self, head: Head, steps: Iterable[Step]) -> None:
        """Raises: RecordingError when the first state contradicts itself."""
        self._steps = steps
        self._state = _apply(NodeState(head.node), head.delta)
        self._bodies: dict[bytes, Body] = {body_digest(body): body for body in head.bodies}
        self._last_ns = head.at_ns
        self.sink: Sink | None = None

    async def run(self, speed: float) -> int:
        """Tell the sink every change, `speed` times as fast as it was; returns how many. Raises: RecordingError."""
        told = 0
        for step in self._steps:
            await asyncio.sleep(max(0.0, (step.at_ns - self._last_ns) / 1e9 / speed))
            self._last_ns = max(self._last_ns, step.at_ns)
            self._bodies.update((body_digest(body), body) for body in step.bodies)
            self._state = _apply(self._state, step.delta)
            if self.sink is not None:
                self.sink.state_changed(step.delta, time.time_ns())
            told += 1
        return told

    def state(self) -> NodeState:
        """The state at this point of the recording."""
        return self._state

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        """The bodies recorded so far."""
        return [self._bodies[digest] for digest in digests if digest in self._bodies]

    def watch(self, watched: Iterable[Watched]) -> None:
        """A recording has nothing more to read."""

    def status(self) -> AgentStatus:
        """A replay has no health of its own."""
        return AgentStatus(netns=len(self._state.netns))


def _apply(state: NodeState, delta: NodeDelta) -> NodeState:
    try:
        return apply(state, delta)
    except KeyError as err:
        raise RecordingError(f"the recording contradicts itself ({err.args[0]})") from None
