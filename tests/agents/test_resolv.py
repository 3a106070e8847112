"""A pod's resolv.conf: what is kept of it, and where it is read and where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.collectors.resolv import MAX_BYTES, MAX_SEARCH, parse_resolv, read_file, read_seen
from netviz.core.model.addr import pack_ip
from netviz.core.model.netns import Resolv

KUBELETS = """search shop.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
options ndots:5
"""
SAID = Resolv(
    (pack_ip("10.96.0.10"),),
    ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"),
    ("ndots:5",),
)


def test_what_a_kubelet_writes_is_read() -> None:
    assert parse_resolv(KUBELETS) == SAID


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", Resolv()),
        ("# nameserver 10.0.0.1\n;nameserver 10.0.0.2\nsortlist 10.0.0.0\n", Resolv()),
        ("nameserver nobody\nnameserver\nnameserver fe80::1%eth0\n", Resolv((pack_ip("fe80::1"),))),
        ("domain one.example\nsearch two.example\n", Resolv(search=("two.example",))),
        ("options ndots:5\noptions edns0 trust-ad\n", Resolv(options=("ndots:5", "edns0", "trust-ad"))),
        (
            "".join(f"nameserver 10.0.0.{n}\n" for n in range(9)),
            Resolv(tuple(pack_ip(f"10.0.0.{n}") for n in range(3))),
        ),
        (f"search {'x' * 300} fits\n", Resolv(search=("fits",))),
    ],
)
def test_what_is_kept_of_a_file(text: str, said: Resolv) -> None:
    assert parse_resolv(text) == said


def test_a_file_is_kept_in_bounds() -> None:
    long = parse_resolv("search " + " ".join(f"d{n}" for n in range(10_000)))
    assert len(long.search) == MAX_SEARCH


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc where 7 is a pod's process and 1 the node's."""
    for pid, space in (("1", "mnt:[1]"), ("7", "mnt:[2]")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        os.symlink(space, tmp_path / pid / "ns/mnt")
        (tmp_path / pid / "root/etc").mkdir(parents=True)
    (tmp_path / "7/root/etc/resolv.conf").write_text(KUBELETS)
    return tmp_path


def test_a_pods_own_file_is_read(proc: Path) -> None:
    assert read_seen(str(proc), 7) == SAID


def test_the_nodes_file_is_nobodys_own(proc: Path) -> None:
    """A process that shares the node's files says nothing of its pod."""
    (proc / "7/ns/mnt").unlink()
    os.symlink("mnt:[1]", proc / "7/ns/mnt")
    assert read_seen(str(proc), 7) is None


def test_no_link_of_a_pods_is_followed(proc: Path, tmp_path: Path) -> None:
    """An absolute link would lead to the collector's own files."""
    secret = tmp_path / "secret"
    secret.write_text("nameserver 10.0.0.1\n")
    own = proc / "7/root/etc/resolv.conf"
    own.unlink()
    own.symlink_to(secret)
    assert read_seen(str(proc), 7) is None
    own.unlink()
    (proc / "7/root/etc").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/resolv.conf").write_text(KUBELETS)
    (proc / "7/root/etc").symlink_to(tmp_path / "elsewhere")
    assert read_seen(str(proc), 7) is None


def test_what_is_no_file_keeps_nobody_waiting(proc: Path) -> None:
    own = proc / "7/root/etc/resolv.conf"
    own.unlink()
    os.mkfifo(own)
    assert read_seen(str(proc), 7) is None
    assert read_seen(str(proc), 8) is None


def test_a_named_file_is_read_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("#" * MAX_BYTES + "\n" + KUBELETS)
    assert read_file([str(tmp_path / "none"), str(path)]) == Resolv()
    path.write_text(KUBELETS)
    assert read_file([str(tmp_path / "none"), str(path)]) == SAID
    assert read_file([str(tmp_path / "none")]) is None
