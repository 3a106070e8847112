"""Network namespaces: making them, keeping them by bind mounts, working inside them.

A socket stays bound to the namespace it was opened in, so a thread enters one only for the moment of
opening sockets or writing sysctls, and always comes back.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from lab import syscalls

# Values by name under /proc/sys/net, with slashes.
Sysctls = dict[str, int | str]

# What every namespace of the lab starts with, whatever the host's own settings are (a new namespace
# inherits some of them). Addresses work at once, root may open ping sockets, and ICMP errors aren't
# rate-limited: what a packet meets must not depend on how many others were on the way.
BASE_SYSCTLS: Sysctls = {
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/ping_group_range": "0 0",
    "ipv4/icmp_ratemask": 0,
    "ipv6/icmp/ratemask": 0,
    "ipv6/conf/all/accept_ra": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
}


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """Put the calling thread into the namespace of `fd` for the block, and back. Raises: OSError."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(fd, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def entered_path(path: str | Path) -> Iterator[None]:
    """Like `entered`, by the path of a namespace file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(fd):
            yield
    finally:
        os.close(fd)


def open_socket(path: str | Path, family: int, kind: int, proto: int = 0) -> socket.socket:
    """Open a socket that belongs to the namespace at `path`. Raises: OSError."""
    with entered_path(path):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)


def set_sysctls(path: str | Path, values: Sysctls) -> None:
    """Write sysctls under /proc/sys/net of the namespace at `path`; names have slashes. Raises: OSError."""
    with entered_path(path):
        write_sysctls(values)


def write_sysctls(values: Sysctls) -> None:
    """Write sysctls of the calling thread's own network namespace. Raises: OSError."""
    for name, value in values.items():
        Path("/proc/sys/net", name).write_text(f"{value}\n")


def read_sysctl(path: str | Path, name: str) -> str:
    """Read a sysctl of the namespace at `path`. Raises: OSError."""
    with entered_path(path):
        return Path("/proc/sys/net", name).read_text().strip()


def bind(source: str | Path, target: str | Path) -> None:
    """Keep the namespace of the file `source` by a bind mount on the new file `target`. Raises: OSError."""
    os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400))
    try:
        syscalls.mount(str(source), str(target), "", syscalls.MS_BIND)
    except OSError:
        os.unlink(target)
        raise


def unbind(target: str | Path) -> None:
    """Undo `bind`; a target that is gone, or that isn't a mount any more, is fine."""
    with suppress(OSError):
        syscalls.umount(str(target))
    with suppress(FileNotFoundError):
        os.unlink(target)


def create(target: str | Path) -> None:
    """Make a new network namespace, held by the bind mount `target` alone. Raises: OSError."""

    def make() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        bind("/proc/thread-self/ns/net", target)

    # The thread that unshared ends with its pool, so nobody has to come back.
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(make).result()
