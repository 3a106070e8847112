"""Record what this kernel says of a node of the lab: `make record-netlink`, as root.

A cluster is built, given what a node may have besides, and read whole by the collectors themselves, through a
`Kernel` that notes every answer; then it is changed, and what the kernel announces is noted too.
"""

from __future__ import annotations

import os
import platform
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agents.collectors import conntrack, rtnl_events
from agents.collectors.base import Collector
from agents.collectors.conntrack import Conntrack
from agents.collectors.ipvs import Ipvs
from agents.collectors.kernel_stats import KernelStats
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions
from agents.collectors.rtnl import READERS, Rtnl
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import NODE_PATHS, POD_PATHS, Sysctls
from agents.kernel import Kernel
from agents.netlink.nfnetlink import NETLINK_NETFILTER, NFNLGRP_NFTABLES
from agents.netlink.nsid import get_nsid
from agents.netlink.sockdiag import (
    NETLINK_SOCK_DIAG,
    SKNLGRP_INET6_TCP_DESTROY,
    SKNLGRP_INET_TCP_DESTROY,
    keep_only_unconnected,
)
from agents.netlink.wire import NETLINK_ROUTE, receive
from agents.snapshot import Snapshotter
from lab.cluster import Cluster
from lab.spec import ClusterSpec
from tests.agents.netlink_record import (
    FILE,
    ROOT,
    Event,
    Option,
    Phase,
    Place,
    Question,
    Recording,
    numbered,
    question,
    write_recording,
)

NODE = "node1"
QUIET_MS = 700  # announcements that a worker of the kernel makes come this late at most
LISTENED = (
    (NETLINK_ROUTE, rtnl_events.GROUPS),
    (NETLINK_NETFILTER, (NFNLGRP_NFTABLES,)),
    (NETLINK_NETFILTER, conntrack._GROUPS),
    (NETLINK_SOCK_DIAG, (SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY)),
)
TOOLS = (
    "ip -j -d addr show",
    "ip -j -4 route show table all",
    "ip -j -6 route show table all",
    "ip -j rule show",
    "ip -j neigh show",
    "ip -j nexthop show",
    "bridge -j fdb show",
    "nft -j list ruleset",
    "ss -tulnH",
    "conntrack -L -f ipv4",
    "ipset save",
    "iptables-legacy-save",
)


class NotedSocket:
    """A netlink socket whose requests and answers are noted."""

    def __init__(self, sock: socket.socket, proto: int, kernel: NotingKernel) -> None:
        self._sock = sock
        self._proto = proto
        self._kernel = kernel
        self._place = kernel.place()
        self._asked: Question | None = None

    def send(self, data: bytes) -> int:
        self._asked, _seq = question(self._proto, data, self._kernel.names, ident_of)
        # The last answer counts: an interrupted dump is asked for again.
        self._place.answers = [(q, a) for q, a in self._place.answers if q != self._asked]
        self._place.answers.append((self._asked, []))
        return self._sock.send(data)

    def recvmsg(self, size: int) -> Any:
        said = self._sock.recvmsg(size)
        self._place.answers[-1][1].append(numbered(said[0], 0))
        return said

    def __enter__(self) -> NotedSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def close(self) -> None:
        self._sock.close()


def ident_of(fd: int) -> tuple[int, int]:
    st = os.fstat(fd)
    return st.st_dev, st.st_ino


class NotingKernel(Kernel):
    """This kernel, with notes of what it says in which namespace."""

    def __init__(self, phase: Phase, root: Path, pods: Path) -> None:
        super().__init__()
        self.phase = phase
        self.names: dict[tuple[int, int], str] = {}
        for name, path in ((ROOT, root), *((path.name, path) for path in sorted(pods.iterdir()))):
            st = path.stat()
            self.names[st.st_dev, st.st_ino] = name
        self._at = threading.local()

    def place(self) -> Place:
        """Where the thread is; outside of all namespaces counts as the node's own."""
        name = self.names.get(getattr(self._at, "ident", (0, 0)), ROOT)
        return self.phase.places.setdefault(name, Place())

    def enter(self, fd: int) -> None:
        super().enter(fd)
        self._at.ident = ident_of(fd)

    def open_netlink(self, proto: int, groups: Sequence[int] = (), *, rcvbuf_bytes: int = 0) -> Any:
        sock = super().open_netlink(proto, groups, rcvbuf_bytes=rcvbuf_bytes)
        return NotedSocket(sock, proto, self)

    def open_file(self, path: str) -> int:
        files = self.place().files
        files[path] = None
        fd = super().open_file(path)
        files[path] = os.pread(fd, 1 << 20, 0)
        return fd

    def exists(self, path: str) -> bool:
        there = super().exists(path)
        self.place().files.setdefault(path, b"" if there else None)
        return there

    def open_settings(self) -> int:
        fd = super().open_settings()
        place = self.place()
        files = place.files
        for path in {*NODE_PATHS, *POD_PATHS} if place is self.phase.places.get(ROOT) else POD_PATHS:
            try:
                files[f"/proc/sys/net/{path}"] = Path(
                    f"/proc/thread-self/fd/{fd}/sys/net/{path}"
                ).read_bytes()
            except FileNotFoundError:
                files[f"/proc/sys/net/{path}"] = None
        return fd

    def ask_xtables(self, family: int, option: int, data: bytearray) -> None:
        asked = Option(int(family), option, bytes(data[:36]))
        super().ask_xtables(family, option, data)
        self.place().options.append((asked, bytes(data)))

    def has_symbol(self, name: str) -> bool:
        there = super().has_symbol(name)
        self.place().files[f"symbol {name}"] = b"" if there else None
        return there


