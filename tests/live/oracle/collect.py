"""Collect a network with the real collector."""

from __future__ import annotations

import time

import msgspec

from agents.collectors.base import Collector
from agents.collectors.conntrack import Conntrack
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions
from agents.collectors.pods import FileSource, Pods
from agents.collectors.rtnl import Rtnl
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import Sysctls
from agents.snapshot import Snapshotter
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import dump_nvz, join_captures, load_nvz
from tests.live.oracle.build import Built

SETTLE_S = 60.0
IF_OPER_UP = 6


def collect(up: Built) -> ClusterState:
    """Read every node once the kernel has done what it does after a configuration. Raises: TimeoutError."""
    deadline = time.monotonic() + SETTLE_S
    while not settled(state := collect_now(up)):
        if time.monotonic() > deadline:
            raise TimeoutError("links did not settle")
        time.sleep(0.01)
    return state


def settled(state: ClusterState) -> bool:
    """Tell whether the kernel has told everybody about carriers: it enables bridge ports and addresses then."""
    return all(
        link.carrier == (link.operstate == IF_OPER_UP)
        for node in state.nodes.values()
        for ns in node.netns.values()
        for link in ns.links.values()
        if link.up and link.operstate
    )


def collect_now(up: Built) -> ClusterState:
    """Read every node as `python -m agents snapshot` does, through the file format, and join them."""
    files = []
    for node in up.nodes:
        where = up.directory / node
        pods = [
            {
                "name": place.name,
                "namespace": "default",
                "uid": place.name,
                "netns": str(up.path(place)),
                "pause_pid": 0,
                "containers": ["app"],
                "labels": {},
            }
            for place in up.network.places
            if place.kind == "pod" and place.node == node
        ]
        (where / "pods.json").write_bytes(msgspec.json.encode(pods))
        options = NetnsOptions(node, str(where / "root"), (str(where / "pods"),), None)
        collectors: list[Collector] = [
            Pods([FileSource(str(where / "pods.json"))]),
            *(Rtnl(), Sysctls(), Sockets(), Netfilter(), Conntrack()),
        ]
        ledger = Snapshotter(options, collectors).run()
        files.append(load_nvz(dump_nvz(ledger.state, ledger.all_bodies(), time.time())))
    return join_captures(files)
