"""Probes observed on the kernel, by `python -m agents observe` and the machinery behind it; nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.__main__ import build_parser, main
from agents.kernel import Kernel
from agents.observers import nft_trace, observer, session, tracefs
from agents.observers.marks import marks
from agents.observers.nft_trace import batch
from agents.observers.packets import PacketSockets
from agents.observers.tracefs import PREFIX, TraceInstance, _mounted, remove_remains
from agents.options import make_collectors
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.sighting import OWN_TABLES
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Flow
from tests.core.observe.test_recorded import CROSSED, EXPECTED, took_one_branch, visible
from tests.live.node_rig import Node
from tests.live.observed_cases import CASES, P2, network, run_case, where

pytestmark = pytest.mark.live

_HOLD = """
import sys, time
from agents.observers.tracefs import TraceInstance
instance = TraceInstance()
instance.start()
print(instance._path.name, flush=True)
time.sleep(600)
"""

_FLOOD = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setblocking(False)
print("sending", flush=True)
while True:
    try:
        sock.sendto(bytes(172), (sys.argv[1], 9))
    except OSError:
        pass
"""
_HOLD_TABLE = """
import os, sys, time
from agents.collectors.base import NetnsHandle
from agents.enter import NetnsThread
from agents.observers.marks import marks
from agents.observers.nft_trace import NftTrace
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.trace import Flow
path, node = sys.argv[1:]
stat = os.stat(path)
thread = NetnsThread(inline=True)
handle = NetnsHandle(NetnsKey(node, stat.st_dev, stat.st_ino), os.open(path, os.O_RDONLY), thread, root=False)
flow = Flow(handle.key, bytes(4), bytes(4), 6)
trace = NftTrace(marks(flow, 4000, 0), 0)
trace.add("p2", handle)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with network() as up:
        yield up


@pytest.fixture
def instances() -> Iterator[Path]:
    root = _mounted()
    try:
        yield Path(f"/proc/self/fd/{root}/instances")
    finally:
        os.close(root)


def of_this_process(instances: Path) -> list[str]:
    return [path.name for path in instances.glob(f"{PREFIX}{os.getpid()}-*")]


@pytest.mark.parametrize("name", EXPECTED)
def test_predicted_and_observed_agree(node: Node, name: str, instances: Path) -> None:
    """The same steps as recorded are seen, nothing contradicts them, and the instance is gone."""
    observed = run_case(node, CASES[name])
    if observed.evidence.lost:
        pytest.fail(f"the machine is too busy to observe: {observed.evidence.lost}")
    assert observed.observation.taken == (0,), session_text(observed)
    assert (visible(observed.observation), visible(observed.observation, reply=True)) == EXPECTED[name]
    assert of_this_process(instances) == []


def test_the_branch_taken(node: Node) -> None:
    """The kernel's choice among two next hops is named, whichever it is."""
    observed = run_case(node, CASES["multipath"])
    took_one_branch(observed.trace, observed.observation)


def session_text(observed: session.Observed) -> str:
    from agents.observers.command import as_text

    return as_text(observed)


