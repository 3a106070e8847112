"""Probes observed on the kernel, by `python -m agents observe` and the machinery behind it; nothing is left behind."""

from __future__ import annotations

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

from agents.__main__ import main
from agents.observers import session, tracefs
from agents.observers.packets import PacketSockets
from agents.observers.tracefs import PREFIX, TraceInstance, _mounted, remove_remains
from tests.core.observe.test_recorded import EXPECTED, visible
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


@pytest.mark.parametrize("name", CASES)
def test_predicted_and_observed_agree(node: Node, name: str, instances: Path) -> None:
    """The same steps as recorded are seen, nothing contradicts them, and the instance is gone."""
    observed = run_case(node, CASES[name])
    if any(observed.evidence.lost.values()):
        pytest.fail(f"the machine is too busy to observe: {observed.evidence.lost}")
    assert observed.observation.taken == (0,), session_text(observed)
    assert (visible(observed.observation), visible(observed.observation, reply=True)) == EXPECTED[name]
    assert of_this_process(instances) == []


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
    assert main([*argv, "--json", "--count", "2"]) == 0
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        steps = [step for hop in found["branches"][0]["forward"]["hops"] for step in hop["steps"]]
        crossed = [step for step in steps if step["kind"] in ("link_tx", "link_rx")]
        assert [step["observed"]["status"] for step in crossed] == ["agree"] * 4
        assert found["observation"]["taken"] == [0]
        assert found["observation"]["told"] == "answer"


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
    assert visible(observed.observation) == ["eth0 agree", "veth1 agree", "veth2 agree", "eth0 agree"]
    assert observed.observation.taken == (0,)
    assert any("drops and their reasons can't be seen" in sentence for sentence in observed.cannot)


def test_everything_is_removed_on_failure(
    node: Node, instances: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the middle closes the sockets and the instance."""
    closed: list[PacketSockets] = []

    def fails(*_: object) -> None:
        raise RuntimeError("planted")

    close = PacketSockets.close
    monkeypatch.setattr(PacketSockets, "close", lambda self: (closed.append(self), close(self)))
    monkeypatch.setattr(session, "Probe", fails)
    with pytest.raises(RuntimeError, match="planted"):
        run_case(node, CASES["delivered"])
    assert len(closed) == 1
    assert of_this_process(instances) == []


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
