"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class TopologyConfig(AppConfig):
    """The graph for the page: projection and feed."""

    name = "netviz.topology"
