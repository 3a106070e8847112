"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class TracingConfig(AppConfig):
    """Traces: tasks, history, their API."""

    name = "netviz.tracing"
    verbose_name = "Traces"

    def ready(self) -> None:
        """Let a Celery worker of its own process tend the traces, too."""
        from netviz.tracing import tending  # noqa: F401 - it connects to the worker's signals
