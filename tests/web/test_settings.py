"""Settings that a library's defaults would spoil."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from lab.stack import ROOT
from netviz.problems.checks import make_judge
from tests.core.check.paths.clusters import flannel


def test_the_redis_layer_waits_longer_for_an_answer_than_it_asks_redis_to_wait(tmp_path: Path) -> None:
    """Else a socket that is quiet for as long ends with a time-out, now and then."""
    code = (
        "import django; django.setup();"
        "from channels.layers import get_channel_layer; layer = get_channel_layer();"
        "assert all(host['socket_timeout'] > layer.brpop_timeout for host in layer.hosts), layer.hosts"
    )
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "netviz.settings",
        "NETVIZ_REDIS_URL": "redis://127.0.0.1:1/0",
        "NETVIZ_VAR_DIR": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def serve(**env: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is to refuse."""
    command = [sys.executable, "manage.py", "serve", "--port", "0"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
    )


def test_a_server_with_redis_but_a_secret_of_its_own_does_not_start(tmp_path: Path) -> None:
    done = serve(NETVIZ_REDIS_URL="redis://127.0.0.1:1/0", NETVIZ_VAR_DIR=str(tmp_path), NETVIZ_SECRET_KEY="")
    assert done.returncode == 1
    assert "set NETVIZ_SECRET_KEY too" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_cannot_write_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = serve(NETVIZ_VAR_DIR=str(tmp_path / "file" / "var"), NETVIZ_SECRET_KEY="")
    assert done.returncode == 1
    assert "cannot use NETVIZ_VAR_DIR" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_whether_the_cluster_masquerades_is_a_setting_that_the_checks_take(
    settings: Any, tmp_path: Path
) -> None:
    net, made = flannel(2, 1)
    for n in (1, 2):
        chains = made[f"node-{n}"].lists["nft_chains"]
        chains[:] = [chain for chain in chains if chain.table != "nat"]
    told = {}
    for setting in ({}, {4: True}):
        settings.MASQUERADE = setting
        judge = make_judge(Random(1))
        judge.judge(net.cluster(), {})
        while judge.work():
            pass
        told[len(setting)] = [one for one in judge.report().problems if one.kind == "not-masqueraded"]
    assert (len(told[0]), len(told[1])) == (0, 2)

    code = "import django; django.setup(); from django.conf import settings; print(settings.MASQUERADE)"
    for text, printed in (
        ("ipv4=yes, ipv6=no", "{4: True, 16: False}"),
        ("", "{}"),
        ("ipv4", "ipv4=yes or no"),
    ):
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "netviz.settings", "NETVIZ_MASQUERADE": text}
        env["NETVIZ_VAR_DIR"] = str(tmp_path)
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
        assert printed in done.stdout + done.stderr
