"""One emulated node of a cluster, as its user sees it."""

from __future__ import annotations

from pathlib import Path

from lab import control
from lab.spec import LabError, NodeState, Pod
from lab.store import Store


class NodeDownError(LabError):
    """A node doesn't run; its namespaces and all that was in them are gone."""


class Node:
    """One emulated node of a cluster, as its user sees it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.name = name

    @property
    def state(self) -> NodeState:
        """The node's plan and pods, as this process last read them."""
        return self._store.state.nodes[self.name]

    @property
    def pods(self) -> dict[str, Pod]:
        """The node's pods by name."""
        return self.state.pods

    @property
    def directory(self) -> Path:
        """Where the node's namespaces, processes and pods file are."""
        return self._store.directory / self.name

    @property
    def root(self) -> Path:
        """The file of the node's own network namespace. Raises: NodeDownError."""
        return self._running() / "root"

    def netns(self, pod: str) -> Path:
        """Return the file of a pod's network namespace. Raises: NodeDownError."""
        return self._running() / "netns" / pod

    def _running(self) -> Path:
        if not self.state.alive:
            raise NodeDownError(f"{self.name} doesn't run")
        return self.directory

    def collector_args(self) -> list[str]:
        """Return the collector's arguments that make it see this node and nothing else."""
        where = self.directory
        return [
            *("--root-netns", str(where / "root")),
            *("--netns-dir", str(where / "netns")),
            *("--proc", str(where / "proc")),
            *("--pods-file", str(where / "pods.json")),
        ]

    def call(self, op: str, **args: object) -> object:
        """Ask the node's first process. Raises: NodeDownError, LabError."""
        try:
            client = control.connect(self.directory / "control")
        except OSError as error:
            raise NodeDownError(f"{self.name} doesn't run") from error
        try:
            return client.call(op, **args)
        except control.ControlError as error:
            raise LabError(f"{self.name}: {error}") from error
        finally:
            client.close()
