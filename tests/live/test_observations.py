"""Observations by server and collectors on the lab: what is seen, what is refused, what is missing, and what is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from agents.observers.tracefs import PREFIX, _mounted
from lab.cluster import Cluster
from lab.stack import Stack, wait_until
from netviz.core.observe.pcapng import PACKET, read_blocks
from netviz.core.observe.sighting import OWN_TABLES
from tests.live.observing import Asker
from tests.stack import netviz

pytestmark = pytest.mark.live
__all__ = ["netviz"]


@pytest.fixture
def asker(netviz: tuple[Cluster, Stack]) -> Asker:
    return Asker(netviz[1])


@pytest.fixture
def nothing_left(netviz: tuple[Cluster, Stack]) -> Iterator[None]:
    """What an observation sets up is gone after it."""
    cluster, stack = netviz
    yield
    wait_until(lambda: not remains(cluster, stack), 300, "everything is removed")


def remains(cluster: Cluster, stack: Stack) -> list[str]:
    """List tables, instances and packet sockets of the cluster's collectors, and what watches in its namespaces."""
    pids = {part.process.pid for part in stack.collectors.values() if part.running}
    root = _mounted()
    try:
        instances = [path.name for path in Path(f"/proc/self/fd/{root}/instances").glob(f"{PREFIX}*")]
    finally:
        os.close(root)
    found = [name for name in instances if any(name.startswith(f"{PREFIX}{pid}-") for pid in pids)]
    for place in [*cluster.nodes, *cluster.pods]:
        tables = cluster.exec(place, ["nft", "list", "tables"]).stdout
        found += [line for line in tables.splitlines() if OWN_TABLES in line]
        packets = cluster.exec(place, ["cat", "/proc/net/packet"]).stdout.splitlines()[1:]
        found += [f"{place}: {line}" for line in packets]
    return found


@pytest.mark.usefixtures("nothing_left")
def test_over_two_nodes(asker: Asker) -> None:
    """Each device on the way and back is seen on both nodes, each chain is heard, and the third node sees nothing."""
    found = asker.observe("web-1", "web-2", proto="tcp")
    assert (found["status"], found["finding"]) == ("done", "agrees"), found
    assert found["nodes"] == ["node1", "node2", "node3"]
    trace = found["trace"]
    assert trace["observation"]["told"] == "answer"
    assert trace["branches"][0]["taken"] is True
    steps = asker.steps(found)
    crossed = [step for step in steps if step["kind"] in ("link_tx", "link_rx")]
    assert {step["observed"]["match"] for step in crossed} == {"agree"}
    times = [step["observed"]["ts_ns"] for step in crossed]
    assert times == sorted(times)
    assert not [
        step for step in steps if step["observed"]["visible"] and step["observed"]["match"] != "agree"
    ]
    seen = next(step for step in crossed if step["dev"] == "eth0")["observed"]
    assert (seen["headers"]["dst"], seen["point"]) == (trace["flow"]["dst"], "packet socket")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("proto", ["udp", "icmp"])
def test_other_protocols(asker: Asker, proto: str) -> None:
    found = asker.observe("api-1", "db-3", proto=proto, len=300)
    assert found["finding"] == "agrees", found
    crossed = [step for step in asker.steps(found) if step["kind"] == "link_tx"]
    assert crossed[0]["observed"]["headers"]["len"] == 300


