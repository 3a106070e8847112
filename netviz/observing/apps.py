"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class ObservingConfig(AppConfig):
    """Observations: probes that were sent, and what was seen of them."""

    name = "netviz.observing"
