"""The few system calls that Python 3.11 has no function for.

Source: include/uapi/linux/sched.h, mount.h, prctl.h (Linux 6.18).
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 0x2, 0x4, 0x8, 0x1000
MNT_DETACH = 0x2

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces. Raises: OSError."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, nstype: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to. Raises: OSError."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(nstype)), "setns")


def mount(source: str, target: str, fstype: str, flags: int) -> None:
    """Mount a file system, or bind one path onto another with MS_BIND. Raises: OSError."""
    result = _libc.mount(source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), None)
    _check(result, f"mount {target}")


def umount(target: str) -> None:
    """Detach a mount, busy or not. Raises: OSError."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to the calling process when its parent ends. Raises: OSError."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(9), 0, 0, 0), "prctl")


def set_name(name: str) -> None:
    """Set the calling thread's comm (at most 15 bytes). Raises: OSError."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0), "prctl")
