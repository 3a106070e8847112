"""The sockets by which this process probes: they are no part of the node's state. Any thread."""

from __future__ import annotations

_inodes: set[int] = set()


def hide(inode: int) -> None:
    """Leave a socket out of the state from now on."""
    _inodes.add(inode)


def show(inode: int) -> None:
    """Forget a socket that is closed."""
    _inodes.discard(inode)


def is_own(inode: int) -> bool:
    """Tell whether a socket is one of them."""
    return inode in _inodes
