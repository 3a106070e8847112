"""A new server's first command, whichever it is, makes the database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.stack import ROOT
from tests.slow import first_quick


def manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with an empty folder for its data."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("NETVIZ_")}
    argv = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        argv, cwd=ROOT, env={**env, "NETVIZ_VAR_DIR": str(folder)}, capture_output=True, text=True
    )


def test_provision_may_come_first_and_prints_json_alone(tmp_path: Path) -> None:
    done = manage(tmp_path, "provision", "--user", "ada", "--role", "viewer")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["user"] == "ada"
    again = manage(tmp_path, "provision", "--user", "ada")
    assert again.returncode == 1
    assert "there is a user 'ada' already" in again.stderr
    assert "Traceback" not in again.stderr


def test_enrol_may_come_first_and_prints_the_token_alone(tmp_path: Path) -> None:
    done = manage(tmp_path, "enrol", "n1", "--approve")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    first_quick(
        [
            (("revoke", "n1"), 1, "no node is called 'n1'"),
            (("rewind", "n1", "--out", "x.nvz"), 1, "the journal has no state of node 'n1'"),
            (("clean_traces",), 0, "0 hanging traces ended"),
            (("token", "list"), 0, ""),
            (("audit",), 0, ""),
        ],
        quick=2,
    ),
)
def test_so_may_every_other_command(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = manage(tmp_path, *arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
