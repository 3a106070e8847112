"""The page's socket: frames out, `resync` in. Who may open it was checked before it came here."""

from __future__ import annotations

import msgspec

from netviz.inventory.consumers import PersonConsumer
from netviz.topology.feed import Feed, Mailbox, get_feed

BAD_MESSAGE = 4400


class Wish(msgspec.Struct, tag_field="type", tag="resync"):
    """What a page may say: it wants a snapshot."""


_decode = msgspec.json.Decoder(Wish).decode


class TopologyConsumer(PersonConsumer):
    """One page that watches the map."""

    feed: Feed | None = None
    mailbox: Mailbox

    async def connect(self) -> None:
        """Begin with a snapshot."""
        await self.accept()
        self.feed = get_feed()
        self.mailbox = self.feed.join()
        self.start(self._deliver())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Read the page's wish; anything else ends the socket with a reason."""
        try:
            _decode(text_data or "")
        except msgspec.DecodeError:
            await self.close(code=BAD_MESSAGE, reason='only {"type": "resync"} is understood')
            return
        self.mailbox.resync()

    async def left(self) -> None:
        """Let go of the feed."""
        if self.feed is not None:
            self.feed.leave(self.mailbox)

    async def _deliver(self) -> None:
        while True:
            await self.send(text_data=await self.mailbox.next_frame())
