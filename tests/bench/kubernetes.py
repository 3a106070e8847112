"""Kubernetes' objects held against 5,000 nodes with 30 pods each, on one core: 10,000 services, 2,000 policies, 150,000 pods.

The cluster is that of `scale`. Every node has kube-proxy's chains (iptables) for all services; here they are one object for all
nodes, which a server holds for each of them. Each service has five of the pods as endpoints. Policies, each for the pods of a
service from those of another one, are enforced by nobody. "Cold" is from the API's lists and the nodes' states to the end of
the first check; the change is one EndpointSlice that loses an endpoint, of which 20 nodes' rules don't know yet.
Times are of the processor: one thread does the work.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from netviz.core.check.netpol.check import PoliciesCheck
from netviz.core.check.services.check import ServicesCheck
from netviz.core.check.sliced import SlicedCheck
from netviz.core.model.addr import format_ip
from netviz.core.model.kubernetes import (
    ContainerPort,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    KubeNamespace,
    KubeNode,
    KubePod,
    KubeService,
    NetworkPolicy,
    PolicyPeer,
    PolicyPort,
    PolicyRule,
    Selector,
    ServicePort,
)
from netviz.core.model.l2 import NUD_REACHABLE, Neigh
from netviz.core.model.l3 import Nexthop, Route
from netviz.core.state.naming import Overlay
from netviz.core.state.node import ClusterState, NodeState, SectionStatus
from netviz.core.state.objects import OBJECT_SECTIONS, Objects, cluster_source
from netviz.core.state.section import Section
from tests.bench.machine import Figure, rss_bytes
from tests.bench.path_states import Chains
from tests.bench.scale import NODES, PODS, build, mac_of, node_addr, pod_addr
from tests.core.sim.nft import JUMP, OUTPUT, PREROUTING, daddr, dnat, dport, e, l4proto, verdict

SERVICES, ENDS, POLICIES, BEHIND = 10_000, 5, 2_000, 20
NAMESPACES = 100
PORT = 80
DEFAULT = Route(254, bytes(4), 0, nexthops=(Nexthop(2, bytes((172, 16, 255, 254))),))


def neighbours() -> Section[Any, Any]:
    """All nodes' addresses with their MAC addresses, as each node knows them."""
    every = (Neigh(2, node_addr(n), mac_of(2, n, 0), NUD_REACHABLE) for n in range(NODES))
    return Section((one.key, one) for one in every)


NEIGHBOURS = neighbours()


def service_addr(number: int) -> bytes:
    return (172 << 24 | 30 << 16 | number + 1).to_bytes(4, "big")


