"""Kubernetes' objects, as far as the pod network depends on them: what belongs to a cluster and to no node.

Names are the API's own. A record has what its object says (spec) and what was found of it (status), and nothing
of metadata but name, namespace, UID and labels. Times are Unix seconds; addresses are packed. What isn't read
here (annotations, containers' images, Secrets) is never asked for or kept.

Source: the API's types core/v1, discovery.k8s.io/v1, networking.k8s.io/v1, apps/v1, batch/v1,
policy.networking.k8s.io.
"""

from __future__ import annotations

from typing import Annotated

from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import (
    Count,
    Ip,
    PodName,
    Port,
    PrefixLen,
    Seconds,
    ShortName,
    Words,
    one_of,
    prefix,
)

Labels = dict[Words, Words]
Protocol = Annotated[str, one_of("TCP", "UDP", "SCTP")]
Action = Annotated[str, one_of("Accept", "Deny", "Pass")]
Tier = Annotated[str, one_of("Admin", "Baseline")]
ObjectKey = tuple[str, str]  # namespace and name


class Cidr(Part, frozen=True, gc=False):
    """A range of addresses."""

    addr: Ip
    prefixlen: PrefixLen

    checks = (prefix("addr", "prefixlen"),)


class Condition(Part, frozen=True, gc=False):
    """A condition: `status` is "True", "False" or "Unknown"; `since_s` when it last changed, 0 if that isn't said."""

    type: ShortName
    status: Annotated[str, one_of("True", "False", "Unknown")]
    reason: Words = ""
    since_s: Seconds = 0.0


class Owner(Part, frozen=True, gc=False):
    """The controller of an object, in the object's own namespace."""

    kind: ShortName
    name: PodName
    uid: PodName = ""


class Requirement(Part, frozen=True, gc=False):
    """An expression of a label selector."""

    key: Words
    operator: Annotated[str, one_of("In", "NotIn", "Exists", "DoesNotExist")]
    values: tuple[Words, ...] = ()


class Selector(Part, frozen=True, gc=False):
    """A label selector: all of its labels and expressions hold; an empty one selects everything."""

    labels: Labels = {}
    expressions: tuple[Requirement, ...] = ()


class KubeNode(Record, frozen=True, gc=False):
    """A Node. `addresses` are those of its status, without host names."""

    name: PodName
    uid: PodName = ""
    addresses: tuple[Ip, ...] = ()
    pod_cidrs: tuple[Cidr, ...] = ()
    labels: Labels = {}
    conditions: tuple[Condition, ...] = ()
    unschedulable: bool = False

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class KubeNamespace(Record, frozen=True, gc=False):
    """A Namespace. `deleting`: it is being deleted."""

    name: PodName
    labels: Labels = {}
    deleting: bool = False

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class Namespaced(Record, frozen=True, gc=False):
    """An object in a namespace."""

    namespace: PodName
    name: PodName

    @property
    def key(self) -> ObjectKey:
        """(namespace, name)."""
        return (self.namespace, self.name)


class ContainerPort(Part, frozen=True, gc=False):
    """A port that a container names; `host_port` 0 is none."""

    port: Port
    protocol: Protocol = "TCP"
    name: ShortName = ""
    host_port: Port = 0


class KubePod(Namespaced, frozen=True, gc=False):
    """A Pod. `node` is "" before it is scheduled; `waits` says why a container doesn't run.

    `dns_policy` is "" where the watcher doesn't tell it.
    """

    uid: PodName = ""
    node: PodName = ""
    ips: tuple[Ip, ...] = ()
    host_network: bool = False
    phase: ShortName = ""
    labels: Labels = {}
    owner: Owner | None = None
    ports: tuple[ContainerPort, ...] = ()
    conditions: tuple[Condition, ...] = ()
    deleting: bool = False
    created_s: Seconds = 0.0
    waits: Words = ""
    hostname: PodName = ""
    subdomain: PodName = ""
    dns_policy: ShortName = ""


class Workload(Record, frozen=True, gc=False):
    """An object that stands between a pod and what users know it by: a ReplicaSet, a Job."""

    kind: ShortName
    namespace: PodName
    name: PodName
    uid: PodName = ""
    owner: Owner | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """(kind, namespace, name)."""
        return (self.kind, self.namespace, self.name)


