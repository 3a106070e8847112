"""A kernel that answers from a recording, with namespaces that are empty files; and can be told to fail.

    kernel = FakeKernel(tmp_path)
    ledger = Snapshotter(kernel.options(), collectors(), kernel).run()

It is at one phase of the recording. `advance` goes on to the next one and announces what the kernel did.
What nobody recorded is refused and noted in `unknown`, which the fixture in `conftest` wants empty.
`plant` puts a fault in the way of a request's answer; `refuse` forbids sockets.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agents.collectors.base import Collector
from agents.collectors.conntrack import SK_MEMINFO_DROPS, SO_MEMINFO, Conntrack
from agents.collectors.ipvs import Ipvs
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions
from agents.collectors.rtnl import Rtnl
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import NODE_PATHS, POD_PATHS, Sysctls
from agents.kernel import Kernel, NotNetnsError
from agents.netlink.sockdiag import SO_ATTACH_FILTER
from agents.netlink.wire import HEADER, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN
from agents.programs import BPF_PROG_QUERY
from agents.xtables import SO_GET_ENTRIES
from tests.agents.netlink_record import ROOT, Option, Place, Question, numbered, question, read_recording

# What a socket gives when it is read: a datagram, or an error instead.
Datagram = bytes | OSError
Fault = Callable[[list[bytes]], list[Datagram]]


def collectors() -> list[Collector]:
    """Every collector that asks the kernel."""
    return [Rtnl(), Sysctls(), Sockets(), Netfilter(), Conntrack(), Ipvs()]


def message(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    """Make one netlink message."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body + bytes(-len(body) % 4)


def says(number: int) -> Fault:
    """The kernel answers with an error instead."""
    return lambda _answer: [message(NLMSG_ERROR, struct.pack("=i", -number))]


def ends_with(number: int) -> Fault:
    """A dump goes well until its end, which says that it failed."""

    def fault(answer: list[bytes]) -> list[Datagram]:
        return [*answer[:-1], message(NLMSG_DONE, struct.pack("=i", -number))]

    return fault


def raises(number: int) -> Fault:
    """Reading the answer fails."""
    return lambda _answer: [OSError(number, os.strerror(number))]


def interrupted(answer: list[bytes]) -> list[Datagram]:
    """The objects changed while they were dumped."""
    first = bytearray(answer[0])
    length, kind, flags, seq, pid = HEADER.unpack_from(first)
    HEADER.pack_into(first, 0, length, kind, flags | NLM_F_DUMP_INTR, seq, pid)
    return [bytes(first), *answer[1:]]


def overrun(_answer: list[bytes]) -> list[Datagram]:
    """The kernel says that it lost messages."""
    return [message(NLMSG_OVERRUN)]


def silence(_answer: list[bytes]) -> list[Datagram]:
    """The kernel never answers."""
    return []


def cut(answer: list[bytes]) -> list[Datagram]:
    """The first datagram is longer than its reader has room for."""
    return [answer[0] + bytes(1 << 20), *answer[1:]]


def torn(answer: list[bytes]) -> list[Datagram]:
    """The first datagram ends in the middle of a message."""
    return [answer[0][:-5], *answer[1:]]


class FakeSocket:
    """A netlink socket of the fake kernel. What waits to be read makes its descriptor readable."""

    def __init__(self, kernel: FakeKernel, name: str, proto: int, groups: tuple[int, ...]) -> None:
        self.name, self.proto, self.groups = name, proto, groups
        self.filter = False
        self.drops = 0
        self.closed = False
        self._kernel = kernel
        self._waiting: deque[Datagram] = deque()
        self._fd = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return -1 if self.closed else self._fd

    def push(self, datagram: Datagram) -> None:
        """Have something read by whoever reads next."""
        self._waiting.append(datagram)
        os.eventfd_write(self._fd, 1)

    def send(self, data: bytes) -> int:
        asked, seq = question(self.proto, data, self._kernel.names, _ident)
        for datagram in self._kernel.answer(self.name, asked):
            self.push(numbered(datagram, seq) if isinstance(datagram, bytes) else datagram)
        return len(data)

    def _next(self) -> bytes:
        if not self._waiting:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        os.eventfd_read(self._fd)
        datagram = self._waiting.popleft()
        if isinstance(datagram, OSError):
            raise datagram
        return datagram

    def recv(self, size: int) -> bytes:
        return self._next()[:size]

    def recvmsg(self, size: int) -> tuple[bytes, list[Any], int, None]:
        datagram = self._next()
        return datagram[:size], [], socket.MSG_TRUNC if len(datagram) > size else 0, None

    def setsockopt(self, level: int, option: int, _value: object) -> None:
        assert (level, option) == (socket.SOL_SOCKET, SO_ATTACH_FILTER)
        self.filter = True

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.SOL_SOCKET, SO_MEMINFO)
        return struct.pack("=I", self.drops).rjust(4 * SK_MEMINFO_DROPS + 4, b"\0").ljust(size, b"\0")

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)


