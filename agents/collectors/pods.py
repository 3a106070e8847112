"""Which namespace is which pod: told by a pods file, or by the container runtime (`cri`).

A source claims that a pod lives in a namespace, which it names by a process or by a path; a claim
counts for the namespace whose nsfs file that really is (device and inode). What can't be found yet
is looked for again whenever a namespace comes. A namespace comes before its pod is told: the network is made ready
first. So a source that has to be asked is asked often from then on, until the namespace is claimed, or for a while: what
isn't a pod's is nobody's. Pods in the node's own namespace (host network) are no
identity of it, and are left out.

When a source fails, what it said last stays, and the failure is told.

A pods file is a JSON list, replaced as a whole (write beside it and rename):

    [{"name": "web-1", "namespace": "shop", "uid": "...", "netns": "/run/netns/web-1",
      "pause_pid": 4711, "containers": ["nginx"], "labels": {"app": "web"}, "resolv_conf": "/etc/web.conf"}]

`netns` or `pause_pid` says where; the path counts first. So it does of `resolv_conf`, the file by which the pod finds whom
it asks for names; without it, that is read where the sandbox's process sees it.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.collectors.resolv import read_file, read_seen
from agents.schedule import until_tick
from netviz.core.model.check import decoder_words
from netviz.core.model.netns import Pod, Resolv

if TYPE_CHECKING:  # a snapshot, which must be quick, runs without asyncio
    import asyncio

    from agents.file_watch import FileWatch

log = logging.getLogger(__name__)

FILE_POLL_S = 0.5
# What is watched is looked at all the same now and then: its directory may be another one by now.
WATCHED_POLL_S = 10.0
# How often a source is asked for a namespace that has just come, and for how long: often at first.
NEW_POLL_S, NEW_FOR_S = 0.1, 2.0
LATE_POLL_S, LATE_FOR_S = 0.5, 10.0


class SourceError(Exception):
    """A source could not be read; the message is one line for people."""


class PodClaim(msgspec.Struct, frozen=True):
    """A pod, and the paths of its namespace and resolv.conf where its source names them. `pod.pause_pid` does otherwise."""

    pod: Pod
    netns: str = ""
    resolv_conf: str = ""


class PodSource(Protocol):
    """Something that knows pods."""

    poll_s: float
    trouble: str  # what the last `read` had to leave out, in one line, or ""

    def changed(self) -> bool:
        """Tell cheaply whether reading may show anything new."""
        ...

    def watch(self, on_change: Callable[[], None]) -> bool:
        """Call back on the loop when something may be new; False where only polling tells."""
        ...

    def read(self) -> list[PodClaim]:
        """Return all pods. May block. Raises: SourceError."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class _Entry(msgspec.Struct):
    name: str
    namespace: str
    uid: str = ""
    netns: str = ""
    pause_pid: int = 0
    containers: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    resolv_conf: str = ""


class FileSource:
    """A pods file."""

    kind = "file"
    poll_s = FILE_POLL_S
    trouble = ""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._watch: FileWatch | None = None

    def watch(self, on_change: Callable[[], None]) -> bool:
        """Watch the file's directory."""
        import asyncio

        from agents.file_watch import FileWatch

        try:
            self._watch = FileWatch(asyncio.get_running_loop(), self._path, on_change)
        except OSError:
            return False
        return True

    def changed(self) -> bool:
        """Compare the file's inode, size and time with those of the last read."""
        return self._stamp() != self._seen

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = os.stat(self._path)
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def read(self) -> list[PodClaim]:
        """Read the file. Raises: SourceError."""
        self._seen = self._stamp()
        try:
            with open(self._path, "rb") as file:
                entries = msgspec.json.decode(file.read(), type=list[_Entry])
        except OSError as err:
            raise SourceError(f"{self._path}: {err.strerror}") from None
        except msgspec.MsgspecError as err:
            raise SourceError(f"{self._path}: {decoder_words(err)}") from None
        for at, entry in enumerate(entries):
            if not entry.netns and not entry.pause_pid:
                raise SourceError(f"{self._path}: [{at}]: neither netns nor pause_pid is given")
        return [
            PodClaim(
                Pod(
                    name=entry.name,
                    namespace=entry.namespace,
                    uid=entry.uid,
                    pause_pid=entry.pause_pid,
                    containers=entry.containers,
                    labels=entry.labels,
                    source=self.kind,
                ),
                entry.netns,
                entry.resolv_conf,
            )
            for entry in entries
        ]

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def on_node(path: str, proc: str | None) -> list[str]:
    """Where a path of the node's may be seen; nowhere if it is ""."""
    if not path:
        return []
    return [path] if proc is None else [path, f"{proc}/1/root{path}"]  # its root may not be ours


def find_netns(claim: PodClaim, proc: str | None) -> tuple[int, int] | None:
    """Find the namespace that a claim means: device and inode of its nsfs file, or None."""
    paths = on_node(claim.netns, proc)
    if claim.pod.pause_pid and proc is not None:
        paths.append(f"{proc}/{claim.pod.pause_pid}/ns/net")
    for path in paths:
        with suppress(OSError):
            stat = os.stat(path)
            return stat.st_dev, stat.st_ino
    return None


