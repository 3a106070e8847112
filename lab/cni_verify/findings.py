"""What a run found: one entry for each thing that was looked at, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from netviz.core.plain import plain

Result = Literal["holds", "fails", "not checked"]
VERSION = 1
SHOWN = 20


class Entry(msgspec.Struct):
    """One thing that was looked at: what it demands; why not, where it wasn't checked; what is wrong, a line each.

    `notes` say what is worth knowing and nothing to blame the plugin for.
    """

    name: str
    demands: str
    reason: str = ""
    wrong: list[str] = []
    notes: list[str] = []

    @property
    def result(self) -> Result:
        """How it ended."""
        return "fails" if self.wrong else "not checked" if self.reason else "holds"


class Findings(msgspec.Struct):
    """All that a run found about a network."""

    network: str
    version: str
    plugins: list[str]
    nodes: int
    entries: list[Entry] = []

    def add(self, name: str, demands: str, wrong: Iterable[str] = (), reason: str = "") -> Entry:
        """Add an entry."""
        entry = Entry(name, demands, reason, list(dict.fromkeys(wrong)))
        self.entries.append(entry)
        return entry

    @property
    def status(self) -> int:
        """The exit status: 1 if anything fails."""
        return int(any(entry.wrong for entry in self.entries))

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        checks = [{**msgspec.to_builtins(entry), "result": entry.result} for entry in self.entries]
        return {
            "version": VERSION,
            "network": self.network,
            "cni_version": self.version,
            "plugins": self.plugins,
            "nodes": self.nodes,
            "holds": not self.status,
            "checks": checks,
        }

    def as_text(self) -> str:
        """Everything, for people: a line for each entry, and below it what is wrong."""
        nodes = f"{self.nodes} node{'s' if self.nodes > 1 else ''}"
        lines = [f"{self.network} ({', '.join(self.plugins)}), CNI {self.version}, on {nodes}"]
        for entry in self.entries:
            word = {"holds": "holds", "fails": "DOESN'T HOLD", "not checked": "not checked"}[entry.result]
            lines.append(f"  {word:13} {entry.name}: {entry.reason or entry.demands}")
            lines += [f"    - {line}" for line in entry.wrong[:SHOWN]]
            if len(entry.wrong) > SHOWN:
                lines.append(f"    - and {len(entry.wrong) - SHOWN} more (--json has all)")
            lines += [f"    . {line}" for line in entry.notes[:SHOWN]]
        failed = sum(entry.result == "fails" for entry in self.entries)
        skipped = sum(entry.result == "not checked" for entry in self.entries)
        held = len(self.entries) - failed - skipped
        lines.append(f"{held} hold, {failed} don't, {skipped} not checked")
        return "\n".join(plain(line) for line in lines)
