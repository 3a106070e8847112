"""A cluster's objects, kept up to date: the state that the watcher tells, and how far it can be trusted.

Of each kind of object: a list in pages, then a watch from the list's version on, and again from the last version heard
whenever the server ends that. A section is whole while a watch of each of its kinds stands; from the first try that
fails on (a connection that is cut, a refusal, 410 Gone) it isn't, and says since when and why, and what is held stays.
Then the kind is listed again and compared with what is held, and not before that is done it is whole: a watch that
stands says nothing of how much it still has to tell.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from agents.kubernetes.client import NOT_FOUND, Api, Unanswered
from agents.kubernetes.objects import ObjectsSource
from agents.source import Sink
from netviz.core.state.node import SectionStatus
from netviz.core.wire.kubernetes.api import RESOURCES, ApiError, Page, Resource
from netviz.core.wire.kubernetes.listing import Listing
from netviz.core.wire.kubernetes.pending import Pending

log = logging.getLogger(__name__)

FLUSH_S = 0.1
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
PAUSE_GROWTH = 2.0
LONGEST_ASKED_S = 300.0
# A watch that is ended sooner, without a word, is like one that was refused.
BRIEF_WATCH_S = 1.0
# A kind that the cluster has no API of may be installed.
ABSENT_S = 60.0
UNAUTHORIZED = 401
# When a kind was heard of is told in steps: nodes report themselves all the time, mostly that nothing changed.
HEARD_STEP_S = 10.0
REASON_CHARS = 300


class Kept(msgspec.Struct):
    """How one kind of object stands. `version` is up to where it is known, "" when it must be listed.

    `absent`: the cluster has no such kind. That is no trouble, and is asked again every `ABSENT_S`.
    """

    resource: Resource
    version: str = ""
    heard_at_s: float = 0.0
    trouble: str = "not listed yet"
    since_s: float = 0.0
    tried: bool = False
    absent: bool = False


class Watcher(ObjectsSource):
    """The objects as the API says them: `ready` is set when each kind was listed, or couldn't be."""

    def __init__(self, cluster: str, api: Callable[[], Api], sink: Sink | None = None) -> None:
        super().__init__(cluster, sink)
        self._make_api = api
        self._kept = {one.kind: Kept(one) for one in RESOURCES}
        self._pending = Pending()
        self._oldest_ns = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._state = msgspec.structs.replace(self._state, status=self._status_now())

    @property
    def troubles(self) -> dict[str, str]:
        """The kinds of objects that aren't known whole, and why."""
        return {one.resource.name: one.trouble for one in self._kept.values() if one.trouble}

    async def run(self) -> None:
        """List and watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for kept in self._kept.values():
                    tasks.create_task(self._keep(kept))
        finally:
            if self._flush_timer is not None:
                self._flush_timer.cancel()

    async def list_once(self) -> None:
        """List each kind once, without watching it: what can't be listed is in `troubles`."""
        for kept in self._kept.values():
            api = self._make_api()
            try:
                await self._list(api, kept)
                self._well(kept)
            except ApiError as err:
                self._failed(kept, err)
            finally:
                await api.close()
        self._flush()

    # One kind of object.

    async def _keep(self, kept: Kept) -> None:
        api, pause_s = self._make_api(), FIRST_PAUSE_S
        try:
            while True:
                heard_at_s, began, asked_s, failed = kept.heard_at_s, math.inf, 0.0, False
                try:
                    if not kept.version:
                        await self._list(api, kept)
                    if kept.absent:
                        self._well(kept)
                        self._flush_soon()
                        pause_s = FIRST_PAUSE_S
                        await asyncio.sleep(ABSENT_S * random.uniform(0.5, 1.0))
                        continue
                    began = time.monotonic()
                    await self._watch(api, kept)
                except ApiError as err:
                    self._failed(kept, err)
                    asked_s, failed = min(getattr(err, "retry_s", 0.0), LONGEST_ASKED_S), True
                    kept.version = ""
                    if err.code == UNAUTHORIZED:
                        await api.renew()
                stood = time.monotonic() - began >= BRIEF_WATCH_S or kept.heard_at_s != heard_at_s
                if stood:
                    pause_s = FIRST_PAUSE_S
                if failed or not stood:
                    await asyncio.sleep(max(asked_s, pause_s * random.uniform(0.5, 1.0)))
                    pause_s = min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
        finally:
            await api.close()

    async def _list(self, api: Api, kept: Kept) -> None:
        self._flush()  # what was heard before belongs before the list
        listing = Listing(kept.resource, self._state)
        page = await self._first_page(api, kept)
        if page is None:
            kept.absent, kept.heard_at_s = True, time.time()
            self._tell(listing.delta(), self._status_now(), time.time_ns())
            return
        kept.absent = False
        listing.add(page)
        while page.more:
            await asyncio.sleep(0)  # other kinds, and the server, between two pages
            page = await api.page(kept.resource, page.more)
            listing.add(page)
        if not page.version:
            raise Unanswered(f"a list of {kept.resource.name} without a version")
        self._tell(listing.delta(), self._status_now(), time.time_ns())
        kept.version = page.version

    async def _first_page(self, api: Api, kept: Kept) -> Page | None:
        """Get a list's first page; of a kind that needn't be there, in whichever version it is. None: it isn't there."""
        if not kept.resource.versions:
            return await api.page(kept.resource, "")
        served, known = await api.versions(kept.resource), kept.resource.versions
        strange = [one for one in served if one not in known]
        for version in (*(one for one in known if one in served), *strange):
            resource = kept.resource.in_version(version)
            try:
                page = await api.page(resource, "")
            except Unanswered as err:
                if err.code != NOT_FOUND:
                    raise
                continue
            if version in strange:
                raise Unanswered(f"the API has them in version {version} alone, which isn't known")
            kept.resource = resource
            return page
        return None

    async def _watch(self, api: Api, kept: Kept) -> None:
        async with aclosing(api.watch(kept.resource, kept.version)) as lines:
            async for line in lines:
                if line is not None:
                    event = kept.resource.event(line)
                    self._pending.add(kept.resource, event)
                    kept.version = event.version or kept.version
                    kept.heard_at_s = time.time()
                self._well(kept)
                self._flush_soon()

    def _well(self, kept: Kept) -> None:
        if kept.trouble:
            how = "the cluster has none" if kept.absent else "listed and watched"
            log.info("%s: %s", kept.resource.name, how)
        kept.heard_at_s = kept.heard_at_s or time.time()
        kept.trouble, kept.since_s = "", 0.0
        self._tried(kept)

    def _failed(self, kept: Kept, err: ApiError) -> None:
        kept.since_s = kept.since_s or time.time()
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(kept.since_s))
        trouble = f"{kept.resource.name} since {since} UTC: {err}"[:REASON_CHARS]
        if kept.trouble != trouble:
            log.warning("cannot list or watch %s", trouble)
        kept.trouble = trouble
        self._tried(kept)
        self._flush_soon()

    def _tried(self, kept: Kept) -> None:
        kept.tried = True
        if not self.ready.is_set() and all(one.tried for one in self._kept.values()):
            self._flush()
            self.ready.set()

    # What is told.

    def _status_now(self) -> dict[str, SectionStatus]:
        """Say of each section how whole it is: as whole as the worst of its kinds, and heard of as long ago."""
        sections: dict[str, list[Kept]] = {}
        for kept in self._kept.values():
            sections.setdefault(kept.resource.section, []).append(kept)
        return {
            section: SectionStatus(
                read_at_s=min(one.heard_at_s for one in kinds) // HEARD_STEP_S * HEARD_STEP_S,
                whole=not any(one.trouble for one in kinds),
                reason="; ".join(
                    one.trouble or f"the cluster has no {one.resource.name}"
                    for one in kinds
                    if one.trouble or one.absent
                ),
            )
            for section, kinds in sections.items()
        }

    def _flush_soon(self) -> None:
        self._oldest_ns = self._oldest_ns or time.time_ns()
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        at_ns, self._oldest_ns = self._oldest_ns or time.time_ns(), 0
        self._tell(self._pending.take(self._state), self._status_now(), at_ns)
