"""Netfilter bodies, kept once for all who refer to them and dropped with the last reference.

A chain or set record carries its body's digest; thousands of nodes with the same kube-proxy chains
cost one copy. References are counted from the deltas, so that no node is ever searched through,
except for what is missing. What is missing is known with when it may be asked for, so that 500 nodes
with the same chains aren't all asked; that goes with the last reference too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netviz.core.model.netfilter import Body, encode_body, encoded_digest
from netviz.core.state.bodies import Decoded, EncodedBodies, digests_of
from netviz.core.state.delta import Change, NodeDelta
from netviz.core.state.node import BODY_SECTIONS, NodeState
from netviz.core.state.section import EMPTY

ASK_AGAIN_S = 5.0


class BodyPool:
    """Bodies with their reference counts. Not locked: the store that owns it is."""

    def __init__(self) -> None:
        self._count: Counter[bytes] = Counter()
        self._bodies: dict[bytes, bytes] = {}
        self._decoded = Decoded()
        # digest -> from when on it may be asked for (monotonic seconds)
        self._missing: dict[bytes, float] = {}
        self._view: Mapping[bytes, Body] | None = EMPTY

    def view(self) -> Mapping[bytes, Body]:
        """All bodies, as a value that later changes don't touch."""
        if self._view is None:
            self._view = EncodedBodies(dict(self._bodies), self._decoded)
        return self._view

    def replace(self, old: NodeState, new: NodeState) -> None:
        """Count a node's new state instead of its old one."""
        for ns in new.netns.values():
            self._refer(digests_of(ns))
        for ns in old.netns.values():
            self._release(digests_of(ns))

    def fold(self, old: NodeState, delta: NodeDelta) -> None:
        """Count what `delta` changes in `old`. To be called before or after applying it, once."""
        gone = set(delta.gone)
        released: list[bytes] = []
        for key in gone:
            if (was := old.netns.get(key)) is not None:
                released.extend(digests_of(was))
        for changed in delta.netns:
            before = None if changed.key in gone else old.netns.get(changed.key)
            for section in BODY_SECTIONS:
                change = getattr(changed, section)
                if change is not None:
                    held = EMPTY if before is None else getattr(before, section)
                    self._refer(record.body for record in change.put if record.body)
                    released.extend(_replaced(held, change))
        self._release(released)

    def missing(self, state: NodeState) -> list[bytes]:
        """Digests that `state` refers to without a body."""
        if not self._missing:
            return []
        wanted = {d for ns in state.netns.values() for d in digests_of(ns) if d in self._missing}
        return sorted(wanted)

    def to_ask(self, state: NodeState, now_s: float) -> tuple[bytes, ...]:
        """Pick what `state` misses and nobody was asked for lately; it counts as asked for now."""
        due = tuple(digest for digest in self.missing(state) if self._missing[digest] <= now_s)
        self._missing.update(dict.fromkeys(due, now_s + ASK_AGAIN_S))
        return due

    def ask_again(self, digests: Iterable[bytes], at_s: float) -> None:
        """Let what is still missing be asked for from a time on."""
        self._missing.update((digest, at_s) for digest in digests if digest in self._missing)

    def bytes_of(self, state: NodeState) -> int:
        """How many bytes the bodies have that `state` refers to, as they are kept."""
        digests = {digest for ns in state.netns.values() for digest in digests_of(ns)}
        return sum(len(self._bodies.get(digest, b"")) for digest in digests)

    def refers_to(self, digest: bytes) -> bool:
        """Tell whether anything refers to a body."""
        return digest in self._count

    def encoded(self, digest: bytes) -> bytes | None:
        """A body as it is kept."""
        return self._bodies.get(digest)

    def wanted(self) -> list[bytes]:
        """Digests that anything refers to without a body."""
        return list(self._missing)

    def put(self, bodies: Iterable[Body]) -> bool:
        """Keep the bodies that are referred to; tell whether there were any new ones."""
        changed = False
        for body in bodies:
            encoded = encode_body(body)
            digest = encoded_digest(encoded)
            if digest in self._missing:
                del self._missing[digest]
                self._bodies[digest] = encoded
                changed = True
        if changed:
            self._view = None
        return changed

    def _refer(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._count[digest] += 1
            if digest not in self._bodies:
                self._missing.setdefault(digest, 0.0)

    def _release(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._count[digest] -= 1
            if self._count[digest] <= 0:
                del self._count[digest]
                self._missing.pop(digest, None)
                if self._bodies.pop(digest, None) is not None:
                    self._view = None


def _replaced(held: Mapping[Any, Any], change: Change[Any, Any]) -> Iterator[bytes]:
    """Digests of the held records that `change` drops or puts anew."""
    keys = {*change.drop, *(record.key for record in change.put)}
    for key in keys:
        if (record := held.get(key)) is not None and record.body:
            yield record.body
