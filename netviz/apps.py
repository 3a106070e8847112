"""The project itself as an app: it owns `serve`, the shared templates and the static files."""

from __future__ import annotations

from django.apps import AppConfig


class NetvizConfig(AppConfig):
    """Make the Celery application known before any task is sent."""

    name = "netviz"
    label = "netviz"

    def ready(self) -> None:
        """Load the Celery application, so that `shared_task` finds it, and the checks."""
        from netviz import celery, checks  # noqa: F401
