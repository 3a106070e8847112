"""Traces that people asked for, with what they were worked out from."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from netviz.tracing.packed import unpack


class TraceRun(models.Model):
    """One trace: what was asked, what came of it, and the revisions of the states that it read."""

    class Status(models.TextChoices):
        """A run goes down this list once; the last two are its ends."""

        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    request = models.JSONField(help_text="as posted")
    source = models.CharField("from", max_length=300)
    target = models.CharField("to", max_length=300)
    proto = models.CharField(max_length=8)
    status = models.CharField(max_length=8, choices=Status, default=Status.QUEUED)
    disposition = models.CharField(max_length=16, blank=True)
    outcome = models.CharField(
        max_length=16, blank=True, help_text="both directions and the contract together"
    )
    reason = models.CharField(max_length=64, blank=True, help_text="the kernel's name for it")
    reply = models.CharField(
        max_length=64, blank=True, help_text="the return's dispositions, of all branches"
    )
    headline = models.CharField(max_length=300, blank=True, help_text="the outcome in one sentence")
    packed = models.BinaryField(null=True, help_text="the trace's JSON, as packed.py keeps it")
    packed_bytes = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    inputs = models.JSONField(default=dict, help_text="revision of each node's state that was read")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True, help_text="when the workers were last told of it")
    claim = models.CharField(max_length=32, blank=True, help_text="token of the worker that has it")
    lease_until = models.DateTimeField(null=True, help_text="when the claim lapses unless it is renewed")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="how often a worker began it")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "trace"
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["-created_at"]),
            models.Index(fields=["status", "created_at"]),
            models.Index(fields=["disposition", "-created_at"]),
            models.Index(fields=["outcome", "-created_at"]),
            models.Index(fields=["packed_bytes"]),
        ]

    def __str__(self) -> str:
        return f"{self.source} to {self.target} ({self.proto})"

    @property
    def took_s(self) -> float | None:
        """Seconds from start to end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return float((self.finished_at - self.started_at).total_seconds())

    @property
    def result(self) -> dict[str, Any] | None:
        """The trace, as `manage.py trace --json` prints it; None before it is done."""
        return unpack(bytes(self.packed)) if self.packed is not None else None

    def summary(self) -> dict[str, Any]:
        """The run as JSON shows it in lists, without its trace."""
        return {
            "id": str(self.pk),
            "status": self.status,
            "error": self.error or None,
            "created": self.created_at.isoformat(),
            "user": self.user.get_username() if self.user is not None else "",
            "request": self.request,
            "disposition": self.disposition or None,
            "outcome": self.outcome or None,
            "headline": self.headline or None,
        }

    def as_json(self) -> dict[str, Any]:
        """The run as JSON shows it alone."""
        return {**self.summary(), "trace": self.result}
