"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class ProblemsConfig(AppConfig):
    """The checking process, and the problems that it finds."""

    name = "netviz.problems"