def test_command_line(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Side by side as text, and as JSON with `observed` in each step."""
    argv = ["observe", *where(node), "--from", "p1", "--to", f"{P2}:8080"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "told answer" in text
    assert text.count("seen +") == 8
    assert "observed: 22 of 22 steps seen as predicted" in text
    assert "by the next frame" in text
    assert main([*argv, "--json", "--count", "2"]) == 0
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        steps = [step for hop in found["branches"][0]["forward"]["hops"] for step in hop["steps"]]
        crossed = [step for step in steps if step["kind"] in ("link_tx", "link_rx")]
        assert [step["observed"]["match"] for step in crossed] == ["agree"] * 4
        assert found["observation"]["taken"] == [0]
        assert found["observation"]["told"] == "answer"


def test_two_at_once(node: Node) -> None:
    """Two observers of the same path keep their probes apart."""
    argv = [sys.executable, "-m", "agents", "observe", *where(node), "--from", "p1", "--to", f"{P2}:8080"]
    both = [
        subprocess.Popen([*argv, "--json", "--count", "3"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in both:
        out, _ = one.communicate(timeout=120)
        assert one.returncode == 0
        found = [json.loads(line)["observation"] for line in out.splitlines()]
        assert [(one["taken"], one["told"]) for one in found] == [([0], "answer")] * 3


def test_among_other_traffic(node: Node) -> None:
    """Packets as fast as a program sends them, of the same length and by the same devices, turn nothing into a lie."""
    argv = ["ip", "netns", "exec", f"{node.base}-p1", sys.executable, "-c", _FLOOD, P2]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as flood:
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "sending\n"
            for name in ("datagram", "input-drop"):
                observed = run_case(node, CASES[name])
                assert observed.observation.taken == (0,), session_text(observed)
                statuses = {m.status for m in observed.observation.nearest.forward.matches if m.visible}
                assert statuses <= {"agree", "ambiguous", "lost"}
                assert "lost" not in statuses or observed.evidence.lost
        finally:
            flood.kill()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--to", f"{P2}:0"], "not a port"),
        (["--to", P2, "--count", "11"], "--count"),
        (["--to", P2, "--wait", "0"], "--wait"),
        (["--to", f"{P2}:80", "--proto", "icmp"], "no port"),
        (["--to", P2, "--size", "60"], "--size"),
        (["--to", "nobody-of-this-name"], "nobody-of-this-name"),
    ],
)
def test_bad_input(node: Node, more: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["observe", *where(node), "--from", "p1", *more]) == 2
    assert why in capsys.readouterr().err


def test_without_tracefs(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial answer that says what is missing: the drop can't be seen, which contradicts nothing."""

    def barred() -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(tracefs, "_mounted", barred)
    observed = run_case(node, CASES["input-drop"])
    assert visible(observed.observation) == [*CROSSED, "eth0 rule drop agree"]
    assert observed.observation.taken == (0,)
    assert any("drops and their reasons can't be seen" in one.missing for one in observed.evidence.sources)


def test_without_nftables(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no nf_tables, the rest is seen, and the missing is named for each namespace."""

    def lacks(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(nft_trace, "_check", lacks)
    observed = run_case(node, CASES["input-drop"])
    seen = visible(observed.observation) or []
    assert seen[:-1] == CROSSED
    assert seen[-1] in (
        "eth0 agree",
        "eth0 ambiguous",
    )  # where others' packets pass such devices at the same time
    (missing,) = [one.missing for one in observed.evidence.sources if one.name == "nftables trace"]
    assert missing.count("nftables' rules in the namespace") == 4


def rulesets(node: Node) -> str:
    """List all rules of the network's namespaces."""
    listed = [
        subprocess.run(
            ["ip", "netns", "exec", f"{node.base}-{name}", "nft", "list", "ruleset"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("root", "p1", "p2", "out")
    ]
    return "".join(listed)


def test_tables_go_with_their_process(node: Node) -> None:
    """Our table is there while a probe is watched, no part of the state that a collector reads, and gone after kill -9."""
    argv = [sys.executable, "-c", _HOLD_TABLE, f"/run/netns/{node.base}-p2", node.base]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            assert f"table inet {OWN_TABLES}{holder.pid}" in rulesets(node)
            args = build_parser().parse_args(["snapshot", *where(node), "--out", "unused"])
            cluster = session.read_cluster(node.options(), make_collectors(args), Kernel())
            for state in cluster.nodes[node.base].netns.values():
                assert not state.nft_tables
                assert not state.nft_chains
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            limit = time.monotonic() + 30
            while OWN_TABLES in rulesets(node):  # the kernel closes the socket after the process is gone
                assert time.monotonic() < limit
        finally:
            holder.kill()


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("proto", [IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP])
def test_nft_can_list_what_we_add(node: Node, proto: int, v6: bool) -> None:
    """Others' tools read our rules, too."""
    address = bytes(range(16 if v6 else 4))
    icmp = IPPROTO_ICMPV6 if v6 and proto == IPPROTO_ICMP else proto
    data, answers = batch("netviz-try", marks(Flow(NetnsKey("n", 1, 1), address, address, icmp), 4000, 7))
    program = """
import socket, subprocess, sys
from agents.observers.nft_trace import _check
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
sock.send(sys.stdin.buffer.read())
_check(sock, int(sys.argv[1]))
print(subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout)
"""
    listed = subprocess.run(
        ["ip", "netns", "exec", f"{node.base}-p1", sys.executable, "-c", program, str(answers)],
        input=data,
        check=True,
        capture_output=True,
    )
    assert listed.stdout.count(b"goto probe-") > 20


def test_no_table_is_left(node: Node) -> None:
    """On success and on time-out."""
    for name in ("delivered", "input-drop"):
        run_case(node, CASES[name])
        assert rulesets(node) == ""


def test_everything_is_removed_on_failure(
    node: Node, instances: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the middle closes the sockets and the instance."""
    closed: list[PacketSockets] = []

    def fails(*_: object) -> None:
        raise RuntimeError("planted")

    close = PacketSockets.close
    monkeypatch.setattr(PacketSockets, "close", lambda self: (closed.append(self), close(self)))
    monkeypatch.setattr(observer.Probe, "send", fails)
    with pytest.raises(RuntimeError, match="planted"):
        run_case(node, CASES["delivered"])
    assert len(closed) == 1
    assert of_this_process(instances) == []
    assert rulesets(node) == ""


def test_killed_instances_are_removed_and_only_those(instances: Path) -> None:
    """kill -9 leaves an instance, never a mount; the next start removes it, and neither a live one nor another's."""
    others = instances / f"other-{os.getpid()}"
    others.mkdir()
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            name = holder.stdout.readline().strip()
            assert name
            assert name not in Path(f"/proc/{holder.pid}/mountinfo").read_text()
            assert "tracefs" not in Path(f"/proc/{holder.pid}/mountinfo").read_text()
            assert name not in remove_remains(instances)
            assert (instances / name).exists()
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            assert (instances / name).exists()
            TraceInstance().close()
            assert not (instances / name).exists()
            assert others.exists()
        finally:
            holder.kill()
            others.rmdir()


def test_losses_are_counted() -> None:
    """A buffer that overruns says how much it lost."""
    instance = TraceInstance()
    try:
        instance._write("buffer_size_kb", "4")
        instance.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            limit = time.monotonic() + 30
            while not instance.lost() and time.monotonic() < limit:
                for _ in range(1000):
                    sock.sendto(b"x", sock.getsockname())
        assert instance.lost() > 0
    finally:
        instance.close()
