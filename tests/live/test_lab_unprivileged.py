"""The whole lab works for an ordinary user, inside a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

import lab

pytestmark = pytest.mark.live
ROOT = Path(lab.__file__).resolve().parent.parent
NAMESPACES = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"]
NOBODY = 65534

# Builds a cluster, probes it, breaks it, kills a node and takes it down.
SCRIPT = """
import os
from lab import paths
from lab.cluster import Cluster, ClusterSpec
from lab.faults import apply_fault, mend
from lab.reality import send
assert int(open("/proc/self/uid_map").read().split()[1]) != 0
with Cluster.up(ClusterSpec("nv-u", nodes=2, pods=2)) as cluster:
    assert cluster.directory.parent == paths.base_dir()
    assert send(cluster, "web-1", "web-2", "tcp").seen_source == "10.244.1.2"
    assert send(cluster, "web-1", "internet", "udp").seen_source == "172.30.0.11"
    assert send(cluster, "web-1", "internet", "icmp", family=6).seen_source == "fd30::b"
    apply_fault(cluster, "reverse-path")
    assert send(cluster, "web-1", "web-2", "tcp").result == "lost"
    apply_fault(cluster, "masquerade-between-pods")
    assert send(cluster, "web-1", "web-2", "tcp").seen_source == "172.30.0.11"
    mend(cluster)
    cluster.kill_node("node2")
    cluster.restart_node("node2")
    assert send(cluster, "web-1", "web-2", "tcp").result == "delivered"
assert os.listdir(paths.base_dir()) == [".lock"]
print("done")
"""


@contextmanager
def as_ordinary_user(folder: Path, namespaces: list[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Give a command line and environment that run Python with the lab as an ordinary user, in `namespaces`.

    When root, that user is `nobody`, for whom interpreter and code are bound to a place it may read,
    in a mount namespace of its own.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    if os.geteuid() != 0:
        yield [*namespaces, sys.executable], {**environment, "NETVIZ_LAB_DIR": str(folder)}
        return
    stage = Path(f"/tmp/nv-{os.getpid()}")
    sources = {"python": sys.base_prefix, "site": Path(msgspec.__file__).parent.parent, "code": ROOT}
    try:
        for name in (*sources, "base"):
            (stage / name).mkdir(parents=True)
        os.chown(stage / "base", NOBODY, NOBODY)
        environment |= {
            "PYTHONPATH": f"{stage}/code:{stage}/site",
            "LD_LIBRARY_PATH": f"{stage}/python/lib",
            "NETVIZ_LAB_DIR": f"{stage}/base",
        }
        binds = "".join(f"mount --bind {path} {stage}/{name}; " for name, path in sources.items())
        become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        python = f"{stage}/python/bin/{Path(sys.executable).resolve().name}"
        outer = ["unshare", "--mount", "sh", "-e", "-c", f'{binds} exec "$@"', "sh"]
        yield [*outer, *become, *namespaces, python], environment
    finally:
        shutil.rmtree(stage)


def test_an_ordinary_user_builds_breaks_and_removes_a_cluster(tmp_path: Path) -> None:
    with as_ordinary_user(tmp_path / "base", NAMESPACES) as (command, environment):
        done = subprocess.run(
            [*command, "-c", SCRIPT],
            cwd="/" if os.geteuid() == 0 else ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.stdout == "done\n", done.stderr


def test_without_privileges_one_line_says_what_is_needed(tmp_path: Path) -> None:
    with as_ordinary_user(tmp_path / "base", []) as (command, environment):
        done = subprocess.run(
            [*command, "-m", "lab", "up"],
            cwd="/" if os.geteuid() == 0 else ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 1
    assert "the lab needs root, or a user namespace" in done.stderr
    assert done.stderr.count("\n") == 1
