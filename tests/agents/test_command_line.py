"""`python -m agents` from its first argument to its exit status, on a recorded kernel and against a server of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path

import pytest

from agents.__main__ import main
from agents.ledger import Ledger
from agents.recording import MAGIC, Recorder, RecordingError, Replay, Step, read_recording
from agents.snapshot import Snapshotter
from netviz.core.model.netfilter import Body
from netviz.core.state.delta import NodeDelta, apply, diff
from netviz.core.state.node import NodeState
from netviz.core.wire.messages import AgentStatus, Watched
from netviz.core.wire.nvz import load_nvz
from tests.agents.fake_kernel import FakeKernel, collectors
from tests.agents.session_server import SessionServer, write_token
from tests.live.node_rig import differences

WAIT_S = 300


def where(kernel: FakeKernel) -> list[str]:
    return ["--node", "node1", "--root-netns", str(kernel.root), "--netns-dir", str(kernel.pods), "--no-proc"]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, condition
        time.sleep(0.01)


def main_until(argv: list[str], kernel: FakeKernel, act: Callable[[], None]) -> int:
    """Run a command that ends at a signal only, and send it when `act`, on another thread, is done."""
    failed: list[BaseException] = []

    def helper() -> None:
        try:
            act()
        except BaseException as err:  # noqa: BLE001 - told below
            failed.append(err)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=helper)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # it may come before or after the command listens
    thread.start()
    try:
        status = main(argv, kernel)
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    if failed:
        raise failed[0]
    return status


class Served:
    """A server in a thread of its own."""

    def __init__(self) -> None:
        self.server = SessionServer("node1")
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with self.server.serving():
            self._up.set()
            await self._stop.wait()

    def __enter__(self) -> SessionServer:
        self._thread.start()
        assert self._up.wait(WAIT_S)
        return self.server

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


def test_a_snapshot_is_a_file_with_the_nodes_whole_state(
    kernel: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "node1.nvz"
    out.write_bytes(b"an older one")
    (tmp_path / "link.nvz").symlink_to(out)
    assert main(["snapshot", *where(kernel), "--out", str(tmp_path / "link.nvz")], kernel) == 0
    state = load_nvz(out.read_bytes())[1]
    assert {ns.netns.name for ns in state.netns.values()} == {"", "web-1", "api-1", "coredns-1"}
    assert (tmp_path / "link.nvz").is_symlink()
    assert "4 namespaces" in capsys.readouterr().err


def test_without_permission_to_enter_a_snapshot_says_what_it_takes(
    kernel: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.forbid_entering()
    out = tmp_path / "x.nvz"
    assert main(["snapshot", *where(kernel), "--out", str(out)], kernel) == 1
    assert capsys.readouterr().err.endswith("reading other namespaces takes root (CAP_SYS_ADMIN)\n")
    assert not out.exists()


def record(kernel: FakeKernel, out: Path) -> NodeState:
    """Record while the kernel goes through its phases; return what a snapshot says at the end."""

    def recorded() -> NodeState:
        head, steps = read_recording(out)
        return reduce(apply, (step.delta for step in steps), apply(NodeState(head.node), head.delta))

    def act() -> None:
        wait_for(lambda: out.exists() and out.stat().st_size > len(MAGIC) + 4)
        kernel.advance()
        wait_for(lambda: len(_routes(recorded(), "web-1")) == 15)

    assert main_until(["record", *where(kernel), "--out", str(out)], kernel, act) == 0
    return recorded()


def _routes(state: NodeState, name: str) -> dict[object, object]:
    return next(dict(ns.routes) for ns in state.netns.values() if ns.netns.name == name)


def test_a_recording_has_what_changed_and_is_lived_through_again_at_a_server(
    kernel: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "node1.rec"
    last = record(kernel, out)
    assert "recording node1" in capsys.readouterr().err
    argv = [
        "replay",
        str(out),
        "--node",
        "node1",
        "--speed",
        "100",
        "--token-file",
        str(write_token(tmp_path)),
    ]
    with Served() as server:
        assert main([*argv, "--server", server.url], kernel) == 0
        assert server.state is not None
        assert differences(server.state, last) == []
        assert _bodies(last) <= server.bodies.keys()
    assert capsys.readouterr().err.startswith("replayed ")


def test_a_recording_cut_short_is_lived_through_as_far_as_it_goes(kernel: FakeKernel, tmp_path: Path) -> None:
    whole = tmp_path / "node1.rec"
    steps = _written(kernel, whole)
    cut = tmp_path / "cut.rec"
    cut.write_bytes(whole.read_bytes()[:-7])
    assert len(list(read_recording(cut)[1])) == steps - 1


def _written(kernel: FakeKernel, path: Path) -> int:
    """Write a recording of the kernel's first phases; return how many steps it has."""

    def read() -> Ledger:
        return Snapshotter(kernel.options(), collectors(), kernel).run()

    source = Source(read())
    with path.open("wb") as file:
        recorder = Recorder(file, source)
        recorder.begin()
        for _ in range(2):
            kernel.advance()
            before, source.ledger = source.state(), read()
            recorder.state_changed(diff(before, source.state()), 1)
    return recorder.steps


