"""Emulated clusters come up, go down and leave nothing behind, whatever ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

import lab
from lab import churn, control, paths
from lab.cluster import Cluster, ClusterSpec, running, sweep
from lab.faults import FAULTS, apply_fault, mend
from lab.reality import Probe, send, send_all
from lab.spec import LabError
from lab.stack import wait_until
from tests.live.lab_remains import Holdings, mentioning

pytestmark = pytest.mark.live
ROOT = Path(lab.__file__).resolve().parent.parent
_serial = count()


@pytest.fixture(autouse=True)
def own_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of clusters for each test, so that nobody else's are seen."""
    base = tmp_path / "lab"
    monkeypatch.setenv("NETVIZ_LAB_DIR", str(base))
    yield base
    for name in running():
        Cluster.load(name).down()
    assert sweep() == []


def spec(nodes: int = 2, pods: int = 2) -> ClusterSpec:
    return ClusterSpec(f"t{os.getpid()}-{next(_serial)}", nodes=nodes, pods=pods)


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *args], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_down_leaves_nothing() -> None:
    fds, threads = open_fds(), threading.active_count()
    home = os.stat("/proc/self/ns/net").st_ino
    with Cluster.up(spec()) as cluster:
        held = Holdings(cluster)
        assert len(held.inodes) == 3 + 2 + 4
        assert held.left()
        cluster.add_pod("node1")
        cluster.remove_pod("web-2")
        assert send(cluster, "web-1", "api-2", "udp").result == "delivered"
    held.assert_gone()
    assert (open_fds(), threading.active_count()) == (fds, threads)
    assert os.stat("/proc/thread-self/ns/net").st_ino == home


def test_nothing_appears_in_the_hosts_own_namespace() -> None:
    before = Path("/proc/thread-self/net/dev").read_text().count("\n")
    with Cluster.up(spec(nodes=1, pods=1)):
        assert Path("/proc/thread-self/net/dev").read_text().count("\n") == before


def test_a_failure_halfway_leaves_nothing() -> None:
    def fail_after_the_first_node(text: str) -> None:
        if "node1 with" in text:
            raise RuntimeError("stop here")

    wanted = spec()
    with pytest.raises(RuntimeError, match="stop here"):
        Cluster.up(wanted, fail_after_the_first_node)
    directory = paths.base_dir() / wanted.name
    assert not directory.exists()
    assert f"{directory}/" not in Path("/proc/self/mountinfo").read_text()
    assert list(mentioning(str(directory))) == []


# Makes a cluster, says so, and waits to be killed.
_OWNER = """
import sys, time
from lab.cluster import Cluster, ClusterSpec
cluster = Cluster.up(ClusterSpec(sys.argv[1], nodes=2, pods=2))
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that owns a cluster."""
    name = spec().name
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, name], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process, name
        process.kill()


def test_a_killed_owners_cluster_goes_by_itself(owner: tuple[subprocess.Popen[str], str]) -> None:
    process, name = owner
    held = Holdings(Cluster.load(name))
    process.kill()
    held.assert_gone()


def test_sweep_removes_what_a_killed_supervisor_left(owner: tuple[subprocess.Popen[str], str]) -> None:
    process, name = owner
    held = Holdings(Cluster.load(name))
    assert sweep() == []  # it lives
    os.kill(supervisor_pid(name), signal.SIGKILL)
    process.kill()
    wait_until(lambda: name not in running(), 300, "its death is seen")
    assert sweep() == [name]
    held.assert_gone()


def test_a_dead_clusters_name_can_be_used_again(owner: tuple[subprocess.Popen[str], str]) -> None:
    process, name = owner
    with pytest.raises(LabError, match="already up"):
        Cluster.up(ClusterSpec(name))
    os.kill(supervisor_pid(name), signal.SIGKILL)
    process.kill()
    wait_until(lambda: name not in running(), 300, "its death is seen")
    with Cluster.up(ClusterSpec(name, nodes=1, pods=2)) as cluster:
        assert send(cluster, "web-1", "api-1", "tcp").result == "delivered"


def supervisor_pid(name: str) -> int:
    return first_pid(paths.base_dir() / name / "control")


def first_pid(path: Path) -> int:
    """The process that listens there: a supervisor, or a node's first process."""
    client = control.connect(path)
    try:
        return client.peer_pid()
    finally:
        client.close()


