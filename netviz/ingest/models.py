"""The journal: what changed on every node, in the collectors' own numbering."""

from __future__ import annotations

from django.db import models


class JournalEntry(models.Model):
    """One durable change. The constraint is what makes a change that is sent twice be kept once.

    A checkpoint changes nothing: it repeats the whole state after the change of the same number, so that
    what lies before can be cleaned away. `body` is a zlib-compressed MessagePack `NodeDelta`; that of
    a snapshot or checkpoint starts from an empty state.
    Of what changes all the time (conntrack, counters, sockets) it has only the sockets that take new flows.
    """

    class Kind(models.TextChoices):
        """What the change is."""

        SNAPSHOT = "snapshot", "whole state"
        DELTA = "delta", "change"
        CHECKPOINT = "checkpoint", "checkpoint"

    WHOLE = (Kind.SNAPSHOT, Kind.CHECKPOINT)

    node = models.CharField(max_length=253)
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    received_at = models.DateTimeField(db_index=True)
    summary = models.CharField(max_length=200)
    size = models.PositiveIntegerField(help_text="bytes")
    body = models.BinaryField()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "journal entries"
        constraints = [models.UniqueConstraint(fields=["node", "epoch", "seq", "kind"], name="journal_once")]
        indexes = [models.Index(fields=["node", "kind", "id"], name="journal_whole")]

    def __str__(self) -> str:
        return f"{self.node} {self.epoch:x}/{self.seq}: {self.summary}"


class JournalBody(models.Model):
    """The body of netfilter chains or sets that entries refer to. `body` is zlib-compressed MessagePack."""

    digest = models.CharField(max_length=64, primary_key=True, help_text="hexadecimal")
    body = models.BinaryField()
    size = models.PositiveIntegerField(help_text="bytes")
    seen_at = models.DateTimeField(db_index=True, help_text="when an entry last referred to it")

    class Meta:
        verbose_name_plural = "journal bodies"

    def __str__(self) -> str:
        return self.digest
