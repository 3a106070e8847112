"""Pods of a real containerd: name, namespace, process, containers, and the right network namespace."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from agents.collectors.base import NetnsHandle
from agents.collectors.cri import CriSource
from agents.collectors.pods import Pods, SourceError
from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Pod, Resolv
from tests.live.collector_rig import RecordingHost, namespaces, run, until
from tests.live.containerd_rig import Runtime, runtime

pytestmark = pytest.mark.live


def handle_of(pid: int) -> NetnsHandle:
    """The namespace of a process, as the runner would hand it over."""
    stat = os.stat(f"/proc/{pid}/ns/net")
    return NetnsHandle(NetnsKey("n1", stat.st_dev, stat.st_ino), -1, None, root=False)  # type: ignore[arg-type]


def pause_pids(node: Runtime) -> dict[str, int]:
    """The sandboxes' processes as the runtime's own tool tells them."""
    lines = run("ctr", "-a", node.socket, "-n", "k8s.io", "tasks", "ls").splitlines()[1:]
    return {words[0]: int(words[1]) for words in map(str.split, lines)}


async def test_pods_of_a_real_containerd() -> None:
    with (
        namespaces() as (node_ns,),
        runtime(Path(tempfile.mkdtemp(prefix="nv-cri-")), node_ns) as node,
    ):
        web = node.run_pod("web-1", "shop", {"app": "web", "io.kubernetes.pod.name": "web-1"})
        node.run_container(web, "nginx")
        node.run_container(web, "logger")
        hosted = node.run_pod("proxy", "kube-system", {}, host_network=True)
        pids = pause_pids(node)
        web_ns, root = handle_of(pids[web]), handle_of(pids[hosted])
        assert root.key.ino == node_ns.handle.key.ino
        root.root = True
        host = RecordingHost(root, web_ns)
        source = CriSource(node.socket)
        source.poll_s = 0.2
        collector = Pods([source])
        await collector.start(host)
        try:
            expected = Pod(
                name="web-1",
                namespace="shop",
                uid="uid-web-1",
                pause_pid=pids[web],
                containers=("logger", "nginx"),
                labels={"app": "web"},
                source="cri",
                resolv=Resolv((pack_ip("10.96.0.10"),), ("shop.svc.cluster.local",), ("ndots:5",)),
            )
            assert host.pods == {web_ns.key: expected, root.key: None}
            assert collector.collect(web_ns, ("",)).pod == expected

            second = node.run_pod("web-2", "shop", {})
            late = handle_of(pause_pids(node)[second])
            host.handles.append(late)
            pod = await until(lambda: host.pods.get(late.key))
            assert (pod.name, pod.containers) == ("web-2", ())

            await asyncio.to_thread(node.remove_pod, second)
            await until(lambda: host.pods[late.key] is None)

            # A runtime that stops answering takes nothing away; its pods live on.
            node.stop()
            await until(lambda: "UNAVAILABLE" in host.troubles.get("pods", ""))
            assert host.pods[web_ns.key] == expected
        finally:
            host.close()
            await collector.stop()


def test_no_runtime_is_said_in_one_line() -> None:
    source = CriSource("/nonexistent/cri.sock")
    try:
        with pytest.raises(
            SourceError, match=r"^unix:///nonexistent/cri\.sock: ListPodSandbox: UNAVAILABLE"
        ) as err:
            source.read()
        assert "\n" not in str(err.value)
    finally:
        source.close()
