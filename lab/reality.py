"""What really happens to a packet: real probes between a cluster's namespaces, and who saw them arrive.

Every probe is a socket opened in the source's namespace. Packet sockets in the destinations' and all
pods' namespaces (in clusters of more than 60 pods, the destinations' only) see what comes in, so a
probe whose reply was lost is told from one that never arrived. All probes of a call run at once in one thread.

    send(cluster, "web-1", "api-2", "tcp", 8080)   -> Outcome(result="delivered", seen_source="10.244.1.2", ...)

What a result means: `delivered`: the whole exchange succeeded (connected and echoed; answered; echo
reply). `refused`: a RST or a port unreachable came back. `unreachable`, `prohibited`, `too_big`: the
kernel, here or on the way, said so (`error` has the errno's name). `lost`: nothing came back in time;
`arrived_at` then tells whether the packet came to a destination at all. `failed` is any other error. An address that nobody answers
for is `lost` with the default time-out and `unreachable` after the three seconds that the kernel takes
to find out.

The time-out is for the kernel's own timers; a busy machine needs longer. So nothing is called lost before
the listeners have answered a second probe each, sent from beside them when the time was over: they answer
in order, so what came before has been answered too. This is repeated until nothing else comes meanwhile.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
import selectors
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import msgspec

from lab import netns, softirq
from lab.cluster import Cluster
from lab.echo import PORT
from lab.kubernetes import dns
from lab.node import NodeDownError
from lab.sniffer import Sniffer

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_DONT, IP_PMTUDISC_DO = 10, 23, 0, 2
IP_RECVERR, IPV6_RECVERR = 11, 25
ICMP_ECHO, ICMPV6_ECHO = 8, 128
DEFAULT_TIMEOUT_S = 1.2
# How long a listener may be silent before it is taken to be stuck, and not just waiting for its turn.
_PATIENCE_S = 20.0
_AT_ONCE = 700
_WATCH_ALL_PODS = 60

_BY_ERRNO = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EINVAL: "unreachable",  # a blackhole route
    errno.ENOBUFS: "lost",  # the source's own device dropped it (IP_RECVERR makes the kernel tell)
    errno.EMSGSIZE: "too_big",
    errno.EACCES: "prohibited",
    errno.EPERM: "prohibited",
}

# Source ports tell the probes of one process apart; they start anew well below the ephemeral range.
_ports = itertools.cycle(range(10000, 32000))


class Probe(msgspec.Struct, frozen=True):
    """A packet to send. `src` names a pod, node, "router" or "internet"; `dst` too, or is an address.

    `size` is the length of the IP packet in bytes for UDP and ICMP, and of the data sent once
    connected for TCP; 0 is as small as can be. `df` forbids fragmentation. `family` (4 or 6) chooses
    the address of a named destination. `sport` is a fixed source port, 0 is one of its own. What goes to
    UDP port 53 is a question for the DNS.
    """

    src: str
    dst: str
    proto: str
    dport: int = PORT
    size: int = 0
    df: bool = False
    family: int = 4
    sport: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What became of a probe. `seen_source` is the source address that the destination saw."""

    probe: Probe
    result: str
    seen_source: str | None = None
    arrived_at: tuple[str, ...] = ()
    error: str = ""
    rtt_ms: float | None = None

    @property
    def arrived(self) -> bool:
        """Whether the packet came in at the destination, whatever became of the reply."""
        return bool(self.arrived_at)


