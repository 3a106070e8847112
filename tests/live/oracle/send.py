"""Send a network's probes with ordinary sockets, and listen for what comes back.

One thread and one selector do everything: listeners, senders, taps. What a packet meets inside the
kernel happens while it is being sent; only listeners' answers and time-outs come later, and what a busy
machine puts off: the end is when nothing has happened for a while and the kernel has no packet in hand.
"""

from __future__ import annotations

import bisect
import errno
import selectors
import socket
import struct
import time
from contextlib import ExitStack, suppress

import msgspec

from lab import netns, softirq
from lab.randomnet.model import Probe
from netviz.core.observe.frame import COOKIE_BYTES, FORWARD, REPLY, cookie
from netviz.core.observe.sighting import Sighting
from netviz.core.sim.packet import SMALL_ANSWER
from tests.live.oracle.build import Built, apply_items, open_listener
from tests.live.oracle.drops import Drops
from tests.live.oracle.taps import Taps, open_taps

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2
IP_RECVERR, IPV6_RECVERR = 11, 25
SO_MARK = 36
QUIET_S = 0.16  # longer than the kernel looks for a neighbour that doesn't answer
LONGEST_S = 10.0
ICMP_ECHO, ICMPV6_ECHO = 8, 128


class Result(msgspec.Struct):
    """What became of a probe: what its sender was told, whom each listener that got it saw, where it was seen."""

    probe: Probe
    number: int
    told: str = ""
    refused_at_send: bool = False
    listeners: dict[str, tuple[str, int]] = {}
    sightings: list[Sighting] = []
    src: str = ""
    drops: list[str] = []
    began_ns: int = 0
    ended_ns: int = 0


class Session:
    """Sockets of one network that is up."""

    def __init__(self, up: Built) -> None:
        self.up = up
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self.results = [Result(probe, number) for number, probe in enumerate(up.network.probes)]
        self._senders: dict[int, socket.socket] = {}
        self._by_addr: dict[tuple[str, int], int] = {}
        self._listen()

    def close(self) -> None:
        """Close everything."""
        self._stack.close()

    def _listen(self) -> None:
        paths = self.up.paths
        for item in self.up.network.items:
            for listener in item.listeners:
                with netns.entered_path(paths[item.at]):
                    try:
                        sock = open_listener(listener)
                    except OSError as error:
                        self.up.refused.append(f"{item.at}: listener {listener}: {error.strerror}")
                        continue
                self._stack.callback(sock.close)
                take = self._take_tcp if listener.proto == "tcp" else self._take_udp
                self._selector.register(sock, selectors.EVENT_READ, (take, sock, item.at))

    def _take_tcp(self, sock: socket.socket, place: str) -> None:
        with suppress(OSError):
            conn, peer = sock.accept()
            conn.setblocking(False)
            self._stack.callback(conn.close)
            self._selector.register(conn, selectors.EVENT_READ, (self._take_data, conn, (place, peer)))

    def _take_data(self, conn: socket.socket, where: tuple[str, tuple[str, int]]) -> None:
        try:
            data = conn.recv(64)
        except OSError:
            data = b""
        if data[:3] == FORWARD:
            self._note(int(data[3:COOKIE_BYTES]), where[0], where[1])
        self._selector.unregister(conn)

    def _take_udp(self, sock: socket.socket, place: str) -> None:
        with suppress(OSError):
            data, peer = sock.recvfrom(65536)
            if data[:3] == FORWARD:
                number = int(data[3:COOKIE_BYTES])
                self._note(number, place, peer)
                overhead = 28 if "." in peer[0] else 48
                sock.sendto(cookie(REPLY, number).ljust(min(len(data), SMALL_ANSWER - overhead), b"."), peer)

    def _note(self, number: int, place: str, peer: tuple[str, int]) -> None:
        if number < len(self.results):
            address = peer[0].removeprefix("::ffff:") if "." in peer[0] else peer[0].partition("%")[0]
            self.results[number].listeners[place] = (address, peer[1])

    # -- sending

    def prepare(self) -> None:
        """Send the first packet of flows that are to be established, then apply the late items."""
        first = [result for result in self.results if result.probe.established]
        for result in first:
            self._start(result)
        if first:
            self._pump(QUIET_S, None)
            for result in first:
                result.told, result.listeners = "", {}
        late = [item for item in self.up.network.items if item.late]
        apply_items(self.up, late)

    def send(self, only: int | None = None) -> list[Result]:
        """Send all probes, or the one with a number, and return what became of them. Blocks for a second or so."""
        chosen = self.results if only is None else [self.results[only]]
        taps = open_taps(self.up.paths)
        self._stack.callback(taps.close)
        drops = Drops()
        self._stack.callback(drops.close)
        marks: list[int] = []
        for result in chosen:
            marks.append(time.monotonic_ns() // 1000)
            result.began_ns = time.time_ns()
            self._start(result)
            result.ended_ns = time.time_ns()
            marks.append(time.monotonic_ns() // 1000)
            taps.drain()
            self._pump(0, None)
        for at, reason in drops.take():
            position = bisect.bisect_right(marks, at) - 1
            if position >= 0 and position % 2 == 0:
                chosen[position // 2].drops.append(reason)
        self._pump(QUIET_S, taps)
        _assign(taps.in_order(), self.results)
        return chosen

    def _start(self, result: Result) -> None:
        sock = self._senders.get(result.number)
        try:
            if sock is None:
                sock = self._open(result)
            if result.probe.proto != "tcp":
                sock.sendto(_payload(result), (result.probe.dst, result.probe.dport))
        except OSError as error:
            result.told = result.told or errno.errorcode.get(error.errno or 0, str(error))
            result.refused_at_send = True
        if sock is not None and sock.fileno() >= 0:
            with suppress(OSError):
                result.src = sock.getsockname()[0]

    def _open(self, result: Result) -> socket.socket:
        probe = result.probe
        family = socket.AF_INET6 if probe.v6 else socket.AF_INET
        kind = socket.SOCK_STREAM if probe.proto == "tcp" else socket.SOCK_DGRAM
        icmp = socket.IPPROTO_ICMPV6 if probe.v6 else socket.IPPROTO_ICMP
        with netns.entered_path(self.up.paths[probe.src]):
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, icmp if probe.proto == "icmp" else 0)
        self._stack.callback(sock.close)
        self._senders[result.number] = sock
        _set_options(sock, probe)
        sock.bind((probe.bind or ("::" if probe.v6 else "0.0.0.0"), probe.sport))
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if probe.proto == "tcp" else 0)
        if probe.proto != "icmp":
            with suppress(BlockingIOError):
                sock.connect((probe.dst, probe.dport))
        self._selector.register(sock, events, (self._hear, sock, result))
        return sock

    def _hear(self, sock: socket.socket, result: Result) -> None:
        try:
            if result.probe.proto == "tcp":
                if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "")
                sock.getpeername()
                sock.send(cookie(FORWARD, result.number))
            else:
                sock.recv(65536)
            result.told = result.told or "answer"
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EREMOTEIO:  # a redirect
                result.told = result.told or errno.errorcode.get(error.errno or 0, str(error))
        if result.probe.proto == "tcp":
            self._selector.unregister(sock)
            return
        with suppress(BlockingIOError):
            while True:  # what is left in the error queue would make the socket ready for ever
                sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)

    def _pump(self, quiet_s: float, taps: Taps | None) -> None:
        """Serve sockets until nothing has happened for `quiet_s` seconds, and the kernel is done."""
        limit = time.monotonic() + LONGEST_S
        last = time.monotonic()
        while (now := time.monotonic()) < limit:
            ready = self._selector.select(max(0.0, min(last + quiet_s - now, 0.02)))
            for key, _ in ready:
                take, sock, what = key.data
                take(sock, what)
            busy = taps.drain() if taps is not None else 0
            if ready or busy:
                last = time.monotonic()
            elif time.monotonic() - last >= quiet_s and softirq.idle():
                return


