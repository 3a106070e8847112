"""The page's socket: frames out, `resync` and `watch` in. Who may open it was checked before it came here.

`?nodes=A,B` says from the beginning what the page watches (`?nodes=` nothing); without it, all nodes.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

import msgspec

from netviz.inventory.consumers import PersonConsumer
from netviz.topology.feed import Feed, Mailbox, get_feed
from netviz.topology.frames import Watch

BAD_MESSAGE = 4400
MAX_WATCHED = 10_000
NodeName = Annotated[str, msgspec.Meta(max_length=253)]


class Resync(msgspec.Struct, tag_field="type", tag="resync"):
    """The page wants a snapshot."""


class WatchNodes(msgspec.Struct, tag_field="type", tag="watch"):
    """The page wants the details of these nodes and no others; None: of all."""

    nodes: Annotated[list[NodeName], msgspec.Meta(max_length=MAX_WATCHED)] | None


UNDERSTOOD = '{"type": "resync"} and {"type": "watch", "nodes": [NAME, ...] or null} are understood, 10,000 names at most'
_decode = msgspec.json.Decoder(Resync | WatchNodes).decode


class TopologyConsumer(PersonConsumer):
    """One page that watches the map."""

    feed: Feed | None = None
    mailbox: Mailbox

    async def connect(self) -> None:
        """Begin with a snapshot."""
        await self.accept()
        self.feed = get_feed()
        self.mailbox = self.feed.join(self._watch_at_first())
        self.start(self._deliver())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Read the page's wish; anything else ends the socket with a reason."""
        try:
            wish = _decode(text_data or "")
        except msgspec.DecodeError:
            await self.close(code=BAD_MESSAGE, reason=f"only {UNDERSTOOD}")
            return
        if isinstance(wish, Resync):
            self.mailbox.resync()
        else:
            self.mailbox.watch(None if wish.nodes is None else frozenset(wish.nodes))

    def _watch_at_first(self) -> Watch:
        query = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if "nodes" not in query:
            return None
        return frozenset(filter(None, ",".join(query["nodes"]).split(",")))

    async def left(self) -> None:
        """Let go of the feed."""
        if self.feed is not None:
            self.feed.leave(self.mailbox)

    async def _deliver(self) -> None:
        while True:
            await self.send(text_data=await self.mailbox.next_frame())
