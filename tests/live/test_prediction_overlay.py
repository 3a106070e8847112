"""The simulator against the kernel where pods' packets travel inside others: VXLAN between two nodes.

    web-1, api-1 - cni0 (node1) nv.1 ==== VXLAN over eth0 ==== nv.1 (node2) cni0 - web-2, api-2

Each way to set a VXLAN up is put on both nodes in place of the cluster's plain routes; every exchange
between all pods and the nodes is predicted from collected state and compared with what the kernel does.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import nft
from lab.cluster import Cluster, ClusterSpec
from lab.reality import Probe, send_all
from tests.live.prediction import compare, snapshot

pytestmark = pytest.mark.live

OPEN, CLOSED = 8080, 81
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("udp", CLOSED), ("icmp", 0))
MACS = {"node1": "0e:00:00:00:00:01", "node2": "0e:00:00:00:00:02"}
# {me}, {peer}: the nodes' addresses; {mac}, {peer_mac}: the devices'; {vtep}, {peer_vtep}: their addresses;
# {pods}: the peer's pods.
BASE = "link add nv.1 address {mac} mtu 1450 type vxlan id 7 local {me} dev eth0 dstport 8472"
UP = ["addr add {vtep}/32 dev nv.1", "link set nv.1 up"]
ROUTE = "route replace {pods} via {peer_vtep} dev nv.1 onlink"
FLANNEL = [
    "neigh replace {peer_vtep} lladdr {peer_mac} dev nv.1 nud permanent",
    "bridge fdb append {peer_mac} dev nv.1 dst {peer}",
    ROUTE,
]
SHARED = ["addr add {vtep}/24 dev nv.1", "link set nv.1 up", ROUTE]
WAYS: dict[str, list[str]] = {
    "flannel": [f"{BASE} nolearning", *UP, *FLANNEL],
    "flannel-without-entries": [f"{BASE} nolearning", *UP, ROUTE],
    "default-remote-learning": [f"{BASE} remote {{peer}}", *SHARED],
    "default-remote-nolearning": [f"{BASE} remote {{peer}} nolearning", *SHARED],
    "zeros-entry": [f"{BASE} nolearning", *SHARED, "bridge fdb append 00:00:00:00:00:00 dev nv.1 dst {peer}"],
    "too-large-inside": [f"{BASE} nolearning".replace("1450", "1500"), *UP, *FLANNEL],
    "outer-df": [f"{BASE} nolearning df set".replace("1450", "1500"), *UP, *FLANNEL],
    "remote-that-is-nobody": [
        f"{BASE} nolearning",
        *UP,
        *[line.replace("dst {peer}", "dst 172.30.0.99") for line in FLANNEL],
    ],
}
DIFFERENT: dict[str, tuple[str, str]] = {
    "other-vni": ("id 7", "id 8"),
    "other-port": ("dstport 8472", "dstport 8473"),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two pods each."""
    with Cluster.up(ClusterSpec(f"nv-o{os.getpid()}", nodes=2, pods=2)) as made:
        yield made


def run(root: Path, command: str) -> None:
    """Run an `ip` or `bridge` command in a namespace."""
    words = command.split()
    words = words if words[0] == "bridge" else ["ip", *words]
    done = subprocess.run(
        ["nsenter", f"--net={root}", "--", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def fill(cluster: Cluster, node: str, line: str) -> str:
    """Fill in a command's addresses for a node."""
    number, peer = node[-1], "node2" if node == "node1" else "node1"
    return line.format(
        me=cluster.address_of(node, 4),
        peer=cluster.address_of(peer, 4),
        mac=MACS[node],
        peer_mac=MACS[peer],
        vtep=f"10.99.0.{number}",
        peer_vtep=f"10.99.0.{peer[-1]}",
        pods=f"10.244.{peer[-1]}.0/24",
    )


def set_up(cluster: Cluster, ways: dict[str, list[str]]) -> None:
    """Put the tunnel on each node."""
    for node, lines in ways.items():
        for line in lines:
            run(cluster.nodes[node].root, fill(cluster, node, line))


def take_down(cluster: Cluster) -> None:
    """Remove the tunnel, and put the plain routes back."""
    for node in cluster.nodes:
        root = cluster.nodes[node].root
        subprocess.run(
            ["nsenter", f"--net={root}", "--", "ip", "link", "del", "nv.1"], capture_output=True, check=False
        )
        run(root, fill(cluster, node, "route replace {pods} via {peer}"))


def probes(cluster: Cluster) -> list[Probe]:
    """All pairs of pods, nodes to pods, and sizes around both MTUs."""
    pods = list(cluster.pods)
    out = [Probe(a, b, p, n) for a in pods for b in pods if a != b for p, n in EXCHANGES]
    out += [Probe("node1", b, p, n) for b in pods for p, n in EXCHANGES]
    out += [
        Probe("web-1", "web-2", proto, OPEN if proto == "udp" else 0, size, df)
        for proto in ("udp", "icmp")
        for size in (1400, 1450, 1451, 1500)
        for df in (True, False)
    ]
    return out


def hold(cluster: Cluster, directory: Path) -> Counter[str]:
    """Collect, predict, send, compare: nothing wrong, nothing left open. Returns the results by name."""
    state = snapshot(cluster, directory)
    compared = [compare(state, cluster, outcome) for outcome in send_all(cluster, probes(cluster))]
    wrong = [c.describe() for c in compared if c.verdict == "wrong"]
    assert not wrong, f"{len(wrong)} of {len(compared)} wrong:\n" + "\n".join(wrong[:10])
    unsure = [c.describe() for c in compared if c.verdict != "right"]
    assert not unsure, f"{len(unsure)} of {len(compared)} not certain:\n" + "\n".join(unsure[:5])
    return Counter(c.outcome.result for c in compared)


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_set_it_up(cluster: Cluster, tmp_path: Path, way: str) -> None:
    """Both nodes have the tunnel in the same way."""
    try:
        set_up(cluster, {"node1": WAYS[way], "node2": WAYS[way]})
        hold(cluster, tmp_path)
    finally:
        take_down(cluster)


@pytest.mark.parametrize("difference", DIFFERENT)
def test_ends_that_do_not_fit(cluster: Cluster, tmp_path: Path, difference: str) -> None:
    """The two ends disagree: nothing comes out of the tunnel."""
    old, new = DIFFERENT[difference]
    lines = WAYS["flannel"]
    try:
        set_up(cluster, {"node1": lines, "node2": [line.replace(old, new) for line in lines]})
        hold(cluster, tmp_path)
    finally:
        take_down(cluster)


def test_rules_on_the_underlay(cluster: Cluster, tmp_path: Path) -> None:
    """A node that drops the tunnel's packets cuts off what is inside."""
    root = cluster.nodes["node2"].root
    try:
        set_up(cluster, {"node1": WAYS["flannel"], "node2": WAYS["flannel"]})
        nft.apply(
            root,
            "table ip nv-test {\nchain in { type filter hook input priority 0; udp dport 8472 drop; }\n}\n",
        )
        hold(cluster, tmp_path)
    finally:
        nft.apply(root, "add table ip nv-test\ndelete table ip nv-test\n")
        take_down(cluster)
