"""The check of DNS: each class of pods asks the cluster's DNS service, and is answered by UDP and by TCP, worked at in slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from netviz.core.check.dns.clients import (
    DNS_PORT,
    PROTOCOLS,
    Class,
    Clients,
    is_dns,
    look,
    usable,
)
from netviz.core.check.dns.seen import Seen, see
from netviz.core.check.dns.told import KINDS, NEEDS, Group, Teller
from netviz.core.check.netpol.traced import TracingCheck
from netviz.core.check.problem import NodeHealth
from netviz.core.check.sliced import Found, doubt
from netviz.core.model.kubernetes import KubeService
from netviz.core.plain import counted
from netviz.core.sim.trace import Flow
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import cluster_source

SPORT = 40000
TRACE_MS = 20.0
MAX_TRIES = 2000
DEMANDS = "Pods ask the cluster's DNS service for names, and their questions come there by UDP and by TCP."


class DnsCheck(TracingCheck[tuple[Flow, bytes], Seen]):
    """Holds whom pods ask for names, and what becomes of the questions, against the cluster's DNS service."""

    name = "dns"
    unit = "questions"
    demands = DEMANDS

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth], found: Found) -> Iterator[float]:
        """Judge a state; yields what each piece of work costs, in ms."""
        self._answers.begin()
        for name, state in sorted(cluster.clusters.items()):
            source = cluster_source(name)
            if why := doubt(name, state.gaps, health.get(source), NEEDS):
                found.unknown[why] = None
                continue
            services = [one for _, one in sorted(state.objects.services.items()) if is_dns(one)]
            if services:
                yield from self._of_cluster(cluster, Teller(cluster, source), state, services, found)
            elif state.objects.services:
                found.unknown[f"no service of cluster {name} is known to be its DNS"] = None

    def _of_cluster(
        self,
        cluster: ClusterState,
        teller: Teller,
        state: NodeState,
        services: list[KubeService],
        found: Found,
    ) -> Iterator[float]:
        objects = state.objects
        pods = yield from self.pods_of(teller.cluster_name).follow(cluster, objects)
        clients = Clients()
        yield from look(cluster, services, objects, pods, clients)
        # Whom an echo request is for beside a question: of a service, the first of its endpoints.
        beside: dict[tuple[bytes, int], bytes | None] = {}
        for key, of_service in clients.entrances.items():
            for at, entrance in of_service.items():
                beside[at] = next(iter(usable(objects, objects.services[key], entrance)), None)
        for service in services:
            for addr in service.cluster_ips:
                for proto in PROTOCOLS:
                    if beside.setdefault((addr, proto), None) is None:
                        has_port = (addr, proto) in clients.entrances.get(service.key, {})
                        found.problems.append(teller.nobody(service, addr, proto, has_port))
        groups: dict[tuple[object, ...], Group] = {}
        tried = 0
        for kind, alike in clients.classes.items():
            for proto in PROTOCOLS:
                echo = beside.get((kind.server, proto), kind.server)
                if echo is None:
                    continue
                if tried == MAX_TRIES:
                    found.unknown[f"only {MAX_TRIES} questions are tried: pods are of too many kinds"] = None
                    break
                tried += 1
                pod = alike[0]
                flow = Flow(pod.netns, pod.party.addr, kind.server, proto, SPORT, DNS_PORT)
                find = partial(see, cluster, flow, echo)
                seen = yield from self._answers.get(cluster, (flow, echo), find, TRACE_MS)
                found.judged += 1
                if seen.what == "unknown":
                    found.unknown[f"{kind.node}: {seen.text}"] = None
                elif seen.what in ("silent", "refused"):
                    group = groups.setdefault((seen, proto), Group(seen, flow, []))
                    group.pods.extend(alike)
        found.problems += map(teller.unreachable, groups.values())
        self._tell_clients(clients, teller, services, found)

    def _tell_clients(
        self, clients: Clients, teller: Teller, services: list[KubeService], found: Found
    ) -> None:
        """Tell who asks others; where nobody asks the cluster's DNS service, the cluster is set up so."""
        usual = {kind.node for kind in clients.classes} if not clients.unread else set[str]()
        for servers, pods in sorted(clients.strange.items()):
            if clients.usual:
                found.problems.append(teller.strange(servers, pods, services[0], usual))
            else:
                found.unknown[teller.all_strange(servers)] = None
        if clients.unread:
            found.unknown[f"what resolv.conf says isn't known of {counted(clients.unread, 'pod')}"] = None
        if clients.untold:
            found.unknown[f"which DNS policy it has isn't known of {counted(clients.untold, 'pod')}"] = None


__all__ = ["KINDS", "Class", "DnsCheck"]
