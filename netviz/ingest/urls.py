"""Paths of what collectors told."""

from __future__ import annotations

from django.urls import path

from netviz.ingest.views import node_state

urlpatterns = [path("api/nodes/<str:name>/state", node_state, name="node-state")]
