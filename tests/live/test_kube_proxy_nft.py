"""The simulator against the kernel where kube-proxy's nftables mode decides, and what the trace says of it.

    web-1, api-1 - cni0 (node1) eth0 ---- underlay ---- eth0 (node2) cni0 - web-2, api-2

node1 has the table as kube-proxy writes it; pods, nodes and the router send to cluster addresses, node
ports and external addresses. Predictions from collected state are compared with what the kernel does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import plan
from lab.cluster import Cluster, ClusterSpec
from lab.kubernetes import proxy_nftables
from lab.kubernetes.ports import Endpoint, ServicePort
from lab.reality import Probe, send_all
from netviz.core.sim.trace import Disposition
from tests.live.prediction import answers, predict, said, snapshot
from tests.live.translated import PATIENCE_S, hold
from tests.live.xt_rules import endpoints, run_on

pytestmark = pytest.mark.live

OPEN, CLOSED = 8080, 81
EXTERNAL, GUARDED = "198.18.7.1", "198.18.7.2"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with two pods each; the router and node2 send what is for external addresses to node1."""
    with Cluster.up(ClusterSpec(f"nv-kn{os.getpid()}", nodes=2, pods=2)) as made:
        node = made.address_of("node1", 4)
        for sender in ("node2", "router"):
            run_on(made, sender, ["ip", "route", "add", "198.18.7.0/24", "via", node])
        yield made


def services(cluster: Cluster, family: int = 4) -> dict[str, ServicePort]:
    """Services of every kind that decides otherwise."""
    ends = endpoints(cluster, OPEN, family)
    web1, web2, api1, api2 = (ends[name] for name in ("web-1", "web-2", "api-1", "api-2"))
    closed = endpoints(cluster, CLOSED, family)["web-2"]
    external = {} if family == 6 else {"external_ips": (EXTERNAL,)}
    dns = {"port_name": "dns", "proto": "udp", "port": 53}
    made: list[tuple[str, tuple[Endpoint, ...], dict[str, Any]]] = [
        ("one", (web2,), {"node_port": 30080}),
        ("two", (web1, api2), {"node_port": 30081, **external}),
        ("none", (), {"node_port": 30082}),
        ("closed", (closed,), {}),
        ("self", (web1,), {}),
        ("dns", (web2,), {"node_port": 30053, **dns}),
        ("near", (api1, web2), {"node_port": 30083, "external_local": True}),
        ("far", (web2,), {"node_port": 30084, "external_local": True}),
        ("sticky", (web2, api2), {"proto": "udp", "affinity_s": 10800}),
        ("inside", (api1, web2), {"internal_local": True}),
    ]
    if family == 4:
        made.append(("guarded", (web2,), {"balancer_ips": (GUARDED,), "sources": ("172.30.0.12/32",)}))
    base = "fd96::" if family == 6 else "10.96.0."
    return {
        name: ServicePort(
            name=name, cluster_ip=f"{base}{number}", endpoints=found, **{"port_name": "http", **more}
        )
        for number, (name, found, more) in enumerate(made, 1)
    }


@contextmanager
def proxied(cluster: Cluster, table: dict[str, ServicePort], family: int = 4) -> Iterator[None]:
    """Have the table on node1; it is gone afterwards."""
    node, ip = cluster.nodes["node1"], "ip6" if family == 6 else "ip"
    pods, ranges = plan.pods_range(family), "fd96::/112" if family == 6 else plan.services_range(family)
    try:
        ports = list(table.values())
        proxy_nftables.write(
            node.root, family, "node1", cluster.address_of("node1", family), pods, ranges, ports
        )
        yield
    finally:
        name = f"table {ip} kube-proxy"
        run_on(cluster, "node1", ["nft", "-f", "-"], f"add {name}\ndelete {name}\n")


def probes(cluster: Cluster, table: dict[str, ServicePort], family: int = 4) -> list[Probe]:
    """Everybody to every service, in every way that it can be reached."""
    made = []
    for src in ("web-1", "api-1", "node1"):
        for one in table.values():
            made.append(Probe(src, one.cluster_ip, one.proto, one.port, family=family))
        made += [
            Probe(src, table["one"].cluster_ip, "tcp", 81),
            Probe(src, table["one"].cluster_ip, "icmp", 0),
        ]
        made.append(Probe(src, table["one"].cluster_ip.rstrip("1") + "77", "tcp", 80))
    for src in ("node2", "web-1", "web-2", "node1"):
        ports = [(one.proto, one.node_port) for one in table.values() if one.node_port]
        made += [Probe(src, "node1", proto, port, family=family) for proto, port in [*ports, ("tcp", 30999)]]
        made += [
            Probe(src, address, one.proto, one.port)
            for one in table.values()
            for address in (*one.external_ips, *one.balancer_ips)
        ]
    return made


