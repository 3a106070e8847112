"""Problems as they are kept, what people did about them, and how the checking itself is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from django.db import models
from django.utils import timezone

from netviz.core.check.problem import Problem as Found
from netviz.tracing.packed import unpack

OPEN, ACKNOWLEDGED, MUTED = "open", "acknowledged", "muted"
_decode = msgspec.json.Decoder(Found).decode


class Problem(models.Model):
    """One cause, from when it was found until its end is believed. The checking process alone makes and ends it.

    `began_at` is None where it was there before anybody looked: then it is older than `found_at`. `gone_at` says
    since when it isn't found any more; it ends when that has lasted (ledger.py). `unverified` says what isn't
    known now that it rests on, so that it may be over. `body` is the check's own record as JSON.
    """

    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=64, db_index=True)
    severity = models.CharField(max_length=8)
    harm = models.CharField(max_length=24)
    certainty = models.CharField(max_length=8)
    headline = models.CharField(max_length=300)
    node = models.CharField(max_length=253, blank=True, db_index=True)
    pairs = models.PositiveBigIntegerField(default=0)
    body = models.TextField()
    found_at = models.DateTimeField()
    began_at = models.DateTimeField(null=True)
    gone_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, db_index=True)
    returns = models.PositiveIntegerField(
        default=0, help_text="how often it came back before its end was believed"
    )
    unverified = models.CharField(max_length=300, blank=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    muted_until = models.DateTimeField(null=True)
    muted_by = models.CharField(max_length=150, blank=True)
    packed = models.BinaryField(
        null=True, help_text="the trace of a flow that fails for it, as tracing keeps it"
    )
    curve = models.JSONField(
        default=list, help_text="how many pairs it affected: [Unix seconds, pairs] at each change"
    )
    told = models.CharField(max_length=8, blank=True, help_text="what the webhook's receiver was told last")

    class Meta:
        ordering = ["-found_at", "-pk"]
        indexes = [models.Index(fields=["ended_at", "-id"]), models.Index(fields=["told", "ended_at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(ended_at=None), name="one_open_problem_a_cause"
            )
        ]

    def __str__(self) -> str:
        return self.headline

    @property
    def found(self) -> Found:
        """The check's own record. Raises: msgspec.MsgspecError where a later version wrote it otherwise."""
        return _decode(self.body)

    def state_at(self, now: datetime) -> str:
        """What people have decided about it."""
        if self.muted_until is not None and self.muted_until > now:
            return MUTED
        return OPEN if self.acknowledged_at is None else ACKNOWLEDGED

    @property
    def trace(self) -> dict[str, Any] | None:
        """The trace that is its evidence, as it was when it was found."""
        return unpack(bytes(self.packed)) if self.packed is not None else None


class Remark(models.Model):
    """Something that happened to a problem, or that somebody did or said about it; only ever added to."""

    class Kind(models.TextChoices):
        """What it is; the first four are the checking process's, the others people's."""

        FOUND = "found", "found"
        GONE = "gone", "not found any more"
        RETURNED = "returned", "found again"
        ENDED = "ended", "resolved"
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        REOPENED = "reopened", "acknowledgement taken back"
        MUTED = "muted", "muted"
        UNMUTED = "unmuted", "unmuted"
        COMMENT = "comment", "comment"

    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="remarks")
    at = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=150, blank=True, help_text="user name, as it was then; empty: netviz")
    kind = models.CharField(max_length=12, choices=Kind)
    text = models.TextField(blank=True, max_length=2000)

    class Meta:
        ordering = ["pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.kind}"

    def as_json(self) -> dict[str, Any]:
        """The remark as JSON shows it."""
        return {"at": self.at.isoformat(), "by": self.by, "kind": self.kind, "text": self.text}


class Checking(models.Model):
    """How the checking is: one row. Who leads has a lease; nobody else writes problems.

    `judged_at` is when the state that was judged last was taken, `judging_since` when a run began that still goes on,
    `version` counts what changed of the problems and results, so that a reader knows when to look. The other columns
    are the last run's report.
    """

    leader = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True)
    version = models.PositiveBigIntegerField(default=0)
    judged_at = models.DateTimeField(null=True)
    judging_since = models.DateTimeField(null=True)
    took_s = models.FloatField(default=0)
    pods = models.PositiveBigIntegerField(default=0)
    pairs = models.PositiveBigIntegerField(default=0)
    classes = models.PositiveBigIntegerField(default=0)
    expected = models.PositiveIntegerField(default=0, help_text="nodes with an approved collector")
    away = models.JSONField(default=list, help_text="those of them of which nothing current is known")
    results = models.JSONField(default=list)
    error = models.CharField(
        max_length=300, blank=True, help_text="why the last run failed; empty: it didn't"
    )
    hook_sent = models.PositiveBigIntegerField(default=0, help_text="alerts that the webhook's receiver took")
    hook_failures = models.PositiveBigIntegerField(default=0, help_text="requests that it didn't take")
    hook_error = models.CharField(max_length=200, blank=True, help_text="why it didn't take the last one")

    class Meta:
        default_permissions = ()
        verbose_name_plural = "checking"

    def __str__(self) -> str:
        return f"checking, led by {self.leader or 'nobody'}"
