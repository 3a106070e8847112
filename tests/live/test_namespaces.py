"""Looking for namespaces while they come and go."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agents.collectors.netns import Namespaces, open_unpinned
from agents.enter import NetnsThread
from tests.live.node_rig import Node, small_node

pytestmark = pytest.mark.live


@pytest.fixture
def node() -> Iterator[Node]:
    with small_node() as made:
        yield made


@contextmanager
def mounted(source: str, target: str) -> Iterator[None]:
    """Bind a file to a path that isn't there yet."""
    with open(target, "x"):
        subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)
        os.unlink(target)


@pytest.fixture
def namespaces(node: Node) -> Iterator[Namespaces]:
    thread = NetnsThread()
    found = Namespaces(node.options(), thread)
    yield found
    found.close()
    thread.close()


def test_a_mount_undone_between_look_and_take_does_not_hide_its_namespace_for_good(
    node: Node, namespaces: Namespaces
) -> None:
    netns = node.add_netns("p1")
    mount = str(node.directory / "p1")
    seen = namespaces.look()
    assert len(seen) == 1
    subprocess.run(["umount", mount], check=True)
    assert namespaces.take(seen).added == []
    subprocess.run(["mount", "--bind", f"/run/netns/{netns}", mount], check=True)
    added = namespaces.take(namespaces.look()).added
    assert [(ns.key.dev, ns.key.ino) for ns in added] == list(seen)


def test_another_kind_of_namespace_is_asked_what_it_is_once_while_it_is_there(
    node: Node, namespaces: Namespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_counted(path: str, thread: NetnsThread) -> int:
        opened.append(path)
        return open_unpinned(path, thread)

    monkeypatch.setattr("agents.collectors.netns.open_unpinned", open_counted)
    other = str(node.directory / "uts")
    for _ in range(2):  # its inode number may be a network namespace's when it is seen again
        with mounted("/proc/self/ns/uts", other):
            for name in ("p1", "p2"):
                node.add_netns(name)
                assert [ns.name for ns in namespaces.take(namespaces.look()).added] == [name]
        for name in ("p1", "p2"):
            node.drop_netns(name)
        assert len(namespaces.take(namespaces.look()).gone) == 2
    assert opened.count(other) == 2
