"""`make demo`, as a newcomer runs it: one line when it is ready, a working page behind it, nothing left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.cluster import DNS_PODS
from lab.stack import ROOT, free_port, wait_until
from tests.live.lab_remains import mentioning

pytestmark = pytest.mark.live
# Root, but as little able to make namespaces as an ordinary user.
POWERLESS = ("setpriv", "--bounding-set=-sys_admin,-net_admin")
READY = re.compile(r"READY (?P<url>http://127\.0\.0\.1:\d+) user=(\S+) password=(\S+) token=(?P<token>\S+)")


@contextmanager
def demo(
    folder: Path, *arguments: str, under: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The demo, ready, with labs and temporary files in a folder of its own; interrupted afterwards."""
    (folder / "tmp").mkdir(exist_ok=True)
    env = {**os.environ, "NETVIZ_LAB_DIR": str(folder / "labs"), "TMPDIR": str(folder / "tmp")}
    argv = [*under, sys.executable, "-m", "lab.demo", "--port", str(free_port()), *arguments]
    with (
        (folder / "err").open("w+") as err,
        subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=err, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            found = READY.match(process.stdout.readline())
            assert found, (folder / "err").read_text()
            yield process, found.groupdict()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(300)


def get(access: dict[str, str], path: str, body: dict[str, object] | None = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        access["url"] + path, data, {"Authorization": f"Bearer {access['token']}"}
    )
    if data is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=300) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def trace(access: dict[str, str], source: str, target: str, port: int = 8080) -> str:
    """The disposition of a traced packet."""
    started = get(access, "/api/traces", {"from": source, "to": target, "proto": "tcp", "dport": port})
    run = wait_until(
        lambda: (r := get(access, f"/api/traces/{started['id']}"))["status"] in ("done", "failed") and r,
        300,
        "the trace",
    )
    return str(run["trace"]["disposition"])


def pods(access: dict[str, str]) -> int:
    graph = get(access, "/api/topology")
    namespaces = graph["netns"]
    assert isinstance(namespaces, list)
    return sum(ns["pod"] is not None for ns in namespaces)


def active(said: dict[str, object]) -> list[str]:
    """The ids of the faults in effect, by what the lab says on the page."""
    faults = said["active"]
    assert isinstance(faults, list)
    return [one["id"] for one in faults]


def left_behind(folder: Path) -> list[str]:
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    files = [str(path) for path in (folder / "tmp").iterdir()]
    labs = folder / "labs"
    return mounts + files + ([str(p) for p in labs.iterdir() if p.name != ".lock"] if labs.exists() else [])


def test_a_live_demo_is_ready_traces_and_leaves_nothing(tmp_path: Path) -> None:
    """With two services and the DNS service; a collector that is killed doesn't end it."""
    with demo(tmp_path, "--nodes", "2", "--pods", "2") as (process, access):
        assert pods(access) == 4 + DNS_PODS
        assert trace(access, "default/web-1", "default/web-2") == "DELIVERED"
        assert trace(access, "default/web-1", "10.96.1.0", 80) == "DELIVERED"
        lose_a_collector(process, access, tmp_path)
        # What is left broken goes with the cluster.
        assert active(get(access, "/api/lab/faults", {"break": "forwarding-off"})) == ["forwarding-off:node1"]
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


def lose_a_collector(process: subprocess.Popen[str], access: dict[str, str], folder: Path) -> None:
    """Kill a collector: the demo says so, and goes on."""
    (collector,) = [pid for pid in mentioning("--node\0node2\0") if access["url"] in command_of(pid)]
    os.kill(collector, signal.SIGKILL)
    wait_until(lambda: "the collector of node2 ended" in (folder / "err").read_text(), 300, "its notice")
    assert process.poll() is None
    assert trace(access, "default/web-1", "default/web-2") == "DELIVERED"


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def test_the_demo_of_another_kind(tmp_path: Path) -> None:
    arguments = ("--kind", "routed", "--nodes", "2", "--pods", "1", "--services", "0")
    with demo(tmp_path, *arguments) as (process, access):
        assert pods(access) == 2
        assert trace(access, "default/web-1", "default/web-2") == "DELIVERED"
        lose_a_collector(process, access, tmp_path)
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


def test_without_the_right_to_make_namespaces_it_runs_inside_a_user_namespace(tmp_path: Path) -> None:
    """The page is at the host's own loopback all the same, and the lab is reached from another terminal
    as it stands in the README."""
    with demo(tmp_path, "--nodes", "2", "--pods", "1", under=POWERLESS) as (process, access):
        assert pods(access) == 2 + DNS_PODS
        assert trace(access, "default/web-1", "default/web-2") == "DELIVERED"
        assert "recorded" not in (tmp_path / "err").read_text()
        assert run_lab(tmp_path, "exec", "web-1", "--", "ip", "-br", "addr").count("10.244.1.2/24") == 1
        assert "sleep infinity" in run_lab(tmp_path, "exec", "node1", "--", "ps", "ax")
        said = run_lab(tmp_path, "break", "route-missing")
        assert "node1 has no route to node2's pods" in said
        wait_until(
            lambda: trace(access, "default/web-1", "default/web-2") == "LEFT_NETWORK", 20, "the missing route"
        )
        # What the command line broke, the page mends.
        assert active(get(access, "/api/lab/faults")) == ["route-missing:node1:node2"]
        assert active(get(access, "/api/lab/faults", {"mend": "route-missing:node1:node2"})) == []
        run_lab(tmp_path, "add-pod", "node2", "shop-1")
        wait_until(lambda: pods(access) == 3 + DNS_PODS, 300, "the new pod")
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


def answers(access: dict[str, str]) -> bool:
    try:
        urllib.request.urlopen(access["url"] + "/healthz", timeout=300).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def run_lab(folder: Path, *arguments: str) -> str:
    """What `python -m lab` says to the user who runs the demo in `folder`."""
    env = {**os.environ, "NETVIZ_LAB_DIR": str(folder / "labs")}
    argv = [*POWERLESS, sys.executable, "-m", "lab", *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("under", [(), pytest.param(POWERLESS, marks=pytest.mark.slow)], ids=["root", "user"])
def test_after_a_killed_demo_the_next_one_starts_and_nothing_is_left(
    tmp_path: Path, under: tuple[str, ...]
) -> None:
    with demo(tmp_path, "--nodes", "1", "--pods", "1", under=under) as (process, access):
        process.kill()
        process.wait()
        wait_until(lambda: not answers(access), 300, "the end of the killed demo's server")
    with demo(tmp_path, "--nodes", "1", "--pods", "2", under=under) as (process, access):
        assert pods(access) == 3
    assert process.returncode == 0
    assert left_behind(tmp_path) == []


def test_where_no_lab_can_run_a_recorded_one_is_replayed(tmp_path: Path) -> None:
    """A second one on its port says in one line that the port is in use."""
    with demo(tmp_path, "--replay") as (process, access):
        wait_until(lambda: pods(access) == 15, 300, "the recording's pods")
        assert trace(access, "default/web-1", "default/web-2") == "DELIVERED"
        assert "recorded" in (tmp_path / "err").read_text()
        port = access["url"].rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "-m", "lab.demo", "--replay", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert second.returncode == 2
        assert len(second.stderr.splitlines()) == 1
        assert "PORT=" in second.stderr
    assert process.returncode == 0
    assert left_behind(tmp_path) == []
