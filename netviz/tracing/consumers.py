"""The socket that follows one trace: until it has ended, and from then on whether it is up to date.

`?known=STATUS` says what the page knows already, such as from the answer to its POST: the trace is sent when its status is
another one. Whether a trace that has ended is up to date is said in any case.
A word from whoever changed the trace makes it look at once; without one it looks every LOOK_EVERY_S:
the process that changed the trace may be another one, and Redis, which carries the word, away. A trace that has ended
is compared with the live state when a node changes that it read, no more often than every PAUSE_S; and every ASK_EVERY_S
besides, for other nodes may get what it asked for, and collectors may fall silent.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from redis.exceptions import RedisError

from netviz.core.state.delta import NodeDelta
from netviz.groups import listen_from_this_loop
from netviz.ingest.live_store import get_store
from netviz.inventory.consumers import PersonConsumer
from netviz.parts import DATABASE_AWAY
from netviz.tracing.claims import UNFINISHED
from netviz.tracing.currency import Currency, currency_of, nodes_read, shown
from netviz.tracing.models import TraceRun
from netviz.tracing.notify import group_of
from netviz.tracing.views import find

log = logging.getLogger("netviz.tracing")

NO_SUCH_TRACE = 4404
LOOK_EVERY_S = 2.0
ASK_EVERY_S = 5.0
PAUSE_S = 0.5


def _news(trace_id: str, known: str) -> tuple[TraceRun, dict[str, Any] | None] | None:
    """Read a trace, and what to say of it if its status isn't the one that is known."""
    run = find(trace_id)
    if run is None:
        return None
    return run, None if run.status == known else shown(run)


class TraceConsumer(PersonConsumer):
    """One page that looks at one trace."""

    group = ""
    unsubscribe: Callable[[], None] | None = None

    async def connect(self) -> None:
        """Send the trace as it is now, and then each time that it changes."""
        await self.accept()
        trace_id = self.scope["url_route"]["kwargs"]["trace_id"]
        listen_from_this_loop()
        if await database_sync_to_async(find)(trace_id) is None:
            await self.close(code=NO_SUCH_TRACE, reason="there is no such trace")
            return
        self.group = group_of(int(trace_id))
        await self.channel_layer.group_add(self.group, self.channel_name)
        self.changed = asyncio.Event()
        self.start(self._follow(trace_id, self._known_at_first()))

    def _known_at_first(self) -> str:
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        return query.get("known", [""])[-1]

    async def trace_changed(self, event: dict[str, Any]) -> None:
        """Look now."""
        self.changed.set()

    async def left(self) -> None:
        """Leave the group; Redis, which holds it, forgets it by itself too."""
        if self.unsubscribe is not None:
            self.unsubscribe()
        if self.group:
            with suppress(OSError, RedisError):
                await self.channel_layer.group_discard(self.group, self.channel_name)

    async def _follow(self, trace_id: str, known: str) -> None:
        """Send what is new until the trace has ended, and then whether it is up to date."""
        while True:
            self.changed.clear()
            try:
                news = await database_sync_to_async(_news)(trace_id, known)
            except DATABASE_AWAY as err:
                log.warning("cannot look at trace %s, trying again: %s", trace_id, err)
                news = None
            if news is not None:
                run, said = news
                known = run.status
                if said is not None:
                    await self.send(text_data=json.dumps(said))
                if known not in UNFINISHED:
                    break
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), LOOK_EVERY_S)
        if known == TraceRun.Status.DONE:
            await self._compare(run, said)

    async def _compare(self, run: TraceRun, said: dict[str, Any] | None) -> None:
        """Say whether the trace is up to date unless that was `said`, and then whenever it gets out of date, or isn't any more."""
        loop = asyncio.get_running_loop()
        known = None if said is None else {name: said[name] for name in Currency(None).as_json()}
        matter = nodes_read(run.pk)

        def note(node: str, _delta: NodeDelta | None, _revision: int) -> None:
            if node in matter and not self.changed.is_set():
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self.changed.set)

        self.unsubscribe = get_store().subscribe(note)
        while True:
            now = (await asyncio.to_thread(currency_of, run)).as_json()
            matter = nodes_read(run.pk)
            if now != known:
                known = now
                await self.send(text_data=json.dumps({**run.summary(), **now}))
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), ASK_EVERY_S)
            await asyncio.sleep(PAUSE_S)
            self.changed.clear()
