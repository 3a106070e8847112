"""Collectors at a real server over real sockets, on one machine's parts and on many machines'.

Who may come in, what is said to who may not, and that nothing else is disturbed; that what was
acknowledged is in the journal once, also when the server is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agents.transport import socket_url
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Addr
from netviz.core.model.netfilter import (
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
    RuleCount,
    RuleCounters,
)
from netviz.core.model.netns import Netns
from netviz.core.model.socket import Socket
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, apply
from netviz.core.state.node import NodeState
from netviz.core.wire import messages as m
from netviz.core.wire.codec import MAX_FRAME_BYTES, decode_frame, encode_frame
from netviz.core.wire.nvz import load_nvz
from tests.core.sim.build import Net
from tests.slow import first_quick
from tests.web.served import Collector, Served, eventually
from tests.web.services import postgres_server, redis_server

NODES = tuple(f"n{number}" for number in range(1, 8))


@pytest.fixture(scope="module", params=first_quick(["one machine", "many machines"], quick=1))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with tokens for NODES: SQLite and memory, or PostgreSQL and Redis."""
    folder = tmp_path_factory.mktemp("served")
    with ExitStack() as stack:
        env = {}
        if request.param == "many machines":
            env["NETVIZ_REDIS_URL"] = stack.enter_context(redis_server(folder / "redis"))
            env["NETVIZ_DATABASE_URL"] = stack.enter_context(postgres_server())
        server = Served(folder / "var", **env)
        server.start()
        stack.callback(lambda: server.running and server.stop())
        server.api_token = server.provision(*NODES)["token"]
        yield server


def journal(served: Served, collector: Collector) -> list[tuple[int, str, bytes]]:
    """The journal of one collector's run: numbers, kinds and bodies in order."""
    table = (
        f"select seq, kind, body from ingest_journalentry where epoch = {collector.epoch} "
        "and kind <> 'checkpoint' order by seq"
    )
    return [(seq, kind, bytes(body)) for seq, kind, body in served.rows(table)]


def rebuilt(entries: list[tuple[int, str, bytes]], node: str) -> NodeState:
    """Fold a journal from its last snapshot on."""
    state = NodeState(node)
    for _, kind, body in entries:
        delta = msgspec.msgpack.decode(zlib.decompress(body), type=NodeDelta)
        state = apply(NodeState(node) if kind == "snapshot" else state, delta)
    return state


def check_acknowledged(served: Served, collector: Collector, acked: int) -> None:
    """Every number up to `acked` is there once, or a later snapshot, acknowledged too, stands for it."""
    entries = journal(served, collector)
    numbers = [seq for seq, _, _ in entries]
    assert numbers == sorted(set(numbers))
    snapshots = [seq for seq, kind, _ in entries if kind == "snapshot" and seq <= acked]
    assert acked == -1 or not set(range(snapshots[-1], acked + 1)) - set(numbers)


def check_journal(served: Served, collector: Collector) -> None:
    """What was acknowledged is there, and the whole gives the collector's state."""
    check_acknowledged(served, collector, collector.acked)
    assert rebuilt(journal(served, collector), collector.source.node) == collector.source.state()


async def test_changes_are_journaled_and_acknowledged(served: Served) -> None:
    async with Collector(served, "n1") as collector:
        await eventually(collector.settled)
        for value in range(50):
            collector.change(value)
        await eventually(lambda: collector.last == 50 and collector.settled())
        check_journal(served, collector)
        # No gap at all: the snapshot has a number of its own, and each change one.
        assert [seq for seq, _, _ in journal(served, collector)] == list(range(51))
        graph = served.get("/api/topology?node=n1", served.api_token)
        assert [netns["key"] for netns in graph["netns"]] == [str(collector.source.key)]


