"""A cluster's state on disk, shared by every process that acts on the cluster.

Whoever changes a cluster holds its lock meanwhile, starts from the newest state and writes back.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from lab import paths, supervisor
from lab.spec import ClusterState, LabError, NodeState

# By it the cluster's pods find whom they ask for names.
RESOLV_CONF = "resolv.conf"


class Store:
    """The state of one cluster, as this process last read it, and its lock."""

    def __init__(self, directory: Path, state: ClusterState) -> None:
        self.directory = directory
        self.state = state
        self._mutex = threading.RLock()
        self._changing = False
        self._seen = 0

    @classmethod
    def load(cls, directory: Path) -> Store:
        """Read a running cluster's state. Raises: LabError."""
        try:
            return cls(directory, _read(directory))
        except (OSError, msgspec.DecodeError) as error:
            raise LabError(f"no cluster {directory.name} is up") from error

    @contextmanager
    def changing(self) -> Iterator[ClusterState]:
        """Hold the cluster's lock, with the newest state; what the block made of it is written back."""
        with self._mutex:
            if self._changing:
                yield self.state
                return
            fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                self.refresh()
                self._changing = True
                try:
                    yield self.state
                finally:
                    self._changing = False
                    self._write()
            finally:
                os.close(fd)

    def refresh(self) -> None:
        """Read the state again if another process has changed it."""
        with self._mutex, suppress(FileNotFoundError):
            if not self._changing and (self.directory / "state.json").stat().st_ino != self._seen:
                self.state = _read(self.directory)

    def _write(self) -> None:
        """Write the state, but nothing that couldn't be read again. Raises: msgspec.ValidationError."""
        path = self.directory / "state.json"
        text = msgspec.json.encode(self.state)
        msgspec.json.decode(text, type=ClusterState)
        paths.write_atomically(path, text)
        self._seen = path.stat().st_ino

    def write_pods(self, node: NodeState) -> None:
        """Write a node's pods file, which its collector reads."""
        where = self.directory / node.name
        pods = [
            {
                "name": pod.name,
                "namespace": pod.namespace,
                "uid": pod.uid,
                "netns": str(where / "netns" / pod.name),
                "pause_pid": pod.pause_pid,
                "containers": ["app"],
                "labels": pod.labels,
                "resolv_conf": str(self.directory / (pod.resolv_conf or RESOLV_CONF)),
            }
            for pod in node.pods.values()
        ]
        paths.write_atomically(where / "pods.json", msgspec.json.encode(pods))

    def set_nameserver(self, node: NodeState, name: str, address: str) -> None:
        """Write a pod's own resolv.conf, which names another server; with "" for it the pod has the cluster's again."""
        pod, own = node.pods[name], self.directory / f"{name}.{RESOLV_CONF}"
        if address:
            said = (self.directory / RESOLV_CONF).read_text().splitlines()[1:]
            own.write_text("\n".join([f"nameserver {address}", *said, ""]))
        pod.resolv_conf = own.name if address else ""
        self.write_pods(node)
        if not address:
            own.unlink(missing_ok=True)


def _read(directory: Path) -> ClusterState:
    return msgspec.json.decode((directory / "state.json").read_bytes(), type=ClusterState)


@contextmanager
def comings_and_goings() -> Iterator[None]:
    """Keep clusters from appearing (and being taken for dead before their supervisor lives) meanwhile."""
    fd = os.open(paths.base_dir() / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def remove_if_dead(directory: Path) -> bool:
    """Remove a cluster's remains if no supervisor lives; tell whether it is gone.

    Hold `comings_and_goings` meanwhile.
    """
    try:
        lock = supervisor.hold_lock(directory)
    except FileNotFoundError:
        return True
    if lock is None:
        return False
    try:
        supervisor.remove_remains(directory)
    finally:
        os.close(lock)
    return True


def running() -> list[str]:
    """List the names of the clusters that are up."""
    found = []
    with comings_and_goings():
        for directory in _directories():
            with suppress(FileNotFoundError):
                if (lock := supervisor.hold_lock(directory)) is None:
                    found.append(directory.name)
                else:
                    os.close(lock)
    return found


def sweep() -> list[str]:
    """Remove what killed runs left behind, and return the names of those clusters."""
    with comings_and_goings():
        return [directory.name for directory in _directories() if remove_if_dead(directory)]


def _directories() -> list[Path]:
    return sorted(entry for entry in paths.base_dir().iterdir() if entry.is_dir())
