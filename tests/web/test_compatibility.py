"""What an earlier version left is read, migrated and served: tests/data/of_4d38bf2 was made by that commit's code.

Its lab (2 nodes, a pod each), server and collectors ran; a trace was delivered, one met no listener; node1 got a
route and lost it again, a chain of nftables, and a blackhole for web-2, which the third trace met. Then:

    netviz.sqlite3.xz    the server's database: the journal of both nodes, and the traces
    answers.json.xz      what GET /api/traces/N and /api/topology answered at the end
    NODE.nvz             `python -m agents snapshot` of each node
    NODE.frames          all that each node's collector sent, frame by frame, each after its length

    web-1 10.244.1.2 - cni0 (node1) eth0 ---- eth0 (node2) cni0 - 10.244.2.2 web-2
"""

from __future__ import annotations

import json
import lzma
import sqlite3
import struct
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from agents.transport import socket_url
from lab.stack import ROOT
from netviz.core.model.addr import pack_ip
from netviz.core.state.delta import apply
from netviz.core.state.node import NodeState
from netviz.core.wire import messages as m
from netviz.core.wire.codec import decode_frame
from netviz.core.wire.nvz import load_nvz
from tests.web.served import Served, eventually

DATA = ROOT / "tests" / "data" / "of_4d38bf2"
NODES = ("node1", "node2")
PLACES = json.dumps({"from": "web-1", "to": "web-2", "dport": 8080})


def unpacked(name: str) -> bytes:
    return lzma.decompress((DATA / name).read_bytes())


def of_file(node: str) -> NodeState:
    _, state = load_nvz((DATA / f"{node}.nvz").read_bytes())
    return state


ANSWERS: dict[str, Any] = json.loads(unpacked("answers.json.xz"))


