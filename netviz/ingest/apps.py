"""The app's configuration."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_delete


class IngestConfig(AppConfig):
    """What collectors send: live state and journal."""

    name = "netviz.ingest"
    verbose_name = "Journal"

    def ready(self) -> None:
        """Follow what becomes of nodes."""
        from netviz.inventory.models import Node

        post_delete.connect(_node_deleted, sender=Node, dispatch_uid="netviz.ingest.node_deleted")


def _node_deleted(sender: Any, instance: Any, **kwargs: Any) -> None:
    """Let the live state go with its node."""
    from netviz.ingest.connections import connections
    from netviz.ingest.faults import faults
    from netviz.ingest.live_store import get_store

    connections.cut(instance.name, "revoked", "the node was removed")
    get_store().forget(instance.name)
    faults.forget(instance.name)
