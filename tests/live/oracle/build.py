"""Build a described network on the kernel, and take it away again.

Namespaces are bind mounts under a temporary directory; everything is configured by the usual programs,
run from inside the namespace. A line that the kernel refuses is noted and left out: the network is then
what it is, and the collector reads what it is.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agents.netlink.nfacct import NFACCT_FLAGS, NFACCT_NAME, NFACCT_QUOTA, NFNL_MSG_ACCT_NEW
from agents.netlink.nfnetlink import NETLINK_NETFILTER, nfgenmsg, text_attr
from agents.netlink.wire import HEADER, NLM_F_ACK, NLM_F_REQUEST, attr, raise_error
from lab import netns
from lab.randomnet.model import Item, Listener, Network, Place

# Neighbours that nobody answers for are given up soon; nobody learns from redirects, advertisements, or from what
# the kernel sends of itself (multicast groups, detection of duplicate addresses) while probes are on their way.
BASE_SYSCTLS: dict[str, int | str] = {
    **netns.BASE_SYSCTLS,
    "ipv4/conf/all/accept_redirects": 0,
    "ipv4/conf/default/accept_redirects": 0,
    "ipv6/conf/all/accept_redirects": 0,
    "ipv6/conf/default/accept_redirects": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/dad_transmits": 0,
    "ipv4/conf/default/igmpv2_unsolicited_report_interval": 3_600_000,
    "ipv4/conf/default/igmpv3_unsolicited_report_interval": 3_600_000,
    "ipv6/conf/default/mldv1_unsolicited_report_interval": 3_600_000,
    "ipv6/conf/default/mldv2_unsolicited_report_interval": 3_600_000,
    "bridge/bridge-nf-call-iptables": 0,
    "bridge/bridge-nf-call-ip6tables": 0,
}
# Set on every device: a namespace has no defaults of its own for these.
NEIGH_SYSCTLS = {"retrans_time_ms": 60, "mcast_solicit": 2, "locktime": 0, "proxy_delay": 0}
IP_TRANSPARENT, NLM_F_CREATE, NFACCT_F_QUOTA_BYTES = 19, 0x400, 2
_ENV = {**os.environ, "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
LONGEST_PROXY_DELAY_S = 10.0
_PROXY_QUEUE = re.compile(r"proxy_qlen (\d+)")
_TOKEN = re.compile(r"\{([a-z0-9]+)\}")


class Built(msgspec.Struct):
    """A network that is up: where its namespaces are, and which lines the kernel refused."""

    network: Network
    directory: Path
    refused: list[str] = []

    def path(self, place: Place) -> Path:
        """Return the file of a namespace."""
        if place.kind == "pod":
            return self.directory / place.node / "pods" / place.name
        return self.directory / place.name / "root"

    @property
    def paths(self) -> dict[str, Path]:
        """All namespaces' files."""
        return {place.name: self.path(place) for place in self.network.places}

    @property
    def nodes(self) -> list[str]:
        """The nodes that a collector reads."""
        return [place.name for place in self.network.places if place.kind == "node"]


@contextmanager
def built(network: Network) -> Iterator[Built]:
    """Build a network for the block; always take it away. Raises: OSError."""
    directory = Path(tempfile.mkdtemp(prefix="nv-oracle-"))
    up = Built(network, directory)
    try:
        for place in network.places:
            path = up.path(place)
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent.parent / "pods").mkdir(exist_ok=True) if place.kind == "pod" else (
                path.parent / "pods"
            ).mkdir(exist_ok=True)
            netns.create(path)
            netns.set_sysctls(path, BASE_SYSCTLS)
        apply_items(up, [item for item in network.items if not item.late])
        for path in up.paths.values():
            with netns.entered_path(path):
                _hurry_neighbours()
                # Tunnels have begun to ask for each other before the times were set, and wait long.
                subprocess.run(["ip", "neigh", "flush", "nud", "incomplete"], capture_output=True, env=_ENV)
        _await_proxies()
        yield up
    finally:
        for path in up.paths.values():
            netns.unbind(path)
        shutil.rmtree(directory, ignore_errors=True)


def apply_items(up: Built, items: Sequence[Item]) -> None:
    """Configure every namespace: links and addresses first, then routes of IPv6, bridges, settings, rules."""
    by_place: dict[str, list[Item]] = {}
    for item in items:
        by_place.setdefault(item.at, []).append(item)
    for place in up.network.places:
        mine = by_place.get(place.name)
        if mine:
            with netns.entered_path(up.path(place)):
                _configure(up, place.name, mine)


