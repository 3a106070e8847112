"""The problems that are told of DNS: one for each cause."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from netviz.core.check.dns.clients import PROTOCOLS, Servers
from netviz.core.check.dns.seen import Seen
from netviz.core.check.netpol.pods import Pod
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.text import affects, command, joined, place
from netviz.core.check.wiring import who
from netviz.core.model.addr import format_endpoint, format_ip
from netviz.core.model.kubernetes import KubeService
from netviz.core.model.netns import Netns
from netviz.core.plain import quoted
from netviz.core.sim.trace import Flow
from netviz.core.state.node import ClusterState

KINDS = ("dns-other-server", "dns-no-endpoint", "dns-unreachable")
NEEDS = ("services", "endpoint_slices", "kube_pods", "kube_nodes")
# A DNS server takes some seconds to begin, and rules to follow.
GRACE_S = 15.0
MAX_AT = 100
MAX_FIXES = 3
SOCKETS: Sequence[str] = ("sockets",)
RULES: Sequence[str] = ("nft_chains", "nft_sets", "xt_chains", "ipsets")


class Group(NamedTuple):
    """Pods whose questions end alike; `flow` is one of them."""

    seen: Seen
    flow: Flow
    pods: list[Pod]


class Teller:
    """Tells the problems of one state; `source` is the cluster that the objects are of."""

    def __init__(self, cluster: ClusterState, source: str) -> None:
        self._cluster, self._source = cluster, source
        self.cluster_name = source.partition("/")[2]

    def nobody(self, service: KubeService, addr: bytes, proto: int, has_port: bool) -> Problem:
        """Tell of the cluster's DNS that nobody is to answer at one of its addresses by a protocol."""
        name, by = "/".join(service.key), PROTOCOLS[proto]
        family = "IPv6 " if len(addr) == 16 and len(service.cluster_ips) > 1 else ""
        lacks = f"no ready {family}endpoint for {by}" if has_port else f"no port 53 for {by}"
        follows = "Answers that don't fit into a datagram are" if by == "TCP" else "Names are"
        return Problem(
            kind="dns-no-endpoint",
            cause=f"{name}:{format_ip(addr)}:{by}",
            severity="error",
            harm="breaks traffic",
            headline=f"The cluster's DNS service {name} has {lacks}",
            consequence=f"{follows} resolved for no pod that asks {format_ip(addr)}.",
            where=Where(),
            rests_on=self._objects(),
            grace_s=GRACE_S,
        )

    def unreachable(self, group: Group) -> Problem:
        """Tell of questions that come to nobody, or that a rule stops."""
        seen, flow = group.seen, group.flow
        assert seen.at is not None
        by = PROTOCOLS[flow.proto]
        nodes = _nodes(group.pods)
        netns = self._cluster.nodes[seen.at.node].netns[seen.at].netns
        if seen.what == "silent":
            server = format_endpoint(seen.server, 53)
            cause, sections = f"{server}:{by}", SOCKETS
            headline = f"Nothing listens for DNS by {by} at {server}, {who(netns)}"
            check = (command(netns, f"ss -l{'u' if by == 'UDP' else 't'}np"),)
            fix: tuple[Command, ...] = ()
        else:
            cause, sections = f"{seen.text}:{by}", RULES
            headline = f"A rule in {who(netns)} stops DNS by {by} from pods of {joined(nodes, 2)}"
            check = (command(netns, "nft list ruleset"),)
            fix = (command(netns, seen.fix),) if seen.fix else ()
        return self._of_pods(
            "dns-unreachable",
            cause,
            headline,
            f"Questions of these pods to {format_ip(flow.dst)} that come there get no answer.",
            netns,
            group.pods,
            check,
            fix,
            (f"The rule: {seen.text}",) if seen.text else (),
            flow,
            sections,
        )

    def strange(
        self, servers: Servers, pods: list[Pod], service: KubeService, usual: Collection[str]
    ) -> Problem:
        """Tell of pods that ask others than the cluster's DNS service. On the nodes of `usual` other pods ask it.

        A pod's file is written as it begins: it begins anew with what its node's kubelet is set to now.
        """
        nodes = _nodes(pods)
        netns = self._cluster.nodes[pods[0].node].netns[pods[0].netns].netns
        asked = joined(map(format_ip, servers)) if servers else "no server"
        name, one = "/".join(service.key), pods[0].pod
        subject = (
            f"{who(netns)} asks"
            if len({each.pod.key for each in pods}) == 1
            else f"Pods of {joined(nodes, 2)} ask"
        )
        wanted = format_ip(service.cluster_ips[0])
        config = "/var/lib/kubelet/config.yaml"
        set_anew = f"sed -i '/^clusterDNS:/{{n;s/- .*/- {wanted}/}}' {config} && systemctl restart kubelet"
        of_pod = f"-n {quoted(one.namespace)} {quoted(one.name)}"
        return self._of_pods(
            "dns-other-server",
            ",".join(map(format_ip, servers)),
            f"{subject} {asked} for names, and not the cluster's DNS, {name}",
            f"By their DNS policy they are to ask {joined(map(format_ip, service.cluster_ips))}, as other pods do: names of"
            " services aren't known elsewhere. The kubelet's setting `clusterDNS` decides.",
            netns,
            pods,
            (
                Command(nodes[0], "", f"kubectl exec {of_pod} -- cat /etc/resolv.conf"),
                Command(nodes[0], "", f"grep -A2 clusterDNS {config}"),
            ),
            (
                *(Command(node, "", set_anew) for node in nodes[:MAX_FIXES] if node not in usual),
                Command(nodes[0], "", f"kubectl delete pod {of_pod}"),
            ),
            likely=True,
        )

    def all_strange(self, servers: Servers) -> str:
        """Say that pods ask others, as all do whose resolv.conf is known."""
        asked = joined(map(format_ip, servers)) if servers else "no server"
        return f"pods of cluster {self.cluster_name} ask {asked}, and none asks the service that is known to be its DNS"

    def _of_pods(
        self,
        kind: str,
        cause: str,
        headline: str,
        consequence: str,
        netns: Netns,
        pods: list[Pod],
        check: tuple[Command, ...],
        fix: tuple[Command, ...] = (),
        also: tuple[str, ...] = (),
        flow: Flow | None = None,
        sections: Iterable[str] = (),
        likely: bool = False,
    ) -> Problem:
        sections = tuple(sections)
        return Problem(
            kind=kind,
            cause=cause,
            severity="error",
            harm="breaks traffic",
            headline=headline,
            consequence=consequence,
            where=place(netns),
            certainty="likely" if likely else "certain",
            affects=affects("/".join(one.pod.key) for one in pods),
            check=check,
            fix=fix,
            also=also,
            flow=flow,
            rests_on=(
                *((node, "netns") for node in _nodes(pods)[:MAX_AT]),
                *((netns.key.node, section) for section in sections),
                *self._objects(),
            ),
            grace_s=GRACE_S,
        )

    def _objects(self) -> tuple[tuple[str, str], ...]:
        return tuple((self._source, section) for section in NEEDS)


def _nodes(pods: Iterable[Pod]) -> list[str]:
    return sorted({one.node for one in pods})
