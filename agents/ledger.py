"""The node's state as the collector has it, and what changed since it was last told.

Changes gather in an overlay (record key -> record, or None for dropped), so that a record that
changes ten times in ten milliseconds is told once, and one that came and went not at all. `flush` folds
the overlay into the immutable state and returns the delta: `apply(state before, delta) == state after`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import msgspec

from agents.bodies import EncodedBody
from agents.collectors.base import NetnsHandle, Reading
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body
from netviz.core.model.netns import Gap, Netns, Pod
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply, diff_section
from netviz.core.state.node import BODY_SECTIONS, SECTIONS, NodeState, SectionStatus
from netviz.core.state.section import EMPTY

_Overlay = dict[Hashable, Any]


class Ledger:
    """State, pending changes, and netfilter bodies of one node. Not thread-safe."""

    def __init__(self, node: str, *, kernel: str = "", boot_id: str = "") -> None:
        self.state = NodeState(node, kernel=kernel, boot_id=boot_id)
        self._records: dict[NetnsKey, Netns] = {}
        self._changed_records: set[NetnsKey] = set()
        self._overlays: dict[NetnsKey, dict[str, _Overlay]] = {}
        self._gone: dict[NetnsKey, None] = {}
        self._status: dict[str, SectionStatus] = {}
        self._bodies: dict[bytes, EncodedBody] = {}

    @property
    def pending(self) -> bool:
        """Something may have changed since the last flush."""
        return bool(self._changed_records or self._overlays or self._gone or self._status)

    def knows(self, key: NetnsKey) -> bool:
        """The namespace was introduced and isn't gone."""
        return key in self._records

    def describe(self, ns: NetnsHandle) -> None:
        """Introduce a namespace, or renew what its handle says of it."""
        old = self._records.get(ns.key)
        if old is None:
            old = Netns(ns.key, root=ns.root)
        self._put(msgspec.structs.replace(old, name=ns.name, holders=ns.holders))

    def remove(self, key: NetnsKey) -> None:
        """Drop a namespace with all its sections."""
        record = self._records.pop(key, None)
        for gap in record.gaps if record is not None else ():
            self._judge(gap.section)
        self._overlays.pop(key, None)
        self._changed_records.discard(key)
        if key in self.state.netns:
            self._gone[key] = None

    def set_pod(self, key: NetnsKey, pod: Pod | None) -> None:
        """Say which pod a known namespace is."""
        if key in self._records:
            self._put(msgspec.structs.replace(self._records[key], pod=pod))

    def set_nsids(self, key: NetnsKey, nsids: Mapping[int, NetnsKey]) -> None:
        """Say which namespaces a known namespace's nsids mean."""
        if key in self._records:
            self._put(msgspec.structs.replace(self._records[key], nsids=tuple(sorted(nsids.items()))))

    def set_gaps(self, key: NetnsKey, read: Iterable[str], gaps: Mapping[str, str]) -> None:
        """Note that `read` sections were read whole, and that `gaps` were not and why."""
        record = self._records[key]
        settled = {*read, *gaps}
        kept = [gap for gap in record.gaps if gap.section not in settled]
        new = sorted([*kept, *(Gap(s, why) for s, why in gaps.items())], key=lambda gap: gap.section)
        if tuple(new) != record.gaps:
            self._put(msgspec.structs.replace(record, gaps=tuple(new)))
            for section in settled:
                self._judge(section)

    def _judge(self, section: str) -> None:
        """Set whether a section is whole. Namespaces discovered by a veth peer alone don't count: they may be another node's."""
        reasons = [
            gap.reason
            for record in self._records.values()
            if record.key.dev
            for gap in record.gaps
            if gap.section == section
        ]
        self.set_status(section, whole=not reasons, reason=reasons[0] if reasons else "")

    def _put(self, record: Netns) -> None:
        if self._records.get(record.key) != record:
            self._records[record.key] = record
            self._changed_records.add(record.key)

    def record(self, key: NetnsKey) -> Netns:
        """Return a namespace's record. Raises: KeyError."""
        return self._records[key]

    def section(self, key: NetnsKey, name: str) -> Mapping[Any, Any]:
        """Return a section with pending changes folded in."""
        ns = self.state.netns.get(key) if key not in self._gone else None
        told: Mapping[Any, Any] = EMPTY if ns is None else getattr(ns, name)
        overlay = self._overlays.get(key, {}).get(name)
        if not overlay:
            return told
        merged = {**told, **overlay}
        return {k: rec for k, rec in merged.items() if rec is not None}

    def lookup(self, key: NetnsKey, name: str, record_key: Hashable) -> Any:
        """Return one record with pending changes folded in, None when there is none."""
        overlay = self._overlays.get(key, {}).get(name)
        if overlay is not None and record_key in overlay:
            return overlay[record_key]
        ns = self.state.netns.get(key) if key not in self._gone else None
        return None if ns is None else getattr(ns, name).get(record_key)

    def change(self, delta: NetnsDelta) -> None:
        """Fold in changes of sections; ignored for an unknown namespace."""
        if delta.key in self._records:
            for name in SECTIONS:
                change = getattr(delta, name)
                if change is not None:
                    self._fold(delta.key, name, change)

    def _overlay(self, key: NetnsKey, name: str) -> _Overlay:
        return self._overlays.setdefault(key, {}).setdefault(name, {})

    def _fold(self, key: NetnsKey, name: str, change: Change[Any, Any]) -> None:
        overlay = self._overlay(key, name)
        for dropped in change.drop:
            overlay[dropped] = None
        for rec in change.put:
            overlay[rec.key] = rec

    def replace(self, key: NetnsKey, reading: Reading) -> dict[str, int]:
        """Make whole sections what was read; returns how many records of each differed. Ignored for an unknown namespace."""
        differed: dict[str, int] = {}
        if key not in self._records:
            return differed
        for name, records in reading.sections.items():
            new = {rec.key: rec for rec in records}  # type: ignore[attr-defined]
            old = self.section(key, name)
            if not old:  # as in every first reading
                differed[name] = len(new)
                self._overlay(key, name).update(new)
                continue
            change = diff_section(old, new)
            if change is not None:
                differed[name] = len(change.put) + len(change.drop)
                self._fold(key, name, change)
        self._bodies.update(reading.bodies)
        self.set_gaps(key, reading.sections, reading.gaps)
        if reading.pod is not msgspec.UNSET:
            self.set_pod(key, reading.pod)
        return differed

    def status(self, section: str) -> SectionStatus:
        """Return a section's status with pending changes."""
        return self._status.get(section) or self.state.status.get(section) or SectionStatus()

    def set_status(self, section: str, **changes: Any) -> None:
        """Change fields of a section's status."""
        old = self.status(section)
        new = msgspec.structs.replace(old, **changes)
        if new != old or (section not in self.state.status and section not in self._status):
            self._status[section] = new

    def flush(self) -> NodeDelta:
        """Fold everything pending into the state and return what really changed (perhaps nothing)."""
        changes = []
        for key in self._records.keys() & (self._changed_records | self._overlays.keys()):
            change = self._flush_netns(key)
            if change is not None:
                changes.append(change)
        delta = NodeDelta(netns=tuple(changes), gone=tuple(self._gone), status=self._status)
        self._changed_records, self._overlays, self._gone, self._status = set(), {}, {}, {}
        if not delta.empty:
            self.state = apply(self.state, delta)
        return delta

    def _flush_netns(self, key: NetnsKey) -> NetnsDelta | None:
        told = self.state.netns.get(key) if key not in self._gone else None
        sections: dict[str, Any] = {}
        for name, overlay in self._overlays.get(key, {}).items():
            old: Mapping[Any, Any] = EMPTY if told is None else getattr(told, name)
            if old:
                put = tuple(r for k, r in overlay.items() if r is not None and old.get(k) != r)
                drop = tuple(k for k, r in overlay.items() if r is None and k in old)
            else:
                put, drop = tuple(r for r in overlay.values() if r is not None), ()
            if put or drop:
                sections[name] = Change(put, drop)
        record = self._records[key] if told is None or key in self._changed_records else None
        if record is None and not sections:
            return None
        return NetnsDelta(key=key, netns=record, **sections)

    def bodies(self, digests: Iterable[bytes]) -> list[Body]:
        """Return the bodies that are known, in the order asked for."""
        return [self._bodies[d].decode() for d in digests if d in self._bodies]

    def all_bodies(self) -> list[Body]:
        """Return every body that the state refers to."""
        return self.bodies(sorted(self._referred()))

    def prune_bodies(self) -> None:
        """Forget bodies that nothing refers to any more. Call it after a flush."""
        referred = self._referred()
        self._bodies = {digest: body for digest, body in self._bodies.items() if digest in referred}

    def _referred(self) -> set[bytes]:
        out: set[bytes] = set()
        for ns in self.state.netns.values():
            for section in BODY_SECTIONS:
                out.update(record.body for record in getattr(ns, section).values())
        return out