def collectors() -> list[Collector]:
    """Every collector that asks the kernel."""
    return [Rtnl(), Sysctls(), Sockets(), Netfilter(), Conntrack(), Ipvs(), KernelStats()]


class Recorder:
    """Records one node, phase after phase."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.recording = Recording(platform.release())
        node = cluster.nodes[NODE]
        self._root, self._pods = node.root, node.directory / "netns"
        self._ears: list[tuple[str, int, tuple[int, ...], socket.socket]] = []

    def phase(self, name: str, act: Callable[[], None]) -> None:
        """Change the node, note what was announced, and read everything."""
        phase = Phase(name)
        self._listen()
        act()
        self._hear(phase)
        self._read(phase)
        self.recording.phases.append(phase)
        for place_name, place in phase.places.items():
            target = NODE if place_name == ROOT else place_name
            for command in TOOLS:
                place.tools[command] = self.cluster.exec(target, command.split()).stdout

    def _handles(self, kernel: Kernel) -> list[tuple[str, int]]:
        paths = [(ROOT, self._root), *((path.name, path) for path in sorted(self._pods.iterdir()))]
        return [(name, kernel.open_netns(str(path))) for name, path in paths]

    def _listen(self) -> None:
        kernel = Kernel()
        home = kernel.open_here()
        for name, fd in self._handles(kernel):
            kernel.enter(fd)
            for proto, groups in LISTENED:
                sock = kernel.open_netlink(proto, groups)
                if proto == NETLINK_SOCK_DIAG:
                    keep_only_unconnected(sock)
                self._ears.append((name, proto, groups, sock))
            kernel.enter(home)
            os.close(fd)
        os.close(home)

    def _hear(self, phase: Phase) -> None:
        poll = select.poll()
        by_fd = {ear[3].fileno(): ear for ear in self._ears}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        while ready := poll.poll(QUIET_MS):
            for fd, _ in ready:
                name, proto, groups, sock = by_fd[fd]
                place = phase.places.setdefault(name, Place())
                place.events.append(Event(proto, tuple(groups), receive(sock)))
        for *_, sock in self._ears:
            sock.close()
        self._ears.clear()

    def _read(self, phase: Phase) -> None:
        gone = set(phase.places)
        kernel = NotingKernel(phase, self._root, self._pods)
        options = NetnsOptions(NODE, str(self._root), (str(self._pods),), None)
        Snapshotter(options, collectors(), kernel).run()
        # Once more as if the node did not show its pods' namespaces: what the root's socket tells of them.
        nothing = NetnsOptions(NODE, str(self._root), (), None)
        Snapshotter(nothing, [Rtnl()], kernel).run()
        self._ask_singly(kernel)
        for name in gone - set(kernel.names.values()):
            del phase.places[name]

    def _ask_singly(self, kernel: NotingKernel) -> None:
        """Ask each namespace for the number of each other one, and for each section by itself, as a change makes due."""
        home = kernel.open_here()
        handles = self._handles(kernel)
        for _, fd in handles:
            kernel.enter(fd)
            with kernel.open_netlink(NETLINK_ROUTE) as sock:
                for _, other in handles:
                    get_nsid(sock, other)
                for read in READERS.values():
                    read(sock)
            kernel.enter(home)
        for _, fd in handles:
            os.close(fd)
        os.close(home)


def run(cluster: Cluster, target: str, *commands: str) -> None:
    """Run programs in a namespace of the cluster; stop at the first that fails."""
    for command in commands:
        done = cluster.exec(target, ["sh", "-c", command])
        if done.returncode:
            raise SystemExit(f"{target}: {command}: {done.stderr}")


def furnish(cluster: Cluster) -> None:
    """Give the node what nodes may have besides: policy routing, nexthop objects, sets, legacy rules, ..."""
    veth = next(iter(cluster.nodes[NODE].pods.values())).host_ifname
    run(
        cluster,
        NODE,
        "ip link add vrec0 mtu 1400 type veth peer name vrec1",
        "ip link set vrec0 up && ip link set vrec1 up",
        "ip addr add 198.51.100.1/24 dev vrec0 && ip addr add 2001:db8:99::1/64 dev vrec0 nodad",
        "ip nexthop add id 10 via 198.51.100.2 dev vrec0",
        "ip nexthop add id 11 via 198.51.100.3 dev vrec0",
        "ip nexthop add id 12 group 10,3/11",
        "ip route add 203.0.113.0/25 nhid 12",
        "ip route add 203.0.113.128/25 nexthop via 198.51.100.2 weight 2 nexthop via 198.51.100.3",
        "ip route add 203.0.114.0/24 via 198.51.100.2 table 77 metric 5 mtu 1300",
        "ip route add unreachable 203.0.115.0/24",
        "ip -6 route add 2001:db8:77::/48 via 2001:db8:99::2 dev vrec0",
        "ip rule add fwmark 0x77/0xff lookup 77 priority 1077",
        "ip neigh add 198.51.100.2 lladdr 02:00:00:00:99:02 dev vrec0 nud permanent",
        "ip neigh add proxy 198.51.100.9 dev vrec0",
        f"tc qdisc add dev {veth} clsact",
        "iptables-legacy -t filter -A FORWARD -s 203.0.113.7 -p tcp --dport 22 -j DROP",
        "iptables-legacy -t nat -A POSTROUTING -s 203.0.113.0/24 ! -o vrec0 -j MASQUERADE",
        "ip6tables-legacy -A FORWARD -i vrec0 -j ACCEPT",
        "ipset create rec hash:net && ipset add rec 192.0.2.0/24 && ipset add rec 192.0.2.128/25 nomatch",
        "nft add table inet rec && nft add set inet rec blocked '{ type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }'"
        " && nft add chain inet rec forward '{ type filter hook forward priority 5; policy accept; }'"
        " && nft add rule inet rec forward ip saddr @blocked counter drop"
        " && nft add counter inet rec seen"
        " && nft add set inet rec recent '{ type ipv4_addr; flags dynamic,timeout; timeout 1h; }'",
        "sysctl -qw net.ipv4.conf.all.rp_filter=2",
    )


def change(cluster: Cluster) -> None:
    """Change something of each kind that the kernel announces, and of those that it doesn't."""
    run(
        cluster,
        NODE,
        "ip link set vrec0 mtu 1380",
        "ip addr add 198.51.100.77/32 dev vrec0",
        "ip -6 addr del 2001:db8:99::1/64 dev vrec0",
        "ip route replace 203.0.116.0/24 via 198.51.100.2",
        "ip route append 203.0.116.0/24 via 198.51.100.3",
        "ip route del unreachable 203.0.115.0/24",
        "ip rule add to 203.0.113.0/24 lookup 77 priority 1078",
        "ip rule del priority 1077",
        "ip nexthop add id 13 via 198.51.100.4 dev vrec0",
        "ip nexthop del id 11",
        "ip neigh replace 198.51.100.3 lladdr 02:00:00:00:99:03 dev vrec0 nud permanent",
        "ip neigh del 198.51.100.2 dev vrec0",
        "bridge fdb add 02:00:00:00:88:01 dev cni0 self local || bridge fdb add 02:00:00:00:88:01 dev vrec0 self",
        "nft add element inet rec blocked '{ 192.0.2.3 }'",
        "nft add rule inet rec forward ip daddr 192.0.2.9 counter reject",
        "nft add element inet rec recent '{ 192.0.2.44 }'",
        "ipset add rec 198.18.0.0/15",
        "sysctl -qw net.ipv4.conf.vrec0.rp_filter=1",
        "sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
    )
    first = next(iter(cluster.nodes[NODE].pods))
    cluster.set_listening(first, False)
    run(cluster, first, "ip route add 192.0.2.0/24 dev eth0")


