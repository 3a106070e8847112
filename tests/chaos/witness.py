"""A collector that writes down what it sends and what is acknowledged: `python -m tests.chaos.witness run ...`

It is the real collector; only its session is watched. Each record is written before the collector goes
on, so what a killed one had been told is in its file. NETVIZ_WITNESS names the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from netviz.core.state.delta import NodeDelta
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import decode_frame
from netviz.core.wire.messages import Delta

DELTA, SNAPSHOT, ACK = "delta", "snapshot", "ack"


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One thing that happened. `frame`: a delta as it is sent."""

    kind: str
    epoch: int
    seq: int
    frame: bytes = b""

    @property
    def delta(self) -> NodeDelta:
        """What a delta's frame holds."""
        message = decode_frame(self.frame)
        assert isinstance(message, Delta)
        return message.delta


def watch(path: str) -> None:
    """Write a file about every session of this process."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    encoder = msgspec.msgpack.Encoder()

    def note(session: Any, kind: str, seq: int, frame: bytes = b"") -> None:
        data = encoder.encode(Record(kind, session._hello.epoch, seq, frame))
        os.write(file, len(data).to_bytes(4, "big") + data)

    keep, snapshot, on_ack = AgentSession._keep, AgentSession.send_snapshot, AgentSession._on_ack

    def noted_keep(self: Any, frame: bytes, at_ns: int) -> None:
        note(self, DELTA, self._last_seq + 1, frame)
        keep(self, frame, at_ns)

    def noted_snapshot(self: Any, state: Any) -> None:
        note(self, SNAPSHOT, self._last_seq + 1)
        snapshot(self, state)

    def noted_ack(self: Any, ack: Any) -> Any:
        note(self, ACK, ack.seq)
        return on_ack(self, ack)

    AgentSession._keep = noted_keep  # type: ignore[method-assign]
    AgentSession.send_snapshot = noted_snapshot  # type: ignore[method-assign]
    table = dict(AgentSession._table)
    AgentSession._table = {  # type: ignore[misc]
        key: noted_ack if handler is on_ack else handler for key, handler in table.items()
    }


def read(path: Path) -> Iterator[Record]:
    """What a file says; a record that a kill cut off at its end is left out."""
    data = path.read_bytes() if path.exists() else b""
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            return
        yield msgspec.msgpack.decode(data[at + 4 : at + 4 + size], type=Record)
        at += 4 + size


if __name__ == "__main__":
    from agents.__main__ import main

    watch(os.environ["NETVIZ_WITNESS"])
    sys.exit(main(sys.argv[1:]))
