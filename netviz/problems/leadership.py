"""Which process judges: one at a time, by a lease in the database that it renews.

Whoever finds the lease lapsed takes it. All that the leader writes is written only while the lease is its own, so one
that was stopped for a while and goes on changes nothing. All times are the database's.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from netviz.problems.models import Checking

LEASE_S = 6.0
RENEW_EVERY_S = 2.0
ROW = 1


class LostLead(Exception):
    """Another process leads now, or may."""


class Leadership:
    """One process's claim to judge."""

    def __init__(self, me: str) -> None:
        self.me = me
        self._renewed_s = -LEASE_S

    def take(self) -> bool:
        """Lead, if nobody else does."""
        Checking.objects.get_or_create(pk=ROW)
        asked_s = time.monotonic()
        free = Q(lease_until=None) | Q(lease_until__lte=Now()) | Q(leader=self.me)
        taken = Checking.objects.filter(free, pk=ROW).update(
            leader=self.me,
            lease_until=Now() + timedelta(seconds=LEASE_S),
            judging_since=None,
            judged_at=None,
        )
        if taken:
            self._renewed_s = asked_s
        return bool(taken)

    def write(self, **fields: Any) -> None:
        """Write how the checking is, and renew the lease. Raises: LostLead.

        A lease that lapsed while nobody took it is renewed: whoever takes it is the row's leader from then on.
        """
        asked_s = time.monotonic()
        mine = Checking.objects.filter(pk=ROW, leader=self.me)
        if not mine.update(lease_until=Now() + timedelta(seconds=LEASE_S), **fields):
            self._renewed_s = -LEASE_S
            raise LostLead
        self._renewed_s = asked_s

    @property
    def due(self) -> bool:
        """Whether the lease is to be renewed."""
        return time.monotonic() - self._renewed_s >= RENEW_EVERY_S

    @property
    def lasts(self) -> bool:
        """Whether the lease surely hasn't lapsed."""
        return time.monotonic() - self._renewed_s < LEASE_S


def release(leader: str | None = None) -> None:
    """Let a process that is dead lead no more; None: whoever does."""
    rows = Checking.objects.filter(pk=ROW, lease_until__gt=Now())
    if leader is not None:
        rows = rows.filter(leader=leader)
    rows.update(lease_until=Now(), judging_since=None)