class ServicePort(Part, frozen=True, gc=False):
    """A port of a service. `target` is a port's number as text or its name; `node_port` 0 is none."""

    port: Port
    protocol: Protocol = "TCP"
    name: ShortName = ""
    target: ShortName = ""
    node_port: Port = 0


class KubeService(Namespaced, frozen=True, gc=False):
    """A Service. A headless one has no `cluster_ips`; `selector` None is none at all.

    `affinity_s` is 0 without session affinity, `health_port` without a health-check node port.
    """

    uid: PodName = ""
    type: Annotated[str, one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")] = "ClusterIP"
    cluster_ips: tuple[Ip, ...] = ()
    external_ips: tuple[Ip, ...] = ()
    balancer_ips: tuple[Ip, ...] = ()
    source_ranges: tuple[Cidr, ...] = ()
    external_name: PodName = ""
    ports: tuple[ServicePort, ...] = ()
    selector: Labels | None = None
    labels: Labels = {}
    affinity_s: Seconds = 0.0
    internal_local: bool = False
    external_local: bool = False
    health_port: Port = 0
    publish_not_ready: bool = False
    traffic_distribution: ShortName = ""


class Endpoint(Part, frozen=True, gc=False):
    """An endpoint of a slice. `pod` is its pod's name, in the slice's namespace; `hints` are zones."""

    addresses: tuple[Ip, ...] = ()
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: PodName = ""
    zone: ShortName = ""
    hints: tuple[ShortName, ...] = ()
    pod: PodName = ""
    hostname: PodName = ""


class EndpointPort(Part, frozen=True, gc=False):
    """A port of a slice's endpoints; `port` 0 is all ports."""

    port: Port = 0
    protocol: Protocol = "TCP"
    name: ShortName = ""


class EndpointSlice(Namespaced, frozen=True, gc=False):
    """An EndpointSlice; `service` is its service's name, "" if it has none."""

    service: PodName = ""
    address_type: Annotated[str, one_of("IPv4", "IPv6", "FQDN")] = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class PolicyPort(Part, frozen=True, gc=False):
    """Ports of a rule: `port` is a number as text or a name, "" all of the protocol; up to `end_port` if not 0."""

    protocol: Protocol = "TCP"
    port: ShortName = ""
    end_port: Port = 0


class PolicyPeer(Part, frozen=True, gc=False):
    """Who is at the other end: pods by selectors, or a range without some others in it.

    In rules for the whole cluster also nodes, by their labels, or whatever has some `domains`.
    """

    pods: Selector | None = None
    namespaces: Selector | None = None
    block: Cidr | None = None
    but: tuple[Cidr, ...] = ()
    nodes: Selector | None = None
    domains: tuple[Words, ...] = ()


class PolicyRule(Part, frozen=True, gc=False):
    """A rule: any of its peers on any of its ports; without peers everybody, without ports every port."""

    peers: tuple[PolicyPeer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()


class NetworkPolicy(Namespaced, frozen=True, gc=False):
    """A NetworkPolicy. `restricts_ingress` and `restricts_egress` are its policyTypes, defaults applied."""

    pods: Selector = Selector()
    restricts_ingress: bool = True
    restricts_egress: bool = False
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()


class ClusterRule(Part, frozen=True, gc=False):
    """A rule for the whole cluster: what becomes of any of its peers on any of its ports; without ports of everything."""

    action: Action
    peers: tuple[PolicyPeer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()
    name: ShortName = ""


class ClusterPolicy(Record, frozen=True, gc=False):
    """A policy for the whole cluster, of any of three kinds: a rule decides before those that come after it.

    Policies of a lower `priority` (0 to 1000) come first in their tier. `subject` is whom it is for, by selectors.
    """

    kind: Annotated[str, one_of("ClusterNetworkPolicy", "AdminNetworkPolicy", "BaselineAdminNetworkPolicy")]
    name: PodName
    tier: Tier = "Admin"
    priority: Count = 0
    subject: PolicyPeer = PolicyPeer()
    ingress: tuple[ClusterRule, ...] = ()
    egress: tuple[ClusterRule, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """(kind, name)."""
        return (self.kind, self.name)
