"""Find every network namespace of the node, know it again, and know who holds it.

Sources: the node's own namespace; bind mounts in the netns directories; every process under /proc;
and, last, namespaces discovered by their veth peer alone (`agents.relations` finds those). Identity is the device and
inode of the nsfs file. The kernel reuses inode numbers, so a number that comes back after its
namespace had gone gets the next generation.

An open nsfs file keeps its namespace alive. So does a socket bound inside. `take` therefore reports
a namespace as gone as soon as nobody else holds it, and the runner lets go of everything at once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

import msgspec

from agents.collectors.base import NetnsHandle
from agents.enter import NetnsThread
from agents.kernel import NotNetnsError
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Holder

MAX_PROCESS_HOLDERS = 16
PAUSE_NAMES = frozenset({"pause", "podman-pause", "catatonit"})

_Id = tuple[int, int]


class NetnsOptions(msgspec.Struct, frozen=True):
    """Where to look. `root_netns` None is the namespace that the collector runs in; `proc` None is --no-proc."""

    node: str
    root_netns: str | None = None
    netns_dirs: tuple[str, ...] = ("/run/netns",)
    proc: str | None = "/proc"


class Found(msgspec.Struct):
    """One namespace as a scan saw it: its bind mounts' paths, and processes in it."""

    mounts: list[str] = []
    pids: list[int] = []


class ScanResult(msgspec.Struct, frozen=True):
    """What a scan changed. `changed` are those whose holders or name differ; `added` are open."""

    added: list[NetnsHandle]
    gone: list[NetnsHandle]
    changed: list[NetnsHandle]


def netns_id(path: str) -> _Id | None:
    """Return (dev, ino) of a namespace file, None when it isn't there (any more)."""
    try:
        st = os.stat(path)
    except OSError:
        return None
    return st.st_dev, st.st_ino


def _read_comm(proc: str, pid: int) -> str:
    try:
        with open(f"{proc}/{pid}/comm", "rb") as f:
            return f.read(64).rstrip(b"\n").decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def open_unpinned(path: str, thread: NetnsThread) -> int:
    """Open a namespace so that its bind mount stays free to be unmounted.

    A file opened through a mount keeps that mount busy; one opened through /proc from inside doesn't.
    Raises: OSError, NotNetnsError.
    """
    fd = thread.kernel.open_netns(path)
    try:
        return thread.run(fd, thread.kernel.open_here)
    finally:
        os.close(fd)


