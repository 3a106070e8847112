"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    """Clusters, nodes, collectors, people: who may connect and see."""

    name = "netviz.inventory"
    verbose_name = "Nodes, collectors and tokens"

    def ready(self) -> None:
        """Listen to what becomes of people and collectors."""
        from netviz.inventory import audit_signals, logins

        audit_signals.connect()
        logins.connect()