class Source:
    """What was read last, as a recorder asks for it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def state(self) -> NodeState:
        return self.ledger.state

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        return self.ledger.bodies(digests)

    def status(self) -> AgentStatus:
        return AgentStatus()

    def watch(self, watched: Iterable[Watched]) -> None:
        """Nothing is read twice."""


@pytest.mark.parametrize(
    "data", [b"", b"something else", MAGIC, MAGIC + b"\0\0\0\5abcde", MAGIC + b"\xff\xff\xff\xffabc"]
)
def test_what_is_no_recording_is_one_line(
    data: bytes, tmp_path: Path, kernel: FakeKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.rec"
    path.write_bytes(data)
    argv = ["replay", str(path), "--server", "http://127.0.0.1:1", "--token-file", str(write_token(tmp_path))]
    assert main(argv, kernel) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_recording_that_contradicts_itself_is_refused(kernel: FakeKernel, tmp_path: Path) -> None:
    path = tmp_path / "node1.rec"
    _written(kernel, path)
    head, steps = read_recording(path)
    first = next(iter(steps))
    wrong = Step(first.at_ns, NodeDelta(gone=tuple(Replay(head, ()).state().netns)))
    replay = Replay(head, [wrong, first])
    with pytest.raises(RecordingError, match="contradicts itself"):
        asyncio.run(replay.run(1e9))


def test_a_collector_at_run_keeps_its_server_up_to_date(kernel: FakeKernel, tmp_path: Path) -> None:
    with Served() as server:
        argv = ["run", *where(kernel), "--server", server.url, "--token-file", str(write_token(tmp_path))]

        def act() -> None:
            wait_for(lambda: server.state is not None)
            kernel.advance()
            wait_for(lambda: server.state is not None and len(_routes(server.state, "web-1")) == 15)
            wait_for(lambda: server.state is not None and _bodies(server.state) <= server.bodies.keys())

        assert main_until(argv, kernel, act) == 0


def _bodies(state: NodeState) -> set[bytes]:
    """What a node's chains refer to."""
    return {c.body for ns in state.netns.values() for c in ns.nft_chains.values() if c.body}


def test_a_collector_whose_namespace_cannot_be_entered_ends_with_status_1(
    kernel: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.forbid_entering()
    argv = [
        "run",
        *where(kernel),
        "--server",
        "http://127.0.0.1:1",
        "--token-file",
        str(write_token(tmp_path)),
    ]
    assert main(argv, kernel) == 1
    assert "CAP_SYS_ADMIN" in capsys.readouterr().err


BAD = {
    "no command": ([], "required: command"),
    "no such namespace": (
        ["snapshot", "--node", "a", "--root-netns", "/nowhere", "--out", "x"],
        "no such file",
    ),
    "no namespace": (["snapshot", "--node", "a", "--root-netns", "/etc/hosts", "--out", "x"], "no namespace"),
    "a bad node name": (["snapshot", "--node", "a b", "--out", "x"], "use letters, digits"),
    "no such directory": (
        ["snapshot", "--node", "a", "--netns-dir", "/nowhere", "--out", "x"],
        "no such directory",
    ),
    "no proc": (["snapshot", "--node", "a", "--proc", "/etc", "--out", "x"], "no proc file system"),
    "nowhere to write": (["snapshot", "--node", "a", "--out", "/nowhere/x"], "cannot write"),
    "no file to write": (["snapshot", "--node", "a", "--out", "/dev/null"], "not a regular file"),
    "no pods file": (["snapshot", "--node", "a", "--pods-file", "/nowhere", "--out", "x"], "no such file"),
    "no token": (
        ["run", "--node", "a", "--server", "http://localhost", "--token-file", "/nowhere"],
        "no such file",
    ),
    "a token for all to read": (
        ["run", "--node", "a", "--server", "http://localhost", "--token-file", "/etc/hosts"],
        "open to others",
    ),
    "a bad URL": (
        ["run", "--node", "a", "--server", "nonsense", "--token-file", "/etc/hosts"],
        "not a server's URL",
    ),
    "a server afar without TLS": (
        ["run", "--node", "a", "--server", "http://far.example", "--token-file", "/etc/hosts"],
        "unencrypted",
    ),
    "no recording": (
        ["replay", "/nowhere", "--server", "http://localhost", "--token-file", "/etc/hosts"],
        "No such file",
    ),
    "a speed of nothing": (
        ["replay", "/nowhere", "--speed", "0", "--server", "http://localhost", "--token-file", "/etc/hosts"],
        "must be above 0",
    ),
}


@pytest.mark.parametrize(("argv", "why"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(
    argv: list[str],
    why: str,
    kernel: FakeKernel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv, kernel) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
    assert [path.name for path in tmp_path.iterdir()] == ["kernel"]


def test_a_recording_of_another_node_is_refused(
    kernel: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "node1.rec"
    _written(kernel, path)
    argv = ["replay", str(path), "--node", "node2", "--server", "http://127.0.0.1:1"]
    assert main([*argv, "--token-file", str(write_token(tmp_path))], kernel) == 2
    assert "a recording of node 'node1', not 'node2'" in capsys.readouterr().err


def test_the_module_is_a_program(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "agents", "snapshot", "--node", "a b", "--out", str(tmp_path / "x.nvz")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []
