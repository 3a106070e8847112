"""Equal parts of the held state are kept once.

Namespaces are alike: every pod has the same rules, settings, loopback addresses and routes, and so
do the pods of all nodes. What a frame brings is made anew by its decoder, so a snapshot is gone
through once before it is held: small sections that are equal to one held already are replaced by
it whole, and so are records, and the configuration inside links. Nothing is searched: what was seen
is kept in a table of bounded size, which is thrown away when it is full; what it shared stays shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.link import Link
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.section import EMPTY, Section

# Sections whose records are often equal; conntrack, sockets and counters never are.
SECTIONS = ("links", "addrs", "neighs", "fdb", "vlans", "routes", "rules", "sysctls", "xt_tables")
# Larger sections are their namespace's own.
MAX_RECORDS = 256
MAX_KNOWN = 1 << 16


class Shared:
    """What was seen lately. Not locked: the store that owns it is."""

    def __init__(self, max_known: int = MAX_KNOWN) -> None:
        self._max_known = max_known
        self._records: dict[Any, tuple[Any, Any]] = {}
        self._parts: dict[Any, Any] = {}
        self._sections: dict[tuple[Any, ...], Section[Any, Any]] = {}

    def state(self, state: NodeState) -> NodeState:
        """Return an equal state that shares what it can."""
        netns = {key: self._netns(ns) for key, ns in state.netns.items()}
        return msgspec.structs.replace(state, netns=netns or EMPTY)

    def _netns(self, ns: NetnsState) -> NetnsState:
        if len(self._records) + len(self._parts) + len(self._sections) > self._max_known:
            self._records, self._parts, self._sections = {}, {}, {}
        changes = {}
        for name in SECTIONS:
            section = getattr(ns, name)
            if 0 < len(section) <= MAX_RECORDS:
                changes[name] = self._section(section)
        return msgspec.structs.replace(ns, **changes)

    def _section(self, section: Mapping[Any, Any]) -> Mapping[Any, Any]:
        records = tuple(section.values())
        known = self._sections.get(records)
        if known is None:
            known = self._sections[records] = Section(
                self._record(key, record) for key, record in section.items()
            )
        return known

    def _record(self, key: Any, record: Any) -> tuple[Any, Any]:
        """Return key and record, one pair for all equal records."""
        pair = self._records.get(record)
        if pair is None:
            if isinstance(record, Link):
                record = self._link(record)
            pair = self._records[record] = (key, record)
        return pair

    def _link(self, link: Link) -> Link:
        """Devices are told apart by name and address, and mostly configured alike."""
        parts = {name: getattr(link, name) for name in ("info", "port", "ipv4", "ipv6")}
        known = {name: self._parts.setdefault(part, part) for name, part in parts.items() if part is not None}
        return msgspec.structs.replace(link, **known)
