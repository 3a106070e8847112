"""What the server could not use of this collector's words: counted, and logged once each.

Such a record is a fault of the collector (or of a kernel that says what nobody expected), to be
reported with the line that is logged. The server goes on without it and shows its section as not whole.
"""

from __future__ import annotations

import logging

from netviz.core.wire.events import Noticed

log = logging.getLogger("agents.transport")

# Different records that are logged; a record that changes all the time must not fill a disk.
MAX_LOGGED = 200


class Complaints:
    """The complaints of one run. `count` is how many records were left out, repeats included."""

    def __init__(self) -> None:
        self.count = 0
        self._logged: set[tuple[str, str, str]] = set()

    def take(self, notice: Noticed) -> None:
        """Count what a notice names, and log what is new of it."""
        self.count += len(notice.records) + max(0, notice.more)
        for bad in notice.records:
            what = (bad.netns, bad.section, bad.record)
            if what in self._logged or len(self._logged) >= MAX_LOGGED:
                continue
            self._logged.add(what)
            log.warning(
                "the server cannot use a record (%s): %s %s of namespace %s: %s",
                notice.code,
                bad.section,
                bad.record,
                bad.netns or "any",
                bad.reason,
            )
            if len(self._logged) == MAX_LOGGED:
                log.warning("more records that the server cannot use are counted, but not logged")
