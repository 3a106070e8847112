"""The page's socket: frames out, `resync` in. Who may open it was checked before it came here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from netviz.inventory.access import VIEWER, may
from netviz.topology.feed import Feed, Mailbox, get_feed

RECHECK_S = 30.0
BAD_MESSAGE, NOT_ALLOWED = 4400, 4403


class Wish(msgspec.Struct, tag_field="type", tag="resync"):
    """What a page may say: it wants a snapshot."""


_decode = msgspec.json.Decoder(Wish).decode


def _may_still_see(user_now: Callable[[], Any]) -> bool:
    user = user_now()
    return user is not None and may(user, VIEWER)


class TopologyConsumer(AsyncWebsocketConsumer):
    """One page that watches the map."""

    feed: Feed | None = None
    mailbox: Mailbox
    tasks: tuple[asyncio.Task[None], ...] = ()

    async def connect(self) -> None:
        """Begin with a snapshot."""
        await self.accept()
        self.feed = get_feed()
        self.mailbox = self.feed.join()
        self.tasks = (asyncio.create_task(self._deliver()), asyncio.create_task(self._recheck()))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Read the page's wish; anything else ends the socket with a reason."""
        try:
            _decode(text_data or "")
        except msgspec.DecodeError:
            await self.close(code=BAD_MESSAGE, reason='only {"type": "resync"} is understood')
            return
        self.mailbox.resync()

    async def disconnect(self, code: int) -> None:
        """Let go of the feed."""
        for task in self.tasks:
            task.cancel()
        if self.feed is not None:
            self.feed.leave(self.mailbox)

    async def _deliver(self) -> None:
        while True:
            await self.send(text_data=await self.mailbox.next_frame())

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            if not await database_sync_to_async(_may_still_see)(self.scope["user_now"]):
                await self.close(code=NOT_ALLOWED, reason="the user may no longer see")
                return
