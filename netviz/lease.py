"""Who works on a row of the database: a lease that is renewed as long as its holder lives.

A row says until when it is somebody's (`lease_until`). A thread of the holder's renews that; when the holder dies it lapses,
and whoever looks finds the row by `lapsed()` and decides what becomes of it (`change_each`). What a holder writes is
written only while the row is still its own: `mine` is the query that says so, and each step is one conditional UPDATE. All
times are the database's, so the clocks of the machines needn't agree.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now

from netviz.parts import DATABASE_AWAY

log = logging.getLogger("netviz.lease")

RENEW_S = 3.0
# For how long a result waits for a database that is away.
WRITE_FOR_S = 60.0
RETRY_S = 1.0
Row = TypeVar("Row", bound=Model)


def lapsed() -> Q:
    """Match the rows whose holder has died."""
    return Q(lease_until=None) | Q(lease_until__lt=Now())


def change_each(rows: QuerySet[Row], announce: Callable[[int], None], **fields: Any) -> int:
    """Update those of the rows that are still what the query says, and tell their watchers; return how many."""
    changed = [pk for pk in list(rows.values_list("pk", flat=True)) if rows.filter(pk=pk).update(**fields)]
    for pk in changed:
        announce(pk)
    return len(changed)


class Lease:
    """The right to work on one row, as long as `mine` finds it. In a `with` block a thread renews it.

    `name` is for the log; `lasts` how long it lasts without renewal; after `longest_s` the row is ended with
    `too_long`; `renews` is written with each renewal.
    """

    def __init__(
        self,
        mine: QuerySet[Any],
        name: str,
        lasts: timedelta,
        longest_s: float,
        too_long: Mapping[str, Any],
        renews: Mapping[str, Any] | None = None,
    ) -> None:
        self.mine = mine
        self._name = name
        self._lasts = lasts
        self._longest_s = longest_s
        self._too_long = too_long
        self._renews = renews or {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease of {name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def finish(self, **fields: Any) -> bool:
        """Write the end; False when the row is another's. A database that is away is waited for.

        Raises: one of DATABASE_AWAY when that takes too long: the lease lapses then.
        """
        deadline_s = time.monotonic() + WRITE_FOR_S
        while True:
            try:
                return bool(self.mine.update(finished_at=Now(), lease_until=None, **fields))
            except DATABASE_AWAY as err:
                if time.monotonic() > deadline_s:
                    raise
                log.warning("cannot write the end of %s, trying again: %s", self._name, err)
                connection.close()
                time.sleep(RETRY_S)

    def _renew(self) -> None:
        """Renew until the block ends, the row is another's, or it has taken too long."""
        began_s = time.monotonic()
        while not self._over.wait(RENEW_S):
            try:
                if time.monotonic() - began_s > self._longest_s:
                    self.mine.update(finished_at=Now(), lease_until=None, **self._too_long)
                    return
                if not self.mine.update(lease_until=Now() + self._lasts, **self._renews):
                    log.warning("%s is another's now", self._name)
                    return
            except DATABASE_AWAY as err:
                log.warning("cannot renew the lease of %s: %s", self._name, err)
            finally:
                connection.close()
