"""A person's socket: whatever ends it, what it held is let go, and one person opens only so many."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer

from netviz.inventory.answers import refuse_socket

log = logging.getLogger("netviz.inventory")

# Of one person, in one process: pages of the map and traces that are followed.
MAX_SOCKETS = 64
FAILED = 1011
_open: Counter[Any] = Counter()


def open_sockets() -> int:
    """How many sockets people have open in this process."""
    return _open.total()


class PersonConsumer(AsyncWebsocketConsumer):
    """One socket of the person in `scope["user"]`. What a subclass holds, it lets go in `left`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the socket; however that ends, nothing of it remains."""
        person = scope["user"].pk
        if _open[person] >= MAX_SOCKETS:
            log.warning("refused a socket of user %s: %d are open", scope["user"], MAX_SOCKETS)
            await receive()
            await refuse_socket(scope, send, 429, f"you have {MAX_SOCKETS} sockets open; close some")
            return
        _open[person] += 1
        try:
            await super().__call__(scope, receive, send)
        except OSError:
            log.debug("a socket of user %s went away", scope["user"])
        finally:
            _open[person] -= 1
            if not _open[person]:
                del _open[person]
            for task in self._tasks:
                task.cancel()
            await self.left()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler straight away: Channels' own dispatch asks for the database in a thread first."""
        await getattr(self, get_handler_name(message))(message)

    async def left(self) -> None:
        """Let go of what the socket held. It may never have been accepted."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work beside the socket for as long as it is open; the socket ends if the work fails."""
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(OSError):  # the page has gone
            try:
                await work
            except OSError:
                raise
            except Exception:
                log.exception("a socket of user %s fails", self.scope["user"])
                await self.close(code=FAILED, reason="the server failed; its log says why")
