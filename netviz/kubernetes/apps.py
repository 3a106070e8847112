"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class KubernetesConfig(AppConfig):
    """What the Kubernetes API has, held beside the nodes' state."""

    name = "netviz.kubernetes"
