"""A pod's resolv.conf, read where its sandbox's process sees it.

The runtime writes the file before a sandbox begins, mounts it into the sandbox and into each of its containers, and leaves it as it
is. So it is read once. The pod's own files aren't trusted: no link is followed, nothing but a regular file is opened,
and no more than the kubelet would write is kept.

Source: resolv.conf(5); Kubernetes 1.35 pkg/apis/core/validation (MaxDNSNameservers, MaxDNSSearchPaths, MaxDNSSearchListChars).
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from netviz.core.model.netns import Resolv

# Three servers, 32 domains of 2,048 characters together and a line of options fit in well.
MAX_BYTES = 8192
MAX_SERVERS, MAX_SEARCH, MAX_OPTIONS = 3, 32, 32
MAX_WORD = 253
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def parse_resolv(text: str) -> Resolv:
    """Read a resolv.conf. Of `search` and `domain` the last line counts; an address that can't be read is left out."""
    servers: list[bytes] = []
    search: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        if line.startswith(("#", ";")):
            continue
        keyword, *values = line.split()[: MAX_SEARCH + 1] or [""]
        values = [one for one in values if len(one) <= MAX_WORD]
        if keyword == "nameserver" and values:
            with suppress(ValueError):
                servers.append(ipaddress.ip_address(values[0].partition("%")[0]).packed)
        elif keyword in ("search", "domain"):
            search = values
        elif keyword == "options":
            options += values
    return Resolv(tuple(servers[:MAX_SERVERS]), tuple(search[:MAX_SEARCH]), tuple(options[:MAX_OPTIONS]))


def read_file(paths: Iterable[str]) -> Resolv | None:
    """Read the first of some files that can be read, which are the node's own; None where none can."""
    for path in paths:
        with suppress(OSError):
            return parse_resolv(_read(os.open(path, _FILE)))
    return None


def read_seen(proc: str, pid: int) -> Resolv | None:
    """Read the resolv.conf that a process sees; None where it has the node's own files, or none that can be read."""
    try:
        if os.readlink(f"{proc}/{pid}/ns/mnt") in _of_node(proc):
            return None
        return parse_resolv(_read(_open_below(f"{proc}/{pid}/root")))
    except OSError:
        return None


def _of_node(proc: str) -> set[str]:
    """The mount namespaces of the node and of this program; the node's may be hidden from it."""
    found = set()
    for path in ("/proc/self/ns/mnt", f"{proc}/1/ns/mnt"):
        with suppress(OSError):
            found.add(os.readlink(path))
    return found


def _open_below(root: str) -> int:
    """Open a process's /etc/resolv.conf without following any link."""
    folder = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    top = os.open(root, folder)
    try:
        etc = os.open("etc", folder | os.O_NOFOLLOW, dir_fd=top)
    finally:
        os.close(top)
    try:
        return os.open("resolv.conf", _FILE | os.O_NOFOLLOW, dir_fd=etc)
    finally:
        os.close(etc)


def _read(file: int) -> str:
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("not a regular file")
        return os.read(file, MAX_BYTES).decode("utf-8", "replace")
    finally:
        os.close(file)