def _as_text(path: str) -> str:
    """Make text of a file's name, which may be any bytes, as of all names: `\\xff` for what isn't UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Namespaces:
    """The node's namespaces: `look` and `take` compare what is there with what was."""

    def __init__(self, options: NetnsOptions, thread: NetnsThread) -> None:
        """Open the node's own namespace. Raises: OSError, ValueError."""
        self._options = options
        self._thread = thread
        self._known: dict[_Id, NetnsHandle] = {}
        self._next_gen: dict[_Id, int] = {}
        self._not_netns: set[_Id] = set()
        self._last: dict[_Id, Found] | None = None
        path = options.root_netns or "/proc/self/ns/net"
        fd = open_unpinned(path, thread)
        st = os.fstat(fd)
        self._nsfs_dev = st.st_dev
        key = NetnsKey(options.node, st.st_dev, st.st_ino, 0)
        self.root = NetnsHandle(key, fd, thread, root=True)
        self._root_id = (st.st_dev, st.st_ino)
        self._known[self._root_id] = self.root

    def handles(self) -> list[NetnsHandle]:
        """Every namespace that is open now, the node's own first."""
        return list(self._known.values())

    def look(self, *, processes: bool = True) -> dict[_Id, Found]:
        """See what is there, changing nothing; may run on another thread, once at a time.

        Without `processes`, those of the last look are taken to be there still, but for namespaces that have
        no bind mount, or none any more: there it decides whether the namespace is. Raises: OSError when a
        directory that is there cannot be listed: what it holds is not known then, rather than gone.
        """
        found: dict[_Id, Found] = {}
        for ident, path in self._mounted():
            found.setdefault(ident, Found()).mounts.append(path)
        for ident, pid in self._processes() if processes else self._last_processes(set(found)):
            found.setdefault(ident, Found()).pids.append(pid)
        return found

    def take(self, found: dict[_Id, Found]) -> ScanResult:
        """Open what is new, and tell what changed. The caller closes the handles of those that are gone."""
        if found == self._last:
            return ScanResult([], [], [])
        self._last = found
        self._not_netns &= found.keys()
        added, changed = [], []
        for ident, holders in found.items():
            if ident in self._not_netns:
                continue
            handle = self._known.get(ident)
            if handle is None:
                handle = self._open(ident, holders)
                if handle is not None:
                    self._describe(handle, holders)
                    added.append(handle)
                elif ident not in self._not_netns:
                    self._last = None
            elif self._describe(handle, holders):
                changed.append(handle)
        gone = [h for ident, h in self._known.items() if ident not in found and ident != self._root_id]
        for handle in gone:
            ident = (handle.key.dev, handle.key.ino)
            del self._known[ident]
            self._next_gen[ident] = handle.key.gen + 1
        return ScanResult(added, gone, changed)

    def _mounted(self) -> Iterator[tuple[_Id, str]]:
        for directory in self._options.netns_dirs:
            try:
                names = sorted(os.listdir(directory))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                path = f"{directory}/{name}"
                ident = netns_id(path)
                if ident is not None and ident[0] == self._nsfs_dev:
                    yield ident, path

    def _processes(self) -> Iterator[tuple[_Id, int]]:
        proc = self._options.proc
        if proc is None:
            return
        for name in os.listdir(proc):
            if name.isdigit():
                ident = netns_id(f"{proc}/{name}/ns/net")
                if ident is not None and ident != self._root_id:
                    yield ident, int(name)

    def _last_processes(self, mounted: Collection[_Id]) -> Iterator[tuple[_Id, int]]:
        for ident, handle in self._known.items():
            for pid in handle.pids:
                if ident in mounted or netns_id(f"{self._options.proc}/{pid}/ns/net") == ident:
                    yield ident, pid

    def _open(self, ident: _Id, found: Found) -> NetnsHandle | None:
        proc = self._options.proc
        for path in [*found.mounts, *(f"{proc}/{pid}/ns/net" for pid in found.pids)]:
            try:
                fd = open_unpinned(path, self._thread)
            except NotNetnsError as err:
                if err.ident == ident:
                    self._not_netns.add(ident)
                    return None
                continue  # unmounted since it was seen: what lies beneath was opened
            except OSError:
                continue
            st = os.fstat(fd)
            if (st.st_dev, st.st_ino) != ident:
                os.close(fd)
                continue
            key = NetnsKey(self._options.node, *ident, self._next_gen.get(ident, 0))
            handle = NetnsHandle(key, fd, self._thread, root=False)
            self._known[ident] = handle
            return handle
        return None

    def _describe(self, handle: NetnsHandle, found: Found) -> bool:
        """Set the handle's name, holders and processes; tell whether name or holders changed."""
        proc = self._options.proc or ""
        pids = tuple(sorted(found.pids))
        was = {h.pid: h for h in handle.holders if h.kind == "process"}
        shown = pids[:MAX_PROCESS_HOLDERS]
        processes = [was.get(pid) or Holder("process", _read_comm(proc, pid), pid) for pid in shown]
        holders = tuple(sorted([*processes, *(Holder("mount", _as_text(path)) for path in found.mounts)]))
        name = _as_text(os.path.basename(min(found.mounts))) if found.mounts else ""
        changed = holders != handle.holders or name != handle.name
        handle.holders, handle.name, handle.pids = holders, name, pids
        pauses = [h.pid for h in processes if h.name in PAUSE_NAMES]
        handle.infra_pid = min(pauses, default=min(pids, default=0))
        return changed

    def close(self) -> None:
        """Let go of every namespace."""
        for handle in self._known.values():
            handle.close()
        self._known.clear()
