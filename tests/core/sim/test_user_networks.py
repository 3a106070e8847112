"""Faults that users have met, as states of small networks: what a trace says beside what the kernel did with a probe.

tests/data/states/user-networks has a folder of each network, with a file of each node, read while the network was up; a
probe of each kind was sent then. Namespaces are called by their node and pod: nvc-a-p is p on node a.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.headline.sentences import headline_of
from netviz.core.sim.outcome import outcome_of
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz

DATA = Path(__file__).resolve().parents[2] / "data/states/user-networks"


class Seen(NamedTuple):
    """A probe; what its sender got: "ok" for an answer, an errno's name, or a timeout; and what is said of it."""

    network: str
    src: str
    proto: str
    dst: str
    dport: int
    options: dict[str, Any]
    got: str
    outcome: str
    headline: str


SEEN = [
    Seen(
        "stale-udp",
        "nvc-a-p",
        "udp",
        "10.96.0.10",
        53,
        {"sport": 40053},
        "timeout",
        "broken",
        "A conntrack entry of a sends udp source port 40053 to 10.1.2.11, which nobody has",
    ),
    Seen("stale-udp", "nvc-a-p", "udp", "10.96.0.10", 53, {}, "ok", "good", ""),
    Seen("stale-udp", "nvc-a-q", "udp", "10.96.0.10", 53, {}, "ok", "good", ""),
    Seen(
        "proxyarp-no-default",
        "nvc-a-p",
        "tcp",
        "10.1.2.11",
        8080,
        {},
        "EHOSTUNREACH",
        "broken",
        "a doesn't answer namespace nvc-a-p for 169.254.1.1: cp has proxy_arp, but no route",
    ),
    Seen(
        "proxyarp-no-default",
        "nvc-b-p",
        "tcp",
        "10.1.1.11",
        8080,
        {},
        "timeout",
        "broken",
        "a doesn't answer namespace nvc-a-p for 169.254.1.1: cp has proxy_arp, but no route",
    ),
    Seen(
        "proxyarp-no-default",
        "a",
        "tcp",
        "10.1.1.11",
        8080,
        {},
        "timeout",
        "broken",
        "a doesn't answer namespace nvc-a-p for 169.254.1.1: cp has proxy_arp, but no route",
    ),
    Seen("proxyarp-no-default", "b", "tcp", "10.1.2.11", 8080, {}, "ok", "good", ""),
    Seen(
        "etp-local-pod",
        "nvc-a-p",
        "tcp",
        "192.168.50.2",
        31000,
        {},
        "timeout",
        "broken",
        "b translated 192.168.50.2, but not the answer from 10.1.3.11: its path misses that",
    ),
    Seen("etp-local-pod", "nvc-a-p", "tcp", "192.168.50.1", 31000, {}, "ok", "good", ""),
    Seen("etp-local-pod", "nvc-a-p", "tcp", "192.168.50.3", 31000, {}, "ok", "good", ""),
    Seen(
        "no-brnf",
        "nvc-a-p",
        "tcp",
        "10.96.0.10",
        80,
        {},
        "timeout",
        "broken",
        "a translated 10.96.0.10, but not the answer from 10.1.1.12: bridge-nf-call-iptables is 0",
    ),
    Seen(
        "no-brnf",
        "nvc-a-p",
        "udp",
        "10.96.0.11",
        53,
        {},
        "timeout",
        "broken",
        "a translated 10.96.0.11, but not the answer from 10.1.1.12: bridge-nf-call-iptables is 0",
    ),
    Seen("no-brnf", "nvc-a-p", "tcp", "10.96.0.12", 80, {}, "ok", "good", ""),
    Seen(
        "snat-other-nic",
        "nvc-a-p",
        "tcp",
        "203.0.113.9",
        8080,
        {},
        "timeout",
        "uncertain",
        "Packets to 203.0.113.9 leave by eth1 of a with eth0's address 192.168.50.1",
    ),
    Seen("snat-other-nic", "nvc-b-p", "tcp", "203.0.113.9", 8080, {}, "ok", "good", ""),
    Seen("snat-other-nic", "a", "tcp", "203.0.113.9", 8080, {}, "ok", "good", ""),
    Seen(
        "stale-netpol",
        "nvc-a-p",
        "tcp",
        "10.1.1.12",
        8080,
        {},
        "ECONNREFUSED",
        "broken",
        "a rejects packets to 10.1.1.12: kube-router's refusal of traffic to pod batch/nightly-report-27134, which none of its network policies allows (default-ingress-deny)",
    ),
    Seen(
        "stale-netpol",
        "nvc-b-p",
        "tcp",
        "10.1.1.12",
        8080,
        {},
        "ECONNREFUSED",
        "broken",
        "a rejects packets to 10.1.1.12: kube-router's refusal of traffic to pod batch/nightly-report-27134, which none of its network policies allows (default-ingress-deny)",
    ),
    Seen("stale-netpol", "nvc-b-p", "tcp", "10.1.1.11", 8080, {}, "ok", "good", ""),
    Seen(
        "macvlan-service",
        "nvc-a-p",
        "tcp",
        "10.96.0.10",
        80,
        {},
        "timeout",
        "uncertain",
        "Packets to 10.96.0.10 leave by eth0 of a untranslated, past the NAT rules of node a",
    ),
    Seen("macvlan-service", "a", "tcp", "10.96.0.10", 80, {}, "ok", "good", ""),
    Seen(
        "macvlan-service",
        "nvc-a-p",
        "tcp",
        "192.168.50.1",
        8080,
        {},
        "EHOSTUNREACH",
        "broken",
        "a doesn't answer namespace nvc-a-p for 192.168.50.1: their links share eth0",
    ),
    Seen("macvlan-service", "nvc-a-p", "tcp", "192.168.50.2", 8080, {}, "ok", "good", ""),
    Seen("mtu-one-nic", "nvc-a-p", "udp", "10.1.2.11", 8080, {"length": 1228}, "ok", "good", ""),
    Seen(
        "mtu-one-nic",
        "nvc-a-p",
        "udp",
        "10.1.2.11",
        8080,
        {"length": 1488},
        "timeout",
        "broken",
        "eth0 of b takes at most 1400 bytes, not 1488",
    ),
    Seen(
        "mtu-one-nic",
        "nvc-b-p",
        "udp",
        "10.1.1.11",
        8080,
        {"length": 1488},
        "EMSGSIZE",
        "broken",
        "eth0 of b takes at most 1400 bytes, not 1488",
    ),
    Seen(
        "mtu-one-nic",
        "nvc-b-q",
        "udp",
        "10.1.1.11",
        8080,
        {"length": 1488, "df": True},
        "EMSGSIZE",
        "broken",
        "eth0 of b takes at most 1400 bytes, not 1488",
    ),
    Seen(
        "mtu-one-nic",
        "nvc-b-q",
        "tcp",
        "10.1.1.11",
        8080,
        {"length": 1500},
        "ok",
        "broken",
        "eth0 of b takes at most 1400 bytes, not 1500",
    ),
    Seen(
        "snat-port-clash",
        "nvc-a-p",
        "udp",
        "198.51.100.9",
        8080,
        {"sport": 6666},
        "timeout",
        "broken",
        "a cannot translate the packet to 198.51.100.9: no free port",
    ),
    Seen("snat-port-clash", "nvc-a-p", "tcp", "198.51.100.9", 8080, {}, "ok", "good", ""),
    Seen("snat-port-clash", "nvc-a-q", "udp", "198.51.100.9", 8080, {"sport": 5555}, "ok", "good", ""),
    Seen(
        "nd-dropped",
        "nvc-a-p",
        "tcp",
        "fd00:2::11",
        8080,
        {},
        "EHOSTUNREACH",
        "broken",
        "Nobody answers namespace nvc-a-p for fd00:1::1 on eth0: KUBE-POD-FW-X on a drops the request",
    ),
    Seen("nd-dropped", "nvc-a-q", "tcp", "fd00:2::11", 8080, {}, "ok", "good", ""),
    Seen(
        "nd-dropped",
        "nvc-b-p",
        "tcp",
        "fd00:1::11",
        8080,
        {},
        "EHOSTUNREACH",
        "broken",
        "Nobody answers a for fd00:1::11 on cbr0: KUBE-POD-FW-X on a drops the answer",
    ),
    Seen("nd-dropped", "nvc-b-p", "tcp", "fd00:1::12", 8080, {}, "ok", "good", ""),
    Seen(
        "cloned-mac",
        "nvc-a-p",
        "tcp",
        "10.1.2.11",
        8080,
        {},
        "ok",
        "broken",
        "b and c have the same MAC 02:00:00:00:00:0b: a switch cannot tell them apart",
    ),
    Seen(
        "cloned-mac",
        "nvc-a-p",
        "tcp",
        "10.1.3.11",
        8080,
        {},
        "ok",
        "broken",
        "b and c have the same MAC 02:00:00:00:00:0b: a switch cannot tell them apart",
    ),
    Seen(
        "cloned-mac",
        "nvc-b-p",
        "tcp",
        "10.1.3.11",
        8080,
        {},
        "EHOSTUNREACH",
        "broken",
        "b and c have the same MAC 02:00:00:00:00:0b: a switch cannot tell them apart",
    ),
    Seen(
        "cloned-mac",
        "a",
        "icmp",
        "192.168.50.3",
        0,
        {},
        "timeout",
        "broken",
        "b and c have the same MAC 02:00:00:00:00:0b: a switch cannot tell them apart",
    ),
    Seen(
        "bridge-old-range",
        "nvc-a-n",
        "tcp",
        "10.1.2.11",
        8080,
        {},
        "EHOSTUNREACH",
        "broken",
        "a doesn't answer namespace nvc-a-n for 10.1.5.1: cbr0 has 10.1.1.1/24",
    ),
    Seen(
        "bridge-old-range",
        "nvc-b-p",
        "tcp",
        "10.1.5.11",
        8080,
        {},
        "ENETUNREACH",
        "broken",
        "a has no route to namespace nvc-a-n, 10.1.5.11",
    ),
    Seen(
        "bridge-old-range",
        "nvc-a-p",
        "tcp",
        "10.1.5.11",
        8080,
        {},
        "ENETUNREACH",
        "broken",
        "a has no route to namespace nvc-a-n, 10.1.5.11",
    ),
]
# Where the outcome depends on what was sent before (a switch that takes two machines for one), and where TCP sends less
# than was asked for once it learns of the path.
OTHERWISE = {("cloned-mac", "ok"), ("mtu-one-nic", "ok")}


@cache
def state(network: str) -> ClusterState:
    return join_captures([load_nvz(path.read_bytes()) for path in sorted((DATA / network).iterdir())])


@pytest.mark.parametrize("seen", SEEN, ids=lambda seen: f"{seen.network}-{seen.src}-{seen.dst}-{seen.proto}")
def test_what_is_said_is_what_the_kernel_did(seen: Seen) -> None:
    cluster = state(seen.network)
    flow = resolve_flow(cluster, seen.src, seen.dst, seen.proto, dport=seen.dport or None, **seen.options)
    trace = simulate_in_context(cluster, flow)
    assert outcome_of(trace) == seen.outcome
    if seen.outcome == "good":
        assert seen.got == "ok"
    else:
        assert headline_of(trace) == seen.headline
        assert seen.got != "ok" or (seen.network, seen.got) in OTHERWISE


def test_every_network_is_probed() -> None:
    assert {path.name for path in DATA.iterdir()} == {seen.network for seen in SEEN}
