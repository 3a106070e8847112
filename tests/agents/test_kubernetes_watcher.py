"""The watcher against an API server (kmock) that behaves, and one that doesn't."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kmock
import pytest
import yaml

from agents.__main__ import main
from agents.kubernetes import client, watcher
from agents.kubernetes.client import Api, ApiOptions
from agents.kubernetes.commands import keep_informed
from agents.kubernetes.watcher import Watcher
from agents.transport import TransportOptions
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.wire.kubernetes.files import read_lists
from netviz.core.wire.nvz import load_nvz
from tests.agents.fake_api import PATHS, FakeApi, Handler, cut, status
from tests.agents.session_server import SessionServer, write_token

DATA = Path(__file__).resolve().parents[1] / "data" / "kubernetes"


def items(moment: str, name: str) -> list[dict[str, Any]]:
    path = DATA / moment / f"{name}.json.gz"
    found: list[dict[str, Any]] = (
        json.loads(gzip.decompress(path.read_bytes()))["items"] if path.exists() else []
    )
    return found


def lists(moment: str) -> NodeState:
    paths = sorted((DATA / moment).glob("*.json.gz"))
    return read_lists("default", [(str(path), gzip.decompress(path.read_bytes())) for path in paths])


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a", "labels": labels}}


class Told:
    """A sink that folds what it is told, as the server does."""

    def __init__(self) -> None:
        self.state: NodeState | None = None
        self.deltas: list[NodeDelta] = []

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        assert self.state is not None
        assert at_ns > 0
        self.deltas.append(delta)
        self.state = apply(self.state, delta)


class Run:
    """A watcher at run."""

    def __init__(self, made: Watcher, told: Told) -> None:
        self.watcher, self.told = made, told

    def pods(self) -> set[str]:
        return {name for _, name in self.watcher.state().objects.kube_pods}

    def status(self, section: str = "kube_pods") -> SectionStatus:
        return self.watcher.state().status[section]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(300):
            while not condition():
                await asyncio.sleep(0.01)
        assert self.told.state == self.watcher.state()


@pytest.fixture
async def server() -> AsyncIterator[tuple[kmock.RawHandler, kmock.Server]]:
    async with Handler() as handler, kmock.Server(handler) as serving:
        yield handler, serving


@pytest.fixture
def api(server: tuple[kmock.RawHandler, kmock.Server]) -> FakeApi:
    return FakeApi(server[0])


def write_config(path: Path, url: str, **user: str) -> None:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))


@pytest.fixture
def options(tmp_path: Path, server: tuple[kmock.RawHandler, kmock.Server]) -> ApiOptions:
    write_config(tmp_path / "config", str(server[1].url), token="secret")
    return ApiOptions(str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(watcher, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(watcher, "FLUSH_S", 0.01)


@asynccontextmanager
async def running(options: ApiOptions) -> AsyncIterator[Run]:
    told = Told()
    made = Watcher("default", lambda: Api(options), told)
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(300):
            await made.ready.wait()
        told.state = made.state()
        yield Run(made, told)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def test_a_clusters_life_is_followed_from_its_lists_on(api: FakeApi, options: ApiOptions) -> None:
    for name in PATHS:
        await api.put(name, *copy.deepcopy(items("before", name)))
    async with running(options) as run:
        assert run.watcher.state().objects == lists("before").objects
        await run.until(lambda: run.watcher.state().complete)
        for name in PATHS:
            after = items("after", name)
            kept = {(one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in after}
            for key in list(api.objects[name]):
                if key not in kept:
                    await api.delete(name, *key)
            await api.put(name, *copy.deepcopy(after))
        end = lists("after").objects
        await run.until(lambda: run.watcher.state().objects == end)
        assert run.watcher.state().complete
    assert {name for name, _, _ in api.requests} == set(PATHS)
    assert all(len(api.asked(name, watch=False)) == 1 for name in PATHS)


async def test_a_server_has_what_the_watcher_has(api: FakeApi, options: ApiOptions, tmp_path: Path) -> None:
    for name in PATHS:
        await api.put(name, *copy.deepcopy(items("before", name)))
    serving = SessionServer("cluster/default")
    made = Watcher("default", lambda: Api(options))
    async with serving.serving():
        server = TransportOptions(serving.url, write_token(tmp_path), "cluster/default", "test")
        task = asyncio.create_task(keep_informed(made, server))
        try:
            async with asyncio.timeout(300):
                while serving.state is None or not serving.state.complete:
                    await asyncio.sleep(0.01)
                assert serving.state.objects == lists("before").objects
                await api.delete("services", "shop", "web-np")
                while serving.state != made.state() or len(serving.state.objects.services) != 15:
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_only_metadata_is_asked_for_where_no_more_is_read(api: FakeApi, options: ApiOptions) -> None:
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
    accepted = {name: headers["Accept"] for name, params, headers in api.requests if "watch" not in params}
    assert {name for name, accept in accepted.items() if "PartialObjectMetadataList" in accept} == {
        "namespaces",
        "replicasets",
        "jobs",
    }


async def test_a_list_comes_in_pages(
    api: FakeApi, options: ApiOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_OBJECTS", 10)
    await api.put("pods", *(pod(f"p{number}") for number in range(25)))
    async with running(options) as run:
        assert len(run.pods()) == 25
    assert [params.get("continue") for params in api.asked("pods", watch=False)] == [None, "10", "20"]


async def test_what_happens_many_times_at_once_is_told_once(api: FakeApi, options: ApiOptions) -> None:
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
        told = len(run.told.deltas)
        await api.put("pods", *(pod("p", turn=str(number)) for number in range(200)))
        await run.until(
            lambda: (
                [one.labels for one in run.watcher.state().objects.kube_pods.values()] == [{"turn": "199"}]
            )
        )
        assert len(run.told.deltas) - told < 20


async def test_what_changes_nothing_that_is_kept_is_not_told(api: FakeApi, options: ApiOptions) -> None:
    await api.put("pods", pod("p"))
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
        before = run.watcher.state().objects
        await api.put("pods", {**pod("p"), "spec": {"schedulerName": "other"}})
        await api.put("services", pod("s"))
        await run.until(lambda: len(run.watcher.state().objects.services) == 1)
        assert run.watcher.state().objects.kube_pods is before.kube_pods


async def test_a_watch_that_is_cut_in_the_middle_of_a_line_loses_nothing(
    api: FakeApi, options: ApiOptions
) -> None:
    await api.put("pods", pod("p"))

    async def half(request: kmock.Request) -> AsyncIterator[bytes]:
        events = api.events("pods", int(request.params["resourceVersion"]))
        yield await anext(events)
        line = await anext(events)
        yield line[: len(line) // 2]
        await asyncio.sleep(0.05)
        cut(request)

    page = {"metadata": {"resourceVersion": "2"}, "items": [pod("p")]}
    api.fault("pods", lambda _: page, half)
    async with running(options) as run:
        await api.put("pods", pod("q"), pod("r"))
        await run.until(lambda: run.pods() == {"p", "q", "r"} and run.status().whole)
    assert len(api.asked("pods", watch=False)) == 2


async def test_a_kind_is_called_whole_again_when_it_has_been_listed_and_not_before(
    api: FakeApi, options: ApiOptions
) -> None:
    """Neither a new watch that stands (with events still to come, or 410), nor half of a list, is all there is."""
    go_on = asyncio.Event()

    async def slow(_: kmock.Request) -> AsyncIterator[bytes]:
        yield b'{"metadata": {"resourceVersion": "9"}, "items": ['
        await go_on.wait()
        yield json.dumps(pod("q")).encode() + b"]}"

    await api.put("pods", pod("p"))
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
        wholes: list[tuple[bool, set[str]]] = []
        kept, told = run.told.state_changed, run.told

        def noted(delta: NodeDelta, at_ns: int) -> None:
            kept(delta, at_ns)
            wholes.append((run.status().whole, run.pods()))

        told.state_changed = noted  # type: ignore[method-assign]
        await api.leave()
        await run.until(lambda: not run.status().whole)
        await api.delete("pods", "a", "p")
        await api.put("pods", pod("q"))
        api.version = max(api.version, 9)
        api.fault("pods", slow)
        api.away = False
        await run.until(lambda: run.status("services").whole)
        while not go_on.is_set():
            assert not run.status().whole
            if not api.faults["pods"]:
                go_on.set()
            await asyncio.sleep(0.01)
        await run.until(lambda: run.status().whole)
    assert all(pods == {"q"} for whole, pods in wholes if whole)


async def test_an_event_that_is_none_is_asked_for_again(api: FakeApi, options: ApiOptions) -> None:
    async def garbage(_: kmock.Request) -> AsyncIterator[bytes]:
        yield b'{"type": "SHRUNK", "object": {}}\n'

    api.fault("pods", lambda _: {"metadata": {"resourceVersion": "1"}}, garbage)
    async with running(options) as run:
        await api.put("pods", pod("p"))
        await run.until(lambda: run.pods() == {"p"} and run.status().whole)
    assert len(api.asked("pods", watch=False)) == 2
    assert not api.faults["pods"]


@pytest.mark.parametrize("in_the_stream", [False, True])
async def test_a_version_that_is_gone_means_a_new_list_and_nothing_is_lost(
    api: FakeApi, options: ApiOptions, in_the_stream: bool
) -> None:
    async def expired(_: kmock.Request) -> AsyncIterator[bytes]:
        yield b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}\n'

    await api.put("pods", pod("p"), pod("q"))
    stale = {"metadata": {"resourceVersion": "1"}, "items": [pod("gone"), pod("q")]}
    api.fault("pods", lambda _: stale, expired if in_the_stream else status(410, "too old"))
    async with running(options) as run:
        await run.until(lambda: run.pods() == {"p", "q"} and run.status().whole)
    assert len(api.asked("pods", watch=False)) == 2


async def test_a_list_whose_pages_expire_begins_again(
    api: FakeApi, options: ApiOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_OBJECTS", 1)
    await api.put("pods", pod("p"), pod("q"))
    first = {"metadata": {"resourceVersion": "1", "continue": "1"}, "items": [pod("gone")]}
    api.fault("pods", lambda _: first, status(410, "The provided continue parameter is too old"))
    async with running(options) as run:
        await run.until(lambda: run.pods() == {"p", "q"} and run.status().whole)


@pytest.mark.parametrize("code", [403, 404, 429, 500, 503])
async def test_a_refusal_is_told_and_tried_again(api: FakeApi, options: ApiOptions, code: int) -> None:
    await api.put("pods", pod("p"))
    api.fault("pods", *[status(code, "not now")] * 3)
    async with running(options) as run:
        assert not run.status().whole
        assert "not now" in run.status().reason
        assert "pods since 20" in run.status().reason
        assert run.status("services").whole
        await run.until(lambda: run.pods() == {"p"} and run.status().whole)
        assert run.status().reason == ""


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_watch_that_is_refused_means_a_new_list(api: FakeApi, options: ApiOptions, code: int) -> None:
    stale = {"metadata": {"resourceVersion": "1"}, "items": [pod("gone")]}
    api.fault("pods", lambda _: stale, status(code, "not now"))
    await api.put("pods", pod("p"))
    async with running(options) as run:
        await run.until(lambda: run.pods() == {"p"} and run.status().whole)
    assert len(api.asked("pods", watch=False)) == 2


async def test_a_list_that_is_cut_in_the_middle_of_an_object_is_none(
    api: FakeApi, options: ApiOptions
) -> None:
    async def half(request: kmock.Request) -> AsyncIterator[bytes]:
        yield b'{"metadata": {"resourceVersion": "9"}, "items": [' + json.dumps(pod("gone")).encode()[:-9]
        await asyncio.sleep(0.05)
        cut(request)

    api.fault("pods", half)
    await api.put("pods", pod("p"))
    async with running(options) as run:
        assert not run.status().whole or run.pods() == {"p"}
        await run.until(lambda: run.pods() == {"p"} and run.status().whole)


async def test_a_server_that_asks_for_time_is_given_it(api: FakeApi, options: ApiOptions) -> None:
    times: list[float] = []

    def busy(request: kmock.Request) -> Any:
        times.append(asyncio.get_running_loop().time())
        return status(429, "busy", **{"Retry-After": "1"})(request)

    def then(request: kmock.Request) -> Any:
        times.append(asyncio.get_running_loop().time())
        return {"metadata": {"resourceVersion": "1"}, "items": []}

    api.fault("pods", busy, then)
    async with running(options) as run:
        await run.until(lambda: run.status().whole)
    assert times[1] - times[0] >= 1.0


async def test_an_expired_token_is_read_again(
    api: FakeApi, options: ApiOptions, tmp_path: Path, server: tuple[kmock.RawHandler, kmock.Server]
) -> None:
    def judged(request: kmock.Request) -> Any:
        if request.headers.get("Authorization") != "Bearer fresh":
            api.fault("pods", judged)
            return status(401, "Unauthorized")(request)
        return {"metadata": {"resourceVersion": "1"}, "items": [pod("p")]}

    api.fault("pods", judged)
    async with running(options) as run:
        assert "Unauthorized (401)" in run.status().reason
        write_config(tmp_path / "config", str(server[1].url), token="fresh")
        await run.until(lambda: run.status().whole and run.pods() == {"p"})


async def test_a_token_file_is_read_again_without_a_word(
    api: FakeApi, options: ApiOptions, tmp_path: Path, server: tuple[kmock.RawHandler, kmock.Server]
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    write_config(tmp_path / "config", str(server[1].url), tokenFile=str(token))

    def expired(request: kmock.Request) -> Any:
        token.write_text("new")
        return status(401, "Unauthorized")(request)

    await api.put("pods", pod("p"))
    api.fault("pods", expired)
    async with running(options) as run:
        assert (run.status().whole, run.pods()) == (True, {"p"})
    bearers = [headers["Authorization"] for name, _, headers in api.requests if name == "pods"]
    assert bearers[:2] == ["Bearer old", "Bearer new"]


async def test_a_server_that_was_away_is_told_and_what_happened_meanwhile_is_found(
    api: FakeApi, options: ApiOptions
) -> None:
    await api.put("pods", pod("p"), pod("q"))
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
        await api.leave()
        await run.until(lambda: all(not one.whole for one in run.watcher.state().status.values()))
        assert run.pods() == {"p", "q"}
        assert "pods since 20" in run.status().reason
        await api.delete("pods", "a", "p")
        await api.put("pods", pod("r"))
        api.compacted, api.away = api.version, False
        await run.until(lambda: run.watcher.state().complete)
        assert run.pods() == {"q", "r"}


async def test_an_object_of_a_future_version_is_named_and_the_others_are_kept(
    api: FakeApi, options: ApiOptions
) -> None:
    strange = {**pod("strange"), "spec": {"type": "Teleport"}}
    await api.put("services", strange, pod("plain"))
    async with running(options) as run:
        await run.until(lambda: all(one.whole for one in run.watcher.state().status.values()))
        assert list(run.watcher.state().objects.services) == [("a", "plain")]
        assert [one.record for one in run.watcher.state().objects.refused.values()] == ["a,strange"]
        assert not run.watcher.state().complete
        await api.put("services", pod("strange"))
        await run.until(lambda: run.watcher.state().complete)


def lockdown(name: str = "lockdown", **spec: Any) -> dict[str, Any]:
    everybody: dict[str, Any] = {"namespaces": {}}
    rule = {"name": "all", "action": "Deny", "from": [everybody]}
    made = {"tier": "Admin", "priority": 7, "subject": everybody, "ingress": [rule], **spec}
    return {"metadata": {"name": name}, "spec": made}


async def test_policies_of_the_cluster_are_asked_for_in_the_version_that_is_there(
    api: FakeApi, options: ApiOptions
) -> None:
    api.served = {
        "clusternetworkpolicies": ("v1alpha2",),
        "adminnetworkpolicies": (),
        "baselineadminnetworkpolicies": (),
    }
    await api.put("clusternetworkpolicies", lockdown())
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
        assert list(run.watcher.state().objects.cluster_policies) == [("ClusterNetworkPolicy", "lockdown")]
        assert run.status("cluster_policies").reason == (
            "the cluster has no adminnetworkpolicies; the cluster has no baselineadminnetworkpolicies"
        )
        await api.delete("clusternetworkpolicies", "", "lockdown")
        await run.until(lambda: not run.watcher.state().objects.cluster_policies)


async def test_an_api_that_is_not_installed_is_no_trouble_is_told_and_may_come(
    api: FakeApi, options: ApiOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "ABSENT_S", 0.02)
    served, api.served = api.served, dict.fromkeys(api.served, ())
    async with running(options) as run:
        await run.until(lambda: run.watcher.state().complete)
        assert "the cluster has no clusternetworkpolicies" in run.status("cluster_policies").reason
        asked = api.groups_asked
        await run.until(lambda: api.groups_asked > asked + 6)
        await api.put("clusternetworkpolicies", lockdown())
        api.served = served
        await run.until(lambda: len(run.watcher.state().objects.cluster_policies) == 1)
        await run.until(lambda: run.status("cluster_policies") and run.watcher.state().complete)
        api.served = dict.fromkeys(served, ())
        await api.leave()
        await run.until(lambda: not run.status("cluster_policies").whole)
        assert len(run.watcher.state().objects.cluster_policies) == 1
        api.away = False
        await run.until(lambda: run.watcher.state().complete)
        assert not run.watcher.state().objects.cluster_policies


async def test_policies_in_a_version_of_the_future_are_not_read(api: FakeApi, options: ApiOptions) -> None:
    api.served = {**api.served, "clusternetworkpolicies": ("v7",)}
    await api.put("clusternetworkpolicies", lockdown())
    async with running(options) as run:
        assert not run.status("cluster_policies").whole
        assert "version v7 alone, which isn't known" in run.status("cluster_policies").reason
        assert not run.watcher.state().objects.cluster_policies
        assert run.status("network_policies").whole


async def test_a_bookmark_moves_the_version_on(api: FakeApi, options: ApiOptions) -> None:
    async def one_bookmark(request: kmock.Request) -> AsyncIterator[bytes]:
        yield b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}}\n'

    api.version = 77
    api.fault("pods", lambda _: {"metadata": {"resourceVersion": "5"}}, one_bookmark)
    async with running(options) as run:
        await run.until(lambda: len(api.asked("pods", watch=True)) >= 2)
    assert [params["resourceVersion"] for params in api.asked("pods", watch=True)][:2] == ["5", "77"]


async def test_a_snapshot_is_a_file_of_the_clusters_objects(
    api: FakeApi, options: ApiOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PATHS:
        await api.put(name, *copy.deepcopy(items("before", name)))
    out = tmp_path / "objects.nvz"
    argv = ["kubernetes", "--kubeconfig", str(options.kubeconfig), "--snapshot", str(out)]
    assert await asyncio.to_thread(main, argv) == 0
    capture, state = load_nvz(out.read_bytes())
    assert (capture.node, state.objects, state.complete) == ("cluster/default", lists("before").objects, True)
    api.fault("pods", status(403, "pods is forbidden"))
    assert await asyncio.to_thread(main, argv) == 0
    assert not load_nvz(out.read_bytes())[1].status["kube_pods"].whole
    assert "pods is forbidden" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        ["--kubeconfig", "/none", "--snapshot", "x.nvz"],
        ["--kubeconfig", __file__, "--snapshot", "x.nvz"],
        ["--context", "none", "--snapshot", "x.nvz"],
        [],
        ["--snapshot", "x.nvz", "--server", "http://localhost"],
        ["--cluster", "", "--snapshot", "x.nvz"],
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    write_config(tmp_path / "config", "http://127.0.0.1:1", token="t")
    assert main(["kubernetes", "--kubeconfig", str(tmp_path / "config"), *more]) == 2
    assert capsys.readouterr().err.count("\n") == 1
