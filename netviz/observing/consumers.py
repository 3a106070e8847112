"""The socket that follows one observation to its end: its place in the queue, and what was seen so far."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async
from redis.exceptions import RedisError

from netviz.groups import listen_from_this_loop
from netviz.inventory.consumers import PersonConsumer
from netviz.observing.notify import group_of
from netviz.observing.queue import UNFINISHED, shown
from netviz.observing.views import find
from netviz.parts import DATABASE_AWAY

log = logging.getLogger("netviz.observing")

NO_SUCH_OBSERVATION = 4404
LOOK_EVERY_S = 1.0


def _news(
    observation_id: str, known: tuple[int, int | None] | None
) -> tuple[tuple[int, int | None], Any] | None:
    """Read an observation if it, or its place, isn't what is known."""
    found = find(observation_id)
    if found is None:
        return None
    said = shown(found)
    now = (found.version, said["place"])
    return None if now == known else (now, said)


class ObservationConsumer(PersonConsumer):
    """One page that looks at one observation."""

    group = ""

    async def connect(self) -> None:
        """Send the observation as it is now, and then each time that it changes."""
        await self.accept()
        observation_id = self.scope["url_route"]["kwargs"]["observation_id"]
        listen_from_this_loop()
        if await database_sync_to_async(find)(observation_id) is None:
            await self.close(code=NO_SUCH_OBSERVATION, reason="there is no such observation")
            return
        self.group = group_of(int(observation_id))
        await self.channel_layer.group_add(self.group, self.channel_name)
        self.changed = asyncio.Event()
        self.start(self._follow(observation_id))

    async def observation_changed(self, event: dict[str, Any]) -> None:
        """Look now."""
        self.changed.set()

    async def left(self) -> None:
        """Leave the group; Redis, which holds it, forgets it by itself too."""
        if self.group:
            with suppress(OSError, RedisError):
                await self.channel_layer.group_discard(self.group, self.channel_name)

    async def _follow(self, observation_id: str) -> None:
        known: tuple[int, int | None] | None = None
        while True:
            self.changed.clear()
            try:
                news = await database_sync_to_async(_news)(observation_id, known)
            except DATABASE_AWAY as err:
                log.warning("cannot look at observation %s, trying again: %s", observation_id, err)
                news = None
            if news is not None:
                known, said = news
                await self.send(text_data=json.dumps(said))
                if said["status"] not in UNFINISHED:
                    return
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), LOOK_EVERY_S)
