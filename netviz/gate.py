"""While the database or Redis is away, every answer is 503 with Retry-After, and sockets are told to come again.

An answer that was begun is left to end by itself; one for which the part is waited for in vain is
given up, so nobody waits longer than it takes to see that the part is away. `/healthz` passes: it
says which part it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from netviz.errors import away_answer, away_sentence
from netviz.inventory.answers import refuse_socket
from netviz.parts import AWAY, RETRY_AFTER_S, part_of, parts

log = logging.getLogger("netviz.gate")

Send = Callable[[dict[str, Any]], Awaitable[None]]
OPEN_PATHS = ("/healthz",)
LOOK_EVERY_S = 0.5
TRY_AGAIN_LATER = 1013
_given_up: set[asyncio.Task[None]] = set()


class Gate:
    """Let requests and sockets through to `application` while all parts are there."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["path"] in OPEN_PATHS:
            await self._application(scope, receive, send)
        elif (part := parts.away()) is not None:
            await _refuse_request(scope, send, part)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Answer, or give the answer up when a part goes away before it has begun."""
        begun = given_up = False

        async def pass_on(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            if not given_up:
                await send(message)

        task = asyncio.create_task(self._application(scope, receive, pass_on))
        try:
            while not (await asyncio.wait({task}, timeout=LOOK_EVERY_S))[0]:
                if not begun and (part := parts.away()) is not None:
                    given_up = True
                    _given_up.add(task)
                    task.add_done_callback(_forget)
                    await _refuse_request(scope, send, part)
                    return
            task.result()
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _socket(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        """Serve a socket; close it when what it needs goes away."""
        said = ""

        async def pass_on(message: dict[str, Any]) -> None:
            nonlocal said
            said = message["type"]
            await send(message)

        part = parts.away()
        if part is None:
            try:
                await self._application(scope, receive, pass_on)
            except AWAY as err:
                log.warning("closing a socket of %s: %s", scope["path"], err)
                part = part_of(err)
        if part is None or said in ("websocket.close", "websocket.http.response.body"):
            return
        if said == "":
            await refuse_socket(scope, send, 503, away_sentence(part), Retry_After=str(RETRY_AFTER_S))
        else:
            reason = f"{part} is away; try again in {RETRY_AFTER_S} s"
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": reason})


def _forget(task: asyncio.Task[None]) -> None:
    _given_up.discard(task)
    if not task.cancelled() and (err := task.exception()) is not None:
        log.warning("a request that was given up ended: %s", err)


async def _refuse_request(scope: dict[str, Any], send: Send, part: str) -> None:
    answer = away_answer(scope["path"], part)
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.items()]
    headers.append((b"content-length", b"%d" % len(answer.content)))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.content})