def frames(node: str) -> Iterator[bytes]:
    data = (DATA / f"{node}.frames").read_bytes()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def lay_out(path: Path) -> None:
    """Unpack the database as if it had been made just now: what is old is cleaned up, and this isn't to be."""
    path.write_bytes(unpacked("netviz.sqlite3.xz"))
    times = {
        "ingest_journalentry": ("received_at",),
        "tracing_tracerun": ("created_at", "started_at", "finished_at"),
    }
    with closing(sqlite3.connect(path)) as database, database:
        ((newest,),) = database.execute("select max(finished_at) from tracing_tracerun")
        age_s = (datetime.now(UTC) - datetime.fromisoformat(newest).replace(tzinfo=UTC)).total_seconds()
        for table, columns in times.items():
            for column in columns:
                shifted = f"strftime('%Y-%m-%d %H:%M:%f', {column}, '{age_s:+f} seconds')"
                database.execute(f"update {table} set {column} = {shifted}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of today on the database of then."""
    folder = tmp_path_factory.mktemp("of-then")
    lay_out(folder / "netviz.sqlite3")
    server = Served(folder)
    server.start()
    try:
        server.api_token = server.provision(*NODES)["token"]
        yield server
    finally:
        server.stop()


def extends(new: Any, old: Any) -> bool:
    """All that was said then is said the same way; more may be said."""
    match old:
        case dict():
            return isinstance(new, dict) and all(key in new and extends(new[key], old[key]) for key in old)
        case list():
            return (
                isinstance(new, list)
                and len(new) == len(old)
                and all(extends(*pair) for pair in zip(new, old, strict=True))
            )
        case _:
            return bool(new == old)


@pytest.mark.parametrize("then", ANSWERS["traces"], ids=lambda then: then["disposition"])
def test_traces_are_served_as_they_were(served: Served, then: dict[str, Any]) -> None:
    now = served.get(f"/api/traces/{then['id']}", served.api_token)
    assert now.pop("created")
    assert extends(now, {name: value for name, value in then.items() if name != "created"})
    assert now["trace"]["branches"]


def test_all_traces_are_listed(served: Served) -> None:
    listed = served.get("/api/traces?limit=20", served.api_token)["traces"]
    found = {run["id"]: run["disposition"] for run in listed}
    assert found.items() >= {run["id"]: run["disposition"] for run in ANSWERS["traces"]}.items()


def without_the_unkept(state: NodeState) -> dict[int, Any]:
    """By inode, the sections of a node that its journal keeps whole, and that nothing changes by itself."""
    kept = ("links", "addrs", "routes", "rules", "sysctls", "nft_tables", "nft_chains", "xt_tables")
    return {
        key.ino: {section: dict(getattr(ns, section)) for section in kept} for key, ns in state.netns.items()
    }


@pytest.mark.parametrize("node", NODES)
def test_the_journal_gives_the_state_that_the_node_had(served: Served, tmp_path: Path, node: str) -> None:
    out = tmp_path / "rewound.nvz"
    served.manage("rewind", node, "--out", str(out))
    _, now = load_nvz(out.read_bytes())
    assert without_the_unkept(now) == without_the_unkept(of_file(node))
    assert not now.status["conntrack"].complete, "what the journal lacks, the state says"


def test_a_trace_of_the_past_is_answered(served: Served) -> None:
    """The journal of then lacks the bodies of chains, and connections: what those may change isn't known."""
    now = datetime.now(UTC).isoformat()
    words = ("trace", "--at", now, "--from", "web-1", "--to", "web-2", "--dport", "8080", "--json")
    trace = json.loads(served.manage(*words))
    assert (trace["disposition"], trace["reason"]) == ("UNKNOWN", "connections not read")
    assert [entry["node"] for entry in trace["state"]] == list(NODES)


def test_state_files_are_traced_on(served: Served) -> None:
    files = [word for node in NODES for word in ("--state", str(DATA / f"{node}.nvz"))]
    words = ("trace", *files, "--from", "web-1", "--to", "web-2", "--dport", "8080", "--json")
    trace = json.loads(served.manage(*words))
    then = ANSWERS["traces"][-1]["trace"]
    assert (trace["disposition"], trace["certainty"]) == (then["disposition"], then["certainty"])


async def said(link: ClientConnection) -> m.AnyMessage:
    data = await link.recv()
    assert isinstance(data, bytes)
    return decode_frame(data)


async def play(link: ClientConnection, node: str) -> tuple[int, list[m.AnyMessage]]:
    """Send what a collector sent; return the last change's number, and what the server said until it acknowledged that."""
    last, answers = -1, []
    for frame in frames(node):
        await link.send(frame)
        message = decode_frame(frame)
        if isinstance(message, m.SnapshotBegin | m.Delta):
            last = message.seq
        if isinstance(message, m.Hello):
            answers.append(await said(link))
    while not (isinstance(answers[-1], m.Ack) and answers[-1].seq == last):
        answers.append(await said(link))
    return last, answers


async def test_a_collector_of_then_is_served(served: Served) -> None:
    """It comes back to a server that holds nothing, and says all of it again; it isn't told what it can't understand."""
    known = (m.Welcome, m.Ack, m.WantBodies, m.Heartbeat)
    headers = {
        node: {"Authorization": f"Bearer {served.token_file(node).read_text().strip()}"} for node in NODES
    }
    url = socket_url(served.url)
    async with (
        connect(url, additional_headers=headers["node1"]) as one,
        connect(url, additional_headers=headers["node2"]) as two,
    ):
        for link, node in ((one, "node1"), (two, "node2")):
            last, answers = await play(link, node)
            assert last >= 0
            assert isinstance(answers[0], m.Welcome)
            assert all(isinstance(answer, known) for answer in answers), answers
        graph = served.get("/api/topology", served.api_token)
        then = ANSWERS["topology"]
        for what in ("netns", "links"):
            now = {item["key"]: item for item in graph[what]}
            assert now.keys() == {item["key"] for item in then[what]}
            assert all(extends(now[item["key"]], item) for item in then[what])
        nodes = {node["name"]: node for node in graph["nodes"]}
        assert all(nodes[node]["connected"] and not nodes[node]["gaps"] for node in NODES)
        pod = next(ns for ns in graph["netns"] if ns["pod"] and ns["pod"]["name"] == "web-2")
        detail = served.get(f"/api/netns/{pod['key']}", served.api_token)
        assert detail["max_age_s"] == {}, "this collector didn't say"
        assert any(socket["port"] == 8080 for socket in detail["sockets"])
        run = await eventually(lambda: asked(served))
        assert (run["disposition"], run["trace"]["certainty"]) == ("DROPPED", "certain")
        assert any(
            step["kind"] == "route"
            for hop in run["trace"]["branches"][0]["forward"]["hops"]
            for step in hop["steps"]
        )


def asked(served: Served) -> Any:
    """Trace from pod to pod now; None while the answer isn't there."""
    headers = {"Authorization": f"Bearer {served.api_token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{served.url}/api/traces", PLACES.encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as answer:
        run = json.load(answer)
    done = served.get(f"/api/traces/{run['id']}", served.api_token)
    return done if done["status"] == "done" else None


@pytest.mark.parametrize("node", NODES)
def test_frames_and_files_are_of_one_state(node: str) -> None:
    """What the collector told last is what the snapshot found; the blackhole is in it."""
    state = NodeState(node)
    for message in map(decode_frame, frames(node)):
        if isinstance(message, m.SnapshotPart | m.Delta):
            state = apply(state, message.delta)
    assert without_the_unkept(state) == without_the_unkept(of_file(node))
    root = state.root
    assert root is not None
    told = {(route.dst, route.dst_len) for route in root.routes.values()}
    assert ((pack_ip("10.244.2.2"), 32) in told) == (node == "node1")
