"""Probes on a small network of the kernel's, and what was seen of each: run live, and recorded for tests without one.

`python -m tests.live.observed_cases` runs all and writes tests/data/observed/NAME.case.

    p1 -- veth1 [br0 of the node, 10.244.0.1/16] veth2 -- p2          out (192.0.2.2)
                 \\____________________ up0 (192.0.2.1) ______________ eth0
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agents.__main__ import build_parser
from agents.kernel import Kernel
from agents.observers.session import Observed, ProbeRequest, observe
from agents.options import make_collectors
from netviz.core.observe.kept import Kept, dump_kept, kept_of, load_kept
from tests.live.node_rig import Node, ip_batch, small_node

DIRECTORY = Path(__file__).resolve().parents[1] / "data" / "observed"

_LISTEN = """
import socket
tcp = socket.create_server(("", 8080))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 5353))
print("up", flush=True)
while True:
    data, peer = udp.recvfrom(65536)
    udp.sendto(b"nvR" + data[3:], peer)
"""


class Case(msgspec.Struct, frozen=True):
    """A probe, and nft rules in which namespace before it."""

    request: ProbeRequest
    rules_in: str = ""
    rules: str = ""


def _drop(hook: str, match: str) -> str:
    return f"table ip t {{\n chain c {{\n type filter hook {hook} priority 0\n {match} drop\n }}\n}}\n"


_MASQUERADE = """table ip t {
 chain c {
 type nat hook postrouting priority 100
 oifname "up0" masquerade
 }
}
"""
_JUMPS = """table ip t {
 chain c {
 type filter hook input priority 0
 counter
 jump d
 }
 chain d {
 tcp dport 8080 accept
 }
 chain o {
 type filter hook output priority 0
 policy accept
 tcp dport 1 drop
 }
}
"""
_POLICY = """table inet t {
 chain c {
 type filter hook input priority 0
 policy drop
 tcp dport 1 accept
 }
}
"""
_SERVICE = """table ip t {
 chain c {
 type nat hook prerouting priority -100
 ip daddr 198.51.100.1 tcp dport 80 dnat to 192.0.2.2:8080
 }
}
"""
P2 = "10.244.0.4"
EITHER = "198.51.100.9"  # an address of p2 and of out, with a route of two next hops
CASES = {
    "delivered": Case(ProbeRequest("p1", P2, "tcp", 8080)),
    "datagram": Case(ProbeRequest("p1", P2, "udp", 5353, length=200)),
    "echo": Case(ProbeRequest("p1", P2, "icmp")),
    "no-listener": Case(ProbeRequest("p1", P2, "tcp", 8081)),
    "masqueraded": Case(ProbeRequest("p1", "192.0.2.2", "udp", 5353), "root", _MASQUERADE),
    "input-drop": Case(
        ProbeRequest("p1", P2, "tcp", 8080, wait_s=0.3), "p2", _drop("input", "tcp dport 8080")
    ),
    "forward-drop": Case(
        ProbeRequest("p1", "192.0.2.2", "udp", 5353, wait_s=0.3), "root", _drop("forward", "udp dport 5353")
    ),
    "output-drop": Case(
        ProbeRequest("p1", P2, "udp", 5353, wait_s=0.3), "p1", _drop("output", "udp dport 5353")
    ),
    "answer-drop": Case(
        ProbeRequest("p1", P2, "tcp", 8080, wait_s=0.3), "p1", _drop("input", "tcp sport 8080")
    ),
    "jumps": Case(ProbeRequest("p1", P2, "tcp", 8080), "p2", _JUMPS),
    "policy-drop": Case(ProbeRequest("p1", P2, "tcp", 8080, wait_s=0.3), "p2", _POLICY),
    "service": Case(ProbeRequest("p1", "198.51.100.1", "tcp", 80), "root", _SERVICE),
    "multipath": Case(ProbeRequest("p1", EITHER, "tcp", 8080)),
    "echo6": Case(ProbeRequest("p1", "fd00::2", "icmp", length=500)),
    "nobody": Case(ProbeRequest("p1", "10.244.0.99", "udp", 5353, wait_s=5)),
}


@contextmanager
def network() -> Iterator[Node]:
    """Make the network, with listeners in p2 and beyond the node."""
    with small_node() as node:
        node.add_pod(1)
        node.add_pod(2)
        out = node.add_netns("out")
        ip_batch(
            node.root,
            f"link add up0 type veth peer name eth0 netns {out}\n"
            "addr add 192.0.2.1/24 dev up0\nlink set up0 up\n",
        )
        ip_batch(out, "addr add 192.0.2.2/24 dev eth0\nlink set eth0 up\nroute add default via 192.0.2.1\n")
        inside(node, "root", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for name in ("p2", "out"):
            inside(node, name, "ip", "addr", "add", f"{EITHER}/32", "dev", "lo")
        for number, name in enumerate(("p1", "p2"), 1):
            inside(node, name, "ip", "addr", "add", f"fd00::{number}/64", "dev", "eth0", "nodad")
        paths = ("nexthop", "via", "192.0.2.2", "nexthop", "via", P2)
        inside(node, "root", "ip", "route", "add", EITHER, *paths)
        listeners = [
            subprocess.Popen(
                ["ip", "netns", "exec", f"{node.base}-{name}", sys.executable, "-c", _LISTEN],
                stdout=subprocess.PIPE,
            )
            for name in ("p2", "out")
        ]
        try:
            for listener in listeners:
                assert listener.stdout is not None
                assert listener.stdout.readline() == b"up\n"
            yield node
        finally:
            for listener in listeners:
                listener.kill()
                listener.communicate()


def inside(node: Node, name: str, *argv: str, text: str = "") -> None:
    """Run a program in a namespace of the network."""
    subprocess.run(["ip", "netns", "exec", f"{node.base}-{name}", *argv], input=text, text=True, check=True)


def where(node: Node) -> list[str]:
    """Say on the command line where the network is."""
    root = f"/run/netns/{node.root}"
    return ["--node", node.base, "--root-netns", root, "--netns-dir", str(node.directory), "--no-proc"]


def run_case(node: Node, case: Case) -> Observed:
    """Send a case's probe, with its rules in place meanwhile."""
    args = build_parser().parse_args(["snapshot", *where(node), "--out", "unused"])
    if case.rules:
        inside(node, case.rules_in, "nft", "-f", "-", text=case.rules)
    try:
        (observed,) = observe(node.options(), make_collectors(args), Kernel(), case.request)
    finally:
        if case.rules:
            inside(node, case.rules_in, "nft", "flush", "ruleset")
    return observed


def read_recorded(name: str) -> Kept:
    """Read a recorded case."""
    return load_kept((DIRECTORY / f"{name}.case").read_bytes())


def write_recorded(name: str, observed: Observed) -> None:
    """Record a case."""
    cluster = observed.cluster
    kept = kept_of(cluster, cluster.nodes, observed.trace.flow, observed.evidence, 0.0)
    (DIRECTORY / f"{name}.case").write_bytes(dump_kept(kept))


def main() -> None:
    """Run and record every case."""
    with network() as node:
        for name, case in CASES.items():
            observed = run_case(node, case)
            write_recorded(name, observed)
            print(f"{name}: {observed.observation.taken}, {len(observed.evidence.kernels[0].events)} events")


if __name__ == "__main__":
    main()
