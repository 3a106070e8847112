"""Clusters, nodes, collectors, and people's API tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models

from netviz.core.state.objects import cluster_source


class Cluster(models.Model):
    """A Kubernetes cluster (or a lab)."""

    name = models.CharField(max_length=200, unique=True)
    description = models.TextField(blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


valid_node_name = RegexValidator(
    r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z",
    "a node's name has 1 to 253 letters, digits, dots, dashes and underscores",
)


class Node(models.Model):
    """A node of a cluster. Its name is what its collector calls it, so it is unique over all clusters."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nodes")
    name = models.CharField(max_length=253, unique=True, validators=[valid_node_name])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Collector(models.Model):
    """The right of one program to speak for one node or for one cluster, and what it last said of itself.

    Who speaks for a cluster says what its API's objects are, and nothing of any node.

    The columns below `last_seen_at` are written every few seconds at most, for the admin pages; what
    is true at this moment is in the live state store.
    """

    class Status(models.TextChoices):
        """Only an approved collector may connect."""

        ENROLLED = "enrolled", "enrolled (waits for approval)"
        APPROVED = "approved", "approved"
        REVOKED = "revoked", "revoked"

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="collectors", null=True)
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="watchers", null=True)
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
    clock_s = models.FloatField(
        null=True,
        editable=False,
        help_text="how far its clock is ahead of the server's, less the way of what it said",
    )
    lost_events = models.BigIntegerField(default=0, editable=False)
    shed_events = models.BigIntegerField(default=0, editable=False)
    resyncs = models.BigIntegerField(default=0, editable=False)
    cpu = models.FloatField(default=0, editable=False, help_text="cores")
    rss_bytes = models.BigIntegerField(default=0, editable=False)
    complete = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["node__name", "-enrolled_at"]
        indexes = [models.Index(fields=["status"])]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(node__isnull=True) ^ models.Q(cluster__isnull=True),
                name="collector_speaks_for_one",
            )
        ]

    def __str__(self) -> str:
        return f"{self.node or self.subject} ({self.token_hint}…)"

    @property
    def source(self) -> str:
        """The name by which it speaks: its node's, or its cluster's as sources are named."""
        return self.node.name if self.node is not None else cluster_source(str(self.cluster))

    @property
    def subject(self) -> str:
        """Whom it speaks for, in words."""
        return f"node {self.node}" if self.node is not None else f"cluster {self.cluster}"


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


class AppendOnlyError(Exception):
    """An entry of the audit was to be changed or deleted."""


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """Rows that can be added and read."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise AppendOnlyError("the audit can only be added to")

    update = delete = bulk_update = update_or_create = bulk_create = _refuse


class AuditEntry(models.Model):
    """One thing that somebody did or tried. `audit.record` writes it; nothing changes or deletes it."""

    class Via(models.TextChoices):
        """The way in."""

        PAGE = "page", "page"
        API = "api", "API token"
        COMMAND = "command", "command line"

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.CharField(max_length=200, blank=True, help_text="user name, as it was then")
    via = models.CharField(max_length=8, choices=Via)
    address = models.CharField(max_length=45, blank=True)
    action = models.CharField(max_length=64, help_text="object.verb")
    target = models.CharField(max_length=600, blank=True, help_text="name of the object, as it was then")
    detail = models.JSONField(default=dict)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit"
        ordering = ["-pk"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["action", "-at"]), models.Index(fields=["actor", "-at"])]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.actor} {self.action} {self.target}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add it. Raises: AppendOnlyError when it is there already."""
        if not self._state.adding:
            raise AppendOnlyError("the audit can only be added to")
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: AppendOnlyError, always."""
        raise AppendOnlyError("the audit can only be added to")

    def as_json(self) -> dict[str, Any]:
        """The entry as exports show it."""
        names = ("actor", "via", "address", "action", "target", "detail")
        return {"at": self.at.isoformat(), **{name: getattr(self, name) for name in names}}


class Budget(models.Model):
    """How many failures in a row some key had, and until when it has to wait (`throttle`)."""

    key = models.CharField(max_length=64, unique=True)
    failures = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(db_index=True)
    wait_until = models.DateTimeField()

    class Meta:
        default_permissions = ()
