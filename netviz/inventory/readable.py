"""Numbers and times as people read them in the admin pages."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def ago(moment: datetime | None) -> str:
    """Say how long ago something was: `12 s ago`."""
    if moment is None:
        return "never"
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    size, unit = next(((size, unit) for size, unit in _STEPS if seconds >= size), (1, "s"))
    return f"{seconds // size} {unit} ago"


def size(count: float) -> str:
    """Say how many bytes: `37.2 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def delay(seconds: float) -> str:
    """Say how long something takes: `40 ms`, `2.5 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def share(cores: float) -> str:
    """Say how much of a core is used: `0.4 %`."""
    return f"{cores * 100:.1f} %"
