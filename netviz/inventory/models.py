"""Clusters, nodes, collectors, and people's API tokens."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models


class Cluster(models.Model):
    """A Kubernetes cluster (or a lab)."""

    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Node(models.Model):
    """A node of a cluster. Its name is what its collector calls it, so it is unique over all clusters."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nodes")
    name = models.CharField(max_length=253, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Collector(models.Model):
    """The right of one program to speak for one node, and what it last said of itself.

    The columns below `last_seen_at` are written every few seconds at most, for the admin pages; what
    is true at this moment is in the live state store.
    """

    class Status(models.TextChoices):
        """Only an approved collector may connect."""

        ENROLLED = "enrolled", "enrolled (waits for approval)"
        APPROVED = "approved", "approved"
        REVOKED = "revoked", "revoked"

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="collectors")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    token_hint = models.CharField(max_length=12, editable=False, help_text="how the token begins")
    status = models.CharField(max_length=10, choices=Status, default=Status.ENROLLED)
    enrolled_at = models.DateTimeField(auto_now_add=True)
    approved_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    connected = models.BooleanField(default=False, editable=False)
    last_seen_at = models.DateTimeField(null=True, editable=False)
    version = models.CharField(max_length=64, blank=True, editable=False)
    kernel = models.CharField(max_length=128, blank=True, editable=False)
    lag_s = models.FloatField(default=0, editable=False)
    lost_events = models.BigIntegerField(default=0, editable=False)
    shed_events = models.BigIntegerField(default=0, editable=False)
    resyncs = models.BigIntegerField(default=0, editable=False)
    cpu = models.FloatField(default=0, editable=False, help_text="cores")
    rss_bytes = models.BigIntegerField(default=0, editable=False)
    complete = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["node__name", "-enrolled_at"]
        indexes = [models.Index(fields=["status"])]

    def __str__(self) -> str:
        return f"{self.node} ({self.token_hint}…)"


class ApiToken(models.Model):
    """A person's token for the HTTP API (`Authorization: Bearer`).

    It may what its scopes say, as long as its user's role has them too, until it ends or is revoked.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="what it is used for")
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    token_hint = models.CharField(max_length=12, editable=False, help_text="how the token begins")
    scopes = models.JSONField(default=list, help_text="what it may do, within its user's role")
    expires_at = models.DateTimeField("ends", null=True, blank=True, help_text="never, if left empty")
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"

    def problem(self, now: datetime) -> str | None:
        """Say in one sentence why it opens nothing at the moment `now`; None: it does."""
        if self.revoked_at is not None:
            return "this token was revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return f"this token ended at {self.expires_at:%Y-%m-%d %H:%M} UTC"
        if not self.user.is_active:
            return "this token's user is deactivated"
        return None
