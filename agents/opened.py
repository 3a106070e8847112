"""A node opened to be read: what every `Host` answers from its namespaces and its ledger."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from agents.collectors.base import NetnsHandle
from agents.collectors.netns import Namespaces, NetnsOptions
from agents.ledger import Ledger
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Pod


def read_boot_id(proc: str | None) -> str:
    """Return the kernel's boot id, "" where it cannot be read."""
    try:
        with open(f"{proc or '/proc'}/sys/kernel/random/boot_id", encoding="ascii") as f:
            return f.read().strip()
    except OSError:
        return ""


class OpenedNode:
    """What a snapshot and a running collector have in common. `_namespaces` is set before any collector starts."""

    _namespaces: Namespaces

    def __init__(self, options: NetnsOptions) -> None:
        self._options = options
        self.ledger = Ledger(options.node, kernel=os.uname().release, boot_id=read_boot_id(options.proc))
        self.shed_events = 0

    @property
    def node(self) -> str:
        """The node's name."""
        return self._options.node

    @property
    def proc(self) -> str | None:
        """Where the node's processes are seen."""
        return self._options.proc

    @property
    def root(self) -> NetnsHandle:
        """The node's own namespace."""
        return self._namespaces.root

    def namespaces(self) -> list[NetnsHandle]:
        """Every namespace that is open, the node's own first."""
        return self._namespaces.handles()

    def section(self, key: NetnsKey, section: str) -> Mapping[Any, Any]:
        """One section as the state has it now."""
        return self.ledger.section(key, section)

    def lookup(self, key: NetnsKey, section: str, record_key: Any) -> Any:
        """One record as the state has it now."""
        return self.ledger.lookup(key, section, record_key)

    def set_pod(self, key: NetnsKey, pod: Pod | None) -> None:
        """Say which pod a namespace is."""
        self.ledger.set_pod(key, pod)

    def set_trouble(self, source: str, reason: str) -> None:
        """Note that a source cannot be read, or can again."""
        self.ledger.set_status(source, whole=not reason, reason=reason)

    def shed(self, section: str, count: int) -> None:
        """Count changes left out."""
        self.shed_events += count
        self.ledger.set_status(section, shed=self.ledger.status(section).shed + count)

    def made_good(self, section: str, count: int) -> None:
        """Note that the state has what so many changes would have told."""
        self.ledger.set_status(section, shed=self.ledger.status(section).shed - count)
