"""A real cluster's API, as recorded, watched by the real watcher for a real server, beside its nodes' collectors."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import kmock
import pytest

from agents.kubernetes import watcher
from agents.kubernetes.client import Api, ApiOptions
from agents.kubernetes.commands import keep_informed
from agents.kubernetes.watcher import Watcher
from agents.transport import TransportOptions
from netviz.core.state.objects import cluster_source
from netviz.core.wire.nvz import join_captures, load_nvz
from tests.agents.fake_api import PATHS, FakeApi, Handler
from tests.agents.test_kubernetes_watcher import items, write_config
from tests.web.served import Collector, Served

DATA = Path(__file__).resolve().parents[1] / "data" / "kubernetes"
SOURCE = cluster_source("default")
NODES = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served") / "var")
    server.start()
    made = json.loads(server.manage("provision", "--user", "root", "--watcher", "--", *NODES))
    server.api_token = made["token"]
    for name, token in {**made["collectors"], SOURCE: made["watcher"]}.items():
        server.keep_token(name, token)
    yield server
    server.stop()


class Cluster:
    """The recorded cluster, at a moment, at a server."""

    def __init__(self, served: Served, api: FakeApi, watching: asyncio.Task[None]) -> None:
        self.served, self.api, self.watching = served, api, watching

    async def get(self, path: str = "/api/topology") -> Any:
        return await asyncio.to_thread(self.served.get, path, self.served.api_token)

    async def cluster(self) -> Any:
        found = (await self.get())["clusters"]
        return found[0] if found else {"complete": False, "connected": False}

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(300):
            while not await condition():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def recorded(served: Served, folder: Path, moment: str = "before") -> AsyncIterator[Cluster]:
    """Serve what was recorded of a moment: its API, and its nodes' states."""
    async with AsyncExitStack() as stack:
        handler = await stack.enter_async_context(Handler())
        serving = await stack.enter_async_context(kmock.Server(handler))
        api = FakeApi(handler)
        for name in PATHS:
            await api.put(name, *copy.deepcopy(items(moment, name)))
        write_config(folder / "config", str(serving.url), token="secret")
        for node in NODES:
            capture, state = load_nvz((DATA / moment / f"{node}.nvz").read_bytes())
            collector = Collector(served, node, state)
            collector.source.known.update(join_captures([(capture, state)]).bodies)
            await stack.enter_async_context(collector)
        options = ApiOptions(str(folder / "config"))
        to = TransportOptions(served.url, served.token_file(SOURCE), SOURCE, "9.9")
        watching = asyncio.create_task(keep_informed(Watcher("default", lambda: Api(options)), to))
        try:
            yield Cluster(served, api, watching)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(watcher, "LONGEST_PAUSE_S", 0.1)


def lists(moment: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        gzip.decompress((DATA / moment / f"{name}.json.gz").read_bytes())
    )["items"]
    return found


async def test_objects_reach_the_page_joined_with_the_nodes(served: Served, tmp_path: Path) -> None:
    async with recorded(served, tmp_path) as cluster:

        async def whole() -> bool:
            return bool((await cluster.cluster())["complete"])

        await cluster.until(whole)
        graph = await cluster.get()
        (told,) = graph["clusters"]
        assert (told["name"], told["health"], told["gaps"]) == ("default", "ok", [])
        assert told["counts"]["pods"] == len(lists("before", "pods"))
        assert told["counts"]["services"] == len(lists("before", "services"))
        pods = {one["key"]: one for one in graph["pods"]}
        spaces = {one["key"]: one["pod"] for one in graph["netns"]}
        scheduled = [one for one in lists("before", "pods") if one["spec"].get("nodeName")]
        assert len(pods) == len(scheduled)
        for one in scheduled:
            meta, shown = one["metadata"], pods[f"{one['metadata']['namespace']}/{one['metadata']['name']}"]
            assert (shown["node"], shown["labels"]) == (one["spec"]["nodeName"], meta.get("labels", {}))
            assert shown["host_network"] == bool(one["spec"].get("hostNetwork"))
            if one["status"]["phase"] == "Running" and not shown["host_network"]:
                assert spaces[shown["netns"]] == {"name": meta["name"], "namespace": meta["namespace"]}
            if shown["host_network"]:
                assert shown["netns"] is None
        assert pods[next(key for key in pods if key.startswith("shop/web-"))]["workload"] == {
            "kind": "Deployment",
            "name": "web",
        }
        nodes = {one["name"]: one["kube"] for one in graph["nodes"]}
        assert {name: kube["ready"] for name, kube in nodes.items()} == dict.fromkeys(NODES, True)
        assert sum(kube["pods"] for kube in nodes.values()) == len(pods)

        async def kept() -> bool:
            rows = served.rows(
                f"select kind from ingest_journalentry where node = '{SOURCE}' order by id limit 1"
            )
            return rows == [("snapshot",)]

        await cluster.until(kept)


async def test_an_api_that_is_away_and_a_watcher_that_is_gone_are_told(
    served: Served, tmp_path: Path
) -> None:
    async with recorded(served, tmp_path) as cluster:

        async def problems() -> dict[str, Any]:
            found = (await cluster.get("/api/problems"))["problems"]
            return {one["kind"]: one for one in found if one["kind"].startswith("watcher")}

        async def whole() -> bool:
            return bool((await cluster.cluster())["complete"])

        async def told() -> bool:
            one = await cluster.cluster()
            return not one["complete"] and any(gap["section"] == "kube_pods" for gap in one["gaps"])

        async def problem() -> bool:
            return "watcher-incomplete" in await problems()

        async def lost() -> bool:
            return "watcher-lost" in await problems()

        await cluster.until(whole)
        before = (await cluster.get())["pods"]
        await cluster.api.leave()
        await cluster.until(told)
        one = await cluster.cluster()
        assert (one["health"], one["connected"]) == ("warning", True)
        assert "since 20" in one["problem"]
        assert (await cluster.get())["pods"] == before, "what is held stays"
        await cluster.until(problem)
        cluster.api.away = False
        await cluster.until(whole)
        cluster.watching.cancel()
        await asyncio.gather(cluster.watching, return_exceptions=True)
        await cluster.until(lost)
        one = await cluster.cluster()
        assert (one["connected"], one["health"]) == (False, "error")
        assert (await problems())["watcher-lost"]["where"]["node"] == ""
        assert (await cluster.get())["pods"] == before


async def test_a_change_at_the_api_is_on_the_page(served: Served, tmp_path: Path) -> None:
    async with recorded(served, tmp_path) as cluster:

        async def whole() -> bool:
            return bool((await cluster.cluster())["complete"])

        async def labelled() -> bool:
            graph = await cluster.get("/api/topology?node=n1")
            return any(one["labels"].get("netviz") == "seen" for one in graph["pods"])

        await cluster.until(whole)
        one = copy.deepcopy(
            next(pod for pod in lists("before", "pods") if pod["spec"].get("nodeName") == "n1")
        )
        one["metadata"].setdefault("labels", {})["netviz"] = "seen"
        await cluster.api.put("pods", one)
        await cluster.until(labelled)
