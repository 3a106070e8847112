"""The API's lists out of a folder that somebody keeps up to date."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.__main__ import main
from agents.kubernetes.folder import Folder
from netviz.core.state.delta import NodeDelta, apply
from netviz.core.state.node import NodeState
from netviz.core.wire.kubernetes.files import read_lists

EMPTY = ("nodes", "namespaces", "services", "endpointslices", "networkpolicies", "replicasets", "jobs")
KINDS = {"endpointslices": "EndpointSlice", "networkpolicies": "NetworkPolicy", "replicasets": "ReplicaSet"}


def write(folder: Path, name: str, *items: dict[str, Any], kind: str = "") -> None:
    """Put a list in its place as a whole."""
    kind = kind or KINDS.get(name, name.removesuffix("s").capitalize())
    made = {"kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": list(items)}
    (folder / f".{name}").write_text(json.dumps(made))
    os.replace(folder / f".{name}", folder / f"{name}.json")


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a"}}


class Told:
    def __init__(self) -> None:
        self.state: NodeState | None = None

    def state_changed(self, delta: NodeDelta, at_ns: int) -> None:
        assert self.state is not None
        assert at_ns > 0
        self.state = apply(self.state, delta)


@asynccontextmanager
async def following(folder: Path) -> AsyncIterator[tuple[Folder, Told]]:
    told = Told()
    made = Folder("default", folder, told)
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(300):
            await made.ready.wait()
            told.state = made.state()
            yield made, told
            assert told.state == made.state()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lists_are_followed_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    for name in EMPTY:
        write(tmp_path, name)
    write(tmp_path, "pods", pod("p"))
    async with following(tmp_path) as (made, _):
        state = made.state()
        files = [(path.name, path.read_bytes()) for path in tmp_path.glob("*.json")]
        assert state.objects == read_lists("default", files).objects
        assert state.complete
        assert state.status["kube_pods"].read_at_s > 0
        write(tmp_path, "pods", pod("q"))
        while list(made.state().objects.kube_pods) != [("a", "q")]:
            await asyncio.sleep(0.01)
        (tmp_path / "pods.json").write_text("{")
        while made.state().complete:
            await asyncio.sleep(0.01)
        assert "pods.json" in made.state().status["kube_pods"].reason
        assert list(made.state().objects.kube_pods) == [("a", "q")], "what was held stays"
        write(tmp_path, "pods", pod("q"), pod("r"))
        while not made.state().complete:
            await asyncio.sleep(0.01)
        assert len(made.state().objects.kube_pods) == 2
        (tmp_path / "services.json").unlink()
        while made.state().complete:
            await asyncio.sleep(0.01)
        assert made.state().status["services"].reason == "no list of services"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--objects", "/nowhere"], "no such directory"),
        (["--objects", "{}", "--snapshot", "x.nvz"], "without --snapshot"),
        (["--objects", "{}"], "--server and --token-file"),
    ],
)
def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], why: str) -> None:
    assert main(["kubernetes", *(word.format(tmp_path) for word in more)]) == 2
    assert why in capsys.readouterr().err
