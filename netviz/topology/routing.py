"""WebSocket paths of topology, for people: they come in with a user who may see."""

from __future__ import annotations

from netviz.inventory.auth import PeopleSockets
from netviz.inventory.socket_paths import socket_path
from netviz.topology.consumers import TopologyConsumer

websocket_urlpatterns = [socket_path("ws/topology", PeopleSockets(TopologyConsumer.as_asgi()))]
