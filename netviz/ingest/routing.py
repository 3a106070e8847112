"""WebSocket paths of collectors: they authenticate by their own token."""

from __future__ import annotations

from netviz.ingest.consumer import CollectorConsumer
from netviz.inventory.socket_paths import socket_path

agent_urlpatterns = [socket_path("ws/agents", CollectorConsumer.as_asgi())]
