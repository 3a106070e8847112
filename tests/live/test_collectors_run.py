"""All of the collectors beside rtnetlink in the running collector: what it holds equals a fresh dump."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time

import pytest

from agents.collectors.base import Collector
from agents.collectors.conntrack import Conntrack
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import Sysctls
from agents.runner import Runner
from netviz.core.model.netfilter import body_digest
from tests.live.node_rig import differences, fresh, running, small_node, until

pytestmark = pytest.mark.live

RULES = """
table inet nv-run {
  set ports { type inet_service; elements = { 80, 443 }
  }
  chain out {
    type filter hook output priority 0; policy accept;
    ct state new counter
    tcp dport @ports accept
  }
  chain in {
    type filter hook input priority 0; policy accept;
    udp dport 10000-60000 counter drop
  }
}
"""


def collectors() -> list[Collector]:
    return [Netfilter(), Conntrack(flush_s=0.1), Sockets(look_s=0.1), Sysctls(look_s=0.1)]


def inside(netns: str, *argv: str, text: str | None = None) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", netns, *argv], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def flood(runner: Runner, number: int) -> None:
    """Begin UDP connections in the node's own namespace."""
    sock = runner.root.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sock:
        sock.bind(("127.0.0.1", 9999))
        for index in range(number):
            sock.sendto(b"x", ("127.0.1.1", 10_000 + index))


def udp_entries(runner: Runner) -> int:
    """Count them; the kernel's own IGMP and ICMPv6 are tracked too."""
    entries = runner.state().netns[runner.root.key].conntrack.values()
    return sum(entry.proto == socket.IPPROTO_UDP for entry in entries)


async def equal(runner: Runner, options: NetnsOptions, timeout_s: float = 15.0) -> None:
    """Wait until what is held equals a fresh dump, and show the difference if it never does."""
    end = time.monotonic() + timeout_s
    while found := differences(runner.state(), await fresh(options, collectors())):
        assert time.monotonic() < end, "\n".join(found[:20])
        await asyncio.sleep(0.1)


async def test_the_running_collector_holds_what_a_fresh_dump_says() -> None:
    with small_node() as node:
        options = node.options()
        async with running(options, collectors()) as (runner, _):
            root = runner.root.key
            inside(node.root, "nft", "-f", "-", text=RULES)
            await until(lambda: len(runner.state().netns[root].nft_chains) == 2)
            flood(runner, 300)
            listener = runner.root.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            with listener:
                listener.bind(("127.0.0.1", 8080))
                listener.listen()
                inside(node.root, "sysctl", "-qw", "net.ipv4.ip_forward=1")
                await equal(runner, options)
                state = runner.state().netns[root]
                assert udp_entries(runner) == 300
                assert state.sysctls["net.ipv4.ip_forward"].value == 1
                assert [s.sport for s in state.sockets.values()] == [8080]
                flood(runner, 9_000)  # more than is read whole
                await until(lambda: udp_entries(runner) == 9_000)
                inside(node.root, "conntrack", "-D", "-p", "udp")
                inside(node.root, "nft", "add", "element", "inet", "nv-run", "ports", "{ 8080 }")
                await equal(runner, options)
            state = runner.state().netns[root]
            digests = [c.body for c in state.nft_chains.values()] + [s.body for s in state.nft_sets.values()]
            assert [body_digest(body) for body in runner.bodies(digests)] == digests
            inside(node.root, "nft", "flush", "ruleset")
            await equal(runner, options)
            assert runner.drift == {}


async def test_a_snapshot_has_every_section() -> None:
    with small_node() as node:
        inside(node.root, "nft", "-f", "-", text=RULES)
        state = await fresh(node.options(), collectors())
        (root,) = [ns for ns in state.netns.values() if ns.netns.root]
        assert len(root.nft_chains) == 2
        assert len(root.sysctls) > 80
        assert {"nft_chains", "xt_tables", "conntrack", "sockets", "sysctls"} <= state.status.keys()
        assert all(status.whole for status in state.status.values())
