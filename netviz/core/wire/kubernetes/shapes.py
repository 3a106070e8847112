"""What is read of the API's objects: their JSON as far as records need it, and nothing else.

msgspec skips what isn't named here without making anything of it (managed fields are most of a list's bytes). The
ranges are those of the records that are made of it, so that what breaks one is found while it is read. The API
writes null for an empty list as well as leaving it out.

Source: the API's types core/v1, discovery.k8s.io/v1, networking.k8s.io/v1, meta/v1.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from netviz.core.model.bounds import PodName, Port, Seconds, ShortName, Words


class Shape(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Base of all shapes: the API's names are in camel case."""


class OwnerShape(Shape, frozen=True, gc=False):
    """metadata.ownerReferences."""

    kind: ShortName = ""
    name: PodName = ""
    uid: PodName = ""
    controller: bool | None = None


class Meta(Shape, frozen=True, gc=False):
    """An object's metadata."""

    name: Annotated[PodName, msgspec.Meta(min_length=1)]
    namespace: PodName = ""
    uid: PodName = ""
    labels: dict[Words, Words] | None = None
    owner_references: tuple[OwnerShape, ...] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class MetaOnly(Shape, frozen=True, gc=False):
    """Any object of which the metadata is enough."""

    metadata: Meta


class ListMeta(Shape, frozen=True, gc=False):
    """A list's metadata, or a bookmark's."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class ConditionShape(Shape, frozen=True, gc=False):
    """A condition of a node or a pod."""

    type: ShortName
    status: str
    reason: Words | None = None
    last_transition_time: str | None = None


class NodeAddress(Shape, frozen=True, gc=False):
    """An address of a node."""

    type: str
    address: str


class NodeSpec(Shape, frozen=True, gc=False):
    """A node's spec."""

    pod_c_i_d_r: str = msgspec.field(name="podCIDR", default="")
    pod_c_i_d_rs: tuple[str, ...] | None = msgspec.field(name="podCIDRs", default=None)
    unschedulable: bool = False


class NodeStatus(Shape, frozen=True, gc=False):
    """A node's status."""

    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[ConditionShape, ...] | None = None


class NodeShape(Shape, frozen=True, gc=False):
    """A Node."""

    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ContainerPortShape(Shape, frozen=True, gc=False):
    """A container's port."""

    container_port: Port
    protocol: str = "TCP"
    name: ShortName = ""
    host_port: Port = 0


class ContainerShape(Shape, frozen=True, gc=False):
    """A container; `restart_policy` makes one of the init containers a sidecar."""

    ports: tuple[ContainerPortShape, ...] | None = None
    restart_policy: str | None = None


class PodSpec(Shape, frozen=True, gc=False):
    """A pod's spec."""

    node_name: PodName = ""
    host_network: bool = False
    hostname: PodName = ""
    subdomain: PodName = ""
    dns_policy: ShortName = ""
    containers: tuple[ContainerShape, ...] | None = None
    init_containers: tuple[ContainerShape, ...] | None = None


class Stopped(Shape, frozen=True, gc=False):
    """Why a container waits, or how it ended."""

    reason: str = ""
    exit_code: int = 0


class ContainerState(Shape, frozen=True, gc=False):
    """A container's state; one of them is there, or none."""

    waiting: Stopped | None = None
    terminated: Stopped | None = None


class ContainerStatus(Shape, frozen=True, gc=False):
    """A container's status."""

    name: str = ""
    state: ContainerState = ContainerState()


class PodIp(Shape, frozen=True, gc=False):
    """An address of a pod."""

    ip: str = ""


class PodStatus(Shape, frozen=True, gc=False):
    """A pod's status."""

    phase: ShortName = ""
    pod_i_p: str = msgspec.field(name="podIP", default="")
    pod_i_ps: tuple[PodIp, ...] | None = msgspec.field(name="podIPs", default=None)
    conditions: tuple[ConditionShape, ...] | None = None
    init_container_statuses: tuple[ContainerStatus, ...] | None = None
    container_statuses: tuple[ContainerStatus, ...] | None = None


class PodShape(Shape, frozen=True, gc=False):
    """A Pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ServicePortShape(Shape, frozen=True, gc=False):
    """A service's port."""

    port: Port
    protocol: str = "TCP"
    name: ShortName = ""
    target_port: Port | ShortName = ""
    node_port: Port = 0