def connect(cluster: Cluster) -> subprocess.Popen[bytes]:
    """Open one connection across the cluster and keep it: an entry of conntrack, and a socket in a pod."""
    here, there = list(cluster.nodes[NODE].pods)[1], next(iter(cluster.nodes["node2"].pods))
    code = (
        "import socket, time; "
        f"s = socket.create_connection(('{cluster.address_of(there)}', 8080)); print('up', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(cluster.command(here, [sys.executable, "-c", code]), stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"up\n":
        raise SystemExit("the connection did not come about")
    return process


def add_pod(cluster: Cluster) -> None:
    """Let a pod come."""
    cluster.add_pod(NODE, "late-1")


def main() -> None:
    """Record, and say how large it became."""
    spec = ClusterSpec(f"nv-rec{os.getpid()}", nodes=2, pods=2, kind="vxlan", services=1, proxy="both")
    with Cluster.up(spec) as cluster:
        connection = connect(cluster)
        try:
            recorder = Recorder(cluster)
            recorder.phase("furnished", lambda: furnish(cluster))
            recorder.phase("changed", lambda: change(cluster))
            recorder.phase("grown", lambda: add_pod(cluster))
            recorder.phase("shrunk", lambda: cluster.remove_pod("late-1"))
        finally:
            connection.terminate()
            connection.wait()
    write_recording(recorder.recording)
    print(f"{FILE}: {FILE.stat().st_size} bytes, {len(recorder.recording.phases)} phases")


if __name__ == "__main__":
    main()