def test_pods_are_real_processes_in_the_nodes_own_proc() -> None:
    with Cluster.up(spec()) as cluster:
        node = cluster.nodes["node1"]
        listed = json.loads((node.directory / "pods.json").read_text())
        assert [pod["name"] for pod in listed] == ["web-1", "api-1"]
        for pod in listed:
            proc = node.directory / "proc" / str(pod["pause_pid"])
            assert (proc / "comm").read_text() == "pause\n"
            inode = os.stat(proc / "ns/net").st_ino
            assert inode == os.stat(pod["netns"]).st_ino == node.netns(pod["name"]).stat().st_ino
            members = [
                entry.name
                for entry in (node.directory / "proc").iterdir()
                if entry.name.isdigit() and os.stat(entry / "ns/net").st_ino == inode
            ]
            assert len(members) == 2  # the pause process, and the listener that joined it
        # The node sees its own processes alone: its first one, and two for each pod.
        pids = [e for e in (node.directory / "proc").iterdir() if e.name.isdigit()]
        assert len(pids) == 5
        arguments = node.collector_args()
        assert arguments[::2] == ["--root-netns", "--netns-dir", "--proc", "--pods-file"]
        assert all(Path(path).exists() for path in arguments[1::2])


def test_clusters_with_the_same_addresses_are_apart() -> None:
    with Cluster.up(spec()) as one, Cluster.up(spec()) as other:
        assert {one.name, other.name} <= set(running())
        assert one.address_of("web-1") == other.address_of("web-1")
        one.kill_node("node2")
        assert send(one, "web-1", "web-2", "icmp").result != "delivered"
        assert send(other, "web-1", "web-2", "icmp").result == "delivered"
        other.down()
        assert send(one, "web-1", "api-1", "icmp").result == "delivered"


def test_a_killed_node_takes_its_pods_along_and_comes_back_with_them() -> None:
    with Cluster.up(spec()) as cluster:
        before = cluster.pod("web-2").ipv4
        held = cluster.nodes["node2"].netns("web-2").stat().st_ino
        rest = Holdings(cluster)
        apply_fault(cluster, "raw-drop-by-source")
        cluster.kill_node("node2")
        assert not cluster.state.nodes["node2"].alive
        assert not cluster.nodes["node2"].directory.exists()
        assert not [line for line in rest.left() if str(held) in line]
        for wrong in (
            lambda: cluster.add_pod("node2"),
            lambda: cluster.remove_pod("web-2"),
            lambda: cluster.exec("web-2", ["true"]),
            lambda: apply_fault(cluster, "drop-rule", pod="web-2"),
        ):
            with pytest.raises(LabError, match="node2 doesn't run"):
                wrong()
        assert mend(cluster) == ["raw-drop-by-source:node1:node2"]
        assert send(cluster, "web-1", "api-1", "tcp").result == "delivered"
        assert send(cluster, "web-1", "web-2", "tcp").arrived_at == ()
        cluster.restart_node("node2")
        assert cluster.pod("web-2").ipv4 == before
        probes = [Probe(a, b, "tcp") for a in cluster.pods for b in cluster.pods if a != b]
        assert {outcome.result for outcome in send_all(cluster, probes)} == {"delivered"}


def test_a_node_whose_first_process_is_killed_is_dead_until_it_is_restarted() -> None:
    with Cluster.up(spec()) as cluster:
        node = cluster.nodes["node2"]
        os.kill(first_pid(node.directory / "control"), signal.SIGKILL)
        proc = node.directory / "proc"
        wait_until(lambda: not [e for e in proc.iterdir() if e.name.isdigit()], 300, "its processes end")
        assert send(cluster, "web-1", "web-2", "tcp").result == "refused"
        with pytest.raises(LabError, match="node2 doesn't run"):
            cluster.add_pod("node2")
        assert set(node.pods) == {"web-2", "api-2"}
        cluster.restart_node("node2")
        assert send(cluster, "web-1", "web-2", "tcp").result == "delivered"


def test_a_pods_name_is_no_path_and_nobody_elses() -> None:
    with Cluster.up(spec(pods=0)) as cluster:
        for name in ("../../out", "two words", "Web", "a" * 41):
            with pytest.raises(LabError, match="use up to 40 lower-case letters"):
                cluster.add_pod("node1", name)
        for name in ("router", "node2"):
            with pytest.raises(LabError, match="no pod may be called"):
                cluster.add_pod("node1", name)
        assert cluster.pods == {}


def test_another_process_can_act_on_a_cluster() -> None:
    with Cluster.up(spec()) as cluster:
        other = Cluster.load(cluster.name)
        other.add_pod("node1", "extra")
        assert "extra" not in cluster.pods
        cluster.add_pod("node1", "more")
        assert {"extra", "more"} <= set(cluster.pods)
        assert cluster.pod("extra").ipv4 != cluster.pod("more").ipv4
        other.refresh()
        assert set(other.pods) == set(cluster.pods)
        other.close()
        assert send(cluster, "extra", "more", "udp").seen_source == cluster.pod("extra").ipv4