class ClientIpConfig(Shape, frozen=True, gc=False):
    """Session affinity by the client's address."""

    timeout_seconds: Seconds | None = None


class AffinityConfig(Shape, frozen=True, gc=False):
    """How session affinity is done."""

    client_i_p: ClientIpConfig | None = msgspec.field(name="clientIP", default=None)


class ServiceSpec(Shape, frozen=True, gc=False):
    """A service's spec."""

    type: str = "ClusterIP"
    cluster_i_p: str = msgspec.field(name="clusterIP", default="")
    cluster_i_ps: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    external_i_ps: tuple[str, ...] | None = msgspec.field(name="externalIPs", default=None)
    load_balancer_source_ranges: tuple[str, ...] | None = None
    external_name: PodName = ""
    ports: tuple[ServicePortShape, ...] | None = None
    selector: dict[Words, Words] | None = None
    session_affinity: str = ""
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str = ""
    health_check_node_port: Port = 0
    publish_not_ready_addresses: bool = False
    traffic_distribution: ShortName | None = None


class Balancer(Shape, frozen=True, gc=False):
    """A service's status.loadBalancer."""

    ingress: tuple[PodIp, ...] | None = None


class ServiceStatus(Shape, frozen=True, gc=False):
    """A service's status."""

    load_balancer: Balancer = Balancer()


class ServiceShape(Shape, frozen=True, gc=False):
    """A Service."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointConditions(Shape, frozen=True, gc=False):
    """An endpoint's conditions, None where nothing is said."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Target(Shape, frozen=True, gc=False):
    """The object that an endpoint is."""

    kind: str = ""
    name: PodName = ""


class Zone(Shape, frozen=True, gc=False):
    """A zone that an endpoint is for."""

    name: ShortName = ""


class Hints(Shape, frozen=True, gc=False):
    """Whom an endpoint is for."""

    for_zones: tuple[Zone, ...] | None = None


class EndpointShape(Shape, frozen=True, gc=False):
    """An endpoint of a slice."""

    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions = EndpointConditions()
    hostname: PodName | None = None
    node_name: PodName | None = None
    zone: ShortName | None = None
    hints: Hints | None = None
    target_ref: Target | None = None


class EndpointPortShape(Shape, frozen=True, gc=False):
    """A port of a slice."""

    port: Port | None = None
    protocol: str | None = None
    name: ShortName | None = None


class SliceShape(Shape, frozen=True, gc=False):
    """An EndpointSlice."""

    metadata: Meta
    address_type: str = ""
    endpoints: tuple[EndpointShape, ...] | None = None
    ports: tuple[EndpointPortShape, ...] | None = None


class Expression(Shape, frozen=True, gc=False):
    """An expression of a label selector."""

    key: Words
    operator: str
    values: tuple[Words, ...] | None = None


class SelectorShape(Shape, frozen=True, gc=False):
    """A label selector."""

    match_labels: dict[Words, Words] | None = None
    match_expressions: tuple[Expression, ...] | None = None


class Block(Shape, frozen=True, gc=False):
    """A policy's ipBlock."""

    cidr: str
    except_: tuple[str, ...] | None = msgspec.field(name="except", default=None)


class PeerShape(Shape, frozen=True, gc=False):
    """A peer of a policy's rule."""

    pod_selector: SelectorShape | None = None
    namespace_selector: SelectorShape | None = None
    ip_block: Block | None = None


class PolicyPortShape(Shape, frozen=True, gc=False):
    """A port of a policy's rule."""

    protocol: str | None = None
    port: Port | ShortName | None = None
    end_port: Port | None = None


class IngressRule(Shape, frozen=True, gc=False):
    """An ingress rule."""

    ports: tuple[PolicyPortShape, ...] | None = None
    from_: tuple[PeerShape, ...] | None = msgspec.field(name="from", default=None)


class EgressRule(Shape, frozen=True, gc=False):
    """An egress rule."""

    ports: tuple[PolicyPortShape, ...] | None = None
    to: tuple[PeerShape, ...] | None = None


class PolicySpec(Shape, frozen=True, gc=False):
    """A policy's spec."""

    pod_selector: SelectorShape | None = None
    policy_types: tuple[str, ...] | None = None
    ingress: tuple[IngressRule, ...] | None = None
    egress: tuple[EgressRule, ...] | None = None


class PolicyShape(Shape, frozen=True, gc=False):
    """A NetworkPolicy."""

    metadata: Meta
    spec: PolicySpec = PolicySpec()
