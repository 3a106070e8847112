"""The problems that are told of differences between the API's services and nodes' rules: one for each cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from netviz.core.check.problem import Affects, Command, Harm, Problem, Severity, Where
from netviz.core.check.services.datapath import RULES, ChainRule
from netviz.core.check.services.differences import Difference, Kind
from netviz.core.check.text import joined, place
from netviz.core.intent.parties import pods_by_addr
from netviz.core.intent.services import End
from netviz.core.model.addr import format_endpoint
from netviz.core.model.kubernetes import KubeService
from netviz.core.model.netfilter import NFPROTO_NAMES
from netviz.core.plain import quoted
from netviz.core.sim.services import CLUSTER
from netviz.core.state.node import ClusterState

# kube-proxy writes what the API says within a second or so, on a busy node within its sync period.
GRACE_S = 15.0
# A node that differs for more services has one cause: whoever writes its rules doesn't.
MAX_SERVICES = 3
MAX_AT = 100

KINDS = (
    "service-endpoint-missing",
    "service-endpoint-stale",
    "service-not-programmed",
    "service-not-refused",
    "service-endpoint-doubled",
    "service-rules-behind",
    "service-rules-absent",
    "service-health-port",
)
KIND_OF: Mapping[Kind, str] = {
    "missing": "service-endpoint-missing",
    "stale": "service-endpoint-stale",
    "absent": "service-not-programmed",
    "passes": "service-not-refused",
    "doubled": "service-endpoint-doubled",
}


class Group(NamedTuple):
    """What differs for one port of a service in one way, and the nodes where it does."""

    differences: list[Difference]
    nodes: list[str]


class Teller:
    """Tells the problems of one state; `source` is the cluster that the objects are of."""

    def __init__(self, cluster: ClusterState, source: str) -> None:
        self._cluster, self._source = cluster, source
        name = source.partition("/")[2]
        self._pods = pods_by_addr(cluster.clusters[name].objects.kube_pods)

    def told(self, found: Mapping[str, tuple[Difference, ...]]) -> Iterator[Problem]:
        """Tell what differs on which nodes."""
        groups: dict[object, Group] = {}
        for name, every in sorted(found.items()):
            passing = [one for one in every if one.kind == "passes"]
            if passing:
                yield self._not_refused(name, passing)
            rest = [one for one in every if one.kind != "passes"]
            services = sorted({one.entrance.service for one in rest})
            if len(services) > MAX_SERVICES:
                yield self._behind(name, ["/".join(one) for one in services], rest)
                continue
            parts: dict[tuple[Any, ...], list[Difference]] = {}
            misled = {(one.entrance.service, one.entrance.name) for one in rest if one.kind == "stale"}
            for one in rest:
                port = one.entrance.service, one.entrance.name
                # What leads to a wrong endpoint, and to a right one no more, is one cause.
                kind = "stale" if one.kind == "missing" and port in misled else one.kind
                parts.setdefault((*port, kind), []).append(one)
            for key, same in parts.items():
                group = (*key, frozenset((one.kind, end) for one in same for end in one.ends))
                groups.setdefault(group, Group(same, [])).nodes.append(name)
        for each in groups.values():
            yield self._differs(each)

    def absent(self, name: str) -> Problem:
        """Tell of a node whose rules translate no service's address, where others' do."""
        return self._problem(
            "service-rules-absent",
            name,
            [name],
            "error",
            "breaks traffic",
            f"{name} has no rules for any service, unlike other nodes",
            f"No service is reached from {name} or its pods: kube-proxy doesn't run there, or its rules were deleted.",
            (Command(name, "", "nft list ruleset"), Command(name, "", "iptables-save -t nat")),
            certainty=False,
        )

    def unhealthy(self, found: Iterable[tuple[KubeService, list[str]]]) -> Iterator[Problem]:
        """Tell of services at whose health-check node port nothing listens on some nodes."""
        for service, nodes in found:
            name = "/".join(service.key)
            by = joined(nodes, 2)
            yield self._problem(
                "service-health-port",
                name,
                nodes,
                "error",
                "breaks traffic",
                f"Nothing listens on {by} at port {service.health_port}, the health-check node port of service {name}",
                f"Load balancers take {'the node' if len(nodes) == 1 else 'these nodes'} for unhealthy, and send there no"
                " connections to the service: kube-proxy isn't done there, or something else had the port.",
                (Command(nodes[0], "", f"ss -ltnp sport = :{service.health_port}"),),
                sections=("sockets",),
            )

    def _behind(self, name: str, services: list[str], found: list[Difference]) -> Problem:
        return self._problem(
            "service-rules-behind",
            name,
            [name],
            "error",
            "breaks traffic",
            f"The service rules of {name} differ from the API's for {len(services)} services: {joined(services)}",
            f"Connections from {name} and its pods to them fail or go to the wrong pods: kube-proxy of {name} doesn't keep up.",
            (*self._commands(name, found[0].rule), Command(name, "", "journalctl -u kubelet -n 100")),
        )

    def _not_refused(self, name: str, found: list[Difference]) -> Problem:
        services = sorted({"/".join(one.entrance.service) for one in found})
        senders = sorted({str(one.source) for one in found})
        noun = "a service" if len(services) == 1 else f"{len(services)} services"
        return self._problem(
            "service-not-refused",
            name,
            [name],
            "warning",
            "degrades",
            f"{name} doesn't refuse packets to {noun} without usable endpoints: {joined(services)}",
            f"Connections from {joined(senders)} wait for a time-out instead of failing at once, and the packets go"
            " on to whoever has a route for them: another rule lets them pass before that which refuses them.",
            (*self._commands(name, found[0].rule), Command(name, "", "iptables-save -t filter")),
            also=_said(found[0].rule),
        )

    def _differs(self, group: Group) -> Problem:
        found, nodes = group
        one = next((each for each in found if each.kind == "stale"), found[0])
        ends = sorted({end for each in found if each.kind == one.kind for end in each.ends})
        lacks = sorted({end for each in found if each.kind != one.kind for end in each.ends})
        service = "/".join(one.entrance.service)
        port = f"{service}:{one.entrance.name}" if one.entrance.name else service
        names = self._end(ends[0]) if len(ends) == 1 else joined((format_endpoint(*end) for end in ends), 2)
        by = joined(nodes, 2)
        hows = sorted({each.entrance.how for each in found})
        reached = "" if CLUSTER in hows else f" by its {hows[0]}"
        whom = f"from {by} and its pods" if len(nodes) == 1 else "from these nodes and their pods"
        severity: Severity = "error"
        harm: Harm = "breaks traffic"
        if one.kind == "missing":
            severity, harm = "warning", "degrades"
            headline = f"{by}: no rule leads service {port}{reached} to {names}"
            text = f"Connections {whom} go to its other endpoints alone."
        elif one.kind == "stale":
            headline = f"{by}: service {port}{reached} leads to {names}, not {_its(ends)}"
            text = (
                f"By the API {'it is' if len(ends) == 1 else 'they are'} gone, not ready, or not for {by}:"
                f" each connection {whom} that is led there fails, or comes to somebody else."
            )
        elif one.kind == "absent":
            led = f"its endpoint {names}" if len(ends) == 1 else f"any of its {len(ends)} endpoints"
            headline = f"{by}: no rule leads service {port}{reached} to {led}"
            text = f"The service can't be reached {whom}{reached}."
        else:
            severity, harm = "warning", "degrades"
            headline = f"{by}: the rules of service {port} give {names} more than an equal share"
            text = "Nothing fails, but it is busier than the others."
        return self._problem(
            KIND_OF[one.kind],
            f"{service}:{one.entrance.name}:{','.join(format_endpoint(*end) for end in ends)}",
            nodes,
            severity,
            harm,
            headline,
            text,
            (
                *self._commands(nodes[0], one.rule),
                Command(
                    nodes[0],
                    "",
                    f"kubectl get endpointslices -n {quoted(one.entrance.service[0])}"
                    f" -l kubernetes.io/service-name={quoted(one.entrance.service[1])} -o yaml",
                ),
            ),
            also=(
                *_said(one.rule),
                *([f"No rule leads to {joined(format_endpoint(*end) for end in lacks)}"] if lacks else []),
            ),
            pods=[name for end in ends if (name := self._pod(end))],
        )

    def _pod(self, end: End) -> str:
        pod = self._pods.get(end[0])
        return f"{pod.namespace}/{pod.name}" if pod is not None else ""

    def _end(self, end: End) -> str:
        pod = self._pod(end)
        return f"{format_endpoint(*end)} ({pod})" if pod else format_endpoint(*end)

    def _commands(self, name: str, rule: ChainRule) -> tuple[Command, ...]:
        if not rule.chain:
            return (Command(name, "", "ipvsadm -L -n"),) if rule.text else ()
        family = NFPROTO_NAMES.get(rule.family, "ip")
        if rule.legacy:
            tool = "ip6tables-legacy" if family == "ip6" else "iptables-legacy"
            return (Command(name, "", f"{tool} -t {quoted(rule.table)} -S {quoted(rule.chain)}"),)
        return (Command(name, "", f"nft list chain {family} {quoted(rule.table)} {quoted(rule.chain)}"),)

    def _problem(
        self,
        kind: str,
        cause: str,
        nodes: list[str],
        severity: Severity,
        harm: Harm,
        headline: str,
        consequence: str,
        check: tuple[Command, ...],
        also: tuple[str, ...] = (),
        pods: Iterable[str] = (),
        certainty: bool = True,
        sections: Iterable[str] = RULES,
    ) -> Problem:
        places = [self._place(name) for name in nodes[:MAX_AT]]
        every = sorted(set(pods))
        return Problem(
            kind=kind,
            cause=cause,
            severity=severity,
            harm=harm,
            headline=headline,
            consequence=consequence,
            where=places[0],
            also_at=tuple(places[1:]),
            certainty="certain" if certainty else "likely",
            affects=Affects(pods=tuple(every[:MAX_AT]), more=max(len(every) - MAX_AT, 0)),
            check=check,
            also=also,
            rests_on=(
                *((name, section) for name in nodes[:MAX_AT] for section in sections),
                *((self._source, section) for section in ("services", "endpoint_slices", "kube_nodes")),
            ),
            grace_s=GRACE_S,
        )

    def _place(self, name: str) -> Where:
        root = self._cluster.nodes[name].root
        return place(root.netns) if root is not None else Where(name)


def _its(ends: list[End]) -> str:
    return "its endpoint" if len(ends) == 1 else "its endpoints"


def _said(rule: ChainRule) -> tuple[str, ...]:
    """The rule that decided, where one did."""
    return (f"The rule in {rule.chain}: {rule.text}",) if rule.chain and rule.text else ()