async def test_noise_is_acknowledged_but_not_journaled(served: Served) -> None:
    async with Collector(served, "n1") as collector:
        await eventually(collector.settled)
        noise = Change((Socket(6, b"\0\0\0\0", 80, state=1, cookie=5),), ())
        counted = Change((RuleCounters(2, "t", "c", counts=(RuleCount(0, 1, 60),), at_s=1.0),), ())
        collector.tell(
            NodeDelta(netns=(NetnsDelta(collector.source.key, sockets=noise, rule_counters=counted),))
        )
        collector.change(1)
        await eventually(lambda: collector.last == 2 and collector.settled())
        assert [seq for seq, _, _ in journal(served, collector)] == [0, 2]


async def test_a_collector_is_told_what_pages_and_programs_look_at(served: Served) -> None:
    async with Collector(served, "n1") as one, Collector(served, "n2") as other:
        await eventually(lambda: one.settled() and other.settled())
        key = one.source.key
        served.get("/api/topology?node=n1", served.api_token)
        detail = await asyncio.to_thread(served.get, f"/api/netns/{key}", served.api_token)
        assert detail["max_age_s"] == {}, "this collector doesn't say"
        (closely,) = await eventually(lambda: one.source.watched)
        assert (closely.netns, closely.every_s) == (key, 2.0)
        assert {"counters", "neighs", "sockets"} <= set(closely.sections)
        url = served.url.replace("http", "ws") + "/ws/topology?nodes=n1"
        async with connect(url, additional_headers={"Authorization": f"Bearer {served.api_token}"}) as page:
            await page.recv()
            await eventually(lambda: len(one.source.watched) == 2)
        assert {watched.netns for watched in one.source.watched} == {None, key}
        assert other.source.watched == ()
    assert one.source.watched == (), "the end of the connection ends it"


async def test_bodies_are_fetched_once(served: Served) -> None:
    body = ChainBody((NftRuleBody((NftExpr("counter", {"n": random.randrange(10**9)}),)),))
    async with Collector(served, "n1") as one, Collector(served, "n2") as two:
        await eventually(lambda: one.settled() and two.settled())
        for collector in (one, two):
            chain = NftChain(1, "filter", "forward", body=collector.source.learn(body))
            collector.tell(
                NodeDelta(netns=(NetnsDelta(collector.source.key, nft_chains=Change((chain,), ())),))
            )
            await eventually(collector.settled)
        await eventually(lambda: one.source.asked or two.source.asked)
        assert len(one.source.asked + two.source.asked) == 1


async def test_a_killed_server_loses_nothing_that_was_acknowledged(served: Served) -> None:
    async with Collector(served, "n1") as collector, Collector(served, "n2") as other:
        await eventually(lambda: collector.settled() and other.settled())
        for restart in range(2):
            for value in range(200):
                collector.change(value + 1000 * restart)
                if value == 50:
                    await eventually(collector.settled)
                if value == 100:
                    await eventually(lambda: collector.transport._session._sent_seq >= collector.last)
                    acked = collector.acked
                    served.kill()
                    check_acknowledged(served, collector, acked)
                    served.start()
            await eventually(lambda: collector.settled() and other.settled())
            check_journal(served, collector)
            check_journal(served, other)


async def test_a_cut_link_is_resumed_without_a_snapshot(served: Served) -> None:
    async with Collector(served, "n1", refused_pause_s=1.0) as collector:
        await eventually(collector.settled)
        first = collector.last
        async with Collector(served, "n1") as double:
            await eventually(double.settled)
        await eventually(collector.settled)
        check_journal(served, collector)
        assert served.log_lines(
            "node n1: cutting its collector off: the node's collector has connected again"
        )
        assert collector.last >= first


