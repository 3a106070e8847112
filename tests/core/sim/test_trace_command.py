"""`./manage.py trace` as a user runs it: files in, a trace or one clear line out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netviz.core.wire.nvz import dump_nvz
from tests.core.sim.build import textbook

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The textbook cluster's two nodes as state files."""
    cluster = textbook()[0].cluster()
    made = []
    for name, node in cluster.nodes.items():
        path = tmp_path / f"{name}.nvz"
        path.write_bytes(dump_nvz(node, (), 1_000_000.0))
        made.append(str(path))
    return made


def run(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command with a database that cannot be reached."""
    env = {
        **os.environ,
        "NETVIZ_DATABASE_URL": "sqlite:////nonexistent/db.sqlite3",
        "NETVIZ_VAR_DIR": str(tmp_path / "var"),
    }
    argv = [sys.executable, "manage.py", "trace", *args]
    return subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=env, check=False)


def states(files: list[str]) -> list[str]:
    return [word for path in files for word in ("--state", path)]


def test_nothing_has_to_be_written(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "var").touch()  # in the place of a folder, which root could write in any case
    done = run(tmp_path, *states(files), "--from", "pod-1-1", "--to", "pod-2-1", "--dport", "80", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    bad = run(tmp_path, "--state", "none.nvz", "--from", "a", "--to", "b")
    assert (bad.returncode, len(bad.stderr.splitlines())) == (2, 1)


def test_files_are_of_their_moment_and_get_no_older(tmp_path: Path, files: list[str]) -> None:
    ends = ("--from", "pod-1-1", "--to", "pod-2-1", "--dport", "80")
    shown = json.loads(run(tmp_path, *states(files), *ends, "--json").stdout)
    assert (shown["certainty"], shown["assumed"]) == ("certain", [])
    assert [entry["at"] for entry in shown["state"]] == ["1970-01-12T13:46:40+00:00"] * 2
    text = run(tmp_path, *states(files), *ends).stdout
    assert text.endswith("\nState of node-1 at 1970-01-12 13:46 UTC, node-2 at 1970-01-12 13:46 UTC.\n")


def test_json_and_text(tmp_path: Path, files: list[str]) -> None:
    done = run(tmp_path, *states(files), "--from", "pod-1-1", "--to", "pod-2-1", "--dport", "80", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert shown["disposition"] == "DELIVERED"
    assert [(s["node"], s["complete"]) for s in shown["state"]] == [("node-1", True), ("node-2", True)]
    text = run(tmp_path, *states(files), "--from", "default/pod-1-1", "--to", "10.1.2.11", "--proto", "icmp")
    assert text.returncode == 0
    assert "DELIVERED (certain)" in text.stdout


def test_whatever_the_disposition_the_status_is_0(tmp_path: Path, files: list[str]) -> None:
    done = run(tmp_path, *states(files[:1]), "--from", "pod-1-1", "--to", "10.1.1.99", "--json")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (0, "NEIGH_FAILED")


def damage(files: list[str], how: str) -> None:
    path = Path(files[0])
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        made = {
            "empty": b"",
            "foreign": b"PK\x03\x04",
            "truncated": data[:-9],
            "flipped": data[:40] + b"\0\0" + data[42:],
        }
        path.write_bytes(made[how])


@pytest.mark.parametrize("how", ["missing", "empty", "foreign", "truncated", "flipped"])
def test_a_broken_file_is_one_line_and_status_2(tmp_path: Path, files: list[str], how: str) -> None:
    damage(files, how)
    done = run(tmp_path, *states(files), "--from", "pod-1-1", "--to", "pod-2-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert files[0] in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--to", "pod-2-1"],
        ["--from", "nobody", "--to", "pod-2-1"],
        ["--from", "pod-1-1", "--to", "pod-2-1", "--dport", "x"],
        ["--from", "pod-1-1", "--to", "pod-2-1", "--dport", "99999"],
        ["--from", "pod-1-1", "--to", "pod-2-1", "--proto", "sctp"],
        ["--from", "pod-1-1", "--to", "pod-2-1", "--len", "3"],
        ["--from", "pod-1-1", "--to", "pod-2-1", "--nonsense"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_one_line_and_status_2(tmp_path: Path, files: list[str], args: list[str]) -> None:
    done = run(tmp_path, *states(files), *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_the_same_node_twice_is_refused(tmp_path: Path, files: list[str]) -> None:
    done = run(tmp_path, *states([files[0], files[0]]), "--from", "pod-1-1", "--to", "pod-2-1")
    assert done.returncode == 2
    assert "two files hold the state of node 'node-1'" in done.stderr