def _set_options(sock: socket.socket, probe: Probe) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if probe.dev:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, probe.dev.encode())
    if probe.mark:
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, probe.mark)
    if probe.v6:
        if probe.df:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, probe.ttl)
        if probe.tos:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, probe.tos)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        if probe.df:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, probe.ttl)
        if probe.tos:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, probe.tos)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


def _payload(result: Result) -> bytes:
    probe = result.probe
    overhead = (40 if probe.v6 else 20) + 8
    size = probe.size or default_size(probe)
    data = cookie(FORWARD, result.number).ljust(size - overhead, b".")
    if probe.proto == "udp":
        return data
    return struct.pack("!BBHHH", ICMPV6_ECHO if probe.v6 else ICMP_ECHO, 0, 0, 0, 1) + data


def default_size(probe: Probe) -> int:
    """Return the IP packet's length where the probe doesn't say."""
    return (80 if probe.v6 else 60) if probe.proto == "udp" else (104 if probe.v6 else 84)


def _assign(sightings: list[Sighting], results: list[Result]) -> None:
    """Give every sighting to its probe. A SYN is known by its source port where it is seen first."""
    tcp = [result for result in results if result.probe.proto == "tcp"]
    by_port = {result.probe.sport: result for result in tcp}
    by_seq: dict[int, Result] = {}
    for sighting in sightings:
        frame = sighting.frame
        if frame.number >= 0:
            if frame.number < len(results):
                results[frame.number].sightings.append(sighting)
            continue
        result = by_seq.get(frame.seq)
        if result is None and frame.kind == "forward":
            result = by_port.get(frame.sport)
            if result is None or result.probe.src != sighting.place:
                result = _last_begun(tcp, sighting, {id(known) for known in by_seq.values()})
            if result is not None:
                by_seq[frame.seq] = result
        if result is not None:
            result.sightings.append(sighting)


def _last_begun(tcp: list[Result], sighting: Sighting, known: set[int]) -> Result | None:
    """Find whose SYN it is that was translated before it was first seen, and may have waited for a neighbour."""
    here = [r for r in tcp if r.probe.src == sighting.place and 0 < r.began_ns <= sighting.at_ns]
    return max((r for r in here if id(r) not in known), key=lambda r: r.began_ns, default=None)
