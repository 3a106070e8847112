"""A lab inside a user namespace, for users who aren't root, and the way into it from another terminal.

The program that unshares the namespaces keeps a locked file with its process id beside the clusters;
whoever finds the lock held joins the same namespaces (`nsenter`), where that user is root.

Source: user_namespaces(7): the namespace's creator holds all capabilities in it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lab.paths import base_dir
from lab.syscalls import die_with_parent

UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--mount-proc", "--pid", "--fork")
WAY_IN = ".user-namespace"


def works() -> bool:
    """Tell whether this user may make namespaces inside a user namespace of his own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


def run(argv: Sequence[str], fd: int) -> int:
    """Run a program as root of a new user namespace, with descriptor `fd` open; the exit status.

    `unshare` takes no signals while it waits, but passes its own end on to its child as SIGTERM, which
    ends the program in order; it ends when this process is killed. A pipe that only the program holds
    tells when that is done.
    """
    done, held = os.pipe()
    command = [*UNSHARE, "--kill-child=SIGTERM", *argv]
    with subprocess.Popen(command, pass_fds=(fd, held), preexec_fn=die_with_parent) as inner:
        os.close(held)
        ended = False

        def end(signum: int, frame: object) -> None:
            nonlocal ended
            ended = True
            inner.kill()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        with _way_in(inner.pid):
            while os.read(done, 1):
                pass
            status = inner.wait()
    os.close(done)
    return 0 if ended else status


@contextmanager
def _way_in(pid: int) -> Iterator[None]:
    """Tell other terminals who holds the namespaces, unless another demo of this user has done so."""
    path = base_dir() / WAY_IN
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_first = _lock(fd, fcntl.LOCK_EX)
        if is_first:
            os.truncate(fd, 0)
            os.write(fd, str(pid).encode())
        yield
        if is_first:
            path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _lock(fd: int, how: int) -> bool:
    """Take a lock without waiting; tell whether it could be had."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder() -> int | None:
    """The process that holds this user's lab namespaces, if one lives."""
    try:
        fd = os.open(base_dir() / WAY_IN, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(fd, fcntl.LOCK_SH) else int(os.read(fd, 32))
    finally:
        os.close(fd)


def enter(pid: int, module: str, arguments: Sequence[str]) -> NoReturn:
    """Run a module again inside the namespaces of `pid`, in place of this process.

    `unshare` itself stays in the outer process namespace; what it made is the one for its children.
    """
    own = Path(f"/proc/{pid}/ns")
    ways = [f"--{kind}={own / name}" for kind, name in (("user", "user"), ("net", "net"), ("mount", "mnt"))]
    ways.append(f"--pid={own / 'pid_for_children'}")
    there = ["env", "-C", os.getcwd()]  # joining a mount namespace leads to its root folder
    command = ["nsenter", "--preserve-credentials", *ways, *there, sys.executable, "-m", module, *arguments]
    os.execvp(command[0], command)
