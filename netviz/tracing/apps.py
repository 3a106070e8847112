"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class TracingConfig(AppConfig):
    """Traces: tasks, history, their API."""

    name = "netviz.tracing"
