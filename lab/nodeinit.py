"""The first process of an emulated node: makes its pods' namespaces, starts and reaps their processes.

A pod is held by a `pause` process (coreutils' sleep under that name) that made the pod's network
namespace. The pod's listener is a second process, which joined that namespace; a node with very many
pods can serve their listeners from this process instead (`shared`), which saves one Python each.

This process knows nothing of addresses: the cluster's API configures the namespaces from outside.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from lab import control, netns, syscalls
from lab.echo import EchoServer, serve_forever
from lab.kubernetes.dns import DnsServer
from lab.kubernetes.health import HealthServer


def wait_ready(pipe: int, what: str) -> None:
    """Wait until a child says that it is ready. Raises: RuntimeError with what the child said instead."""
    with os.fdopen(pipe, "rb") as stream:
        said = stream.read()
    if said != b"ready":
        raise RuntimeError(f"{what}: {said.decode() or 'ended at once'}")


def keep_only(*fds: int) -> None:
    """Close every descriptor above the standard three, but these."""
    low = 3
    for fd in sorted(fds):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 65536)


class NodeInit:
    """The node's process table: pods by name, each with its pause and listener processes."""

    def __init__(self, directory: Path, shared: bool) -> None:
        self._dir = directory
        self._shared = shared
        self._pause: dict[str, int] = {}
        self._apps: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._echo = EchoServer(self._selector)
        self._health = HealthServer(self._selector)
        self._dns: set[str] = set()

    def run(self, listener: socket.socket) -> NoReturn:
        """Serve requests for ever. The process ends by SIGKILL only: it is a PID namespace's init."""
        control.on_child_exit(self._selector, self._reap)
        control.serve(
            self._selector,
            listener,
            {
                "add": self.add,
                "remove": self.remove,
                "listen": self.listen,
                "health": self._health.serve,
            },
        )
        serve_forever(self._selector)
        raise AssertionError("unreachable")

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    # -- operations

    def add(self, pods: list[str], dns: list[str]) -> dict[str, dict[str, int]]:
        """Start pods, those in `dns` with a DNS server, and return the pids of each, as this node numbers them."""
        self._dns |= set(dns)
        pipes = {name: self._start_pause(name) for name in pods}
        for name, pipe in pipes.items():
            wait_ready(pipe, f"pause of {name}")
        for name in pods:
            netns.bind(self._netns_of(name), self._dir / "netns" / name)
        self.listen(pods, on=True)
        return {name: {"pause": self._pause[name], "app": self._apps.get(name, 0)} for name in pods}

    def remove(self, name: str) -> None:
        """End a pod's processes and let go of its namespace."""
        self.listen([name], on=False)
        with suppress(ProcessLookupError):
            os.kill(self._pause.pop(name), signal.SIGKILL)
        netns.unbind(self._dir / "netns" / name)

    def listen(self, pods: list[str], on: bool, address: str = "::") -> dict[str, int]:
        """Start or stop the pods' listeners; return the pids of those that are processes."""
        shared = [name for name in pods if self._shared and name not in self._dns]
        pods = [name for name in pods if name not in shared]
        if shared:
            for name in shared:
                if on:
                    with netns.entered_path(self._netns_of(name)):
                        self._echo.open(name, address)
                else:
                    self._echo.close(name)
        if on:
            pipes = {name: self._start_app(name, address) for name in pods}
            for name, pipe in pipes.items():
                wait_ready(pipe, f"listener of {name}")
            return {name: self._apps[name] for name in pods}
        for name in pods:
            with suppress(ProcessLookupError, KeyError):
                os.kill(pid := self._apps.pop(name), signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        return {}

    def _netns_of(self, name: str) -> str:
        return f"{self._dir}/proc/{self._pause[name]}/ns/net"

    # -- processes

    def _start_pause(self, name: str) -> int:
        def work(ready: int) -> None:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            netns.write_sysctls(netns.BASE_SYSCTLS)
            os.write(ready, b"ready")
            os.execv(self._dir.parent / "pause", ["sleep", "infinity"])

        return _start(work, name, self._pause)

    def _start_app(self, name: str, address: str) -> int:
        path = self._netns_of(name)

        def work(ready: int) -> None:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            fd = os.open(path, os.O_RDONLY)
            syscalls.setns(fd, syscalls.CLONE_NEWNET)
            os.close(fd)
            syscalls.set_name("app")
            selector = selectors.DefaultSelector()
            EchoServer(selector).open(name, address)
            if name in self._dns:
                DnsServer(selector, self._dir.parent / "objects").open()
            os.write(ready, b"ready")
            os.close(ready)
            serve_forever(selector)

        return _start(work, name, self._apps)


def _start(work: Callable[[int], None], name: str, pids: dict[str, int]) -> int:
    """Do `work` in a child, noted in `pids`; return the pipe's end where it says "ready", or why it can't."""
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        pids[name] = pid
        return read
    try:
        keep_only(write)
        signal.set_wakeup_fd(-1)
        work(write)
    except OSError as error:
        os.write(write, f" {error}".encode())
    finally:
        os._exit(1)


def main(directory: Path, shared: bool, ready: int) -> NoReturn:
    """Become a node: called in the first process of a new PID namespace. Says "ready" on the pipe."""
    try:
        signal.set_wakeup_fd(-1)
        keep_only(ready)
        syscalls.die_with_parent()
        syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWUTS)
        socket.sethostname(directory.name)
        syscalls.set_name("nv-node")
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("proc", str(directory / "proc"), "proc", flags)
        netns.bind("/proc/self/ns/net", directory / "root")
        listener = control.listen(directory / "control")
        os.write(ready, b"ready")
        os.close(ready)
        NodeInit(directory, shared).run(listener)
    except OSError as error:
        os.write(ready, str(error).encode())
    finally:
        os._exit(1)