@pytest.mark.usefixtures("nothing_left")
def test_a_drop_is_where_it_was_predicted(netviz: tuple[Cluster, Stack], asker: Asker) -> None:
    """With a rule in the way the predicted and the observed drop are one step, with the kernel's reason."""
    cluster, _ = netviz
    match = f"ip daddr {cluster.pod('web-1').ipv4} drop"
    rules = f"table ip t {{\n chain c {{\n type filter hook forward priority 0\n {match}\n }}\n}}\n"
    assert cluster.exec("node1", ["nft", "-f", "-"], input=rules).returncode == 0
    try:
        found = asker.when_predicted(lambda one: one["disposition"] == "DROPPED", "web-2", "web-1")
    finally:
        cluster.exec("node1", ["nft", "delete", "table", "ip", "t"])
    assert found["finding"] == "agrees", found
    last = asker.steps(found)[-1]
    # Emulated nodes share a kernel: whose free it was may stay open, which rule dropped it doesn't.
    assert (last["observed"]["match"], last["observed"]["rule"]["verdict"]) == ("agree", "drop")
    assert last["observed"]["drop_reason"] in (None, "NETFILTER_DROP")


@pytest.mark.usefixtures("nothing_left")
def test_a_timer_of_the_kernel_is_waited_for(netviz: tuple[Cluster, Stack], asker: Asker) -> None:
    """An address that nobody has: waiting is said until ARP gives up after 3 s, and then who was told."""
    cluster, _ = netviz
    nobody = cluster.pod("web-1").ipv4.rsplit(".", 1)[0] + ".250"
    states: list[str] = []
    found = asker.observe("web-1", nobody, proto="icmp", states=states)
    assert "waiting" in states
    assert found["finding"] in ("agrees", "unseen"), found
    assert found["trace"]["observation"]["told"] == "EHOSTUNREACH"


@pytest.mark.usefixtures("nothing_left")
def test_two_at_once(asker: Asker) -> None:
    """One waits for the other, is told its place, and both agree."""
    with ThreadPoolExecutor(3) as pool:
        ends = [("web-1", "web-2"), ("api-1", "api-3"), ("db-2", "db-1")]
        found = list(pool.map(lambda pair: asker.observe(*pair, proto="tcp"), ends))
    assert [one["finding"] for one in found] == ["agrees"] * 3
    begun = sorted((one["started"], one["ended"]) for one in found)
    assert all(first[1] <= second[0] for first, second in pairwise(begun))


@pytest.mark.usefixtures("nothing_left")
def test_observing_is_no_change(netviz: tuple[Cluster, Stack], asker: Asker) -> None:
    """Neither tables nor sockets of an observation are in any node's state, and no trace is out of date for it."""
    _, stack = netviz
    asker.observe("web-1", "web-3", proto="tcp")  # from here on the neighbours know each other
    wait_until(
        lambda: asker.post("/api/traces", {"from": "web-1", "to": "web-3"})["trace"]["assumed"] == [],
        300,
        "fresh",
    )
    trace = asker.post("/api/traces", {"from": "web-1", "to": "web-3", "proto": "tcp", "dport": 80})
    before = asker.get("/api/topology")["problems"]
    for proto in ("tcp", "udp"):
        asker.observe("web-1", "web-3", proto=proto)
    for node in stack.collector_args:
        status, state = stack.get(f"/api/nodes/{node}/state")
        assert status == 200
        assert OWN_TABLES.encode() not in state
    after = asker.get(f"/api/traces/{trace['id']}")
    assert after["current"] is not False, after["current_note"]
    assert asker.get("/api/topology")["problems"] == before


def test_a_collector_that_is_killed(netviz: tuple[Cluster, Stack], asker: Asker) -> None:
    """Killed while it watches: the answer is partial and says so; what it left is gone with its next observation."""
    cluster, stack = netviz
    nobody = cluster.pod("web-1").ipv4.rsplit(".", 1)[0] + ".250"
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(asker.observe, "web-1", nobody, proto="icmp", sport=77)
        wait_until(lambda: asker.newest()["status"] == "waiting", 300, "the observation waits")
        os.kill(stack.collectors["node2"].process.pid, signal.SIGKILL)
        found = under_way.result(60)
    assert found["status"] == "partial", found
    missing = [one for one in found["trace"]["observation"]["sources"] if one["missing"]]
    assert [(one["node"], one["missing"]) for one in missing] == [
        ("node2", "node2: its collector's connection ended")
    ]
    stack.collectors.pop("node2").stop()
    wait_until(lambda: not remains(cluster, stack), 300, "the kernel removed tables and sockets")
    stack.start_collector("node2")
    stack.wait_connected()
    assert asker.observe("web-1", "web-2", proto="tcp")["finding"] == "agrees"
    wait_until(lambda: not remains(cluster, stack), 300, "everything is removed")


