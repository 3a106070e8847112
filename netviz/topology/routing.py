"""WebSocket paths of topology, for people: they come in with a user who may see."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.inventory.auth import PeopleSockets
from netviz.topology.consumers import TopologyConsumer

websocket_urlpatterns: list[URLPattern] = [path("ws/topology", PeopleSockets(TopologyConsumer.as_asgi()))]
