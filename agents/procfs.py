"""/proc by a mount of one's own, to read settings of many namespaces by.

Below /proc/sys/net the kernel keeps the names that were looked up, those of all namespaces in one place: a
lookup passes every namespace's `ipv4` until its own comes, for everybody on the node, and for as long as those
namespaces live. With a thousand namespaces that takes longer than all the rest of a snapshot. So names
are looked up in an instance of proc that is nobody else's: mounted nowhere, seen in no mount table, and
replaced by a new one after a few namespaces.

Source: fs/proc/proc_sysctl.c, proc_sys_compare; fs/proc/root.c, proc_get_tree (since 5.8 every mount is an
instance); fsopen(2), fsconfig(2), fsmount(2) (Linux 6.18).
"""

from __future__ import annotations

import ctypes
import os

# The same numbers on every architecture but Alpha, as for all calls since 5.1.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_CMD_CREATE = 6
NAMESPACES = 64

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def _call(*arguments: object) -> int:
    result = int(_syscall(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def mount_proc() -> int:
    """Make an instance of proc and open its root; it ends with its last open file. Raises: OSError."""
    context = _call(_FSOPEN, b"proc", _FSOPEN_CLOEXEC)
    try:
        _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)


class OwnProc:
    """An instance of proc that is replaced now and then. For one thread at a time."""

    def __init__(self) -> None:
        self._root = -1
        self._left = 0

    def root(self) -> int:
        """Return the open root, good until the next call: call it once for each namespace.

        It is that of /proc where no instance can be mounted (an old kernel, a user namespace). Raises: OSError.
        """
        if not self._left:
            self.close()
            try:
                self._root = mount_proc()
            except OSError:
                self._root = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._left = NAMESPACES
        self._left -= 1
        return self._root

    def close(self) -> None:
        """Let go of the instance."""
        if self._root >= 0:
            os.close(self._root)
        self._root, self._left = -1, 0

    def __del__(self) -> None:
        self.close()