def _hurry_neighbours() -> None:
    """Shorten neighbour time-outs on every device of the calling thread's namespace."""
    for family in ("ipv4", "ipv6"):
        for device in Path("/proc/sys/net", family, "neigh").iterdir():
            for name, value in NEIGH_SYSCTLS.items():
                (device / name).write_text(f"{value}\n")


def _await_proxies() -> None:
    """Wait until no neighbour proxy has an answer left that it began to delay before the times were set."""
    deadline = time.monotonic() + LONGEST_PROXY_DELAY_S
    while time.monotonic() < deadline:
        said = subprocess.run(["ip", "-s", "ntable", "show"], capture_output=True, env=_ENV, text=True).stdout
        if not any(int(queued) for queued in _PROXY_QUEUE.findall(said)):
            return
        time.sleep(0.01)


def _configure(up: Built, place: str, items: list[Item]) -> None:
    paths = up.paths

    def lines(name: str) -> list[str]:
        found = [line for item in items for line in getattr(item, name)]
        return [_TOKEN.sub(lambda match: str(paths[match[1]]), line) for line in found]

    _batch(up, place, ["ip", "-4", "-force", "-batch", "-"], lines("ip4"))
    _batch(up, place, ["ip", "-6", "-force", "-batch", "-"], lines("ip6"))
    _batch(up, place, ["ip", "-force", "-batch", "-"], lines("ip"))
    _batch(up, place, ["bridge", "-force", "-batch", "-"], lines("bridge"))
    _batch(up, place, ["tc", "-force", "-batch", "-"], lines("tc"))
    for item in items:
        for name, value in item.sysctls.items():
            try:
                Path("/proc/sys/net", name).write_text(f"{value}\n")
            except OSError as error:
                up.refused.append(f"{place}: {name}={value}: {error.strerror}")
    _batch(up, place, ["ipset", "restore"], lines("ipset"))
    for item in items:
        for line in item.nfacct:
            try:
                add_account(line)
            except OSError as error:
                up.refused.append(f"{place}: nfacct {line}: {error.strerror}")
    for item in items:
        if item.nft:
            _run(up, place, ["nft", "-f", "-"], item.nft)
        for program, text in item.xtables.items():
            _run(up, place, [program, "-n"], text)
        for line in item.conntrack:
            _run(up, place, ["conntrack", *line.split()], "")


def _batch(up: Built, place: str, argv: list[str], lines: list[str]) -> None:
    if lines:
        _run(up, place, argv, "\n".join(lines) + "\n")


def _run(up: Built, place: str, argv: list[str], text: str) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=300, env=_ENV)
    if done.returncode:
        lines = text.splitlines()
        for line in done.stderr.strip().splitlines():
            at = re.match(r"Command failed -:(\d+)", line)
            what = lines[int(at[1]) - 1] if at and int(at[1]) <= len(lines) else ""
            up.refused.append(f"{place}: {' '.join(argv[:2])}: {line} {what}".strip())


def add_account(line: str) -> None:
    """Make an accounting object in the calling thread's namespace: a name, and a quota of bytes if it has one.

    Raises: OSError.
    """
    name, _, quota = line.partition(" ")
    body = nfgenmsg() + text_attr(NFACCT_NAME, name)
    if quota:
        body += attr(NFACCT_FLAGS, NFACCT_F_QUOTA_BYTES.to_bytes(4, "big"))
        body += attr(NFACCT_QUOTA, int(quota).to_bytes(8, "big"))
    header = HEADER.pack(
        HEADER.size + len(body), NFNL_MSG_ACCT_NEW, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 0, 0
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        sock.send(header + body)
        raise_error(sock.recv(4096)[HEADER.size :])


def open_listener(listener: Listener) -> socket.socket:
    """Open a listening socket in the calling thread's namespace. Raises: OSError."""
    addr = listener.addr
    v6 = not addr or ":" in addr
    sock = socket.socket(
        socket.AF_INET6 if v6 else socket.AF_INET,
        (socket.SOCK_STREAM if listener.proto == "tcp" else socket.SOCK_DGRAM) | socket.SOCK_NONBLOCK,
    )
    try:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(addr) or listener.v6only))
        if listener.dev:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, listener.dev.encode())
        if listener.transparent:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        sock.bind((addr or "::", listener.port))
        if listener.proto == "tcp":
            sock.listen(128)
    except OSError:
        sock.close()
        raise
    return sock
