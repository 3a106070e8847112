"""Cut the open sockets of people who may no longer see: at once, whoever took the right away, and how.

A right ends in many ways: a token is revoked or reaches its end, a user is deactivated or loses the
role, a session is logged out or its password changed; on a page, on a command line, in another server
process. All of them are in the database, so each process asks it every half second for all of its
sockets together, in at most three queries, instead of being told. Nobody has to remember to tell, and
nothing is missed while Redis is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.db import connections
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from netviz.inventory.access import READ, lacking
from netviz.inventory.models import ApiToken
from netviz.parts import DATABASE_AWAY

log = logging.getLogger("netviz.inventory")

LOOK_EVERY_S = 0.5
NOT_ALLOWED = 4403


@dataclass(frozen=True)
class Credential:
    """What opened a socket: a session or an API token, by its key in the database."""

    session_key: str | None = None
    token_id: int | None = None


def still_valid(credentials: Collection[Credential]) -> set[Credential]:
    """Ask the database which of them may still see."""
    return _valid_tokens({one.token_id for one in credentials if one.token_id is not None}) | _valid_sessions(
        {one.session_key for one in credentials if one.session_key}
    )


def _valid_tokens(ids: Collection[int]) -> set[Credential]:
    if not ids:
        return set()
    now = timezone.now()
    tokens = ApiToken.objects.filter(pk__in=ids).select_related("user").prefetch_related("user__groups")
    return {
        Credential(token_id=token.pk)
        for token in tokens
        if token.problem(now) is None and lacking(token.user, token, READ) is None
    }


def _valid_sessions(keys: Collection[str]) -> set[Credential]:
    if not keys:
        return set()
    sessions = Session.objects.filter(pk__in=keys, expire_date__gt=timezone.now())
    held = {session.pk: session.get_decoded() for session in sessions}
    ids = {data[SESSION_KEY] for data in held.values() if SESSION_KEY in data}
    users = {
        str(user.pk): user
        for user in get_user_model().objects.filter(pk__in=ids).prefetch_related("groups")
        if lacking(user, None, READ) is None
    }
    return {
        Credential(session_key=key)
        for key, data in held.items()
        if (user := users.get(data.get(SESSION_KEY, ""))) is not None
        and constant_time_compare(data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    }


class Watch:
    """The sockets of one event loop, and the task that looks whether they may stay open."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Future[None], Credential] = {}
        self._task: asyncio.Task[None] | None = None

    def join(self, credential: Credential) -> asyncio.Future[None]:
        """Look after a socket; what is returned is done when it has to close."""
        cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open[cut] = credential
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="socket-rights")
        return cut

    def leave(self, cut: asyncio.Future[None]) -> None:
        """The socket is closed. The last one ends the task."""
        self._open.pop(cut, None)
        if not self._open and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # A thread of its own: a slow query elsewhere doesn't keep anybody's socket open.
        thread = ThreadPoolExecutor(1, thread_name_prefix="socket-rights")
        failing = False
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                looked_at = dict(self._open)
                try:
                    valid = await loop.run_in_executor(thread, still_valid, set(looked_at.values()))
                    failing = False
                except DATABASE_AWAY as err:
                    if not failing:
                        log.error("cannot look whether the open sockets may stay, trying again: %s", err)
                    failing = True
                    await loop.run_in_executor(thread, connections.close_all)
                    continue
                except Exception:
                    log.exception("looking whether the open sockets may stay failed, and goes on")
                    await loop.run_in_executor(thread, connections.close_all)
                    continue
                for cut, credential in looked_at.items():
                    if credential not in valid and not cut.done():
                        cut.set_result(None)
        finally:
            thread.submit(connections.close_all)
            thread.shutdown(wait=False)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


async def serve_while_valid(
    application: Any,
    credential: Credential,
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Run a socket's application until the socket ends, or what opened it does: then it is closed (4403)."""
    watch = _watches.setdefault(asyncio.get_running_loop(), Watch())
    cut = watch.join(credential)

    async def receive_or_cut() -> dict[str, Any]:
        message = asyncio.ensure_future(receive())
        either: set[asyncio.Future[Any]] = {message, cut}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not cut.done():
                return message.result()
        finally:
            message.cancel()
        await send({"type": "websocket.close", "code": NOT_ALLOWED, "reason": "you may no longer see this"})
        return {"type": "websocket.disconnect", "code": NOT_ALLOWED}

    async def send_unless_cut(message: dict[str, Any]) -> None:
        if not cut.done():
            await send(message)

    try:
        await application(scope, receive_or_cut, send_unless_cut)
    finally:
        watch.leave(cut)