async def test_a_server_that_ends_in_order_is_returned_to(served: Served) -> None:
    async with Collector(served, "n1") as collector:
        await eventually(collector.settled)
        for value in range(20):
            collector.change(value)
        status = served.stop()
        assert status in (0, -15)
        collector.change(99)
        served.start()
        await eventually(collector.settled)
        check_journal(served, collector)
        for value in range(100, 103):
            collector.change(value)
            await eventually(collector.settled)
        check_journal(served, collector)
        # A server that goes on with what Redis held doesn't know the journal's last whole state.
        whole = (
            f"select kind, seq from ingest_journalentry where epoch = {collector.epoch} and kind <> 'delta'"
        )
        kinds = [kind for kind, _ in sorted(served.rows(whole), key=lambda row: row[1])]
        on_redis = "NETVIZ_REDIS_URL" in served.env
        assert kinds == (["snapshot", "checkpoint"] if on_redis else ["snapshot", "snapshot"])
        out = served.folder / "rewound.nvz"
        served.manage("rewind", "n1", "--out", str(out))
        assert load_nvz(out.read_bytes())[1].netns == collector.source.state().netns


async def refused(served: Served, token: str, **headers: str) -> tuple[int, str]:
    """Try to connect; the status and the words of the refusal."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(
            socket_url(served.url),
            additional_headers={"Authorization": f"Bearer {token}", **headers},
            proxy=None,
        )
    return caught.value.response.status_code, (caught.value.response.body or b"").decode()


async def test_wrong_tokens_are_refused_with_a_reason(served: Served) -> None:
    good = served.token_file("n1").read_text().strip()
    waiting = served.manage("enrol", "n-waiting")
    revoked = served.manage("enrol", "n-revoked", "--approve")
    served.manage("revoke", "n-revoked")
    assert await refused(served, "nvc_wrong") == (401, "the token is unknown")
    assert await refused(served, "") == (401, "the token is unknown")
    assert await refused(served, waiting) == (403, "the collector of node n-waiting waits for approval")
    assert await refused(served, revoked) == (403, "the collector of node n-revoked was revoked")
    assert (await refused(served, good, Origin="http://evil.example"))[0] == 403
    assert len(served.log_lines("refused a collector from 127.0.0.1: the token is unknown")) == 2
    assert len(served.log_lines("refused a collector .* n-waiting waits for approval")) == 1


async def test_the_collector_says_why_it_is_refused(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.keep_token("n-none", "nvc_wrong")
    async with Collector(served, "n-none", refused_pause_s=0.1) as collector:
        await eventually(lambda: caplog.messages)
        assert not collector.transport.connected
    assert [line for line in caplog.messages if "refused (401): the token is unknown" in line]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("by", ["command", "page"])
async def test_revoking_disconnects_at_once(served: Served, by: str) -> None:
    node = f"n-cut-{by}"
    served.keep_token(node, served.manage("enrol", node, "--approve"))
    async with Collector(served, node, refused_pause_s=0.2) as collector:
        await eventually(collector.settled)
        if by == "command":
            served.manage("revoke", node)
        else:
            await _revoke_on_the_page(served, node)
        await eventually(lambda: not collector.transport.connected)
        await eventually(lambda: served.log_lines(f"node {node}: cutting its collector off: .* revoked"))
        await eventually(lambda: served.log_lines(f"the collector of node {node} was revoked"))


async def _revoke_on_the_page(served: Served, node: str) -> None:
    """As an administrator does: log in, select, revoke."""
    import asyncio
    import http.cookiejar
    import re
    import urllib.parse
    import urllib.request

    password = "correct horse battery"
    served.manage("provision", "--user", "admin-page", "--password", password)
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def post(path: str, **fields: str) -> str:
        page = opener.open(served.url + path).read().decode()
        csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert csrf is not None
        fields["csrfmiddlewaretoken"] = csrf.group(1)
        request = urllib.request.Request(
            served.url + path, urllib.parse.urlencode(fields).encode(), {"Referer": served.url + path}
        )
        return str(opener.open(request).read().decode())

    def revoke() -> str:
        post("/admin/login/", username="admin-page", password=password)
        pk = served.rows(
            "select c.id from inventory_collector c join inventory_node n on n.id = c.node_id "
            f"where n.name = '{node}'"
        )[0][0]
        return post("/admin/inventory/collector/", action="revoke", _selected_action=str(pk), sure="yes")

    assert "1 revoked" in await asyncio.to_thread(revoke)


class Raw:
    """A connection that says what it likes."""

    def __init__(self, served: Served, node: str) -> None:
        token = served.token_file(node).read_text().strip()
        self._connect = connect(
            socket_url(served.url),
            additional_headers={"Authorization": f"Bearer {token}"},
            proxy=None,
            compression=None,
            max_size=None,
        )

    async def __aenter__(self) -> ClientConnection:
        self.link = await self._connect
        return self.link

    async def __aexit__(self, *exc: object) -> None:
        await self.link.close()


async def last_words(link: ClientConnection) -> tuple[m.Error | None, int]:
    """The Error that the server sends, and the code with which it closes."""
    error = None
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = decode_frame(await link.recv())  # type: ignore[arg-type]
            if isinstance(message, m.Error):
                error = message
    return error, link.close_code or 0


def hello(node: str, **changes: Any) -> bytes:
    return encode_frame(msgspec.structs.replace(m.Hello(node, (1,), "raw", 5), **changes))


ALIEN = NetnsKey("n1", 4, 1)
FOREIGN = NodeDelta(netns=(NetnsDelta(ALIEN, Netns(ALIEN)),))
BAD: dict[str, tuple[list[bytes | str], str | None, int]] = {
    "another node": ([hello("n2")], "wrong_node", 4403),
    "old version": ([hello("n3", versions=(0,))], "bad_version", 4426),
    "no hello": ([encode_frame(m.Heartbeat())], "bad_state", 4400),
    "random": ([random.Random(5).randbytes(500)], "bad_frame", 4400),
    "random message": ([b"\0" + random.Random(6).randbytes(500)], "bad_message", 4400),
    "truncated": ([encode_frame(m.Hello("n3", (1,), "x" * 900, 5))[:-9]], "bad_frame", 4400),
    "text": (["hello"], "bad_frame", 4400),
    "large": ([bytes(MAX_FRAME_BYTES + 1)], "too_large", 1009),
    "oversize": ([os.urandom(6 << 20)], None, 1009),
    "parts out of order": (
        [hello("n3"), encode_frame(m.SnapshotBegin(5, 0)), encode_frame(m.SnapshotPart(7, NodeDelta()))],
        "bad_message",
        4400,
    ),
    "namespaces of another node": (
        [hello("n3"), encode_frame(m.SnapshotBegin(5, 0)), encode_frame(m.SnapshotPart(0, FOREIGN))],
        "wrong_node",
        4403,
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_broken_collector_is_told_and_nobody_else_disturbed(served: Served, name: str) -> None:
    frames, code, close_code = BAD[name]
    async with Collector(served, "n1") as bystander:
        await eventually(bystander.settled)
        before = len(served.log_lines(" WARNING | ERROR "))
        async with Raw(served, "n3") as link:
            with contextlib.suppress(ConnectionClosed):
                for frame in frames:
                    await link.send(frame)
            error, closed = await last_words(link)
        assert closed == close_code
        assert (error.code if error else None) == code
        await eventually(lambda: len(served.log_lines(" WARNING | ERROR ")) == before + 1)
        assert "node n3" in served.log_lines(" WARNING | ERROR ")[-1]
        bystander.change(7)
        await eventually(bystander.settled)
        assert bystander.transport._session.resyncs == 0
        assert bystander.last == 1


async def test_a_gap_is_answered_with_a_resync(served: Served) -> None:
    async with Raw(served, "n4") as link:
        await link.send(hello("n4", epoch=random.getrandbits(60)))
        welcome = decode_frame(await link.recv())  # type: ignore[arg-type]
        assert isinstance(welcome, m.Welcome)
        assert welcome.resume_after is None
    async with Collector(served, "n4") as collector:
        await eventually(collector.settled)
        # As if a frame had been lost inside the collector.
        collector.transport._session._last_seq += 1
        collector.change(5)
        await eventually(lambda: collector.transport._session.resyncs == 1 and collector.settled())
        check_journal(served, collector)
    assert served.log_lines("node n4: change 1 is missing before 2")


async def test_the_admin_s_status_columns_follow(served: Served) -> None:
    query = (
        "select connected, version, rss_bytes, lost_events from inventory_collector c "
        "join inventory_node n on n.id = c.node_id where n.name = 'n5'"
    )
    async with Collector(served, "n5") as collector:
        await eventually(collector.settled)
        await eventually(lambda: tuple(served.rows(query)[0]) == (True, "9.9", 50 << 20, 3))
    await eventually(lambda: not served.rows(query)[0][0])


def test_no_warning_was_shown_and_nothing_failed_inside(served: Served) -> None:
    """The server ran with warnings on; its log has none, and no traceback."""
    assert not served.log_lines("Warning:|Traceback"), served.log.read_text()


async def test_a_wrong_record_hurts_nobody_is_said_and_ends(served: Served) -> None:
    """An address of no bytes: the map answers, the node isn't whole, its collector counts, all until it is right."""

    def node(name: str) -> Any:
        graph = served.get("/api/topology", served.api_token)
        return next((one for one in graph["nodes"] if one["name"] == name), None)

    def told(addr: bytes, *drop: Addr) -> NodeDelta:
        change = Change(
            (Addr(2, addr, 24), Addr(3, bytes([10, 0, 0, 3]), 24)), tuple(one.key for one in drop)
        )
        return NodeDelta(netns=(NetnsDelta(collector.source.key, addrs=change),))

    async with Collector(served, "n1") as collector:
        await eventually(collector.settled)
        assert (await eventually(lambda: node("n1")))["complete"]
        collector.tell(told(b""))
        await eventually(lambda: not node("n1")["complete"])
        assert [gap["section"] for gap in node("n1")["gaps"]] == ["addrs"]
        detail = served.get(f"/api/netns/{collector.source.key}", served.api_token)
        assert [gap["section"] for gap in detail["gaps"]] == ["addrs"]
        await eventually(lambda: collector.transport._complaints.count == 1)
        assert collector.transport.connected
        assert len(served.log_lines("node n1: left out a record that cannot be used: addrs 2,,24")) == 1
        served.kill()
        served.start()
        await eventually(lambda: node("n1") and not node("n1")["complete"] and collector.settled())
        collector.tell(told(bytes([10, 0, 0, 2]), Addr(2, b"", 24)))
        await eventually(lambda: node("n1")["complete"])
        assert node("n1")["gaps"] == []


