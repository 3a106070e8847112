"""WebSocket paths of tracing, for people: they come in with a user who may see."""

from __future__ import annotations

from netviz.inventory.auth import PeopleSockets
from netviz.inventory.socket_paths import socket_path
from netviz.tracing.consumers import TraceConsumer

websocket_urlpatterns = [socket_path("ws/traces/<str:trace_id>", PeopleSockets(TraceConsumer.as_asgi()))]
