"""A collector's socket that ends in an unusual way: its node never stays connected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from uvicorn.protocols.utils import ClientDisconnected

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import ChainBody, NftChain, NftRuleBody, body_digest
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.wire.codec import decode_frame, encode_frame
from netviz.core.wire.messages import (
    Bodies,
    Delta,
    Hello,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotPart,
    Welcome,
)
from netviz.ingest.connections import connections
from netviz.ingest.consumer import CollectorConsumer
from netviz.ingest.memory_store import MemoryStore
from netviz.inventory.models import Node
from netviz.inventory.service import enrol

KEY = NetnsKey("n1", 4, 1)
HELLO = encode_frame(Hello("n1", (1,), "1.0", 5))


class Link:
    """An open socket of node n1's collector, as the server's protocol hands it over."""

    def __init__(self, token: str) -> None:
        self._scope = {"type": "websocket", "headers": [(b"authorization", f"Bearer {token}".encode())]}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.gone = False

    async def send(self, event: dict[str, Any]) -> None:
        if self.gone:
            raise ClientDisconnected
        self.sent.append(event)

    async def serve(self) -> None:
        await CollectorConsumer()(self._scope, self._events.get, self.send)

    def put(self, kind: str, **fields: Any) -> None:
        self._events.put_nowait({"type": f"websocket.{kind}", **fields})

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(300):
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def link(store: MemoryStore, transactional_db: None) -> Link:
    return Link((await sync_to_async(enrol)("n1", approve=True))[1])


async def test_a_link_that_dies_at_the_welcome_leaves_nobody_connected(
    link: Link, store: MemoryStore
) -> None:
    serving = asyncio.create_task(link.serve())
    link.put("connect")
    await link.until(lambda: link.sent)
    link.gone = True
    link.put("receive", bytes=HELLO)
    await link.until(lambda: "n1" in store.node_revisions() and not store.node_revisions()["n1"].connected)
    assert len(connections) == 0
    link.put("disconnect", code=1006)
    await asyncio.wait_for(serving, 300)


async def test_a_channel_layer_that_fails_leaves_nobody_connected(
    link: Link, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from channels.layers import InMemoryChannelLayer

    async def fail(*args: Any) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(InMemoryChannelLayer, "group_send", fail)
    monkeypatch.setattr(InMemoryChannelLayer, "group_discard", fail)
    link.put("connect")
    link.put("receive", bytes=HELLO)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(link.serve(), 300)
    assert len(connections) == 0
    assert not store.node_revisions()["n1"].connected


async def test_a_snapshot_past_the_setting_is_refused(link: Link, settings: Any) -> None:
    settings.SNAPSHOT_MAX_BYTES = 1000
    serving = asyncio.create_task(link.serve())
    link.put("connect")
    link.put("receive", bytes=HELLO)
    link.put("receive", bytes=encode_frame(SnapshotBegin(5, 0)))
    link.put("receive", bytes=encode_frame(SnapshotPart(0, NodeDelta(kernel="x" * 2000))))
    await link.until(lambda: link.sent and link.sent[-1]["type"] == "websocket.close")
    assert link.sent[-1]["code"] == 1009
    link.put("disconnect", code=1009)
    await asyncio.wait_for(serving, 300)


async def test_a_connection_is_not_replaced_by_one_that_was_before_it(link: Link) -> None:
    serving = asyncio.create_task(link.serve())
    link.put("connect")
    await link.until(lambda: link.sent)
    node_id = (await Node.objects.aget(name="n1")).pk
    await get_channel_layer().group_send(f"node.{node_id}", {"type": "collector.replaced", "by": "earlier"})
    await asyncio.sleep(0.1)
    link.put("receive", bytes=HELLO)
    await link.until(lambda: len(link.sent) >= 2)
    assert isinstance(decode_frame(link.sent[1]["bytes"]), Welcome)
    link.put("disconnect", code=1000)
    await asyncio.wait_for(serving, 300)


def sysctls(start: int, count: int = 10) -> NodeDelta:
    """A change that adds settings of 100 bytes each."""
    put = tuple(Sysctl(f"{number:0100}", 1) for number in range(start, start + count))
    return NodeDelta((NetnsDelta(KEY, Netns(KEY), sysctls=Change(put)),))


async def spoken(link: Link, *messages: Any) -> tuple[int, Any]:
    """Connect, say something and wait for the end: its close code, and the server's last message."""
    link.sent.clear()
    serving = asyncio.create_task(link.serve())
    link.put("connect")
    for message in messages:
        link.put("receive", bytes=encode_frame(message))
    await link.until(lambda: link.sent and link.sent[-1]["type"] == "websocket.close")
    link.put("disconnect", code=link.sent[-1]["code"])
    await asyncio.wait_for(serving, 300)
    return link.sent[-1]["code"], decode_frame(link.sent[-2]["bytes"])


async def test_changes_make_a_state_no_larger_than_a_snapshot_may_be(
    link: Link, settings: Any, store: MemoryStore
) -> None:
    settings.SNAPSHOT_MAX_BYTES = 20_000
    hello, begin, end = Hello("n1", (1,), "1.0", 5), SnapshotBegin(5, 0), SnapshotEnd(1)
    changes = [Delta(5, seq, 1, sysctls(10 * seq)) for seq in range(1, 100)]
    code, last = await spoken(link, hello, begin, SnapshotPart(0, sysctls(0)), end, *changes)
    assert (code, last.code) == (1009, "too_large")
    assert "over 20000 bytes" in last.message
    held = store.state("n1")
    assert held is not None
    assert 150 < len(held.netns[KEY].sysctls) < 250
    # Nor by connecting again: it has to tell its state anew.
    code, last = await spoken(link, hello, *(Delta(5, seq, 1, sysctls(10 * seq)) for seq in range(25, 30)))
    assert last.code == "bad_state"
    # The same records over and over are no more than they are.
    again = [Delta(5, 100 + seq, 1, sysctls(0)) for seq in range(1, 100)]
    wrong = Delta(6, 0, 1, NodeDelta())
    code, last = await spoken(
        link, hello, SnapshotBegin(5, 100), SnapshotPart(0, sysctls(0)), end, *again, wrong
    )
    assert last.code == "bad_message", "only the end that this test makes"


async def test_bodies_count_too(link: Link, settings: Any, store: MemoryStore) -> None:
    settings.SNAPSHOT_MAX_BYTES = 20_000
    bodies = [ChainBody((NftRuleBody((), f"{number:0900}"),)) for number in range(40)]
    chains = tuple(
        NftChain(2, "t", f"c{number}", body=body_digest(body)) for number, body in enumerate(bodies)
    )
    state = NodeDelta((NetnsDelta(KEY, Netns(KEY), nft_chains=Change(chains)),))
    code, last = await spoken(
        link,
        Hello("n1", (1,), "1.0", 5),
        SnapshotBegin(5, 0),
        SnapshotPart(0, state),
        SnapshotEnd(1),
        *(Bodies((body,)) for body in bodies),
    )
    assert (code, last.code) == (1009, "too_large")
    assert 10_000 < store.body_bytes("n1") < 30_000
