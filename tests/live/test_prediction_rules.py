"""The simulator against the kernel where rules decide: nft rulesets and policy routing on a node between pods.

    web-1, api-1 - cni0 (node1) eth0 ---- underlay ---- eth0 (node2) cni0 - web-2, api-2

Each ruleset goes into node1's own namespace; every exchange between all pods, the node and the
internet is predicted from collected state and compared with what the kernel does.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import nft
from lab.cluster import Cluster, ClusterSpec
from lab.reality import Probe, send_all
from tests.live.prediction import compare, snapshot

pytestmark = pytest.mark.live

OPEN, CLOSED = 8080, 81
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("udp", CLOSED), ("icmp", 0))
SERVICE = "10.96.0.1"

# Addresses are filled in: {web1}, {api1}, {web2}, {api2}, {node1}.
RULESETS = {
    "drop-with-exceptions": """
        chain forward {{ type filter hook forward priority 0; policy drop;
            ct state established,related accept
            ct state invalid drop
            ip saddr {web1} tcp dport 8080 accept
            ip saddr {api1} ip daddr {web2} icmp type echo-request accept
        }}""",
    "reject-kinds": """
        chain forward {{ type filter hook forward priority 0;
            ip saddr {web1} ip daddr {web2} reject with icmp type admin-prohibited
            ip saddr {api1} meta l4proto tcp reject with tcp reset
            ip daddr {api1} udp dport 8080 reject
        }}
        chain input {{ type filter hook input priority 0;
            icmp type echo-request drop
            tcp dport 81 reject with tcp reset
        }}""",
    "sets-and-maps": """
        set pods {{ type ipv4_addr; flags interval; elements = {{ {web1}, {web2}-{api2} }} }}
        set ports {{ type inet_proto . inet_service; elements = {{ tcp . 8080, udp . 81 }} }}
        set acl {{ type ipv4_addr . inet_service; flags interval; elements = {{ 10.244.0.0/16 . 8000-9000 }} }}
        map verdicts {{ type ipv4_addr : verdict; elements = {{ {api1} : drop, {web1} : jump inner }} }}
        chain inner {{
            udp dport 8080 drop
            udp dport != 8080 return
        }}
        chain forward {{ type filter hook forward priority 0;
            ip saddr != @pods ip daddr {api2} drop
            meta l4proto . th dport @ports ip daddr {web2} counter drop
            ip saddr . tcp dport @acl ip daddr {api2} drop
            ip saddr vmap @verdicts
        }}""",
    "service": """
        chain pre {{ type nat hook prerouting priority dstnat;
            ip daddr 10.96.0.1 tcp dport 8080 dnat to {web2}
            ip daddr 10.96.0.1 udp dport 53 dnat to {api2}:8080
            ip daddr 10.96.0.1 tcp dport 9999 redirect to :8080
        }}
        chain out {{ type nat hook output priority -100;
            ip daddr 10.96.0.1 tcp dport 8080 dnat to {web1}:8080
        }}
        chain post {{ type nat hook postrouting priority srcnat;
            ct status dnat ip saddr {api1} masquerade
            ip saddr {web1} ip daddr {web2} snat to {node1}
        }}""",
    "marks": """
        chain marking {{ type filter hook prerouting priority mangle;
            ip saddr {web1} meta mark set meta mark or 0x10
            ip saddr {api1} ct mark set 0x7
        }}
        chain forward {{ type filter hook forward priority 0;
            meta mark & 0xf0 == 0x10 ip daddr {api2} drop
            ct mark 7 tcp dport 81 drop
            ip ttl < 10 drop
            ip length 100-2000 drop
            iifname "cni0" oifname "eth0" ip daddr {web2} tcp flags & (syn | ack) == syn tcp dport 81 drop
            fib daddr type local drop
        }}""",
    "nat-ranges": """
        chain pre {{ type nat hook prerouting priority dstnat;
            ip daddr 10.96.0.1 tcp dport 8080 dnat to {web2}-{api2}
            ip daddr 10.96.0.1 udp dport 53 dnat to {api2}:8080-8080
            ip daddr 10.96.0.1 tcp dport 9999 dnat to {web2}:8080-8080
        }}
        chain post {{ type nat hook postrouting priority srcnat;
            ip saddr {web1} ip daddr {web2} snat to 172.30.0.101-172.30.0.140
            ip saddr {web1} ip daddr {api2} snat to 172.30.0.101-172.30.0.140 persistent
            meta l4proto {{ tcp, udp }} ip saddr {api1} ip daddr {web2} snat to {node1}:2000-2999
            ip saddr {api1} ip daddr {api2} masquerade fully-random
            ip saddr 10.244.1.0/24 oifname "eth0" snat prefix to ip saddr map {{ 10.244.1.0/24 : 172.31.7.0/24 }}
        }}""",
    "zones": """
        chain raw {{ type filter hook prerouting priority raw;
            ip saddr {web1} ct zone set 5
            ip daddr {web1} ct zone set 5
            ip saddr {api1} ct zone set 6
        }}
        chain forward {{ type filter hook forward priority 0;
            ct zone 5 ip daddr {api2} drop
            ct zone 6 ct state established ip saddr {web2} drop
            ip saddr {web2} ip daddr {api1} ct state new tcp flags syn / syn,ack counter drop
        }}""",
    "priorities": """
        chain late {{ type filter hook forward priority 10; policy accept; ip saddr {web1} drop; }}
        chain early {{ type filter hook forward priority -10; policy accept; accept; }}
        chain raw {{ type filter hook prerouting priority raw; ip saddr {api1} notrack; }}
        chain post {{ type nat hook postrouting priority srcnat; ip saddr {api1} masquerade; }}
    """,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two pods each."""
    with Cluster.up(ClusterSpec(f"nv-q{os.getpid()}", nodes=2, pods=2)) as made:
        yield made