class _Run:
    """One probe under way: its socket and a small machine that reads what comes back."""

    def __init__(self, probe: Probe, address: str) -> None:
        self.probe = probe
        self.address = address
        self.v6 = ":" in address
        self.asks_dns = (probe.proto, probe.dport) == ("udp", dns.PORT)
        self.cookie = dns.question_head() if self.asks_dns else b"nv" + os.urandom(6)
        self.sport = probe.sport or next(_ports)
        self.result = ""
        self.error = ""
        self.seen: str | None = None
        self.started = 0.0
        self.rtt_ms: float | None = None
        self._connected = False
        self._unsent = b""
        self._got = b""
        self.sock: socket.socket

    # -- start, in the source's namespace

    def open(self) -> None:
        """Open the socket in the calling thread's namespace."""
        kind = socket.SOCK_STREAM if self.probe.proto == "tcp" else socket.SOCK_DGRAM
        icmp = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        proto = icmp if self.probe.proto == "icmp" else 0
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        self.sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, proto)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        discover = IP_PMTUDISC_DO if self.probe.df else IP_PMTUDISC_DONT
        if self.v6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, discover)
        else:
            self.sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
        if self.probe.proto != "tcp":
            if self.v6:
                self.sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                self.sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)

    def start(self) -> None:
        """Send the first packet."""
        self.started = time.monotonic()
        try:
            if self.probe.proto != "icmp":
                self._bind()
            self.sock.connect((self.address, self.probe.dport))
            if self.probe.proto != "tcp":
                self.sock.send(self._datagram())
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)

    def _bind(self) -> None:
        while True:
            try:
                self.sock.bind(("::" if self.v6 else "0.0.0.0", self.sport))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self.probe.sport:
                    raise
                self.sport = next(_ports)

    def _datagram(self) -> bytes:
        overhead = (40 if self.v6 else 20) + 8
        payload = self.cookie.ljust(self.probe.size - overhead, b".")
        if self.asks_dns:
            return self.cookie + dns.QUESTION
        if self.probe.proto == "udp":
            return payload
        kind = ICMPV6_ECHO if self.v6 else ICMP_ECHO
        return struct.pack("!BBHHH", kind, 0, 0, 0, 1) + payload

    # -- progress

    @property
    def events(self) -> int:
        """What to wait for."""
        if self.probe.proto == "tcp" and (self._unsent or not self._connected):
            return selectors.EVENT_READ | selectors.EVENT_WRITE
        return selectors.EVENT_READ

    def proceed(self) -> None:
        """Read (and, once connected, write); sets `result` at the end."""
        try:
            if self.probe.proto == "tcp":
                self._proceed_tcp()
                return
            data = self.sock.recv(65536)
            self.rtt_ms = (time.monotonic() - self.started) * 1000
            self.result = "delivered"
            if self.probe.proto == "udp" and not dns.is_answer(data):
                self.seen = data.split(b" ", 1)[0].decode()
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)

    def _proceed_tcp(self) -> None:
        if not self._connected:
            if error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
            self.rtt_ms = (time.monotonic() - self.started) * 1000
            self._connected = True
            self._unsent = self.cookie.ljust(self.probe.size, b".")
        if self._unsent:
            with suppress(BlockingIOError):
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        data = self.sock.recv(262144)
        if not data:
            raise OSError(errno.ECONNRESET, "closed by the other side")
        self._got += data
        line, newline, echoed = self._got.partition(b"\n")
        if newline:
            self.seen = line.split(b" ", 1)[0].decode()
            if len(echoed) >= max(len(self.cookie), self.probe.size):
                self.result = "delivered"

    def _fail(self, error: OSError) -> None:
        number = error.errno or 0
        self.result = _BY_ERRNO.get(number, "failed")
        self.error = errno.errorcode.get(number, str(error))


