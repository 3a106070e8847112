"""Faults for the demo's page: a Unix socket at which they are listed, made and mended, by what the command line calls too.

It answers from a thread of its own for as long as the demo's cluster is up. Whoever may open the socket (it lies in a
folder of the demo's user alone) may break the cluster that the desk was given, and nothing else.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import control
from lab.cluster import Cluster
from lab.faults import apply_fault, mend, offered
from lab.spec import LabError


class FaultDesk:
    """A context manager: serves `list`, `break` and `mend`, each answering with what `lab.faults.offered` says then."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self._cluster = cluster
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._halt, self._halted = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="fault-desk", daemon=True)

    def __enter__(self) -> FaultDesk:
        listener = control.listen(self._path)
        self._selector.register(self._halted, selectors.EVENT_READ, None)
        operations: control.Operations = {"list": self.list, "break": self.break_, "mend": self.mend}
        control.serve(self._selector, listener, operations)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._halt.send(b"\0")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._halt.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data()

    # -- operations

    def list(self) -> dict[str, Any]:
        """Say what can be broken, and what is."""
        return self._after(self._cluster.refresh)

    def break_(self, name: str) -> dict[str, Any]:
        """Apply a fault to what is chosen for it."""
        return self._after(apply_fault, self._cluster, name)

    def mend(self, name: str) -> dict[str, Any]:
        """Undo a fault by its id, or all."""
        return self._after(mend, self._cluster, name)

    def _after(self, work: Callable[..., object], *args: object) -> dict[str, Any]:
        """Do something, and say how it is then; a refusal is what `control.serve` takes for one."""
        try:
            work(*args)
            return offered(self._cluster)
        except (LabError, subprocess.SubprocessError) as error:
            raise RuntimeError(str(error)) from error
