"""Ends of flows by what users call them, on a recorded cluster and its API."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netviz.core.model.addr import format_ip, pack_ip
from netviz.core.model.kubernetes import (
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    KubePod,
    KubeService,
    Owner,
    ServicePort,
)
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.meaning import End, Several, source_end, target_end
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.services import service_at
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import Objects
from netviz.core.wire.nvz import join_captures, load_nvz
from tests.core.wire.test_kubernetes_lists import DATA, lists


@cache
def recorded(moment: str = "before") -> ClusterState:
    captures = [load_nvz(path.read_bytes()) for path in sorted(Path(DATA / moment).glob("*.nvz"))]
    joined = join_captures(captures)
    return named(ClusterState(joined.nodes, joined.bodies, {"c1": lists(moment)}))


def objects() -> Objects:
    return recorded().clusters["c1"].objects


def to(text: str, dport: int | None = None, proto: str = "tcp") -> End:
    return target_end(recorded(), text, dport, proto)


def a_pod(node: str) -> str:
    return next(
        f"{pod.namespace}/{pod.name}"
        for pod in objects().kube_pods.values()
        if pod.node == node and not pod.host_network and pod.phase == "Running" and pod.ips
    )


def test_a_service_is_its_address_port_and_protocol() -> None:
    service = objects().services["shop", "web"]
    address = format_ip(service.cluster_ips[0])
    port = service.ports[0]
    for text in (
        "svc/shop/web",
        "service/shop/web",
        "web.shop.svc",
        "web.shop.svc.cluster.local",
        "WEB.shop.svc.",
    ):
        assert to(text) == End((address,), port.port, "tcp"), text
    assert to(f"svc/shop/web:{port.port}").dport == to("svc/shop/web", port.port).dport == port.port
    assert to("svc/shop/web:4711") == End((address,), 4711)
    dns = to("svc/kube-system/kube-dns:dns")
    assert (dns.dport, dns.proto) == (53, "udp")
    assert to("svc/kube-system/kube-dns", 53, "tcp").proto == "tcp"
    with pytest.raises(EndpointError, match="has no port 'nosuch'; it has"):
        to("svc/shop/web:nosuch")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("svc/shop/nosuch", "the API has no svc/shop/nosuch"),
        ("nosuch.shop.svc", "no service shop/nosuch"),
        ("deploy/shop/nosuch", "the API has no deploy/shop/nosuch"),
        ("label/shop/no=such", "no pod with label/shop/no=such"),
    ],
)
def test_what_the_api_hasnt_is_said(text: str, why: str) -> None:
    with pytest.raises(EndpointError, match=why):
        to(text)


def test_a_workload_of_several_pods_names_them() -> None:
    with pytest.raises(Several, match="deploy/shop/web stands for 4 pods: choose one") as raised:
        to("deploy/shop/web")
    assert all(re.match(r"pod/shop/web-", one) for one in raised.value.ends)
    assert to(raised.value.ends[0]).names == (raised.value.ends[0].removeprefix("pod/"),)
    with pytest.raises(Several):
        source_end(recorded(), "deploy/shop/web")


def test_nothing_is_sent_from_a_service() -> None:
    for text in ("svc/shop/web", "web.shop.svc"):
        with pytest.raises(EndpointError, match="nothing is sent from it"):
            source_end(recorded(), text)


def test_a_host_network_pod_is_its_node() -> None:
    pod = next(one for one in objects().kube_pods.values() if one.host_network and one.node)
    for text in (f"pod/{pod.namespace}/{pod.name}", f"{pod.namespace}/{pod.name}"):
        assert source_end(recorded(), text).names == to(text).names == (pod.node,)


def test_a_port_stands_behind_anything() -> None:
    assert to("10.1.2.3:80") == End(("10.1.2.3",), 80)
    assert to("[fd00::1]:80") == End(("fd00::1",), 80)
    assert to("fd00::1", 8) == End(("fd00::1",), 8)
    assert to("n1:30080") == End(("n1",), 30080)
    assert to("n1:4:4026531840:0") == End(("n1:4:4026531840:0",))
    assert to("shop/some-pod") == End(("shop/some-pod",))


def made(*records: Any) -> ClusterState:
    """A cluster that has these objects and no node."""
    sections: dict[str, dict[Any, Any]] = {}
    names = {KubeService: "services", EndpointSlice: "endpoint_slices", KubePod: "kube_pods"}
    for one in records:
        sections.setdefault(names[type(one)], {})[one.key] = one
    return ClusterState(clusters={"c": NodeState("cluster/c", objects=Objects(**sections))})


def headless(*ends: Endpoint, **more: Any) -> ClusterState:
    ports = (ServicePort(5432, name="sql", target="pg"),)
    return made(
        KubeService("shop", "db", ports=ports, **more),
        EndpointSlice("shop", "db-1", "db", endpoints=ends, ports=(EndpointPort(5433, "TCP", "sql"),)),
    )


DB = [
    Endpoint((pack_ip(f"10.0.0.{number}"),), pod=f"db-{number}", hostname=f"db-{number}", ready=number < 2)
    for number in range(3)
]


def test_a_headless_service_is_its_endpoints() -> None:
    cluster = headless(*DB)
    with pytest.raises(
        Several, match=r"headless, stands for 2 pods: choose one \(pod/shop/db-0, pod/shop/db-1\)"
    ):
        target_end(cluster, "svc/shop/db", None, "tcp")
    assert target_end(cluster, "db-1.db.shop.svc:sql", None, "tcp") == End(("10.0.0.1",), 5433, "tcp")
    assert target_end(headless(DB[0]), "svc/shop/db", None, "tcp") == End(("10.0.0.0",), 5433, "tcp")
    with pytest.raises(EndpointError, match="has no endpoint that is ready"):
        target_end(cluster, "db-2.db.shop.svc", None, "tcp")
    assert target_end(headless(*DB, publish_not_ready=True), "db-2.db.shop.svc", None, "tcp").names == (
        "10.0.0.2",
    )


def test_an_external_name_is_told_as_what_it_is() -> None:
    cluster = made(KubeService("shop", "ext", type="ExternalName", external_name="db.example.com"))
    with pytest.raises(EndpointError, match=r"another name for db\.example\.com"):
        target_end(cluster, "ext.shop.svc", None, "tcp")


def test_labels_owners_and_named_ports() -> None:
    pod = KubePod(
        "shop",
        "db-0",
        ips=(pack_ip("10.0.0.5"),),
        labels={"app": "db", "tier": "data"},
        owner=Owner("StatefulSet", "db"),
        ports=(ContainerPort(5432, name="sql"),),
    )
    cluster = made(
        pod,
        KubePod("other", "db-1", labels={"app": "db"}),
        KubePod("shop", "old", phase="Failed", labels={"app": "db"}),
    )
    for text in ("label/shop/app=db", "label/shop/app=db,tier=data", "sts/shop/db", "pod/shop/db-0"):
        assert target_end(cluster, text, None, "tcp").names == ("shop/db-0", "10.0.0.5"), text
    assert target_end(cluster, "sts/shop/db:sql", None, "tcp").dport == 5432
    with pytest.raises(EndpointError, match="no port called 'web'"):
        target_end(cluster, "sts/shop/db:web", None, "tcp")
    with pytest.raises(EndpointError, match="isn't watched here"):
        target_end(ClusterState(), "svc/shop/db", None, "tcp")


@pytest.mark.parametrize("node", ["n1", "n2", "n3"])
def test_a_services_trace_has_a_branch_for_each_endpoint_in_users_words(node: str) -> None:
    """Each service with a cluster address, from a pod of each node: the endpoints are the API's, and no others."""
    cluster, known = recorded(), objects()
    pods = {pod.key: pod for pod in known.kube_pods.values()}
    judged = 0
    for service in known.services.values():
        slices = [s for s in known.endpoint_slices.values() if (s.namespace, s.service) == service.key]
        ready = {
            (end.pod, end.node, format_ip(end.addresses[0]))
            for s in slices
            for end in s.endpoints
            if end.ready and s.address_type == "IPv4" and (not service.internal_local or end.node == node)
        }
        if (
            not service.cluster_ips
            or not ready
            or any(pods[service.namespace, pod].host_network for pod, _, _ in ready if pod)
        ):
            continue
        end = to(f"svc/{service.namespace}/{service.name}")
        flow = resolve_flow(cluster, a_pod(node), end.names[0], end.proto or "tcp", dport=end.dport)
        shown = trace_json(simulate_in_context(cluster, flow))
        assert shown["flow"]["service"] == {
            "namespace": service.namespace,
            "name": service.name,
            "port": next(
                p.name for p in service.ports if p.port == end.dport and p.protocol.lower() == end.proto
            ),
            "by": "cluster address",
            "has_port": True,
        }
        reached = {
            step["packet"]["dst"]
            for branch in shown["branches"]
            for hop in branch["forward"]["hops"]
            for step in hop["steps"]
            if step["kind"] == "nat" and step["decision"] == "dnat"
        }
        assert reached == {addr for _, _, addr in ready}, service.key
        judged += 1
        if len(shown["branches"]) > 1:
            for branch in shown["branches"]:
                if branch["disposition"] == "DELIVERED":
                    found = re.fullmatch(
                        rf"service {service.namespace}/{service.name}, endpoint (\S+) on (\S+) \(([0-9.]+):\d+\).*",
                        branch["choice"],
                    )
                    assert found is not None, branch["choice"]
                    assert found.groups() in ready
    assert judged >= 4


