"""A namespace that comes before its pod is told: its source is asked often until it is, and no longer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.collectors import pods
from agents.collectors.pods import PodClaim, Pods
from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Pod, Resolv


class Source:
    """A runtime that knows a pod from a moment on, and counts how often it is asked."""

    kind = "cri"
    poll_s = 60.0
    trouble = ""

    def __init__(self, watched: bool = False) -> None:
        self.asked = 0
        self.claims: list[PodClaim] = []
        self._watched = watched

    def changed(self) -> bool:
        return True

    def watch(self, on_change: Callable[[], None]) -> bool:
        return self._watched

    def read(self) -> list[PodClaim]:
        self.asked += 1
        return list(self.claims)

    def close(self) -> None:
        """Nothing is open."""


class Host:
    """What the collector needs of a runner."""

    proc = None

    def __init__(self) -> None:
        self.handles: list[Any] = []
        self.named: dict[NetnsKey, Pod | None] = {}

    def namespaces(self) -> list[Any]:
        return self.handles

    def set_pod(self, key: NetnsKey, pod: Pod | None) -> None:
        self.named[key] = pod

    def set_trouble(self, name: str, text: str) -> None:
        """No trouble."""


@asynccontextmanager
async def collecting(source: Source) -> AsyncIterator[tuple[Pods, Host]]:
    host, collector = Host(), Pods([source])
    await collector.start(host)  # type: ignore[arg-type]
    try:
        yield collector, host
    finally:
        await collector.stop()


def handle(path: Path, *, root: bool = False) -> Any:
    """A namespace whose file is this."""
    path.touch()
    stat = os.stat(path)
    return SimpleNamespace(key=NetnsKey("n1", stat.st_dev, stat.st_ino), root=root, fd=3)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_runtime_is_asked_until_it_names_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "NEW_POLL_S", 0.01)
    source = Source()
    async with collecting(source) as (collector, host):
        assert source.asked == 1
        ns = handle(tmp_path / "cni-1")
        host.handles.append(ns)
        collector.attach(ns)
        await until(lambda: source.asked > 4)
        assert host.named.get(ns.key) is None
        source.claims = [PodClaim(Pod("web-1", "shop"), str(tmp_path / "cni-1"))]
        await until(lambda: host.named.get(ns.key) is not None)
        asked = source.asked
        await asyncio.sleep(0.2)
        assert source.asked <= asked + 1, "what is claimed is asked for no more"


async def test_what_is_no_pods_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("NEW_POLL_S", 0.01),
        ("NEW_FOR_S", 0.05),
        ("LATE_POLL_S", 0.02),
        ("LATE_FOR_S", 0.15),
    ):
        monkeypatch.setattr(pods, name, value)
    source = Source()
    async with collecting(source) as (collector, host):
        ns = handle(tmp_path / "other")
        host.handles.append(ns)
        collector.attach(ns)
        await until(lambda: source.asked > 3)
        await asyncio.sleep(0.4)
        asked = source.asked
        await asyncio.sleep(0.3)
        assert source.asked == asked
        collector.attach(ns)
        collector.detach(ns)
        await asyncio.sleep(0.3)
        assert source.asked <= asked + 1


async def test_a_source_that_tells_by_itself_is_left_alone(tmp_path: Path) -> None:
    source = Source(watched=True)
    async with collecting(source) as (collector, _):
        collector.attach(handle(tmp_path / "a"))
        collector.attach(handle(tmp_path / "node", root=True))
        await asyncio.sleep(0.3)
        assert source.asked == 1


async def test_whom_a_pod_asks_for_names_comes_with_it(tmp_path: Path) -> None:
    source, ns, said = Source(), handle(tmp_path / "cni-1"), tmp_path / "resolv.conf"
    claim = PodClaim(Pod("web-1", "shop"), str(tmp_path / "cni-1"), str(said))
    source.claims = [claim]
    async with collecting(source) as (collector, _):
        assert collector.collect(ns, ()).pod == claim.pod, "there is no such file yet"
    said.write_text("nameserver 10.96.0.10\n")
    async with collecting(source) as (collector, _):
        pod = collector.collect(ns, ()).pod
        assert pod == msgspec.structs.replace(claim.pod, resolv=Resolv((pack_ip("10.96.0.10"),)))
