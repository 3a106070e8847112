"""Services by kube-proxy's IPVS mode: judged as the rules of its other modes are, and unknown where IPVS can't be read."""

from __future__ import annotations

import msgspec

from netviz.core.check.services.check import ServicesCheck
from netviz.core.model.addr import pack_ip
from netviz.core.model.ipvs import IpvsServer, IpvsService
from netviz.core.model.kubernetes import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    KubeNode,
    KubeService,
    ServicePort,
)
from netviz.core.model.link import IFF_NOARP
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState, SectionStatus
from netviz.core.state.objects import Objects, cluster_source
from tests.core.check.judging import proper
from tests.core.check.services.recorded import judged
from tests.core.sim.build import UP, textbook

VIP = "10.96.0.1"
ENDS = ("10.1.2.11", "10.1.2.12")


def cluster(*lasts: str, port: int = 80, servers: tuple[str, ...] = ENDS) -> ClusterState:
    """Both nodes in IPVS mode; `lasts` are the endpoints that the API has."""
    net, made = textbook()
    for name in ("node-1", "node-2"):
        node = made[name]
        node.link("kube-ipvs0", "dummy", flags=UP | IFF_NOARP)
        node.addr("kube-ipvs0", f"{VIP}/32")
        node.sysctl("net.ipv4.vs.conntrack", 1)
        real = tuple(IpvsServer(pack_ip(one), 80) for one in servers)
        node.add("ipvs", IpvsService(6, pack_ip(VIP), port, scheduler="rr", servers=real))
    state = net.cluster()
    slice_ = EndpointSlice(
        "shop",
        "web-1",
        "web",
        endpoints=tuple(Endpoint((pack_ip(one),), node="node-2") for one in lasts),
        ports=(EndpointPort(80),),
    )
    service = KubeService("shop", "web", cluster_ips=(pack_ip(VIP),), ports=(ServicePort(80),))
    objects = Objects(
        kube_nodes={name: KubeNode(name) for name in ("node-1", "node-2")},
        services={service.key: service},
        endpoint_slices={slice_.key: slice_},
    )
    api = NodeState(cluster_source("c"), status={"services": SectionStatus(1.0)}, objects=objects)
    return named(ClusterState(state.nodes, state.bodies, {"c": api}))


def said(check: ServicesCheck) -> tuple[str, str]:
    result = check.result()
    assert result is not None
    return result.result, result.reason


def test_servers_that_are_the_apis_endpoints_are_right() -> None:
    check = judged(cluster(*ENDS))
    assert (list(check.problems()), said(check)[0]) == ([], "pass"), said(check)


def test_a_server_that_is_missing_and_one_that_is_stale_are_named() -> None:
    (missing,) = judged(cluster(*ENDS, "10.1.2.13")).problems()
    proper(missing)
    assert (missing.kind, "10.1.2.13" in missing.headline) == ("service-endpoint-missing", True)
    (stale,) = judged(cluster(ENDS[0])).problems()
    proper(stale)
    assert (stale.kind, ENDS[1] in stale.headline) == ("service-endpoint-stale", True)


def test_ipvs_that_is_not_read_is_unknown() -> None:
    known = cluster(*ENDS)
    nodes = {
        name: msgspec.structs.replace(
            node, status={**node.status, "ipvs": SectionStatus(whole=False, reason="no permission")}
        )
        for name, node in known.nodes.items()
    }
    check = judged(ClusterState(nodes, known.bodies, known.clusters))
    assert not check.problems()
    assert said(check)[0] == "unknown"
