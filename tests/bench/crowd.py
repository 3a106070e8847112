"""A crowd of simulated collectors in one process, which tells a server of a cluster in racks (racks.py).

`python -m tests.bench.crowd URL FOLDER NODES PODS [--changes N] [--away N] [--unwell N] [--api]`: it prints how many have
joined, and goes on until it is ended. Each collector has a real session and a socket of its own. They join a few at a
time, each when one before it is known to be durable, and what fails is tried again: how long that takes depends on the machine,
whether it works doesn't. There is no task for each of them, but one clock for all.

Once all have joined and it gets SIGUSR1, CHANGES a second happen over all nodes: one in ten is a pod that goes or comes, of which every
page is told; the others are aliases, of which none is. Besides, a link of the first node says four times a second when
it was changed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from agents.transport import socket_url
from lab.stack import WATCHER
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_source
from netviz.core.wire import events as ev
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import MAX_FRAME_BYTES
from netviz.core.wire.errors import ProtocolError
from netviz.core.wire.messages import NOTICE, PROTOCOL_VERSIONS, WATCH, AgentStatus, Hello
from netviz.core.wire.session import State
from tests.bench.racks import build_node, build_objects, last_pod, node_name, renamed, stamped

JOINING = 8
RETRY_S, SAY_EVERY_S = 1.0, 5.0
# The clock looks at a part of the crowd at each of its ticks, and at all once in TURN_S.
TURN_S, TICK_S = 2.0, 0.05
STAMP_EVERY_S = 0.25
PODS_SHARE = 10


class Member(asyncio.Protocol):
    """One collector: its session, and its socket while it has one. `state` is made when a snapshot is asked for."""

    def __init__(self, crowd: Crowd, name: str, token: str, state: Callable[[], NodeState]) -> None:
        self._crowd, self._token, self._state = crowd, token, state
        hello = Hello(
            name, PROTOCOL_VERSIONS, "bench", 1 + time.time_ns() // 1000, understands=(NOTICE, WATCH)
        )
        self.session = AgentSession(hello, time.monotonic())
        self.joined = self.away = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._socket = ClientProtocol(self._crowd.uri, max_size=MAX_FRAME_BYTES)
        request = self._socket.connect()
        request.headers.update(Headers({"Authorization": f"Bearer {self._token}"}))
        self._socket.send_request(request)
        self.session.connect(time.monotonic())
        self._write()

    def data_received(self, data: bytes) -> None:
        """Take what the server says."""
        self._socket.receive_data(data)
        try:
            for event in self._socket.events_received():
                if isinstance(event, Response):
                    if event.status_code != 101:
                        self._crowd.complain(f"a handshake was answered {event.status_code}")
                elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                    self._take(bytes(event.data))
        except ProtocolError as err:
            self._crowd.complain(f"the server broke the protocol: {err}")
            self.cut()
        self.flush()

    def _take(self, data: bytes) -> None:
        for event in self.session.receive_data(data, time.monotonic()):
            if isinstance(event, ev.Welcomed):
                self.session.send_heartbeat(self._status())
            elif isinstance(event, ev.Acked) and not self.joined and not self.session.wants_snapshot:
                self.joined = True
                self._crowd.has_joined(self)
            elif isinstance(event, ev.Refused):
                self._crowd.complain(f"the server ended a session: {event.message}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Join anew."""
        self.session.disconnect()
        self.transport = None
        self._crowd.was_cut(self)

    def cut(self) -> None:
        """End the socket."""
        if self.transport is not None:
            self.transport.abort()

    def change(self, delta: NodeDelta) -> None:
        """Tell of a change."""
        if self.joined:
            self.session.send_delta(delta, time.time_ns())
            self.flush()

    def tick(self, now: float) -> None:
        """Beat, if it is time."""
        if self.session.state is State.LIVE:
            for event in self.session.handle_timer(now):
                if isinstance(event, ev.HeartbeatDue):
                    self.session.send_heartbeat(self._status())
                elif isinstance(event, ev.TimedOut):
                    self._crowd.complain(f"the server was silent for {event.silent_s:.0f} s")
                    self.cut()
            self.flush()

    def flush(self) -> None:
        """Send what the session has."""
        if self.transport is None:
            return
        if self._socket.handshake_exc is None and self._socket.state.name == "OPEN":
            if self.session.wants_snapshot:
                self.session.send_snapshot(self._state())
            now = time.monotonic()
            while (frame := self.session.next_frame(now)) is not None:
                self._socket.send_binary(frame)
        self._write()

    def _write(self) -> None:
        if self.transport is not None:
            for data in self._socket.data_to_send():
                if data:
                    self.transport.write(data)
                else:
                    self.transport.close()

    def _status(self) -> AgentStatus:
        now_ns = time.time_ns()
        # Never the same twice, as with real ones.
        rss_bytes, cpu = (36 << 20) + now_ns % (1 << 18), 0.0027 + now_ns % 701 / 1e6
        return AgentStatus(rss_bytes=rss_bytes, cpu=cpu, netns=31, at_ns=now_ns)


