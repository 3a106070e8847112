"""The section "Chaos" of docs/reliability.md, written from what a run measured."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEADING = "## Chaos"
TITLE = "# Reliability\n\nWhat was done to netviz to break it, and what was found. Each section says how to repeat it.\n"


def write_section(path: Path, outcomes: Sequence[Any]) -> None:
    """Put a new section in the old one's place, or at the end."""
    text = path.read_text() if path.exists() else TITLE
    before, _, rest = text.partition(f"{HEADING}\n")
    _, mark, after = rest.partition("\n## ")
    parts = [before.rstrip(), section(outcomes).rstrip()]
    if mark:
        parts.append(f"## {after}".rstrip())
    path.write_text("\n\n".join(parts) + "\n")


def section(outcomes: Sequence[Any]) -> str:
    """The section's text."""
    lines = [
        HEADING,
        "",
        "`make chaos` breaks a whole netviz that is busy, again and again: a lab of 2 nodes on this kernel that is changed",
        "up to 80 times a second, its real collectors, traces asked for twice a second from each server, pages and API",
        "read four times a second. The faults, their order and length follow from a seed. After every tenth all",
        "comes to rest and is judged:",
        "",
        "- the state that each server holds equals a fresh dump of the kernel;",
        "- the journal equals what the collectors sent and were told: no acknowledged change is missing, none is",
        "  wrong (each row is compared with the frame), none is there twice or was never sent;",
        "- every accepted trace has ended, and once (a trigger in the database counts), begun at most twice;",
        "- no answer was anything but 200, 202, or 503 with `Retry-After`, as long as there was one.",
        "",
        f"Last run: {time.strftime('%Y-%m-%d')}, Linux {platform.release()}, Python {platform.python_version()}.",
        "",
    ]
    for outcome in outcomes:
        lines += _one(outcome)
    return "\n".join(lines)


def _one(outcome: Any) -> list[str]:
    parts = "SQLite" if outcome.name == "one server" else "PostgreSQL, Redis and a worker"
    answers = outcome.statuses
    rows = [
        ("faults", outcome.faults.total()),
        ("time", f"{outcome.seconds / 60:.0f} min"),
        (
            "changes made in the lab",
            f"{outcome.changes:,} ({outcome.changes / outcome.churned_s:.0f} a second)",
        ),
        ("changes acknowledged", f"{outcome.acknowledged:,}"),
        ("journal rows compared", f"{outcome.rows:,}"),
        ("traces accepted", f"{outcome.accepted:,}"),
        ("traces done, failed", f"{outcome.ends['done']:,}, {outcome.ends['failed']:,}"),
        ("answers 200 and 202", f"{answers[200] + answers[202]:,}"),
        ("answers 503", f"{answers[503]:,}"),
        ("no answer (killed, stopped)", f"{answers[0]:,}"),
        ("checks", outcome.checks),
        ("found wrong", len(outcome.wrong)),
    ]
    faults = ", ".join(f"{name} {times}" for name, times in sorted(outcome.faults.items()))
    return [
        f"**{outcome.name.capitalize()}** ({parts}; seed {outcome.seed})",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        f"Faults: {faults}.",
        "",
    ]