def send(
    cluster: Cluster,
    src: str,
    dst: str,
    proto: str,
    dport: int = PORT,
    *,
    size: int = 0,
    df: bool = False,
    family: int = 4,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Outcome:
    """Send one probe and say what became of it. Raises: LabError for an unknown name."""
    probe = Probe(src, dst, proto, dport, size, df, family)
    return send_all(cluster, [probe], timeout_s=timeout_s)[0]


def send_all(
    cluster: Cluster, probes: Sequence[Probe], *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> list[Outcome]:
    """Send many probes at once; outcomes in the order of the probes. Blocks for at most the time-out or so."""
    outcomes: list[Outcome] = []
    for first in range(0, len(probes), _AT_ONCE):
        outcomes += _send_some(cluster, probes[first : first + _AT_ONCE], timeout_s)
    return outcomes


def _resolve(cluster: Cluster, probe: Probe) -> str:
    try:
        return str(ipaddress.ip_address(probe.dst))
    except ValueError:
        return cluster.address_of(probe.dst, probe.family)


def _watched(cluster: Cluster, probes: Sequence[Probe]) -> list[str]:
    """Name the targets where probes may arrive: the destinations, and all pods unless there are very many."""
    everything = [*cluster.pods, *cluster.nodes, "router", "internet"]
    by_address = {cluster.address_of(name, family): name for name in everything for family in (4, 6)}
    names = dict.fromkeys(cluster.pods if len(cluster.pods) <= _WATCH_ALL_PODS else ())
    for probe in probes:
        if (target := by_address.get(_resolve(cluster, probe))) is not None:
            names[target] = None
    return [name for name in names if _is_there(cluster, name)]


def _is_there(cluster: Cluster, name: str) -> bool:
    try:
        return cluster.netns_of(name).exists()
    except NodeDownError:
        return False


def _send_some(cluster: Cluster, probes: Sequence[Probe], timeout_s: float) -> list[Outcome]:
    runs = [_Run(probe, _resolve(cluster, probe)) for probe in probes]
    watched = _watched(cluster, probes)
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        sniffer = Sniffer()
        stack.callback(sniffer.close)
        for name in watched:
            with netns.entered_path(cluster.netns_of(name)):
                sniffer.listen(name)
        sniffer.register(selector)
        _open(cluster, runs, stack)
        _start(selector, runs)
        _serve(selector, runs, timeout_s)
        _serve_stragglers(cluster, selector, runs, watched)
        sniffer.drain()
        return [_outcome(run, sniffer) for run in runs]


def _serve_stragglers(
    cluster: Cluster, selector: selectors.BaseSelector, runs: list[_Run], watched: list[str]
) -> None:
    """Serve what the machine was too busy for, until neither a listener nor the kernel has anything left to do."""
    patience = time.monotonic() + _PATIENCE_S
    while any(not run.result for run in runs) and (left := patience - time.monotonic()) > 0:
        markers = [_Run(Probe(name, "", proto), "127.0.0.1") for name in watched for proto in ("tcp", "udp")]
        with ExitStack() as stack:
            _open(cluster, markers, stack)
            _start(selector, markers)
            news = _serve(selector, markers, left)
            for marker in markers:
                if not marker.result:
                    selector.unregister(marker.sock)
        if not news and softirq.idle():
            return


def _open(cluster: Cluster, runs: list[_Run], stack: ExitStack) -> None:
    """Open the runs' sockets where they belong; the stack closes them."""
    by_src: dict[str, list[_Run]] = {}
    for run in runs:
        by_src.setdefault(run.probe.src, []).append(run)
    for src, mine in by_src.items():
        with netns.entered_path(cluster.netns_of(src)):
            for run in mine:
                run.open()
                stack.callback(run.sock.close)


def _start(selector: selectors.BaseSelector, runs: list[_Run]) -> None:
    for run in runs:
        run.start()
        if not run.result:
            selector.register(run.sock, run.events, run)


def _serve(selector: selectors.BaseSelector, runs: list[_Run], timeout_s: float) -> bool:
    """Serve whatever is ready until these runs have results; tell whether any other run was heard of."""
    others, waiting = False, {id(run) for run in runs if not run.result}
    deadline = time.monotonic() + timeout_s
    while waiting and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            if not isinstance(key.data, _Run):
                key.data()
                continue
            run = key.data
            run.proceed()
            others |= id(run) not in waiting
            if run.result:
                selector.unregister(key.fileobj)
                waiting.discard(id(run))
            elif key.events != run.events:
                selector.modify(key.fileobj, run.events, run)
    return others


def _outcome(run: _Run, sniffer: Sniffer) -> Outcome:
    arrivals = sniffer.arrivals(run.probe.proto, run.cookie, run.address, run.sport, run.probe.dport)
    seen = run.seen or next((arrival.src for arrival in arrivals), None)
    where = tuple(dict.fromkeys(arrival.where for arrival in arrivals))
    return Outcome(run.probe, run.result or "lost", seen, where, run.error, run.rtt_ms)
