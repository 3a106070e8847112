"""The one process behind each cluster: parent of the emulated nodes, and the one who cleans up.

It holds a lock on the cluster's directory for as long as it lives, so that anyone can tell a running
cluster from the remains of one. It ends, undoing everything, when it is told to or when the process
that asked for the cluster is gone (its end of a pipe closes). Killed itself, it takes every process
of the cluster along, and `remove_remains` deletes what is left.

Run as `python -m lab.supervisor DIRECTORY OWNER_PIPE` by `lab.cluster`; OWNER_PIPE is -1 for a cluster
that outlives its maker.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from lab import control, netns, nodeinit, syscalls
from lab.echo import EchoServer


def mounts_under(directory: Path) -> list[str]:
    """List the mount points under a directory, deepest and latest first."""
    prefix = f"{directory}/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split(" ")[4].encode().decode("unicode_escape")
        if point.startswith(prefix):
            found.append(point)
    return found[::-1]


def remove_remains(directory: Path) -> None:
    """Detach every mount under a cluster's directory and delete it. No process of the cluster may live."""
    for point in mounts_under(directory):
        with suppress(OSError):
            syscalls.umount(point)
    while directory.exists():
        # Someone else may be deleting it too; what is gone is gone.
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)


def hold_lock(directory: Path) -> int | None:
    """Take the lock that a living supervisor holds; None if there is one."""
    fd = os.open(directory / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


class Supervisor:
    """Serves requests one at a time: `netns`, `node`, `kill`, `listen`, `stop`."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._home_pid_ns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._nodes: dict[str, int] = {}
        self._selector = selectors.DefaultSelector()
        self._echo = EchoServer(self._selector)
        self._stopping = False

    def run(self, listener: socket.socket, owner_pipe: int) -> None:
        """Serve until told to stop, or until the owner is gone; then undo everything."""
        operations: control.Operations = {
            "netns": self.netns,
            "node": self.node,
            "kill": self.kill,
            "listen": self.listen,
            "stop": self._stop,
        }
        control.serve(self._selector, listener, operations)
        control.on_child_exit(self._selector, self._reap)
        if owner_pipe >= 0:
            self._selector.register(owner_pipe, selectors.EVENT_READ, self._stop)
        try:
            while not self._stopping:
                for key, _ in self._selector.select():
                    key.data()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for name in list(self._nodes):
                self.kill(name)
            remove_remains(self._dir)

    def _stop(self) -> None:
        self._stopping = True

    # -- operations

    def netns(self, name: str) -> None:
        """Make a network namespace without processes (the fabric, the router, a host beyond)."""
        netns.create(self._dir / name)

    def listen(self, name: str) -> None:
        """Answer on the echo port in such a namespace."""
        with netns.entered_path(self._dir / name):
            self._echo.open(name)

    def node(self, name: str, shared: bool) -> None:
        """Start a node: the first process of a PID namespace of its own."""
        directory = self._dir / name
        (directory / "netns").mkdir(parents=True)
        (directory / "proc").mkdir()
        read, write = os.pipe()
        syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            nodeinit.main(directory, shared, write)
        # The new PID namespace was for that one child; another cannot be made from inside it.
        syscalls.setns(self._home_pid_ns, syscalls.CLONE_NEWPID)
        os.close(write)
        self._nodes[name] = pid
        nodeinit.wait_ready(read, name)

    def kill(self, name: str) -> None:
        """Kill a node and everything in it without warning, and let go of its namespaces."""
        pid = self._nodes.pop(name)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        remove_remains(self._dir / name)

    def _reap(self) -> None:
        """Bury nodes that somebody else killed; pid 0 stands for them until `kill` clears up."""
        for name, pid in self._nodes.items():
            if pid and os.waitpid(pid, os.WNOHANG)[0]:
                self._nodes[name] = 0


def main() -> None:
    """Serve one cluster."""
    directory, owner_pipe = Path(sys.argv[1]), int(sys.argv[2])
    lock = hold_lock(directory)
    if lock is None:
        raise SystemExit(f"{directory} already has a supervisor")
    # Ctrl-C in the owner's terminal ends the owner; the pipe then tells us, in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    syscalls.set_name("nv-lab")
    listener = control.listen(directory / "control")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("ready", flush=True)
    with open(directory / "supervisor.log", "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    Supervisor(directory).run(listener, owner_pipe)


if __name__ == "__main__":
    main()
