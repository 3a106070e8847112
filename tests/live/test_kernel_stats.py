"""What the kernel counts of its own tables, against what its tools say, and what it counts when two flows clash.

client a 10.9.1.2 --- 10.9.1.1 router 10.9.2.1 --- 10.9.2.2 b     the router translates every source to one port
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from agents.collectors.kernel_stats import KernelStats
from netviz.core.check.checker import Checker
from netviz.core.check.problem import Problem
from netviz.core.model.stat import KernelStat
from tests.core.sim.build import textbook
from tests.live.collector_rig import Namespace, namespaces

pytestmark = pytest.mark.live
FLOWS = 40


def read(ns: Namespace) -> dict[str, int]:
    ns.handle.root = True
    found = KernelStats().collect(ns.handle, ("kernel_stats",)).sections["kernel_stats"]
    return {one.name: one.value for one in found}


def test_thresholds_are_those_of_the_settings() -> None:
    with namespaces() as (ns,):
        found = read(ns)
    for table, family in (("arp_cache", "ipv4"), ("ndisc_cache", "ipv6")):
        for name in ("gc_thresh2", "gc_thresh3"):
            said = Path(f"/proc/sys/net/{family}/neigh/default/{name}").read_text()
            assert found[f"neigh.{table}.{name}"] == int(said)
        assert 0 <= found[f"neigh.{table}.entries"] <= found[f"neigh.{table}.gc_thresh3"]
        assert f"neigh.{table}.table_fulls" in found


def test_a_pods_namespace_is_asked_for_nothing() -> None:
    with namespaces() as (ns,):
        assert not KernelStats().collect(ns.handle, ("kernel_stats",)).sections["kernel_stats"]


def test_flows_that_clash_are_counted_and_told() -> None:
    with namespaces() as (ns,):
        before = read(ns)
        ns.exec("ip", "link", "set", "lo", "up")
        ns.exec("nft", "add table ip t")
        ns.exec("nft", "add chain ip t post { type nat hook postrouting priority 100; }")
        ns.exec("nft", "add rule ip t post udp dport 9 snat to 127.0.0.1:5000")
        ns.handle.run(send_flows)
        after = read(ns)
        counted = json.loads("[" + stats(ns) + "]")
    rose = after["conntrack.insert_failed"] - before["conntrack.insert_failed"]
    assert rose >= FLOWS // 2
    assert after["conntrack.insert_failed"] == sum(counted)
    (problem,) = judged(before, {**after, "read.at_s": before["read.at_s"] + 30})
    assert problem.kind == "conntrack-drops"
    assert "insert_failed" in problem.headline + " ".join(problem.also)


def send_flows() -> None:
    """Send a datagram from each of many ports at once."""
    for _ in range(FLOWS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"x", ("127.0.0.1", 9))
            except OSError:
                continue  # the hook's drop is the sender's error


def stats(ns: Namespace) -> str:
    """What `conntrack -S` says of insert_failed, processor by processor."""
    said = ns.exec("conntrack", "-S")
    words = [word for word in said.split() if word.startswith("insert_failed=")]
    return ",".join(word.partition("=")[2] for word in words)


def judged(*readings: dict[str, int]) -> list[Problem]:
    """What is wrong in a network whose node has counted this, after that."""
    checker, found = Checker(), []
    for one in readings:
        net, made = textbook()
        for name, value in one.items():
            made["node-1"].add("kernel_stats", KernelStat(name, value))
        found = [each for each in checker.judge(net.cluster()).problems if each.kind == "conntrack-drops"]
    return found