def test_an_address_is_called_its_services_where_no_rule_knows_it() -> None:
    cluster = recorded()
    root = cluster.nodes["n1"].root
    assert root is not None
    bare = msgspec.structs.replace(root, nft_chains={}, xt_chains={})
    node = msgspec.structs.replace(cluster.nodes["n1"], netns={**cluster.nodes["n1"].netns, root.key: bare})
    without = ClusterState({**cluster.nodes, "n1": node}, cluster.bodies, cluster.clusters)
    end = to("svc/shop/web")
    flow = resolve_flow(without, a_pod("n1"), end.names[0], dport=end.dport)
    trace = simulate_in_context(without, flow)
    assert f"{end.names[0]} is service shop/web (cluster address)" in render_text(trace)
    assert service_at(without, pack_ip(end.names[0]), 6, 4711) is not None
    assert service_at(without, pack_ip("192.0.2.1"), 6, 80) is None


def test_a_node_port_is_its_services() -> None:
    service = next(one for one in objects().services.values() if any(p.node_port for p in one.ports))
    port = next(p for p in service.ports if p.node_port)
    node = next(iter(objects().kube_nodes.values()))
    found = service_at(recorded(), node.addresses[0], 6, port.node_port)
    assert found is not None
    assert (found.namespace, found.name, found.by) == (service.namespace, service.name, "node port")


