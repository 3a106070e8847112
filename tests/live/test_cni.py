"""The simulator against the kernel where the real CNI plugins made the pods' network.

    web-1 (bridge, portmap, firewall, tuning) \\                                       / web-2 (ptp, portmap)
    api-1 (bridge, portmap without SNAT) ------ cni0 (node1) eth0 ---- eth0 (node2) --- api-2 (ptp)
    db-1 (bridge, bandwidth) ----------------/                            \\ macvlan --- db-2

Every exchange is predicted from what the real collector reads and compared with real packets; the trace
says what the plugins' rules and devices are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.reality import Probe, send_all
from netviz.core.sim.trace import Disposition
from tests.live.cni_rig import host_ports, local_ipam, plug, strip
from tests.live.prediction import answers, predict, said, snapshot
from tests.live.translated import PATIENCE_S, hold
from tests.live.xt_rules import run_on

pytestmark = pytest.mark.live

OPEN, CLOSED = 8080, 81
MACVLAN = "172.30.0.50"
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("udp", CLOSED), ("icmp", 0))
SHAPING = {f"{way}{what}": 80_000_000 for way in ("ingress", "egress") for what in ("Rate", "Burst")}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes whose pods the plugins plugged in."""
    store = tmp_path_factory.mktemp("ipam")
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    bridge["ipam"] = local_ipam("10.244.1.0/24", store / "one")
    ptp = {"type": "ptp", "ipMasq": True, "ipam": local_ipam("10.244.2.0/24", store / "two")}
    wire = local_ipam(
        "172.30.0.0/24", store / "wire", rangeStart=MACVLAN, rangeEnd=MACVLAN, gateway="172.30.0.1"
    )
    macvlan = {"type": "macvlan", "master": "eth0", "mode": "bridge", "ipam": wire}
    firewall = {"type": "firewall", "backend": "iptables"}
    tuning = {"type": "tuning", "mtu": 1400, "sysctl": {"net.ipv4.conf.eth0.arp_notify": "1"}}
    here = host_ports((8081, "tcp"), (8081, "udp"), snat=True)
    guarded = host_ports((8083, "tcp"), snat=True, conditionsV4=["!", "-s", "172.30.0.11/32"])
    with Cluster.up(ClusterSpec(f"nv-cni{os.getpid()}", nodes=2, pods=3)) as made:
        strip(made)
        plug(made, "web-1", [bridge, here, firewall, tuning])
        plug(made, "api-1", [bridge, host_ports((8082, "tcp"), snat=False), firewall])
        plug(made, "db-1", [bridge, {"type": "bandwidth", **SHAPING}])
        plug(made, "web-2", [ptp, guarded])
        plug(made, "api-2", [ptp])
        plug(made, "db-2", [macvlan])
        yield made


def pod_probes() -> list[Probe]:
    """Every pod but the shaped one to every other, to the nodes and to the internet."""
    names = ["web-1", "api-1", "web-2", "api-2"]
    targets = [*names, "node1", "node2", "internet", MACVLAN]
    made = [Probe(a, b, p, n) for a in names for b in targets if a != b for p, n in EXCHANGES]
    made += [Probe(a, b, p, n) for a in ("node1", "node2") for b in names for p, n in EXCHANGES]
    made += [Probe("db-2", b, p, n) for b in ("node1", "internet", "web-1") for p, n in EXCHANGES]
    sizes = [Probe("web-1", "web-2", "udp", OPEN, size, df) for size in (1400, 1401) for df in (True, False)]
    return made + sizes


def port_probes(cluster: Cluster) -> list[Probe]:
    """Everybody to the host ports, and by loopback."""
    ports = (("tcp", 8081), ("udp", 8081), ("tcp", 8082), ("tcp", 8083), ("tcp", 8084))
    sources = ("web-1", "api-1", "node1", "node2", "web-2", "db-2")
    made = [Probe(a, node, p, n) for a in sources for node in ("node1", "node2") for p, n in ports]
    return made + [Probe("node1", "127.0.0.1", p, n) for p, n in ports]


def test_pods(cluster: Cluster, tmp_path: Path) -> None:
    """bridge, ptp, macvlan, tuning: between pods of a node and of two, to nodes, to the outside."""
    state, compared, unsure = hold(cluster, tmp_path, pod_probes())
    assert not unsure
    assert {c.outcome.result for c in compared} >= {"delivered", "refused", "lost"}
    words = said(predict(state, cluster, Probe("web-1", "internet", "tcp", OPEN)))
    assert "cni0 is the bridge of the CNI bridge plugin or flannel." in words
    assert 'That is the CNI plugin\'s masquerading of network "nv-net" (ipMasq).' in words
    lets = (
        "That is the CNI firewall plugin's rule that lets traffic {} pod default/web-1 on node1 be forwarded."
    )
    assert lets.format("from") in words
    assert lets.format("to") in answers(predict(state, cluster, Probe("web-1", "web-2", "tcp", OPEN)))
    words = said(predict(state, cluster, Probe("web-2", "internet", "tcp", OPEN)))
    assert 'That is the CNI plugin\'s masquerading of network "nv-net" (ipMasq).' in words


def test_host_ports(cluster: Cluster, tmp_path: Path) -> None:
    """portmap: from outside, from pods, hairpin, loopback, with and without SNAT, with a condition."""
    state, compared, unsure = hold(cluster, tmp_path, port_probes(cluster))
    assert not unsure
    assert sum(c.outcome.result == "delivered" for c in compared) > 10
    end = f"endpoint {cluster.address_of('web-1', 4)}:{OPEN} (pod default/web-1 on node1)"
    title = 'That is host port 8081 (CNI portmap plugin) of network "nv-net", '
    assert title + end in said(predict(state, cluster, Probe("node2", "node1", "tcp", 8081)))
    words = said(predict(state, cluster, Probe("web-1", "node1", "tcp", 8081)))
    assert "That is the CNI portmap plugin's masquerading of host port traffic." in words
    assert "host port" not in said(predict(state, cluster, Probe("node1", "node2", "tcp", 8083)))


def test_firewall_decides(cluster: Cluster, tmp_path: Path) -> None:
    """With FORWARD's policy drop, the firewall plugin's rules are what lets pods out and answers in."""
    try:
        run_on(cluster, "node1", ["iptables", "-P", "FORWARD", "DROP"])
        _state, compared, unsure = hold(cluster, tmp_path, pod_probes() + port_probes(cluster))
    finally:
        run_on(cluster, "node1", ["iptables", "-P", "FORWARD", "ACCEPT"])
    assert not unsure
    assert sum(c.outcome.result == "lost" for c in compared) > 10


def test_bandwidth(cluster: Cluster, tmp_path: Path) -> None:
    """What goes to a shaped pod passes a queue; what it sends goes through an ifb, which isn't followed."""
    _state, compared, _unsure = hold(cluster, tmp_path, [Probe("api-1", "db-1", p, n) for p, n in EXCHANGES])
    assert {c.verdict for c in compared} == {"unknown"}
    (outcome,) = send_all(cluster, [Probe("api-1", "db-1", "tcp", OPEN)], timeout_s=PATIENCE_S)
    assert outcome.result == "delivered"
    state = snapshot(cluster, tmp_path)  # the pods know each other's MACs now
    trace = predict(state, cluster, Probe("db-1", "api-1", "tcp", OPEN))
    last = trace.branches[0].forward.hops[-1].steps[-1]
    assert (trace.disposition, last.kind) == (Disposition.UNKNOWN, "opaque")
    assert (
        "shaped by the CNI bandwidth plugin, which leads what comes in by it through an ifb." in last.meaning
    )
