"""tcx, tc and XDP programs on a real kernel: found where they stand, by name, id and tag, and not taken for nothing."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.kernel import Kernel
from agents.programs import TCX
from lab import netns
from lab.cluster import Cluster, ClusterSpec
from netviz.core.model.link import Program
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.render import trace_json
from netviz.core.sim.trace import Disposition
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState
from tests.live.prediction import snapshot

pytestmark = pytest.mark.live

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH = 5, 8, 9
BPF_PROG_TYPE_SCHED_CLS, TC_ACT_SHOT = 3, 2
ALL_SHOT = struct.pack("=BBhi", 0xB7, 0, 0, TC_ACT_SHOT) + struct.pack("=BBhi", 0x95, 0, 0, 0)
NAME = "nv_test_drop"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.up(ClusterSpec(f"nv-x{os.getpid()}", nodes=1, pods=2)) as made:
        yield made


@pytest.fixture
def program() -> Iterator[int]:
    """A program that drops everything; it lives as long as its descriptor, or a link that has it."""
    code, licence = ctypes.create_string_buffer(ALL_SHOT), ctypes.create_string_buffer(b"GPL")
    attr = struct.pack(
        "=IIQQIIQII16s",
        BPF_PROG_TYPE_SCHED_CLS,
        len(ALL_SHOT) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        *(0, 0, 0, 0, 0),
        NAME.encode(),
    )
    fd = Kernel().ask_bpf(BPF_PROG_LOAD, bytearray(attr))
    try:
        yield fd
    finally:
        os.close(fd)


def node_link(cluster: Cluster, state: ClusterState) -> tuple[str, int]:
    """Name the node's end of the first pod's veth, and its ifindex."""
    root = state.nodes["node1"].root
    assert root is not None
    link = next(link for link in root.links.values() if link.kind == "veth" and link.slave_kind == "bridge")
    return link.ifname, link.ifindex


def programs_of(state: ClusterState, ifindex: int) -> tuple[Program, ...] | None:
    root = state.nodes["node1"].root
    assert root is not None
    return root.links[ifindex].programs


@pytest.mark.parametrize("hook", TCX)
def test_a_tcx_program_is_seen(cluster: Cluster, program: int, tmp_path: Path, hook: str) -> None:
    one, other = list(cluster.pods)[:2]
    before = snapshot(cluster, tmp_path)
    _, ifindex = node_link(cluster, before)
    assert programs_of(before, ifindex) == ()
    assert not simulate(before, resolve_flow(before, one, other)).assumed
    command = struct.pack("=IIII", ifindex, program, TCX[hook], 0).ljust(64, b"\0")
    kernel = Kernel()
    with netns.entered_path(cluster.nodes["node1"].root):
        kernel.ask_bpf(BPF_PROG_ATTACH, bytearray(command))
    try:
        state = snapshot(cluster, tmp_path)
    finally:
        with netns.entered_path(cluster.nodes["node1"].root):
            kernel.ask_bpf(BPF_PROG_DETACH, bytearray(command))
    (found,) = programs_of(state, ifindex) or ()
    assert (found.hook, found.name, len(found.tag)) == (hook, NAME, 8)
    assert found.id
    traces = [simulate(state, resolve_flow(state, *pair)) for pair in ((one, other), (other, one))]
    assert {trace.disposition for trace in traces} == {Disposition.UNKNOWN}
    said = str([trace_json(trace) for trace in traces])
    assert f"{hook} {NAME} (id {found.id}, tag {found.tag.hex()})" in said


def test_an_empty_clsact_does_nothing_and_a_filter_is_named(cluster: Cluster, tmp_path: Path) -> None:
    one, other = list(cluster.pods)[:2]
    name, ifindex = node_link(cluster, snapshot(cluster, tmp_path))

    def tc(*words: str) -> None:
        enter = ["nsenter", f"--net={cluster.nodes['node1'].root}", "--", "tc"]
        subprocess.run([*enter, *words], check=True, capture_output=True)

    tc("qdisc", "add", "dev", name, "clsact")
    try:
        state = snapshot(cluster, tmp_path)
        assert programs_of(state, ifindex) == ()
        assert simulate(state, resolve_flow(state, one, other)).disposition is Disposition.DELIVERED
        tc("filter", "add", "dev", name, "egress", *["u32", "match", "u32", "0", "0", "flowid", "1:1"])
        state = snapshot(cluster, tmp_path)
        assert [(one.hook, one.name) for one in programs_of(state, ifindex) or ()] == [("tc/egress", "u32")]
        assert simulate(state, resolve_flow(state, one, other)).disposition is Disposition.UNKNOWN
    finally:
        tc("qdisc", "del", "dev", name, "clsact")
