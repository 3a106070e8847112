"""`--objects DIR`: the Kubernetes API's lists beside the nodes' state files."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import redirect_stderr
from pathlib import Path

import msgspec
import pytest
from django.core.management import call_command

from netviz.core.state.door import read_body
from netviz.core.wire.nvz import dump_nvz, load_nvz
from netviz.tracing.states import of_files

DATA = Path(__file__).resolve().parents[1] / "data" / "kubernetes" / "before"


@pytest.fixture
def nameless(tmp_path: Path) -> list[str]:
    """The recorded nodes' files, without what the runtime told of pods."""
    options = []
    for name in ("n1", "n2", "n3"):
        capture, state = load_nvz((DATA / f"{name}.nvz").read_bytes())
        bodies = [read_body(raw) for raw in capture.bodies]
        records = {k: msgspec.structs.replace(ns.netns, pod=None) for k, ns in state.netns.items()}
        netns = {k: msgspec.structs.replace(ns, netns=records[k]) for k, ns in state.netns.items()}
        path = tmp_path / f"{name}.nvz"
        path.write_bytes(dump_nvz(msgspec.structs.replace(state, netns=netns), bodies, capture.taken_at_s))
        options += ["--state", str(path)]
    return options


def run(command: str, *args: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with redirect_stderr(err):
        try:
            call_command(command, *args, stdout=out, stderr=err)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, out.getvalue(), err.getvalue()


def test_a_trace_finds_pods_by_the_names_that_the_api_gives_them(nameless: list[str]) -> None:
    asked = [*nameless, "--from", "default/cli", "--to", "default/other", "--json"]
    status, _, complaint = run("trace", *asked)
    assert (status, "default/cli" in complaint) == (2, True)
    status, out, _ = run("trace", *asked, "--objects", str(DATA))
    assert status == 0
    assert json.loads(out)["flow"]["from"]["pod"] is not None
    assert json.loads(out)["flow"]["dst"] == "10.244.1.4"


def test_verify_counts_the_pods_that_the_api_names(nameless: list[str]) -> None:
    counted = [
        json.loads(run("verify", *nameless, "--json", *more)[1])["checked"]["pods"]
        for more in ([], ["--objects", str(DATA)])
    ]
    assert counted == [0, 17]


def test_the_lists_are_a_clusters_objects() -> None:
    view = of_files([str(DATA / "n1.nvz")], str(DATA))
    assert len(view.cluster.clusters["default"].objects.services) == 16
    assert list(view.inputs) == ["n1"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (None, b"", "no *.json"),
        ("pods.json", b"{", "no list"),
        ("pods.json.gz", b"not packed", "pods.json.gz"),
        ("pods.json.gz", gzip.compress(b'{"kind": "PodList"}', mtime=0)[:-12], "pods.json.gz"),
    ],
)
@pytest.mark.parametrize("command", ["trace", "verify"])
def test_bad_lists_are_one_line(
    tmp_path: Path, command: str, name: str | None, content: bytes, words: str
) -> None:
    if name is not None:
        (tmp_path / name).write_bytes(content)
    asked = ["--from", "n1", "--to", "10.0.0.1"] if command == "trace" else []
    status, _, complaint = run(command, "--state", str(DATA / "n1.nvz"), "--objects", str(tmp_path), *asked)
    assert (status, complaint.count("\n")) == (2, 1)
    assert words in complaint


def test_no_such_folder_and_a_cluster_twice_are_bad_input(tmp_path: Path) -> None:
    state = ["--state", str(DATA / "n1.nvz")]
    assert run("verify", *state, "--objects", str(tmp_path / "none"))[0] == 2
    lists = of_files([], str(DATA)).cluster.clusters["default"]
    (tmp_path / "c.nvz").write_bytes(dump_nvz(lists, (), 1.0))
    status, _, complaint = run("verify", *state, "--state", str(tmp_path / "c.nvz"), "--objects", str(DATA))
    assert (status, "a cluster's objects already" in complaint) == (2, True)
