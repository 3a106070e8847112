"""Whatever happens, the server's state becomes equal to the kernel's again, by itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.churn import run_churn
from lab.cluster import Cluster, ClusterSpec
from lab.stack import Stack, wait_until
from netviz.core.wire.nvz import load_nvz
from tests.live.comparison import assert_converges, differences, held_state
from tests.live.flaky_link import FlakyLink
from tests.migrated import give_database
from tests.slow import first_quick
from tests.stack import whole_netviz

pytestmark = pytest.mark.live
Netviz = tuple[Cluster, Stack]
NOISE = (" conntrack", " sockets", " counters")  # not journaled


@pytest.fixture
def own_netviz(tmp_path: Path) -> Iterator[Netviz]:
    """A stack that a test may break."""
    with whole_netviz(tmp_path, nodes=3, pods=3) as pair:
        yield pair


def test_at_rest_the_servers_state_is_the_kernels(netviz: Netviz, tmp_path: Path) -> None:
    _, stack = netviz
    assert_converges(stack, tmp_path)


@pytest.mark.parametrize("changes", first_quick([600, 3000], quick=1))
def test_after_many_changes_nothing_differs(netviz: Netviz, tmp_path: Path, changes: int) -> None:
    cluster, stack = netviz
    report = run_churn(cluster, rate_per_s=200, seconds=changes // 200, seed=1)
    assert report.changes >= 0.95 * changes, report
    assert_converges(stack, tmp_path)


def test_after_an_overrun_of_netlink_nothing_differs(netviz: Netviz, tmp_path: Path) -> None:
    """A stopped collector's sockets overflow; it must notice, count it and read again."""
    cluster, stack = netviz
    node = next(iter(stack.collectors))
    pid = stack.collectors[node].process.pid
    lost_before = _collector(stack, node)["lost_events"]
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(4):
            cluster.exec(node, ["sh", "-c", _ROUTE_STORM])
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: _collector(stack, node)["lost_events"] > lost_before, 300, "the loss is reported")
    assert_converges(stack, tmp_path)


# 40,000 route events in one batch, and none of the routes stays.
_ROUTE_STORM = r"""
{ for i in $(seq 1 80); do for j in $(seq 1 250); do echo "route add 10.99.$i.$j/32 dev cni0"; done; done; } > /tmp/nv-storm.$$
ip -batch /tmp/nv-storm.$$ && sed s/add/del/ /tmp/nv-storm.$$ | ip -batch - ; rm -f /tmp/nv-storm.$$
"""


def _collector(stack: Stack, node: str) -> dict[str, float]:
    nodes = {n["name"]: n for n in stack.topology()["nodes"]}
    collector: dict[str, float] = nodes[node]["collector"] or {"lost_events": 0}
    return collector


def test_a_killed_server_comes_back_with_the_same_state(own_netviz: Netviz, tmp_path: Path) -> None:
    cluster, stack = own_netviz
    assert stack.server is not None
    stack.server.kill()
    cluster.add_pod("node1", "while-down")
    stack.start_server()
    stack.wait_connected()
    assert_converges(stack, tmp_path)
    assert any(ns["pod"] and ns["pod"]["name"] == "while-down" for ns in stack.topology()["netns"])
    assert_journal_is_sound(stack, tmp_path)


def test_a_killed_collector_is_missed_and_comes_back(own_netviz: Netviz, tmp_path: Path) -> None:
    cluster, stack = own_netviz
    stack.collectors["node2"].kill()
    wait_until(lambda: not _node(stack, "node2")["connected"], 300, "the server misses the collector")
    cluster.add_pod("node2", "unseen")
    stack.start_collector("node2")
    stack.wait_connected()
    assert_converges(stack, tmp_path)
    assert_journal_is_sound(stack, tmp_path)


def test_a_killed_node_loses_its_pods_and_only_them(own_netviz: Netviz, tmp_path: Path) -> None:
    cluster, stack = own_netviz
    cluster.kill_node("node3")
    cluster.restart_node("node3")
    stack.collectors["node3"].stop()
    arguments = {node.name: node.collector_args() for node in cluster.nodes.values()}
    stack.collector_args.update(arguments)
    stack.start_collector("node3")
    stack.wait_connected()
    assert_converges(stack, tmp_path)


def test_a_cut_and_slow_link_loses_nothing(tmp_path: Path) -> None:
    spec = ClusterSpec(f"t{os.getpid()}-link", nodes=2, pods=2)
    with Cluster.up(spec) as cluster:
        arguments = {node.name: node.collector_args() for node in cluster.nodes.values()}
        give_database(tmp_path / "var")
        with Stack(arguments, tmp_path / "var") as stack:
            stack.provision()
            stack.start_server()
            with FlakyLink(stack.port) as link:
                stack.collector_url = f"http://127.0.0.1:{link.port}"
                for node in arguments:
                    stack.start_collector(node)
                stack.wait_connected()
                link.delay_s = 0.05
                churning = threading.Thread(
                    target=lambda: run_churn(cluster, rate_per_s=20, seconds=8, seed=2)
                )
                churning.start()
                while churning.is_alive():
                    link.cut()
                    time.sleep(0.3)
                    link.heal()
                    time.sleep(1.2)
                churning.join()
                link.heal()
                stack.wait_connected()
                assert_converges(stack, tmp_path)
                assert_journal_is_sound(stack, tmp_path)


def _node(stack: Stack, name: str) -> dict[str, object]:
    return next(node for node in stack.topology()["nodes"] if node["name"] == name)


def assert_journal_is_sound(stack: Stack, folder: Path) -> None:
    """Folded from its last whole state on, the journal gives what the server holds: nothing is
    missing, nothing is there twice (the database refuses that), and the order is right."""

    def differences_now() -> list[str]:
        found = []
        for node in stack.collector_args:
            out = folder / f"{node}-journal.nvz"
            stack.manage("rewind", node, "--out", str(out))
            rewound = load_nvz(out.read_bytes())[1]
            found += [
                line
                for line in differences(held_state(stack, node), rewound)
                if not line.split(": server")[0].endswith(NOISE)
            ]
        return found

    wait_until(lambda: not differences_now(), 300, "the journal's state is the server's", every_s=0.5)