def test_the_sender_s_collector_is_killed(netviz: tuple[Cluster, Stack], asker: Asker) -> None:
    """What was heard until then is shown."""
    cluster, stack = netviz
    nobody = cluster.pod("web-3").ipv4.rsplit(".", 1)[0] + ".250"
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(asker.observe, "web-3", nobody, proto="icmp", sport=78)
        wait_until(lambda: asker.newest()["status"] == "waiting", 300, "the observation waits")
        stack.collectors.pop("node3").kill()
        found = under_way.result(60)
    assert found["status"] == "partial", found
    stack.start_collector("node3")
    stack.wait_connected()


@pytest.mark.usefixtures("nothing_left")
def test_command_line(netviz: tuple[Cluster, Stack]) -> None:
    """`manage.py observe` against a running server: side by side as text, and as JSON."""
    _, stack = netviz
    env = {**stack.env, "NETVIZ_URL": stack.access.url, "NETVIZ_TOKEN": stack.access.token}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", "observe", *argv]
        return subprocess.run(
            command,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    text = run("--from", "web-1", "--to", "db-2", "--dport", "80")
    assert text.returncode == 0, text.stderr
    assert len(re.findall(r"✓", text.stdout)) >= 16
    assert re.search(
        r"observed: (All \d+ predicted steps were seen|\d+ of .* nothing speaks against the others)",
        text.stdout,
    )
    said = json.loads(run("--from", "web-1", "--to", "db-2", "--proto", "icmp", "--json").stdout)
    assert said["finding"] == "agrees"
    wrong = run("--from", "web-1", "--to", "nowhere")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "nowhere" in wrong.stderr


SEND = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.sendto(b"x" * 32, (sys.argv[1], 9999))
socket.create_connection((sys.argv[1], 8080)).close()
"""


@pytest.mark.usefixtures("nothing_left")
def test_what_others_send(netviz: tuple[Cluster, Stack], asker: Asker) -> None:
    """A datagram that nobody takes is a drop that the missing socket explains; a capture follows a connection over both nodes."""
    cluster, stack = netviz
    target, over = cluster.pod("web-2").ipv4, threading.Event()

    def send() -> None:
        while not over.is_set():
            cluster.exec("web-1", [sys.executable, "-c", SEND, target])

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        try:
            drops = asker.watch("/api/drops", {"of": "default/web-2", "seconds": 4})
            traced = asker.post("/api/traces", {"from": "web-1", "to": "web-2", "dport": 8080})
            capture = asker.watch("/api/captures", {"trace": traced["id"], "seconds": 4})
        finally:
            over.set()
        sending.result()
    groups = [one for one in drops["drops"]["groups"] if one["flow"] and one["flow"]["dport"] == 9999]
    assert [(one["reason"], one["explained"], one["flow"]["from"]) for one in groups] == [
        ("NO_SOCKET", True, "default/web-1")
    ], drops
    assert groups[0]["place"]["pod"] == "default/web-2"
    syns = [way for way in capture["capture"]["heard"]["ways"] if way["flags"] == "SYN"]
    crossed = [(one["where"], one["out"]) for one in syns[0]["crossed"]]
    assert (crossed[0], crossed[-1]) == (
        ("pod default/web-1 on node1", True),
        ("pod default/web-2 on node2", False),
    )
    assert len(crossed) >= 6
    status, data = stack.get(f"/api/captures/{capture['id']}")
    assert status == 200
    kinds = [kind for kind, _ in read_blocks(data)]
    assert kinds.count(PACKET) == capture["capture"]["packets"]
