"""The kernel as the calling thread meets it in the network namespace that it is in.

Whatever depends on that namespace (sockets, files below /proc, options of raw sockets) and whatever tells namespaces
from other files is asked for here and nowhere else. So what a collector makes of a kernel's answers can be tested
without that kernel: `NetnsThread`, and by it every handle of a namespace, is given the `Kernel` to ask.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct
import threading
from collections.abc import Sequence
from functools import cache

from agents.procfs import OwnProc

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703  # _IO(0xb7, 3)
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12
SO_RCVBUFFORCE = 33
IPPROTO_RAW = 255
REQUEST_RCVBUF_BYTES = 1 << 20
EVENT_RCVBUF_BYTES = 4 << 20
REQUEST_TIMEOUT_S = 10
_REQUEST_TIMEOUT = struct.pack("@ll", REQUEST_TIMEOUT_S, 0)
_READ = os.O_RDONLY | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine())


class NotNetnsError(ValueError):
    """A file is no network namespace; `ident` is the (dev, ino) of the file that was opened."""

    def __init__(self, message: str, ident: tuple[int, int]) -> None:
        super().__init__(message)
        self.ident = ident


class _OfThread(threading.local):
    """What each thread has for itself, until it ends."""

    def __init__(self) -> None:
        self.proc = OwnProc()


class Kernel:
    """The kernel that this process runs on. Any thread; every answer is that of the thread's own namespace."""

    def __init__(self) -> None:
        self._own = _OfThread()

    def open_netns(self, path: str) -> int:
        """Open a file that must be a network namespace. Raises: OSError, NotNetnsError when it is something else."""
        fd = os.open(path, _READ | os.O_NONBLOCK)
        try:
            kind = "network namespace" if fcntl.ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET else ""
        except OSError:
            kind = "namespace"
        if not kind:
            return fd
        st = os.fstat(fd)
        os.close(fd)
        raise NotNetnsError(f"{path} is no {kind}", (st.st_dev, st.st_ino))

    def open_here(self) -> int:
        """Open the thread's namespace, by no mount that this would keep busy. Raises: OSError."""
        return os.open("/proc/thread-self/ns/net", _READ)

    def enter(self, fd: int) -> None:
        """Move the thread into a namespace. Raises: OSError."""
        if _libc.setns(ctypes.c_int(fd), ctypes.c_int(CLONE_NEWNET)) != 0:
            _raise_errno()

    def open_netlink(self, proto: int, groups: Sequence[int] = (), *, rcvbuf_bytes: int = 0) -> socket.socket:
        """Open a netlink socket: see NetnsHandle.open_netlink. Raises: OSError."""
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, proto)
        try:
            size = rcvbuf_bytes or (EVENT_RCVBUF_BYTES if groups else REQUEST_RCVBUF_BYTES)
            try:
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            if proto == socket.NETLINK_ROUTE:
                # Without it a dump's filters and target namespace are silently ignored. Linux 4.20 has it.
                with contextlib.suppress(OSError):
                    sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
            sock.bind((0, 0))
            for group in groups:
                sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            if groups:
                sock.setblocking(False)
            else:
                # The kernel's own timeout: with Python's, every call would be two.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _REQUEST_TIMEOUT)
        except BaseException:
            sock.close()
            raise
        return sock

    def open_file(self, path: str) -> int:
        """Open a file of /proc or /sys to be read. Raises: OSError."""
        return os.open(path, _READ)

    def exists(self, path: str) -> bool:
        """Tell whether /proc or /sys has a file."""
        return os.path.exists(path)

    def open_settings(self) -> int:
        """Open the root of /proc to read many settings by; good until the thread's next call. Raises: OSError."""
        return self._own.proc.root()

    def ask_xtables(self, family: int, option: int, data: bytearray) -> None:
        """Ask for an option of raw IPv4 or IPv6 sockets with a buffer that is read and written. Raises: OSError."""
        level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, IPPROTO_RAW) as sock:
            buffer = (ctypes.c_char * len(data)).from_buffer(data)
            length = ctypes.c_uint32(len(data))
            if _libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(length)) != 0:
                _raise_errno()

    def ask_bpf(self, command: int, attr: bytearray) -> int:
        """Call bpf(2) with attributes that are read and written. Returns its result. Raises: OSError."""
        if _BPF is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        buffer = (ctypes.c_char * len(attr)).from_buffer(attr)
        result = int(_libc.syscall(_BPF, command, buffer, len(attr)))
        if result < 0:
            _raise_errno()
        return result

    def has_symbol(self, name: str) -> bool:
        """Tell whether the kernel had a function the first time that this was asked. Raises: OSError."""
        return _has_symbol(name.encode())


@cache
def _has_symbol(name: bytes) -> bool:
    with open("/proc/kallsyms", "rb") as names:
        return any(b" " + name in line for line in names)


def _raise_errno() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
