"""Counters of legacy xtables, of the tables that a prediction names: read before a probe and after it.

To read them the kernel copies the whole table; nothing of it is changed. A table that was replaced in between isn't compared.

Source: net/ipv4/netfilter/ip_tables.c, get_entries, get_counters (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Collection

from agents.collectors.base import NetnsHandle
from agents.xtables import BadTable, LegacyTable, read_table, split_table
from netviz.core.observe.counters import Counted, Counts, XtTable, differences


class XtCounters:
    """The tables as they were, and the namespaces that they are in, which stay the caller's."""

    def __init__(self, wanted: Collection[XtTable]) -> None:
        self._wanted = sorted(wanted)
        self._before: list[tuple[XtTable, NetnsHandle, LegacyTable]] = []

    def add(self, place: str, ns: NetnsHandle) -> None:
        """Read a place's tables. Raises: OSError."""
        for table in self._wanted:
            if table.place == place:
                self._before.append((table, ns, _read(ns, table)))

    def finish(self) -> Counts:
        """Read them again. Raises: OSError."""
        compared, counted = list[XtTable](), list[Counted]()
        for table, ns, before in self._before:
            after = _read(ns, table)
            if _rules(before) == _rules(after):
                compared.append(table)
                counted += differences(table, _counts(before), _counts(after))
        return Counts(tuple(compared), tuple(counted))


def _read(ns: NetnsHandle, table: XtTable) -> LegacyTable:
    info, entries = ns.run(lambda: read_table(ns.kernel, table.family, table.name))
    try:
        return split_table(table.family, info, entries)
    except BadTable as error:
        raise OSError(0, str(error)) from None


def _rules(table: LegacyTable) -> list[tuple[str, tuple[bytes, ...]]]:
    return [(chain.name, chain.stable) for chain in table.chains]


def _counts(table: LegacyTable) -> list[tuple[str, int, int, int]]:
    return [
        (chain.name, one.number, one.packets, one.bytes) for chain in table.chains for one in chain.counts
    ]
