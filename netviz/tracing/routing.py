"""WebSocket paths of tracing, for people: they come in with a user who may see."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.inventory.auth import PeopleSockets
from netviz.tracing.consumers import TraceConsumer

websocket_urlpatterns: list[URLPattern] = [
    path("ws/traces/<str:trace_id>", PeopleSockets(TraceConsumer.as_asgi()))
]
