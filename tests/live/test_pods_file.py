"""Pods from a file: found by path and by process, followed, and kept when the file breaks."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import msgspec
import pytest

from agents.collectors import pods as pods_module
from agents.collectors.pods import FileSource, Pods, SourceError
from netviz.core.model.netns import Pod
from tests.live.collector_rig import RecordingHost, namespaces, until

pytestmark = pytest.mark.live


def write(path: Path, entries: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    os.replace(partial, path)


async def test_the_file_is_followed_and_its_last_good_state_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods_module, "WATCHED_POLL_S", 3600.0)  # only a watch can tell
    path = tmp_path / "pods.json"
    with namespaces(3) as (root, one, two):
        root.handle.root = True
        host = RecordingHost(root.handle, one.handle, two.handle)
        first = {"name": "a", "namespace": "shop", "uid": "u1", "netns": one.path, "labels": {"app": "a"}}
        hosted = {"name": "proxy", "namespace": "kube-system", "netns": root.path}
        write(path, [{**first, "containers": ["web", "log"]}, hosted])
        collector = Pods([FileSource(str(path))])
        await collector.start(host)
        try:
            pod = Pod(
                name="a",
                namespace="shop",
                uid="u1",
                containers=("web", "log"),
                labels={"app": "a"},
                source="file",
            )
            assert host.pods == {one.handle.key: pod, root.handle.key: None, two.handle.key: None}
            assert collector.collect(one.handle, ("",)).pod == pod
            assert collector.collect(two.handle, ("",)).pod is msgspec.UNSET

            with caplog.at_level(logging.WARNING):
                write(path, '[{"name": "a", "namesp')
                await until(lambda: host.troubles.get("pods"))
            assert str(path) in caplog.text
            assert host.pods[one.handle.key] == pod

            path.unlink()
            await until(lambda: host.troubles["pods"] == f"{path}: No such file or directory")
            assert host.pods[one.handle.key] == pod

            write(path, [{"name": "b", "namespace": "shop", "netns": two.path}])
            await until(lambda: host.pods[one.handle.key] is None)
            assert host.pods[two.handle.key] == Pod(name="b", namespace="shop", source="file")
            assert host.troubles == {"pods": ""}
        finally:
            host.close()
            await collector.stop()


async def test_a_pod_is_found_by_its_process_and_once_its_namespace_comes(tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    with namespaces(1) as (ns,):
        host = RecordingHost()
        with ns.handle.run(lambda: os.popen("echo $$; exec sleep 60")) as holder:
            pid = int(holder.readline())
            write(path, [{"name": "p", "namespace": "d", "pause_pid": pid}])
            collector = Pods([FileSource(str(path))])
            await collector.start(host)
            try:
                assert host.pods == {}
                pod = collector.collect(ns.handle, ("",)).pod
                assert pod == Pod(name="p", namespace="d", pause_pid=pid, source="file")
            finally:
                await collector.stop()
                os.kill(pid, 9)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{}", "expected array, got object"),
        ('[{"namespace": "x"}]', "[0]: lacks the required field name"),
        ('[{"name": "a", "namespace": "x"}]', "[0]: neither netns nor pause_pid is given"),
        (
            '[{"name": "a", "namespace": "x", "pause_pid": "7"}]',
            "[0].pause_pid: expected int, got str",
        ),
        ("", "Input data was truncated"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "pods.json"
    path.write_text(content)
    with pytest.raises(SourceError) as err:
        FileSource(str(path)).read()
    assert str(path) in str(err.value)
    assert complaint in str(err.value)
    assert "\n" not in str(err.value)
