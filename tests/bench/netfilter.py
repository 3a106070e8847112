"""kube-proxy's iptables rules of 10,000 services: collecting them, loading them, tracing through them.

The rules of 10,000 services with three endpoints each (150,000 lines) are restored into a
namespace by iptables-nft and collected. Then a process of its own loads the file and traces from a
client to the last service, to an address that is no service, and to services at random.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from lab.kubernetes import proxy_iptables
from lab.kubernetes.ports import Endpoint, ServicePort
from lab.stack import ROOT
from netviz.core.model.addr import pack_ip
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.render import trace_json
from netviz.core.sim.trace import Flow
from netviz.core.wire.nvz import join_captures, load_nvz
from tests.bench.machine import Figure, percentiles_ms, rss_bytes

SERVICES, ENDPOINTS, TRACES = 10_000, 3, 200
POD_CIDR, NODE = "10.244.0.0/16", "192.0.2.1"


def service_address(number: int) -> str:
    """The cluster address of a service."""
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def services() -> list[ServicePort]:
    """The services, with three endpoints each."""
    return [
        ServicePort(name=f"svc-{n}", port_name="http", cluster_ip=service_address(n), endpoints=_endpoints(n))
        for n in range(1, SERVICES + 1)
    ]


def _endpoints(number: int) -> tuple[Endpoint, ...]:
    found = (number + at for at in range(ENDPOINTS))
    return tuple(Endpoint(f"10.244.{at >> 8 & 127}.{at & 255}", 8080, "elsewhere") for at in found)


def _run(*argv: str, text: str | None = None) -> None:
    subprocess.run(argv, input=text, text=True, check=True, capture_output=True, cwd=ROOT)


def _build(name: str, rules: str, restore: Sequence[str]) -> None:
    """Make a node's namespace with a link to the endpoints, and have a command take the rules in."""
    inside = ("ip", "netns", "exec", name)
    _run("ip", "netns", "add", name)
    _run(*inside, "ip", "link", "set", "lo", "up")
    _run(*inside, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    for command in ("link set eth1 up", "link set eth0 up", f"addr add {NODE}/24 dev eth0"):
        _run(*inside, "ip", *command.split())
    _run(*inside, "ip", "route", "add", "default", "via", "192.0.2.2")
    for account in proxy_iptables.ACCOUNTS:
        _run(*inside, "nfacct", "add", account)
    _run(*inside, *restore, text=rules)


class Result(msgspec.Struct):
    """What the loading process measured."""

    load_s: float
    first_s: float
    traces_s: list[float]
    misses_s: list[float]
    rss_bytes: int


def measure(path: Path) -> Result:
    """Load the file and trace; run in a process of its own, whose memory is then measured."""
    started = time.perf_counter()
    cluster = join_captures([load_nvz(path.read_bytes())])
    load_s = time.perf_counter() - started
    source = next(ns.key for ns in cluster.nodes["bench"].netns.values() if ns.netns.root)

    def trace(address: str) -> float:
        before = time.perf_counter()
        flow = Flow(source, pack_ip("192.0.2.1"), pack_ip(address), 6, 40000, 80)
        done = trace_json(simulate_in_context(cluster, flow))
        assert done["branches"]
        if not address.startswith("198."):
            assert len(done["branches"]) == ENDPOINTS, done["branches"]
        return time.perf_counter() - before

    first = trace(service_address(SERVICES))
    pick = random.Random(7)
    last = [trace(service_address(SERVICES)) for _ in range(TRACES)]
    misses = [trace("198.51.100.9") for _ in range(TRACES)]
    for _ in range(TRACES):
        trace(service_address(pick.randint(1, SERVICES)))
    return Result(load_s, first, last, misses, rss_bytes(os.getpid()))


def collect_and_trace(rules: str, restore: Sequence[str]) -> tuple[float, int, Result]:
    """Restore rules and collect them, then trace in a process of its own; returns also the snapshot's seconds and bytes."""
    name = f"nv-bench{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bench.nvz"
        where = ["--root-netns", f"/run/netns/{name}", "--netns-dir", folder, "--no-proc", "--out", str(out)]
        try:
            _build(name, rules, restore)
            started = time.perf_counter()
            _run(sys.executable, "-m", "agents", "snapshot", "--node", "bench", *where)
            snapshot_s = time.perf_counter() - started
        finally:
            _run("ip", "netns", "del", name)
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.netfilter", str(out)],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        return snapshot_s, out.stat().st_size, msgspec.json.decode(done.stdout, type=Result)


def figures(rules: str, restore: Sequence[str], aim: str) -> Iterable[Figure]:
    """Measure with one kind of rules."""
    snapshot_s, size, result = collect_and_trace(rules, restore)
    yield Figure("rules restored", f"{len(rules.splitlines())} lines, {SERVICES} services")
    yield Figure("snapshot", f"{snapshot_s:.1f} s, {size / 1e6:.1f} MB")
    yield Figure("load the file", f"{result.load_s:.2f} s")
    yield Figure(
        "load and index (to the end of the first trace)", f"{result.load_s + result.first_s:.2f} s", "5 s"
    )
    yield Figure("a trace to the last service p50/p95/p99", percentiles_ms(result.traces_s), aim)
    yield Figure("a trace past all services p50/p95/p99", percentiles_ms(result.misses_s))
    yield Figure("memory of the process", f"{result.rss_bytes / 2**20:.0f} MiB", "300 MiB")


def run() -> Iterable[Figure]:
    """Measure."""
    rules = proxy_iptables.whole("bench", NODE, POD_CIDR, services(), 4)
    return figures(rules, ["iptables-restore"], "2.8 ms (p50)")


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(sys.argv[1]))))