def ends_of(service: int) -> list[tuple[int, int]]:
    """The endpoints of a service: node and pod."""
    return [((service * ENDS + n) % NODES, (service * ENDS + n) // NODES % PODS) for n in range(ENDS)]


def space_of(service: int) -> str:
    return f"team-{service % NAMESPACES}"


def objects() -> Objects:
    """The API's lists."""
    of_pod = {end: number for number in range(SERVICES) for end in ends_of(number)}
    pods, slices = {}, {}
    for node in range(NODES):
        for pod in range(PODS):
            number = of_pod.get((node, pod), SERVICES)
            labels = {"app": f"svc-{number}", "pod-template-hash": f"{number:08x}"}
            one = KubePod(
                # The runtime's names stand in the cluster that is built: all its pods are of one namespace.
                "default",
                f"pod-{node}-{pod}",
                uid=f"{node}-{pod}",
                node=f"node-{node}",
                ips=(pod_addr(node, pod + 2),),
                phase="Running",
                labels=labels,
                ports=(ContainerPort(PORT, "TCP", "http"),),
            )
            pods[one.key] = one
    for number in range(SERVICES):
        made = EndpointSlice(
            "default",
            f"svc-{number}-x",
            f"svc-{number}",
            endpoints=tuple(
                Endpoint((pod_addr(node, pod + 2),), node=f"node-{node}", pod=f"pod-{node}-{pod}")
                for node, pod in ends_of(number)
            ),
            ports=(EndpointPort(PORT, "TCP", "http"),),
        )
        slices[made.key] = made
    services = (
        KubeService(
            "default",
            f"svc-{number}",
            cluster_ips=(service_addr(number),),
            ports=(ServicePort(PORT, "TCP", "http", "http"),),
            selector={"app": f"svc-{number}"},
        )
        for number in range(SERVICES)
    )
    policies = (
        NetworkPolicy(
            "default",
            f"policy-{number}",
            Selector({"app": f"svc-{number}"}),
            ingress=(
                PolicyRule(
                    (PolicyPeer(Selector({"app": f"svc-{number + 1}"})),), (PolicyPort("TCP", str(PORT)),)
                ),
            ),
        )
        for number in range(POLICIES)
    )
    return Objects(
        kube_nodes={f"node-{n}": KubeNode(f"node-{n}", addresses=(node_addr(n),)) for n in range(NODES)},
        kube_namespaces={
            name: KubeNamespace(name) for name in ("default", *map(space_of, range(NAMESPACES)))
        },
        kube_pods=pods,
        services={one.key: one for one in services},
        endpoint_slices=slices,
        network_policies={one.key: one for one in policies},
    )


def chains(made: Chains, short: int | None = None) -> Section[Any, Any]:
    """kube-proxy's chains for all services; `short` is a service that has lost its last endpoint."""
    found, services = [], []
    for number in range(SERVICES):
        jumps = []
        ends = ends_of(number)[: -1 if number == short else ENDS]
        for at, (node, pod) in enumerate(ends):
            addr, name = format_ip(pod_addr(node, pod + 2)), f"KUBE-SEP-{number}-{at}"
            found.append(made.chain(name, (*l4proto(6), *dnat(addr, PORT)), table="nat"))
            left = len(ends) - at
            chance = (e("match", name="statistic", rev=0, info=_statistic(left)),) if left > 1 else ()
            jumps.append((*chance, verdict(JUMP, name)))
        found.append(made.chain(f"KUBE-SVC-{number}", *jumps, table="nat"))
        to = format_ip(service_addr(number))
        services.append((*daddr(to), *l4proto(6), *dport(PORT), verdict(JUMP, f"KUBE-SVC-{number}")))
    jump = (verdict(JUMP, "KUBE-SERVICES"),)
    found += [
        made.chain("KUBE-SERVICES", *services, table="nat"),
        made.chain("PREROUTING", jump, hook=PREROUTING, table="nat", priority=-100),
        made.chain("OUTPUT", jump, hook=OUTPUT, table="nat", priority=-100),
    ]
    return Section((one.key, one) for one in found)


def _statistic(left: int) -> bytes:
    """xt_statistic's info: mode random, a probability of one in `left`."""
    info = (0).to_bytes(2, "little") + bytes(2) + round((1 << 31) / left).to_bytes(4, "little")
    return info.ljust(24, b"\0")


def with_chains(node: NodeState, made: Section[Any, Any]) -> NodeState:
    """A node with these chains and a default route. Pods know the gateway's MAC address, nodes each other's, as those that talk do."""
    root = node.root
    assert root is not None
    bridge = root.links[3]
    gateway = next(one.addr for one in root.addrs.values() if one.ifindex == bridge.ifindex)
    known = Section({(2, gateway, False): Neigh(2, gateway, bridge.mac, state=NUD_REACHABLE)})
    netns = {
        key: msgspec.structs.replace(
            ns, nft_chains=made, neighs=NEIGHBOURS, routes={**ns.routes, DEFAULT.key: DEFAULT}
        )
        if ns.netns.root
        else msgspec.structs.replace(ns, neighs=known)
        for key, ns in node.netns.items()
    }
    return msgspec.structs.replace(node, netns=netns)


class Held:
    """Nodes with what the API says of them laid over, as the server's store has it."""

    def __init__(self, made: Chains) -> None:
        self._made = made
        self._overlay = Overlay()
        self._api: NodeState | None = None

    def state(self, nodes: dict[str, NodeState], lists: Objects) -> ClusterState:
        status = {name: SectionStatus(1.0) for name in OBJECT_SECTIONS}
        api = NodeState(cluster_source("c"), status=status, objects=lists)
        self._overlay.follow(self._api, api)
        self._api = api
        laid = {name: self._overlay.laid(node) for name, node in nodes.items()}
        return ClusterState(laid, self._made.bodies, {"c": api})


def judged(check: SlicedCheck, cluster: ClusterState) -> float:
    """Judge a state to the end; returns the seconds of the processor."""
    started = time.process_time()
    check.follow(cluster)
    while check.work():
        pass
    return time.process_time() - started


def said(check: SlicedCheck) -> str:
    result = check.result()
    assert result is not None
    kinds = sorted({one.kind for one in check.problems()})
    return f"{result.judged} {result.unit}, {len(check.problems())} problems ({', '.join(kinds)}); {result.reason or 'all judged'}"


def run() -> Iterable[Figure]:
    """Measure."""
    gc.disable()
    try:
        made, lists = Chains(), objects()
        whole = chains(made)
        nodes = {name: with_chains(node, whole) for name, node in build().nodes.items()}
        before = rss_bytes(os.getpid())
        started = time.process_time()
        held = Held(made)
        cluster = held.state(nodes, lists)
        joined_s = time.process_time() - started
        yield Figure("join of 150,000 pods", f"{joined_s:.1f} s, {rss_bytes(os.getpid()) - before >> 20} MiB")
        services, policies = ServicesCheck(), PoliciesCheck()
        services_s = judged(services, cluster)
        yield Figure("services, cold", f"{services_s:.1f} s", said(services))
        policies_s = judged(policies, cluster)
        yield Figure("policies, cold", f"{policies_s:.1f} s", said(policies))
        yield Figure("join and both checks, cold", f"{joined_s + services_s + policies_s:.1f} s", "60 s")
        key = ("default", "svc-7-x")
        ends = lists.endpoint_slices[key].endpoints
        fewer = msgspec.structs.replace(lists.endpoint_slices[key], endpoints=ends[:-1])
        after = msgspec.structs.replace(lists, endpoint_slices={**lists.endpoint_slices, key: fewer})
        up_to_date = chains(made, short=7)
        behind = set(list(nodes)[:: NODES // BEHIND])
        moved = {
            name: node if name in behind else with_chains(node, up_to_date) for name, node in nodes.items()
        }
        cluster = held.state(moved, after)
        changed_s = judged(services, cluster)
        (problem,) = services.problems()
        stale = 1 + len(problem.also_at)
        yield Figure(f"a slice's change on {NODES} nodes, {stale} behind", f"{changed_s:.2f} s", "2 s")
        yield Figure("resident memory", f"{rss_bytes(os.getpid()) >> 20} MiB")
    finally:
        gc.enable()