def _ident(fd: int) -> tuple[int, int]:
    st = os.fstat(fd)
    return st.st_dev, st.st_ino


class FakeKernel(Kernel):
    """One node's kernel, as it was recorded."""

    def __init__(self, folder: Path) -> None:
        """Begin with the first phase. `folder` is for the files that stand for namespaces and /proc."""
        super().__init__()
        self.recording = read_recording()
        self.number = 0
        self.names: dict[tuple[int, int], str] = {}
        self.sockets: list[FakeSocket] = []
        self.unknown: list[tuple[str, object]] = []
        self.without_events = False  # no socket that listens to announcements can be had
        self.entered: list[str] = []
        self.programs: dict[tuple[str, int, int], list[int]] = {}  # (namespace, ifindex, attach type): ids
        self.bpf_error = 0  # with which bpf(2) fails
        self._faults: dict[tuple[str, int, int], deque[Fault]] = {}
        self._refused: dict[tuple[str, int], int] = {}
        self._garbled = False
        self._locked = False
        self._at = threading.local()
        self._folder = folder
        self.root = folder / ROOT
        self.pods = folder / "netns"
        self.pods.mkdir()
        self._appear()

    # For tests.

    def options(self, *, pods: bool = True) -> NetnsOptions:
        """Where the node's namespaces are; without `pods`, only its own."""
        return NetnsOptions("node1", str(self.root), (str(self.pods),) if pods else (), None)

    def place(self, name: str = ROOT) -> Place:
        """One namespace as recorded, in this phase."""
        return self.recording.phases[self.number].places[name]

    def path(self, name: str) -> Path:
        """The file that stands for a namespace."""
        return self.root if name == ROOT else self.pods / name

    def advance(self, *, announced: bool = True) -> None:
        """Go on to the next phase, and announce how it came about, unless nobody is to be told."""
        self.number += 1
        self._appear()
        for name, place in self.recording.phases[self.number].places.items() if announced else ():
            for event in place.events:
                self.announce(name, event.proto, event.groups, event.data)

    def announce(self, name: str, proto: int, groups: Sequence[int], datagram: Datagram) -> None:
        """Announce something to those who listen to these groups in a namespace."""
        for sock in self.listeners(name, proto, groups):
            sock.push(datagram)

    def listeners(self, name: str, proto: int, groups: Sequence[int]) -> list[FakeSocket]:
        """The open sockets that listen to these groups in a namespace."""
        wanted = (name, proto, tuple(groups))
        return [s for s in self.sockets if not s.closed and (s.name, s.proto, s.groups) == wanted]

    def plant(self, fault: Fault, proto: int, kind: int, name: str = ROOT, times: int = 1) -> None:
        """Put a fault in the way of the next answers to a kind of request in a namespace."""
        self._faults.setdefault((name, proto, kind), deque()).extend([fault] * times)

    def unplant(self) -> None:
        """Take all faults away."""
        self._faults.clear()

    def refuse(self, proto: int, number: int, name: str = ROOT) -> None:
        """Refuse netlink sockets of a protocol in a namespace with an error; 0 allows them again."""
        self._refused[name, proto] = number

    def garble_options(self) -> None:
        """Let what raw sockets' options say of tables be no table."""
        self._garbled = True

    def forbid_entering(self) -> None:
        """Let no thread enter a namespace from now on."""
        self._locked = True

    def forget_settings(self) -> None:
        """Close the calling thread's root of /proc."""
        os.close(self._at.__dict__.pop("proc"))

    def file(self, path: str, name: str = ROOT) -> Path:
        """The file that stands for one of /proc or /sys in a namespace; it may be written or removed."""
        return self._folder / "files" / name / path.lstrip("/")

    def _appear(self) -> None:
        """Let namespaces, and what their files say, be as in this phase."""
        places = self.recording.phases[self.number].places
        for gone in {path.name for path in self.pods.iterdir()} - places.keys():
            st = self.path(gone).stat()
            del self.names[st.st_dev, st.st_ino]
            self.path(gone).unlink()
            shutil.rmtree(self._folder / "files" / gone)
        before = self.recording.phases[self.number - 1].places if self.number else {}
        for name, place in places.items():
            self.path(name).touch()
            st = self.path(name).stat()
            self.names[st.st_dev, st.st_ino] = name
            known = before[name].files if name in before else {}
            for path, content in sorted(
                place.files.items(), reverse=True
            ):  # what is in a folder before the folder
                file = self.file(path, name)
                if known.get(path) == content or file.is_dir():
                    continue
                if content is None:
                    file.unlink()
                else:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)

    # Kernel: what collectors ask.

    def _here(self) -> str:
        return str(getattr(self._at, "name", ROOT))

    def open_netns(self, path: str) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if _ident(fd) in self.names:
            return fd
        ident = _ident(fd)
        os.close(fd)
        raise NotNetnsError(f"{path} is no namespace", ident)

    def open_here(self) -> int:
        return os.open(self.path(self._here()), os.O_RDONLY | os.O_CLOEXEC)

    def enter(self, fd: int) -> None:
        if self._locked:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self._at.name = self.names[_ident(fd)]
        self.entered.append(self._at.name)

    def open_netlink(self, proto: int, groups: Sequence[int] = (), *, rcvbuf_bytes: int = 0) -> Any:
        if number := self._refused.get((self._here(), proto)):
            raise OSError(number, os.strerror(number))
        if groups and self.without_events:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        sock = FakeSocket(self, self._here(), proto, tuple(groups))
        self.sockets.append(sock)
        return sock

    def answer(self, name: str, asked: Question) -> list[Datagram]:
        """What a request gets in a namespace, with the fault that was planted."""
        found = next((said for known, said in self.place(name).answers if known == asked), None)
        if found is None:
            self.unknown.append((name, asked))
            found = [message(NLMSG_ERROR, struct.pack("=i", -errno.ENOSYS))]
        faults = self._faults.get((name, asked.proto, asked.type))
        return faults.popleft()(found) if faults else list(found)

    def open_file(self, path: str) -> int:
        return os.open(self._known(path), os.O_RDONLY | os.O_CLOEXEC)

    def exists(self, path: str) -> bool:
        return self._known(path).exists()

    def has_symbol(self, name: str) -> bool:
        return self._known(f"symbol {name}").exists()

    def _known(self, path: str) -> Path:
        if path not in self.place(self._here()).files:
            self.unknown.append((self._here(), path))
        return self.file(path, self._here())

    def open_settings(self) -> int:
        name = self._here()
        asked = {f"/proc/sys/net/{path}" for path in (NODE_PATHS if name == ROOT else POD_PATHS)}
        self.unknown += [(name, path) for path in asked - self.place(name).files.keys()]
        old = getattr(self._at, "proc", -1)
        if old >= 0:
            os.close(old)
        self._at.proc = os.open(self.file("/proc", name), os.O_PATH | os.O_CLOEXEC)
        return int(self._at.proc)

    def ask_xtables(self, family: int, option: int, data: bytearray) -> None:
        asked = Option(int(family), option, bytes(data[:36]))
        said = next((said for known, said in self.place(self._here()).options if known == asked), None)
        if said is None:
            self.unknown.append((self._here(), asked))
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        data[:] = bytes(len(said)) if self._garbled and option == SO_GET_ENTRIES else said

    def ask_bpf(self, command: int, attr: bytearray) -> int:
        """Answer which programs are at a hook; who they are it doesn't say."""
        if self.bpf_error or command != BPF_PROG_QUERY:
            raise OSError(self.bpf_error or errno.EPERM, os.strerror(self.bpf_error or errno.EPERM))
        ifindex, attach_type, _, _, where, room = struct.unpack_from("=IIIIQI", attr)
        numbers = self.programs.get((self._here(), ifindex, attach_type), [])
        (ctypes.c_uint32 * room).from_address(where)[: len(numbers)] = numbers
        struct.pack_into("=I", attr, 24, len(numbers))
        return 0

    def close(self) -> None:
        """Close what tests left open; tell nothing."""
        for sock in self.sockets:
            sock.close()