def test_command_line() -> None:
    name = spec().name
    up = command("up", name, "--nodes", "2", "--pods", "2")
    assert up.returncode == 0, up.stderr
    assert f"{name}: node2 with 3 pods" in up.stderr  # one answers names
    held = Holdings(Cluster.load(name))
    assert name in command("list").stdout
    assert "10.244.2.3" in command("list", "-v").stdout
    route = command("exec", "web-1", "--", "ip", "route", "get", "10.244.2.2")
    assert "via 10.244.1.1 dev eth0 src 10.244.1.2" in route.stdout
    assert command("break", "--list").stdout.count("\n") == len(FAULTS)
    said = {fault["name"]: fault for fault in json.loads(command("break", "--list", "--json").stdout)}
    assert said["route-missing"]["blame"] == {"node": "node1", "device": "eth0"}
    assert command("break", "drop-rule", "--pod", "web-2").returncode == 0
    assert "fault drop-rule:web-2" in command("list").stdout
    assert command("mend").stdout == "mended drop-rule:web-2\n"
    assert "web-2-2 10.244.2.5" in command("add-pod", "node2", "web-2-2").stdout
    assert command("remove-pod", "web-2-2").returncode == 0
    churned = command("churn", name, "--rate", "20", "--seconds", "0.5")
    assert "10 changes in" in churned.stdout
    assert command("kill-node", "node2").returncode == 0
    assert command("restart-node", "node2").returncode == 0
    assert command("down").stdout == f"{name} is down\n"
    held.assert_gone()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["up", "Not A Name"], "cluster name"),
        (["up", "x", "--nodes", "0"], "nodes: from 1"),
        (["up", "x", "--pods", "1001"], "pods: from 0"),
        (["up", "x", "--pods", "300", "--nodes", "16"], "at most 15 nodes"),
        (["down", "nosuch"], "no cluster nosuch is up"),
        (["exec", "web-1", "true"], "no cluster is up"),
        (["break", "--cluster", "nosuch", "route-missing"], "no cluster nosuch"),
    ],
)
def test_trouble_is_one_line(args: list[str], message: str) -> None:
    done = command(*args)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_churn_makes_up_for_a_slow_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now, costs_s = [0.0], iter([0.0, 0.25, *[0.0] * 8])

    class Halt(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0
            return False

    def step(self: churn.Churn) -> str:
        now[0] += next(costs_s)
        return "route+"

    monkeypatch.setattr(churn, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(churn.Churn, "__init__", lambda *_: None)
    monkeypatch.setattr(churn.Churn, "step", step)
    monkeypatch.setattr(churn.Churn, "restore", lambda _: None)
    report = churn.run_churn(None, rate_per_s=10, seconds=1, stop=Halt())  # type: ignore[arg-type]
    assert (report.changes, round(report.elapsed_s, 6), round(report.late_s, 6)) == (10, 0.9, 0.15)


def test_churn_undoes_itself() -> None:
    with Cluster.up(spec(nodes=3)) as cluster:
        pods = set(cluster.pods)
        before = {node: routes_and_links(cluster, node) for node in cluster.nodes}
        report = churn.run_churn(cluster, rate_per_s=200, seconds=1, seed=7)
        assert report.changes == 200, report
        assert {"pod+", "pod-", "route+", "addr+", "neigh+", "link+"} <= set(report.by_kind)
        assert set(cluster.pods) == pods
        assert {node: routes_and_links(cluster, node) for node in cluster.nodes} == before


def routes_and_links(cluster: Cluster, node: str) -> list[str]:
    """The node's routes, links, addresses and static neighbours, without what changes by itself."""
    script = "ip -br link; ip -br addr; ip route; ip -6 route; ip neigh show nud permanent"
    return sorted(cluster.exec(node, ["sh", "-c", script]).stdout.splitlines())


def test_very_many_pods() -> None:
    """Their listeners share a process, and a node's range of addresses is larger."""
    with Cluster.up(spec(nodes=2, pods=260)) as cluster:
        assert cluster.state.spec.shared
        assert len(cluster.pods) == 520
        some = [*list(cluster.pods)[:5], *list(cluster.pods)[-5:]]
        probes = [Probe("web-1", name, proto) for name in some for proto in ("tcp", "udp")]
        assert {outcome.result for outcome in send_all(cluster, probes)} == {"delivered"}
        held = Holdings(cluster)
    held.assert_gone()