def probes(cluster: Cluster) -> list[Probe]:
    """All pairs, a service address, the internet, the node."""
    pods = list(cluster.pods)
    out = [Probe(a, b, p, n) for a in pods for b in pods if a != b for p, n in EXCHANGES]
    out += [
        Probe(a, SERVICE, p, n)
        for a in ("web-1", "api-1")
        for p, n in (("tcp", OPEN), ("udp", 53), ("tcp", 9999))
    ]
    out += [Probe("node1", SERVICE, "tcp", OPEN)]
    out += [Probe("node1", b, p, n) for b in pods for p, n in EXCHANGES]
    out += [Probe("web-1", "internet", p, n) for p, n in EXCHANGES[::2]]
    return out


def hold(cluster: Cluster, directory: Path, found: list[Probe]) -> None:
    """Collect, predict, send, compare: all right and certain."""
    state = snapshot(cluster, directory)
    compared = [compare(state, cluster, outcome) for outcome in send_all(cluster, found)]
    wrong = [c.describe() for c in compared if c.verdict == "wrong"]
    assert not wrong, f"{len(wrong)} of {len(compared)} wrong:\n" + "\n".join(wrong[:20])
    unsure = Counter(c.why for c in compared if c.verdict != "right")
    assert not unsure, [c.describe() for c in compared if c.verdict != "right"][:5]


@pytest.mark.parametrize("name", RULESETS)
def test_rulesets(cluster: Cluster, tmp_path: Path, name: str) -> None:
    """What the rules do is what is predicted, answers included."""
    names = {pod.replace("-", ""): cluster.address_of(pod, 4) for pod in cluster.pods}
    rules = RULESETS[name].format(**names, node1=cluster.address_of("node1", 4))
    root = cluster.nodes["node1"].root
    nft.apply(root, f"table ip nv-test {{{rules}\n}}\n")
    try:
        hold(cluster, tmp_path, probes(cluster))
    finally:
        nft.apply(root, "delete table ip nv-test\n")


ROUTING = {
    "policy-table": [
        "ip rule add from {web1} lookup 77 priority 100",
        "ip route add 10.244.2.0/24 via 172.30.0.1 table 77",
        "ip rule add to {api2} ipproto udp unreachable priority 90",
    ],
    "reject-types": [
        "ip route add unreachable {web2}/32",
        "ip route add prohibit {api2}/32 metric 5",
        "ip route add blackhole 198.51.100.0/24",
    ],
    "more-specific": [
        "ip route add {web2}/32 via 172.30.0.12 metric 10",
        "ip route add {web2}/32 via 172.30.0.1 metric 5",
        "ip route add throw {api2}/32",
    ],
    "small-route-mtu": ["ip route change 10.244.2.0/24 via 172.30.0.12 mtu lock 600"],
}


@pytest.mark.parametrize("name", ROUTING)
def test_routing(cluster: Cluster, tmp_path: Path, name: str) -> None:
    """Policy rules and route types on a node decide as predicted."""
    names = {pod.replace("-", ""): cluster.address_of(pod, 4) for pod in cluster.pods}
    root = cluster.nodes["node1"].root
    before = subprocess.run(_in(root, "ip rule save"), capture_output=True, check=True).stdout
    assert before
    done: list[str] = []
    try:
        for line in ROUTING[name]:
            command = line.format(**names)
            subprocess.run(_in(root, command), check=True, capture_output=True)
            done.append(command)
        large = [
            Probe("web-1", "web-2", p, OPEN if p == "udp" else 0, 700, df)
            for p in ("udp", "icmp")
            for df in (True, False)
        ]
        hold(cluster, tmp_path, probes(cluster) + large)
    finally:
        for command in reversed(done):
            undo = command.replace(" add ", " del ").replace(" mtu lock 600", " mtu 0")
            subprocess.run(_in(root, undo), check=True, capture_output=True)


def _in(root: Path, command: str) -> list[str]:
    return ["nsenter", f"--net={root}", "--", *command.split()]
