"""What starts and stops with the server process, as ASGI's lifespan protocol has it.

A part that fails to start stops the server from starting: half a server would look like a whole one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from django.db import connections

log = logging.getLogger("netviz.server")


class Service(Protocol):
    """A part of the server that runs beside the requests. Both calls may block."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Finish what was begun and end."""


class Lifespan:
    """Start the services in order, stop them in the opposite order."""

    def __init__(self, services: list[Service]) -> None:
        self._services = services
        self._started: list[Service] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Follow the server from its start to its end."""
        await receive()
        try:
            for service in self._services:
                await asyncio.to_thread(_run, service.start)
                self._started.append(service)
        except Exception as err:
            log.exception("the server cannot start")
            await self._stop()
            await send({"type": "lifespan.startup.failed", "message": str(err)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _stop(self) -> None:
        while self._started:
            await asyncio.to_thread(_run, self._started.pop().stop)


def _run(step: Callable[[], None]) -> None:
    """Take one step, and close what it opened in the database: this thread is not seen again."""
    try:
        step()
    finally:
        connections.close_all()
