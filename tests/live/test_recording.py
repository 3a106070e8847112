"""Recordings: what was recorded on a real kernel is lived through again, change by change."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import reduce
from pathlib import Path

import pytest

from agents.recording import Replay, read_recording
from lab.stack import Stack
from netviz.core.model.addr import pack_ip
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.node import NodeState
from tests.live.node_rig import ip, small_node

pytestmark = pytest.mark.live


class Counter:
    """A sink that counts."""

    def __init__(self) -> None:
        self.told = 0

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        self.told += 1


def _wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def _recorded(path: Path) -> NodeState:
    head, steps = read_recording(path)
    return reduce(apply, (step.delta for step in steps), apply(NodeState(head.node), head.delta))


def _is_last(state: NodeState) -> bool:
    """The pod is gone and the address is there."""
    addrs = state.root.addrs.values() if state.root is not None else ()
    return len(state.netns) == 1 and pack_ip("10.9.9.9") in {addr.addr for addr in addrs}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node gets a pod, loses it, and gets an address, while `record` looks on until it is told to stop."""
    path = tmp_path_factory.mktemp("recording") / "node.rec"
    with small_node() as node:
        argv = [sys.executable, "-m", "agents", "record", "--node", "rec", "--no-proc", "--out", str(path)]
        where = ["--root-netns", f"/run/netns/{node.root}", "--netns-dir", str(node.directory)]
        process = subprocess.Popen([*argv, *where], stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("recording rec to ")
            sizes = [path.stat().st_size]

            def grew() -> bool:
                return path.stat().st_size > sizes[-1]

            for act in (
                lambda: node.add_pod(1),
                lambda: node.drop_netns("p1"),
                lambda: ip("-n", node.root, "addr", "add", "10.9.9.9/32", "dev", "lo"),
            ):
                sizes.append(path.stat().st_size)
                act()
                _wait_for(grew, "nothing was recorded")
            _wait_for(lambda: _is_last(_recorded(path)), "the last change was not recorded")
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=300) == 0
            assert process.stderr is not None
            process.stderr.close()
    return path


async def test_a_recording_is_lived_through_again(recording: Path) -> None:
    head, steps = read_recording(recording)
    replay = Replay(head, steps)
    assert replay.state().node == head.node == "rec"
    assert len(replay.state().netns) == 1
    replay.sink = counter = Counter()
    assert await replay.run(speed=1000) == counter.told >= 3
    assert _is_last(replay.state())


def test_a_recording_is_replayed_against_a_server(recording: Path, tmp_path: Path) -> None:
    with Stack({"rec": []}, tmp_path) as stack:
        access = stack.provision()
        stack.start_server()
        argv = [sys.executable, "-m", "agents", "replay", str(recording), "--server", access.url]
        argv += ["--token-file", str(stack.token_file("rec")), "--node", "rec", "--speed", "1000"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("replayed ")
        addrs = {addr for link in stack.topology()["links"] for addr in link["addrs"]}
        assert "10.9.9.9/32" in addrs