class Pods:
    """Say which namespace is which pod."""

    name = "pods"
    sections: tuple[str, ...] = ()
    poll_s: Mapping[str, float] = {}

    def __init__(self, sources: Sequence[PodSource]) -> None:
        self._sources = sources
        self._claims: list[list[PodClaim]] = [[] for _ in sources]
        self._problems: list[str] = ["" for _ in sources]
        self._found: dict[tuple[int, int], Pod] = {}
        self._resolv: dict[tuple[int, int, int, str], Resolv] = {}  # by namespace, process and named file
        # When the namespaces came that nobody has claimed yet, by the loop's clock.
        self._came_s: dict[tuple[int, int], float] = {}
        self._news: list[asyncio.Event] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    def can_run(self, host: Host) -> str | None:
        """A source that fails now may come later."""
        self._host = host
        return None

    async def start(self, host: Host) -> None:
        """Read every source once, and go on reading them."""
        import asyncio

        self._host = host
        self._started = True
        for index, source in enumerate(self._sources):
            news = asyncio.Event()
            watched = source.watch(news.set)
            period_s = WATCHED_POLL_S if watched else source.poll_s
            if not watched:
                self._news.append(news)
            await self._read(index)
            following = self._follow(index, news, period_s)
            self._tasks.append(asyncio.create_task(following, name=f"pods-{index}"))

    async def stop(self) -> None:
        """Stop following and close the sources."""
        import asyncio

        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for source in self._sources:
            source.close()

    def attach(self, ns: NetnsHandle) -> None:
        """Ask at once, and often for a while, whose a namespace is that has just come."""
        if ns.root or not self._news:
            return
        import asyncio

        self._came_s[ns.key.dev, ns.key.ino] = asyncio.get_running_loop().time()
        for news in self._news:
            news.set()

    def detach(self, ns: NetnsHandle) -> None:
        """Forget whose it was: the inode number may come back."""
        self._found.pop((ns.key.dev, ns.key.ino), None)
        self._came_s.pop((ns.key.dev, ns.key.ino), None)

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Say which pod a namespace is, when it comes; nothing when none claims it (yet)."""
        if not self._started:
            self._read_once()
        where = (ns.key.dev, ns.key.ino)
        if not ns.root and where not in self._found:
            self._found = self._resolve()
        pod = None if ns.root else self._found.get(where)
        return Reading({}, pod=pod or msgspec.UNSET)

    def _read_once(self) -> None:
        """Read the sources for a snapshot, which starts nothing."""
        self._started = True
        for index, source in enumerate(self._sources):
            self._take(index, self._try(source))
            source.close()

    def _resolve(self) -> dict[tuple[int, int], Pod]:
        """Find every claim's namespace. Of two pods that claim the same one, the first counts."""
        found: dict[tuple[int, int], Pod] = {}
        for claims in self._claims:
            for claim in claims:
                where = find_netns(claim, self._host.proc)
                if where is not None and where not in found:
                    found[where] = self._with_resolv(where, claim)
        known = {(*where, pod.pause_pid) for where, pod in found.items()}
        self._resolv = {key: one for key, one in self._resolv.items() if key[:3] in known}
        return found

    def _with_resolv(self, where: tuple[int, int], claim: PodClaim) -> Pod:
        """The claim's pod with its resolv.conf, which is read until it was found once."""
        proc, pod = self._host.proc, claim.pod
        key = (*where, pod.pause_pid, claim.resolv_conf)
        resolv = self._resolv.get(key)
        if resolv is None:
            resolv = read_file(on_node(claim.resolv_conf, proc))
        if resolv is None and proc is not None and pod.pause_pid:
            resolv = read_seen(proc, pod.pause_pid)
        if resolv is None:
            return pod
        self._resolv[key] = resolv
        return msgspec.structs.replace(pod, resolv=resolv)

    async def _follow(self, index: int, news: asyncio.Event, period_s: float) -> None:
        import asyncio

        source, loop = self._sources[index], asyncio.get_running_loop()
        while True:
            wait_s = until_tick(loop.time(), period_s)
            if news in self._news:
                wait_s = min(wait_s, self._soon_s(loop.time()))
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await news.wait()
            news.clear()
            if source.changed():
                await self._read(index)

    def _soon_s(self, now_s: float) -> float:
        """How soon a source is to be asked for the namespaces that nobody has claimed yet."""
        self._came_s = {
            where: came_s
            for where, came_s in self._came_s.items()
            if where not in self._found and now_s - came_s < LATE_FOR_S
        }
        newest_s = now_s - max(self._came_s.values(), default=-math.inf)
        return NEW_POLL_S if newest_s < NEW_FOR_S else LATE_POLL_S if self._came_s else math.inf

    async def _read(self, index: int) -> None:
        import asyncio

        self._take(index, await asyncio.to_thread(self._try, self._sources[index]))

    def _try(self, source: PodSource) -> list[PodClaim] | SourceError:
        try:
            return source.read()
        except SourceError as err:
            return err

    def _take(self, index: int, read: list[PodClaim] | SourceError) -> None:
        """Take what a source said."""
        if isinstance(read, SourceError):
            self._set_problem(index, str(read))
            return
        self._set_problem(index, self._sources[index].trouble)
        if read != self._claims[index]:
            self._claims[index] = read
            self._tell()

    def _set_problem(self, index: int, problem: str) -> None:
        if problem == self._problems[index]:
            return
        self._problems[index] = problem
        if problem:
            log.warning("pods: %s; what was known before stays", problem)
        self._host.set_trouble(self.name, "; ".join(p for p in self._problems if p))

    def _tell(self) -> None:
        self._found = found = self._resolve()
        for ns in self._host.namespaces():
            self._host.set_pod(ns.key, None if ns.root else found.get((ns.key.dev, ns.key.ino)))
