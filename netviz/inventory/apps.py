"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    """Clusters, nodes, collectors, people: who may connect and see."""

    name = "netviz.inventory"
