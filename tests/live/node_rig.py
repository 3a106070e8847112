"""A small node of our own in namespaces, and a collector that runs on it inside the test."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from agents.collectors.base import Collector
from agents.collectors.netns import NetnsOptions
from agents.collectors.rtnl import Rtnl
from agents.runner import Runner
from agents.snapshot import Snapshotter
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.node import SECTIONS, NetnsState, NodeState

_numbers = count(1)


def ip(*argv: str) -> None:
    done = subprocess.run(["ip", *argv], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(argv)}: {done.stderr}"


def ip_batch(netns: str, text: str) -> None:
    """Run many `ip` commands in a namespace at once."""
    argv = ["ip", "-n", netns, "-batch", "-"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Node:
    """A root namespace with a bridge, and pods joined to it by veth; bind mounts in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.base = f"nv-ag{os.getpid()}-{next(_numbers)}"
        self.directory = directory / "netns"
        self.directory.mkdir()
        self._made: list[str] = []
        self.root = self.add_netns("root", mounted=False)
        ip_batch(
            self.root,
            "link set lo up\nlink add br0 type bridge\nlink set br0 up\naddr add 10.244.0.1/16 dev br0\n",
        )

    def options(self) -> NetnsOptions:
        return NetnsOptions(self.base, f"/run/netns/{self.root}", (str(self.directory),), None)

    def add_netns(self, name: str, *, mounted: bool = True) -> str:
        netns = f"{self.base}-{name}"
        ip("netns", "add", netns)
        self._made.append(netns)
        if mounted:
            target = self.directory / name
            target.touch()
            subprocess.run(["mount", "--bind", f"/run/netns/{netns}", str(target)], check=True)
        return netns

    def drop_netns(self, name: str) -> None:
        self.unmount(name)
        netns = f"{self.base}-{name}"
        ip("netns", "del", netns)
        self._made.remove(netns)

    def unmount(self, name: str) -> None:
        target = self.directory / name
        subprocess.run(["umount", str(target)], check=True)
        target.unlink()

    def add_pod(self, number: int) -> str:
        name = f"p{number}"
        netns = self.add_netns(name)
        addr = f"10.244.{number // 250}.{number % 250 + 2}"
        ip_batch(
            self.root,
            f"link add veth{number} type veth peer name eth0 netns {netns}\n"
            f"link set veth{number} master br0 up\n",
        )
        ip_batch(
            netns,
            f"link set lo up\naddr add {addr}/16 dev eth0\nlink set eth0 up\nroute add default via 10.244.0.1\n",
        )
        return netns

    def close(self) -> None:
        for target in self.directory.iterdir():
            subprocess.run(["umount", str(target)], check=True)
        for netns in self._made:
            ip("netns", "del", netns)


@contextmanager
def small_node() -> Iterator[Node]:
    """Make a node; remove it whatever happens."""
    with tempfile.TemporaryDirectory(prefix="nv-agents-") as folder:
        node = Node(Path(folder))
        try:
            yield node
        finally:
            node.close()


class Follower:
    """A sink that folds what it is told, as a server would."""

    def __init__(self) -> None:
        self.state: NodeState | None = None
        self.deltas: list[NodeDelta] = []

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        assert not delta.empty
        self.deltas.append(delta)
        if self.state is not None:
            self.state = apply(self.state, delta)


@asynccontextmanager
async def running(
    options: NetnsOptions, collectors: Sequence[Collector] | None = None, **more: Any
) -> AsyncIterator[tuple[Runner, Follower]]:
    """Run a collector until the block ends. The follower starts from the first whole snapshot."""
    follower = Follower()
    runner = Runner(options, [Rtnl()] if collectors is None else collectors, sink=follower, **more)
    task = asyncio.create_task(runner.run())
    ready = asyncio.create_task(runner.ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        follower.state = runner.state()
        yield runner, follower
    finally:
        ready.cancel()
        task.cancel()
        await asyncio.gather(task, ready, return_exceptions=True)


async def until(condition: Callable[[], Any], timeout_s: float = 300) -> Any:
    """Wait until the condition holds and return its value."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "the condition did not come about in time"
        await asyncio.sleep(0.005)
    return value


async def fresh(options: NetnsOptions, collectors: Sequence[Collector] | None = None) -> NodeState:
    """Read the node's state anew."""
    ledger = Snapshotter(options, [Rtnl()] if collectors is None else collectors).run()
    return ledger.state


COUNTED = ("counters", "rule_counters")


def _plain(ns: NetnsState) -> dict[str, Any]:
    nsids = [(nsid, key.dev, key.ino) for nsid, key in ns.netns.nsids]
    facts = (ns.netns.name, ns.netns.root, ns.netns.holders, ns.netns.gaps, nsids)
    return {"netns": facts} | {s: dict(getattr(ns, s)) for s in SECTIONS if s not in COUNTED}


def differences(held: NodeState, read: NodeState) -> list[str]:
    """What differs between two states of a node, generations and counters aside, one line a record."""
    a = {(key.dev, key.ino): _plain(ns) for key, ns in held.netns.items()}
    b = {(key.dev, key.ino): _plain(ns) for key, ns in read.netns.items()}
    out = [f"{key}: only held" for key in a.keys() - b.keys()]
    out += [f"{key}: not held" for key in b.keys() - a.keys()]
    for key in a.keys() & b.keys():
        for section, was in a[key].items():
            now = b[key][section]
            if was == now:
                continue
            if not isinstance(was, dict):
                out.append(f"{key} {section}: held {was}, kernel {now}")
                continue
            for name in was.keys() | now.keys():
                if was.get(name) != now.get(name):
                    out.append(f"{key} {section} {name}: held {was.get(name)}, kernel {now.get(name)}")
    return out


async def until_equal(runner: Runner, options: NetnsOptions, timeout_s: float = 300) -> None:
    """Wait until the folded state equals a fresh dump, and show the difference if it never does."""
    end = time.monotonic() + timeout_s
    while found := differences(runner.state(), await fresh(options)):
        assert time.monotonic() < end, "\n".join(found)
        await asyncio.sleep(0.1)
