"""The ASGI application: static files, pages, browsers' sockets, collectors' socket, start and stop.

Browsers' sockets must come from a page of this server and from a known user; collectors' sockets
authenticate by their own token.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")

import django

django.setup(set_prefix=False)

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from netviz.celery import in_process_worker
from netviz.database import ClosesDatabase
from netviz.garbage import garbage
from netviz.gate import Gate
from netviz.handler import Handler
from netviz.ingest.journal import journal
from netviz.ingest.keeper import keeper
from netviz.ingest.routing import agent_urlpatterns
from netviz.inventory.answers import refuse_socket
from netviz.inventory.socket_paths import every_other_path
from netviz.kubernetes.delays import delays
from netviz.lifespan import Lifespan
from netviz.observing.routing import websocket_urlpatterns as observing_sockets
from netviz.parts import parts
from netviz.problems.board import reader
from netviz.problems.overseer import overseer
from netviz.staticfiles import StaticFiles
from netviz.topology.routing import websocket_urlpatterns as topology_sockets
from netviz.tracing.routing import websocket_urlpatterns as tracing_sockets
from netviz.tracing.tending import tender


async def _no_socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse a socket at a path that has none."""
    await receive()
    await refuse_socket(scope, send, 404, "there is no WebSocket here")


websocket = URLRouter(
    [
        *agent_urlpatterns,
        *topology_sockets,
        *tracing_sockets,
        *observing_sockets,
        every_other_path(_no_socket),
    ],
)
_routes: Any = ProtocolTypeRouter(
    {
        "http": StaticFiles(Gate(ClosesDatabase(Handler()))),
        "websocket": Gate(websocket),
        "lifespan": Lifespan(
            [garbage, parts, journal, keeper, tender, in_process_worker, reader, overseer, delays]
        ),
    }
)
# Who calls is the proxy's caller, where the proxy is trusted to say so.
application = ProxyHeadersMiddleware(_routes, [str(network) for network in settings.TRUSTED_PROXIES])
