"""WebSocket paths of observing, for people: they come in with a user who may see."""

from __future__ import annotations

from netviz.inventory.auth import PeopleSockets
from netviz.inventory.socket_paths import socket_path
from netviz.observing.consumers import ObservationConsumer

websocket_urlpatterns = [
    socket_path("ws/observations/<str:observation_id>", PeopleSockets(ObservationConsumer.as_asgi()))
]
