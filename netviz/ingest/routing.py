"""WebSocket paths of collectors: they authenticate by their own token."""

from __future__ import annotations

from django.urls import path

from netviz.ingest.consumer import CollectorConsumer

agent_urlpatterns = [path("ws/agents", CollectorConsumer.as_asgi())]