def test_every_way_to_a_service(cluster: Cluster, tmp_path: Path) -> None:
    """Cluster addresses, node ports, external addresses, no endpoints, hairpin, local endpoints, source ranges."""
    table = services(cluster)
    with proxied(cluster, table):
        _state, compared, unsure = hold(cluster, tmp_path, probes(cluster, table))
    assert not [name for name in unsure if name.startswith("unknown")], unsure
    assert sum(c.verdict == "right" for c in compared) > len(compared) // 2
    assert {c.outcome.result for c in compared} >= {"delivered", "refused", "lost"}


def test_ipv6(cluster: Cluster, tmp_path: Path) -> None:
    """The same with wider addresses, in the table of the other family."""
    table = services(cluster, 6)
    with proxied(cluster, table, 6):
        state, compared, unsure = hold(cluster, tmp_path, probes(cluster, table, 6))
    assert not [name for name in unsure if name.startswith("unknown")], unsure
    assert sum(c.verdict == "right" for c in compared) > len(compared) // 2
    words = said(predict(state, cluster, Probe("web-1", table["one"].cluster_ip, "tcp", 80)))
    assert "That is service default/one, port http." in words
    assert f"becomes {cluster.address_of('web-2', 6)}, " in words


def test_what_the_trace_says(cluster: Cluster, tmp_path: Path) -> None:
    """Each step of kube-proxy says what it means: the service, how it was reached, the endpoint, why not."""
    table = services(cluster)
    one, masqueraded = "service default/one, port http", "to be masqueraded"
    expected = [
        ("web-1", "10.96.0.1", "tcp", 80, f"{one}."),
        ("node1", "10.96.0.1", "tcp", 80, f"{one}, {masqueraded}."),
        ("node1", "10.96.0.1", "tcp", 80, "kube-proxy's masquerading of service traffic."),
        ("web-1", "10.96.0.5", "tcp", 80, "kube-proxy's masquerading of service traffic."),
        ("web-1", "10.96.0.3", "tcp", 80, "service default/none, port http, which has no endpoints."),
        ("web-1", "10.96.0.6", "udp", 53, "service default/dns, port dns."),
        ("web-1", "10.96.0.10", "tcp", 80, "service default/inside, port http."),
        ("node2", "node1", "tcp", 30080, f"{one}, reached by its node port, {masqueraded}."),
        ("node2", "node1", "tcp", 30082,
         "service default/none, port http, reached by its node port, which has no endpoints."),
        ("node2", "node1", "tcp", 30083, "service default/near, port http, reached by its node port."),
        ("node2", "node1", "tcp", 30084,
         "service default/far, port http, reached by its node port, which has no endpoints on this node."),
        ("node2", EXTERNAL, "tcp", 80,
         f"service default/two, port http, reached by an external address, {masqueraded}."),
        ("node1", GUARDED, "tcp", 80,
         "service default/guarded, port http, whose load balancer doesn't take this source."),
        ("web-1", "10.96.0.1", "tcp", 81,
         "kube-proxy's refusal of a port that the service of this address doesn't have."),
        ("web-1", "10.96.0.77", "tcp", 80,
         "kube-proxy's drop of what goes to a service address that no service has."),
    ]  # fmt: skip
    with proxied(cluster, table):
        state = snapshot(cluster, tmp_path)
    for src, dst, proto, port, words in expected:
        assert f"That is {words}" in said(predict(state, cluster, Probe(src, dst, proto, port)))
    trace = predict(state, cluster, Probe("web-1", "10.96.0.1", "tcp", 80))
    web2 = cluster.address_of("web-2")
    assert (
        f"becomes {web2}, as the connection's entry says. {web2} is the address of pod default/web-2"
        in said(trace)
    )
    assert "The answer comes from service default/one, port http." in answers(trace)
    trace = predict(state, cluster, Probe("node2", "node1", "tcp", 30080))
    assert "The answer comes from service default/one, port http, reached by its node port." in answers(trace)


def test_session_affinity(cluster: Cluster, tmp_path: Path) -> None:
    """The first packet may go to either endpoint; once the set knows the client, only to the same again."""
    table = services(cluster)
    probe = Probe("web-1", table["sticky"].cluster_ip, "udp", 80)
    with proxied(cluster, table):
        before = predict(snapshot(cluster, tmp_path), cluster, probe)
        (first,) = send_all(cluster, [probe], timeout_s=PATIENCE_S)
        state = snapshot(cluster, tmp_path)
        again = send_all(cluster, [probe] * 8, timeout_s=PATIENCE_S)
    assert {branch.forward.hops[-1].place.pod for branch in before.branches} == {
        "default/web-2",
        "default/api-2",
    }
    after = predict(state, cluster, probe)
    assert (after.disposition, after.certainty) == (Disposition.DELIVERED, "certain")
    pod = after.branches[0].forward.hops[-1].place.pod.removeprefix("default/")
    assert {outcome.arrived_at for outcome in [first, *again]} == {(pod,)}
    assert f"(pod default/{pod} on node2) by session affinity" in said(after)
