"""The simulator against the kernel where pods are macvlans, in each mode.

    [a] mv0 \\
             nvl0 (node1) ---- veth ---- nvw0, port of nvbr (node1), with an address   [w]
    [b] mv0 /

a and b are macvlans over nvl0; the bridge on the other side of the veth reflects frames or not (hairpin).
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lab import netns
from lab.cluster import Cluster, ClusterSpec
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Disposition
from netviz.core.sim.walk import simulate
from tests.live.prediction import snapshot

pytestmark = pytest.mark.live

ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2", "w": "10.77.0.3", "lower": "10.77.0.4"}
ANSWER_S = 0.5
MODES = ("private", "vepa", "bridge", "passthru")


class Rig(msgspec.Struct):
    """The namespaces by name, and the cluster whose collector sees them."""

    cluster: Cluster
    paths: dict[str, Path]

    def run(self, where: str, command: str) -> None:
        words = command.split()
        words = words if words[0] in ("bridge", "ip") else ["ip", *words]
        done = subprocess.run(
            ["nsenter", f"--net={self.paths[where]}", "--", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def ping(self, source: str, target: str) -> bool:
        """Send an echo request, and tell whether it is answered. The first may only resolve the neighbour."""
        kind, proto = socket.SOCK_DGRAM, socket.IPPROTO_ICMP
        with netns.open_socket(self.paths[source], socket.AF_INET, kind, proto) as sock:
            sock.settimeout(ANSWER_S)
            sock.connect((ADDRESSES[target], 0))
            sock.send(struct.pack("!BBHHH", 8, 0, 0, 0, 1))
            try:
                return bool(sock.recv(1024))
            except OSError:
                return False


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One node of a lab, with three more namespaces beside its pods."""
    with Cluster.up(ClusterSpec(f"nv-m{os.getpid()}", nodes=1, pods=1)) as cluster:
        node = cluster.nodes["node1"]
        directory = cluster.netns_of(next(iter(cluster.pods))).parent
        paths = {"lower": node.root, **{name: directory / f"nv-{name}" for name in ("a", "b", "w")}}
        for name in ("a", "b", "w"):
            netns.create(paths[name])
        try:
            yield Rig(cluster, paths)
        finally:
            for name in ("a", "b", "w"):
                netns.unbind(paths[name])


def set_up(rig: Rig, modes: tuple[str, str], hairpin: bool) -> None:
    """Build the topology with a's and b's modes."""
    rig.run("lower", "link add nvl0 type veth peer name nvw0")
    rig.run("lower", f"link set nvw0 netns {rig.paths['w']}")
    rig.run("lower", "link set nvl0 up")
    rig.run("lower", f"addr add {ADDRESSES['lower']}/32 dev nvl0")
    rig.run("w", "link add nvbr type bridge forward_delay 0")
    rig.run("w", "link set nvw0 master nvbr")
    rig.run("w", f"bridge link set dev nvw0 hairpin {'on' if hairpin else 'off'}")
    for link in ("lo", "nvw0", "nvbr"):
        rig.run("w", f"link set {link} up")
    rig.run("w", f"addr add {ADDRESSES['w']}/24 dev nvbr")
    for name, mode in zip(("a", "b"), modes, strict=True):
        if not mode:
            continue
        rig.run("lower", f"link add nvm{name} link nvl0 type macvlan mode {mode}")
        rig.run("lower", f"link set nvm{name} netns {rig.paths[name]}")
        rig.run(name, f"link set nvm{name} name mv0")
        for link in ("lo", "mv0"):
            rig.run(name, f"link set {link} up")
        rig.run(name, f"addr add {ADDRESSES[name]}/24 dev mv0")


def take_down(rig: Rig) -> None:
    """Remove the veth, and with it the macvlans, and the bridge."""
    for where, link in (("lower", "nvl0"), ("w", "nvbr")):
        argv = ["nsenter", f"--net={rig.paths[where]}", "--", "ip", "link", "del", link]
        subprocess.run(argv, capture_output=True, check=False)


PAIRS = (("a", "b"), ("b", "a"), ("a", "w"), ("w", "a"), ("a", "lower"), ("w", "lower"))
CASES = [((mode, mode if mode != "passthru" else ""), h) for mode in MODES for h in (False, True)]
CASES += [(("bridge", "private"), True), (("bridge", "vepa"), True), (("vepa", "private"), False)]


@pytest.mark.parametrize(("modes", "hairpin"), CASES)
def test_modes(rig: Rig, tmp_path: Path, modes: tuple[str, str], hairpin: bool) -> None:
    """Who reaches whom is what is predicted."""
    try:
        set_up(rig, modes, hairpin)
        for name in ("a", "b", "w", "lower"):
            netns.set_sysctls(rig.paths[name], {"ipv4/conf/all/rp_filter": 0, "ipv4/ping_group_range": "0 0"})
        state = snapshot(rig.cluster, tmp_path)
        keys = {ns.netns.name: ns.key for ns in state.nodes["node1"].netns.values()}
        found, said = {}, {}
        for source, target in PAIRS:
            if "b" in (source, target) and not modes[1]:
                continue
            from_ = str(keys[f"nv-{source}"]) if source != "lower" else "node1"
            trace = simulate(state, resolve_flow(state, from_, ADDRESSES[target], "icmp"))
            replies = [
                trace.disposition is Disposition.DELIVERED
                and b.reply is not None
                and b.reply.disposition is Disposition.DELIVERED
                for b in trace.branches
            ]
            said[source, target] = "unknown" if trace.disposition is Disposition.UNKNOWN else all(replies)
            found[source, target] = rig.ping(source, target)
        assert said == found
    finally:
        take_down(rig)