class Crowd:
    """All of them: who waits to join, and the clock."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.uri = parse_uri(socket_url(options.url))
        nodes, pods = options.nodes, options.pods
        step = nodes / options.unwell if options.unwell else 0.0
        unwell = {int(step * (i + 0.5)) for i in range(options.unwell)}
        self.members = [
            self._member(
                node_name(node),
                node_name(node),
                lambda node=node: build_node(node, nodes, pods, unwell=node in unwell),  # type: ignore[misc]
            )
            for node in range(nodes)
        ]
        api = cluster_source("default")
        also = [self._member(api, WATCHER, lambda: build_objects(nodes, pods))] if options.api else []
        self._all = [*self.members, *also]
        self._waiting = deque(self._all)
        self._joining: set[Member] = set()
        self._done = asyncio.Event()
        self._count = 0
        self._complaint = ""

    def _member(self, name: str, file: str, state: Callable[[], NodeState]) -> Member:
        return Member(self, name, (self._options.folder / f"{file}.token").read_text().strip(), state)

    def has_joined(self, member: Member) -> None:
        """The member's state is durable at the server: the next one may join."""
        self._joining.discard(member)
        self._count += 1
        if self._count == len(self._all):
            self._done.set()
        self._join_next()

    def was_cut(self, member: Member) -> None:
        """The member has no socket any more: it joins again, behind all others."""
        if member.joined:
            self._count -= 1
        member.joined = False
        self._joining.discard(member)
        if not member.away:
            asyncio.get_running_loop().call_later(RETRY_S, self._again, member)

    def complain(self, what: str) -> None:
        """Say what went wrong, when it isn't what went wrong before."""
        if what != self._complaint:
            self._complaint = what
            print(what, flush=True)

    def _again(self, member: Member) -> None:
        self._waiting.append(member)
        self._join_next()

    def _join_next(self) -> None:
        while self._waiting and len(self._joining) < JOINING:
            member = self._waiting.popleft()
            self._joining.add(member)
            self._tasks.create_task(self._connect(member))

    async def _connect(self, member: Member) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: member, self.uri.host, self.uri.port)
        except OSError as err:
            self.complain(f"cannot connect: {err}")
            self.was_cut(member)

    async def run(self) -> None:
        """Join, and go on until cancelled."""
        begin = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin.set)
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._beat())
            saying = self._tasks.create_task(self._say())
            self._join_next()
            await self._done.wait()
            saying.cancel()
            print(f"joined: {self._count} of {len(self._all)}", flush=True)
            # What is left is kept to the end.
            gc.collect()
            gc.freeze()
            await begin.wait()
            self._leave()
            if self._options.changes:
                self._tasks.create_task(self._change())
                self._tasks.create_task(self._stamp())

    def _leave(self) -> None:
        """Let some go, spread over all, who don't come again."""
        away = self._options.away
        for i in range(away):
            member = self.members[int((i + 0.25) * len(self.members) / away)]
            member.away = True
            member.cut()

    async def _say(self) -> None:
        while True:
            await asyncio.sleep(SAY_EVERY_S)
            print(f"joined: {self._count} of {len(self._all)}", flush=True)

    async def _beat(self) -> None:
        parts = round(TURN_S / TICK_S)
        for part in itertools.cycle(range(parts)):
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            for member in self._all[part::parts]:
                member.tick(now)

    async def _stamp(self) -> None:
        while True:
            await asyncio.sleep(STAMP_EVERY_S)
            self.members[0].change(stamped(0, int(time.time() * 1000)))

    async def _change(self) -> None:
        changes, began = self._changes(), time.monotonic()
        for number in itertools.count(1):
            due = began + number / self._options.changes
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            node, delta = next(changes)
            self.members[node].change(delta)

    def _changes(self) -> Iterator[tuple[int, NodeDelta]]:
        nodes, pods = self._options.nodes, self._options.pods
        coming: dict[int, NodeDelta] = {}
        for number in itertools.count():
            node = number * 7919 % nodes
            if number % PODS_SHARE:
                yield node, renamed(node, number)
            elif node in coming:
                yield node, coming.pop(node)
            else:
                gone, coming[node] = last_pod(node, pods)
                yield node, gone


def main() -> None:
    """Run the crowd until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path, help="where the collectors' tokens are")
    parser.add_argument("nodes", type=int)
    parser.add_argument("pods", type=int)
    parser.add_argument("--changes", type=float, default=0.0, help="a second, over all nodes")
    parser.add_argument("--away", type=int, default=0, help="so many leave then")
    parser.add_argument("--unwell", type=int, default=0, help="of so many a pod's veth is down")
    parser.add_argument("--api", action="store_true", help="tell of Kubernetes' objects, too")
    options = parser.parse_args()
    try:
        asyncio.run(Crowd(options).run())
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
