"""Observations that people asked for: a probe that was sent, and what the kernels showed of it beside the prediction."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from netviz.tracing.packed import unpack


class Observation(models.Model):
    """One observation: what was asked, on which nodes, and what was seen."""

    class Status(models.TextChoices):
        """A run goes down this list once; the last three are its ends.

        Waiting: it runs, and a timer of a kernel decides what comes next. Partial: it is done, but something is missing.
        """

        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        WAITING = "waiting", "waiting"
        DONE = "done", "done"
        PARTIAL = "partial", "partial"
        FAILED = "failed", "failed"

    class Kind(models.TextChoices):
        """What it does."""

        PROBE = "probe", "probe"
        DROPS = "drops", "drop watch"
        CAPTURE = "capture", "capture"

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.PROBE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    request = models.JSONField(help_text="as posted")
    source = models.CharField("from", max_length=300)
    target = models.CharField("to", max_length=300)
    proto = models.CharField(max_length=8)
    status = models.CharField(max_length=8, choices=Status, default=Status.QUEUED)
    nodes = models.JSONField(default=list, help_text="the nodes that are watched")
    finding = models.CharField(max_length=16, blank=True, help_text="whether prediction and kernels agree")
    headline = models.CharField(max_length=300, blank=True, help_text="the finding in one sentence")
    packed = models.BinaryField(null=True, help_text="what was seen, as JSON, packed")
    packed_bytes = models.PositiveIntegerField(default=0)
    kept = models.BinaryField(null=True, help_text="where it differs: states and what was seen, as a file")
    kept_bytes = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    stopping = models.BooleanField(default=False, help_text="somebody wants it to end now")
    version = models.PositiveIntegerField(default=0, help_text="counts what was written of it")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True, help_text="when whoever runs it counts as gone")

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["-created_at"]),
            models.Index(fields=["status", "created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.source} to {self.target} ({self.proto})"

    @property
    def result(self) -> dict[str, Any] | None:
        """What was seen so far: of a probe the trace with it; None before anything was."""
        return unpack(bytes(self.packed)) if self.packed is not None else None

    def summary(self) -> dict[str, Any]:
        """The observation as JSON shows it in lists, without its trace."""
        return {
            "id": str(self.pk),
            "kind": self.kind,
            "status": self.status,
            "error": self.error or None,
            "created": self.created_at.isoformat(),
            "started": self.started_at.isoformat() if self.started_at is not None else None,
            "ended": self.finished_at.isoformat() if self.finished_at is not None else None,
            "user": self.user.get_username() if self.user is not None else "",
            "request": self.request,
            "nodes": self.nodes,
            "finding": self.finding or None,
            "headline": self.headline or None,
            "file": f"/api/observations/{self.pk}/file" if self.kept_bytes else None,
        }


class CapturePart(models.Model):
    """A part of a capture's file, in their order."""

    observation = models.ForeignKey(Observation, on_delete=models.CASCADE, related_name="parts")
    seq = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ["observation", "seq"]
        constraints = [models.UniqueConstraint(fields=["observation", "seq"], name="capture_part")]

    def __str__(self) -> str:
        return f"part {self.seq} of capture {self.observation_id}"
