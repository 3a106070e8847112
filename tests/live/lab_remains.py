"""What a cluster holds of the kernel's: its namespaces, processes and mounts, to be looked for afterwards."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.cluster import Cluster


class Holdings:
    """The namespaces (by inode) and the directory of a running cluster; `left` is what is still there."""

    def __init__(self, cluster: Cluster) -> None:
        self.directory = cluster.directory
        targets = ["fabric", "router", "internet", *cluster.nodes, *cluster.pods]
        self.inodes = {cluster.netns_of(target).stat().st_ino for target in targets}

    def left(self) -> list[str]:
        """Name everything of the cluster that the system still has."""
        found = [f"process {pid} is in {at}" for pid, at in process_namespaces() if at in self.inodes]
        mounts = Path("/proc/self/mountinfo").read_text()
        found += [line for line in mounts.splitlines() if f" {self.directory}/" in line]
        found += [f"mounted net:[{n}]" for n in re.findall(r"net:\[(\d+)\]", mounts) if int(n) in self.inodes]
        found += [f"process {pid}" for pid in mentioning(str(self.directory))]
        with suppress(FileNotFoundError):  # it may go while it is listed
            found += [*map(str, self.directory.iterdir()), str(self.directory)]
        return found

    def assert_gone(self, within_s: float = 300) -> None:
        """Wait until nothing is left."""
        deadline = time.monotonic() + within_s
        while left := self.left():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def process_namespaces() -> Iterator[tuple[int, int]]:
    """List all processes with their network namespaces' inodes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), os.stat(entry / "ns/net").st_ino
            except OSError:
                continue


def mentioning(text: str) -> Iterator[int]:
    """Find the processes whose command line has this text (arguments end in NUL), but this one."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name)
            except OSError:
                continue
