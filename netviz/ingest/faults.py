"""What of which node the server failed to work out: one node's records take no other node down.

Whoever computes something from one node's state does so inside `faults.attempt` and goes on without
the node when that fails. A fault is logged once, counted by /healthz and /metrics while it stands,
and gone as soon as the same work succeeds.
"""

from __future__ import annotations

import logging
import threading

from netviz.core.plain import plain

log = logging.getLogger("netviz.ingest")

MAX_TEXT = 200


def sentence(err: BaseException) -> str:
    """Say in one printable line what went wrong: it may quote a collector's bytes."""
    text = f"{type(err).__name__}: {err}"
    return plain(text[:MAX_TEXT])[:MAX_TEXT]


class Attempt:
    """One try at a part of a node; `fault` says afterwards what went wrong, None when nothing did."""

    def __init__(self, owner: Faults, node: str, part: str) -> None:
        self._owner, self._node, self._part = owner, node, part
        self.fault: str | None = None

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: object, err: BaseException | None, traceback: object) -> bool:
        if err is None:
            self._owner.good(self._node, self._part)
        elif isinstance(err, Exception):
            self.fault = self._owner.failed(self._node, self._part, err)
        return self.fault is not None


class Faults:
    """(node, part) -> what went wrong there. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._standing: dict[tuple[str, str], str] = {}

    def attempt(self, node: str, part: str) -> Attempt:
        """Give the context in which to work a part of a node out: it ends what fails inside, and notes it."""
        return Attempt(self, node, part)

    def failed(self, node: str, part: str, err: BaseException) -> str:
        """Note that a part of a node cannot be worked out; return what to say of it."""
        text = sentence(err)
        with self._lock:
            known = (node, part) in self._standing
            self._standing[node, part] = text
        if not known:
            log.error("node %s is not understood (%s), going on without it", node, part, exc_info=err)
        return text

    def good(self, node: str, part: str) -> None:
        """Note that a part of a node can be worked out."""
        if (node, part) not in self._standing:
            return
        with self._lock:
            healed = self._standing.pop((node, part), None) is not None
        if healed:
            log.warning("node %s is understood again (%s)", node, part)

    def forget(self, node: str) -> None:
        """Drop the faults of a node that is gone."""
        with self._lock:
            for key in [key for key in self._standing if key[0] == node]:
                del self._standing[key]

    def standing(self) -> dict[str, dict[str, str]]:
        """What stands now: node -> part -> what went wrong."""
        with self._lock:
            found: dict[str, dict[str, str]] = {}
            for (node, part), text in self._standing.items():
                found.setdefault(node, {})[part] = text
            return found


faults = Faults()