async def test_a_trace_through_a_node_that_is_not_heard_is_not_certain(served: Served) -> None:
    """n6 sends to its gateway: certain while its collector is there."""
    net = Net()
    node = net.node("n6")
    node.nic("ens3", "192.168.0.6/24")
    node.neigh("ens3", "192.168.0.254", b"\x02" * 6)

    def trace() -> dict[str, Any]:
        request = {"from": "n6", "to": "192.168.0.254", "proto": "udp", "dport": 53}
        found: dict[str, Any] = served.post("/api/traces", request, served.api_token)["trace"]
        return found

    async with Collector(served, "n6", state=net.cluster().nodes["n6"]) as collector:
        await eventually(collector.settled)
        found = await asyncio.to_thread(trace)
        assert (found["disposition"], found["certainty"]) == ("LEFT_NETWORK", "certain")

    async def is_gone() -> dict[str, Any]:
        return await asyncio.to_thread(trace)

    while (found := await is_gone())["certainty"] == "certain":
        await asyncio.sleep(0.1)
    assert (found["disposition"], found["certainty"]) == ("LEFT_NETWORK", "unknown")
    assert found["assumed"][0].startswith("n6's collector is not connected: the state of n6 is of ")
    (entry,) = found["state"]
    assert entry["stale"]["why"] == "not connected"