def test_a_client_outside_comes_in_by_the_node_that_it_names() -> None:
    """A node port answers it as from where it asked; the trace says what it takes for granted of the outside."""
    service = objects().services["shop", "web-np"]
    node = objects().kube_nodes["n1"]
    flow = resolve_flow(
        recorded(), "203.0.113.7", format_ip(node.addresses[0]), dport=service.ports[0].node_port
    )
    assert flow.by is not None
    assert (flow.by.netns, flow.src_netns.node) == (flow.src_netns, "n1")
    trace = simulate_in_context(recorded(), flow)
    shown = trace_json(trace)
    assert (shown["outcome"], shown["flow"]["from"]["outside"]) == ("good", True)
    assert shown["flow"]["src"] == "203.0.113.7"
    assert "outside of the cluster" in shown["assumed"][0]
    assert shown["headline"].startswith("203.0.113.7 reaches")
    first = trace.branches[0].forward.hops[0].steps[0]
    assert first.kind != "origin"
    assert all(branch.reply is not None for branch in trace.branches)
    assert "from outside, by n1" in render_text(trace)
    closed = resolve_flow(recorded(), "203.0.113.7", format_ip(node.addresses[0]), dport=4711)
    assert trace_json(simulate_in_context(recorded(), closed))["outcome"] == "broken"
