"""Recordings: what was recorded on a real kernel is lived through again, change by change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import reduce
from pathlib import Path

import pytest

from agents.recording import MAGIC, RecordingError, Replay, read_recording
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
            assert process.wait(timeout=60) == 0
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


async def test_a_recording_cut_short_is_replayed_as_far_as_it_goes(recording: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.rec"
    cut.write_bytes(recording.read_bytes()[:-7])
    whole_steps = list(read_recording(recording)[1])
    head, steps = read_recording(cut)
    assert await Replay(head, steps).run(speed=1000) == len(whole_steps) - 1


def test_a_recording_is_replayed_against_a_server(recording: Path, tmp_path: Path) -> None:
    with Stack({"rec": []}, tmp_path) as stack:
        access = stack.provision()
        stack.start_server()
        argv = [sys.executable, "-m", "agents", "replay", str(recording), "--server", access.url]
        argv += ["--token-file", str(stack.token_file("rec")), "--node", "rec", "--speed", "1000"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("replayed ")
        addrs = {addr for link in stack.topology()["links"] for addr in link["addrs"]}
        assert "10.9.9.9/32" in addrs


@pytest.mark.parametrize(
    "data",
    [b"", b"something else", MAGIC, MAGIC + b"\0\0\0\5abcde", MAGIC + b"\xff\xff\xff\xffabc"],
)
def test_a_bad_recording_is_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.rec"
    path.write_bytes(data)
    with pytest.raises(RecordingError):
        read_recording(path)
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("x")
    argv = [sys.executable, "-m", "agents", "replay", str(path), "--server", "http://127.0.0.1:1"]
    done = subprocess.run([*argv, "--token-file", str(token)], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


BAD = {
    "no command": [],
    "no such namespace": ["snapshot", "--node", "a", "--root-netns", "/nowhere", "--out", "x.nvz"],
    "a file that is no namespace": [
        "snapshot",
        "--node",
        "a",
        "--root-netns",
        "/etc/hosts",
        "--out",
        "x.nvz",
    ],
    "another kind of namespace": [
        "snapshot",
        "--node",
        "a",
        "--root-netns",
        "/proc/self/ns/mnt",
        "--out",
        "x",
    ],
    "a bad node name": ["snapshot", "--node", "a b", "--out", "x.nvz"],
    "no such directory of namespaces": [
        "snapshot",
        "--node",
        "a",
        "--netns-dir",
        "/nowhere",
        "--out",
        "x.nvz",
    ],
    "no proc": ["snapshot", "--node", "a", "--proc", "/etc", "--out", "x.nvz"],
    "nowhere to write": ["snapshot", "--node", "a", "--out", "/nowhere/x.nvz"],
    "no pods file": ["snapshot", "--node", "a", "--pods-file", "/nowhere", "--out", "x.nvz"],
    "no token": ["run", "--node", "a", "--server", "http://localhost", "--token-file", "/nowhere"],
    "a token for all to read": [
        "run",
        "--node",
        "a",
        "--server",
        "http://localhost",
        "--token-file",
        "/etc/hosts",
    ],
    "a bad URL": ["run", "--node", "a", "--server", "nonsense", "--token-file", "/etc/hosts"],
    "no recording": ["replay", "/nowhere", "--server", "http://localhost", "--token-file", "/etc/hosts"],
}


@pytest.mark.parametrize("argv", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(argv: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-m", "agents", *argv], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
