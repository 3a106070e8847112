"""Records of the API's objects: each function makes one of a shape. Defaults are those that the API documents.

Raises: ValueError, of every function, where the object says what no record can: an address that is none, a peer of a
kind that isn't known. Half of a policy would be another policy, so such an object is left out whole, and named.
"""

from __future__ import annotations

import calendar
import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from netviz.core.model import kubernetes as k
from netviz.core.model.addr import pack_ip
from netviz.core.wire.kubernetes import shapes as s

_CLIENT_IP_S = 10800.0  # v1.DefaultClientIPServiceAffinitySeconds
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z", re.ASCII)
_SERVICE_NAME = "kubernetes.io/service-name"


@lru_cache(maxsize=4096)
def cidr(text: str) -> k.Cidr:
    """A range; bits beyond its length are ignored, as Go's net.ParseCIDR does for those who read it there."""
    net = ipaddress.ip_network(text.strip(), strict=False)
    return k.Cidr(net.network_address.packed, net.prefixlen)


@lru_cache(maxsize=4096)
def _unix_s(time: str | None) -> float:
    """Unix seconds of a time, 0 of none. The API writes all of them in UTC (meta/v1, Time.MarshalJSON)."""
    if time is None:
        return 0.0
    if (found := _TIME.fullmatch(time)) is None:
        raise ValueError(f"{time[:40]!r} is no time")
    return float(calendar.timegm(tuple(map(int, found.groups()))))


def _owner(meta: s.Meta) -> k.Owner | None:
    for one in meta.owner_references or ():
        if one.controller:
            return k.Owner(one.kind, one.name, one.uid)
    return None


@lru_cache(maxsize=4096)
def _condition(type_: str, status: str, reason: str, since_s: float) -> k.Condition:
    return k.Condition(type_, status, reason, since_s)


def _conditions(found: Iterable[s.ConditionShape] | None) -> tuple[k.Condition, ...]:
    return tuple(
        _condition(one.type, one.status, one.reason or "", _unix_s(one.last_transition_time))
        for one in found or ()
    )


def node(of: s.NodeShape) -> k.KubeNode:
    """Make a node's record."""
    ranges = of.spec.pod_c_i_d_rs or ((of.spec.pod_c_i_d_r,) if of.spec.pod_c_i_d_r else ())
    addresses = (one for one in of.status.addresses or () if one.type in ("InternalIP", "ExternalIP"))
    return k.KubeNode(
        name=of.metadata.name,
        uid=of.metadata.uid,
        addresses=tuple(pack_ip(one.address) for one in addresses),
        pod_cidrs=tuple(map(cidr, ranges)),
        labels=of.metadata.labels or {},
        conditions=_conditions(of.status.conditions),
        unschedulable=of.spec.unschedulable,
    )


def namespace(of: s.MetaOnly) -> k.KubeNamespace:
    """Make a namespace's record."""
    meta = of.metadata
    return k.KubeNamespace(meta.name, meta.labels or {}, meta.deletion_timestamp is not None)


@lru_cache(maxsize=4096)
def _container_port(port: int, protocol: str, name: str, host_port: int) -> k.ContainerPort:
    return k.ContainerPort(port, protocol, name, host_port)


@lru_cache(maxsize=64)
def _word(text: str) -> str:
    """The same text once for all objects that have it."""
    return text


def _waits(status: s.PodStatus) -> str:
    """Say of the first container that doesn't run why; one that ended well is no such container."""
    for one in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        state = one.state
        if state.waiting is not None:
            return f"{one.name}: {state.waiting.reason or 'waiting'}"
        if state.terminated is not None and state.terminated.exit_code:
            return f"{one.name}: {state.terminated.reason or 'ended'}"
    return ""


def pod(of: s.PodShape) -> k.KubePod:
    """Make a pod's record. Ports are those of containers that go on running: init containers only as sidecars."""
    meta, spec, status = of.metadata, of.spec, of.status
    sidecars = (one for one in spec.init_containers or () if one.restart_policy == "Always")
    ports = (port for one in (*(spec.containers or ()), *sidecars) for port in one.ports or ())
    addresses = [one.ip for one in status.pod_i_ps or ()] or [status.pod_i_p]
    return k.KubePod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=spec.node_name,
        ips=tuple(pack_ip(one) for one in addresses if one),
        host_network=spec.host_network,
        phase=status.phase,
        labels=meta.labels or {},
        owner=_owner(meta),
        ports=tuple(_container_port(p.container_port, p.protocol, p.name, p.host_port) for p in ports),
        conditions=_conditions(status.conditions),
        deleting=meta.deletion_timestamp is not None,
        created_s=_unix_s(meta.creation_timestamp),
        waits=_waits(status),
        hostname=spec.hostname,
        subdomain=spec.subdomain,
        dns_policy=_word(spec.dns_policy),
    )


def workload(kind: str, of: s.MetaOnly) -> k.Workload:
    """Make a record of what owns pods."""
    return k.Workload(kind, of.metadata.namespace, of.metadata.name, of.metadata.uid, _owner(of.metadata))


def _affinity_s(spec: s.ServiceSpec) -> float:
    if spec.session_affinity != "ClientIP":
        return 0.0
    config = spec.session_affinity_config and spec.session_affinity_config.client_i_p
    return (config.timeout_seconds if config else None) or _CLIENT_IP_S


def service(of: s.ServiceShape) -> k.KubeService:
    """Make a service's record."""
    spec = of.spec
    cluster_ips = spec.cluster_i_ps or (spec.cluster_i_p,)
    return k.KubeService(
        namespace=of.metadata.namespace,
        name=of.metadata.name,
        uid=of.metadata.uid,
        type=spec.type,
        cluster_ips=tuple(pack_ip(one) for one in cluster_ips if one not in ("", "None")),
        external_ips=tuple(map(pack_ip, spec.external_i_ps or ())),
        balancer_ips=tuple(pack_ip(one.ip) for one in of.status.load_balancer.ingress or () if one.ip),
        source_ranges=tuple(map(cidr, spec.load_balancer_source_ranges or ())),
        external_name=spec.external_name,
        ports=tuple(
            k.ServicePort(one.port, one.protocol, one.name, str(one.target_port), one.node_port)
            for one in spec.ports or ()
        ),
        selector=spec.selector,
        labels=of.metadata.labels or {},
        affinity_s=_affinity_s(spec),
        internal_local=spec.internal_traffic_policy == "Local",
        external_local=spec.external_traffic_policy == "Local",
        health_port=spec.health_check_node_port,
        publish_not_ready=spec.publish_not_ready_addresses,
        traffic_distribution=spec.traffic_distribution or "",
    )


def _endpoint(of: s.EndpointShape, is_ip: bool) -> k.Endpoint:
    """Make an endpoint. Ready where nothing is said; serving as it is ready; addresses that are names are left out."""
    ready = of.conditions.ready is not False
    target = of.target_ref
    return k.Endpoint(
        addresses=tuple(map(pack_ip, of.addresses or ())) if is_ip else (),
        ready=ready,
        serving=ready if of.conditions.serving is None else of.conditions.serving,
        terminating=of.conditions.terminating is True,
        node=of.node_name or "",
        zone=of.zone or "",
        hints=tuple(one.name for one in (of.hints.for_zones if of.hints else None) or ()),
        pod=target.name if target is not None and target.kind == "Pod" else "",
        hostname=of.hostname or "",
    )


def endpoint_slice(of: s.SliceShape) -> k.EndpointSlice:
    """Make a slice's record."""
    is_ip = of.address_type != "FQDN"
    return k.EndpointSlice(
        namespace=of.metadata.namespace,
        name=of.metadata.name,
        service=(of.metadata.labels or {}).get(_SERVICE_NAME, ""),
        address_type=of.address_type,
        endpoints=tuple(_endpoint(one, is_ip) for one in of.endpoints or ()),
        ports=tuple(k.EndpointPort(p.port or 0, p.protocol or "TCP", p.name or "") for p in of.ports or ()),
    )


def selector(of: s.SelectorShape) -> k.Selector:
    """Make a label selector."""
    expressions = of.match_expressions or ()
    return k.Selector(
        of.match_labels or {},
        tuple(k.Requirement(one.key, one.operator, one.values or ()) for one in expressions),
    )


def _peer(of: s.PeerShape) -> k.PolicyPeer:
    if of.ip_block is not None:
        return k.PolicyPeer(block=cidr(of.ip_block.cidr), but=tuple(map(cidr, of.ip_block.except_ or ())))
    if of.pod_selector is None and of.namespace_selector is None:
        raise ValueError("a peer of a kind that isn't known")
    pods, spaces = of.pod_selector, of.namespace_selector
    return k.PolicyPeer(
        selector(pods) if pods is not None else None, selector(spaces) if spaces is not None else None
    )


def _rule(peers: Iterable[s.PeerShape] | None, ports: Iterable[s.PolicyPortShape] | None) -> k.PolicyRule:
    made = (
        k.PolicyPort(one.protocol or "TCP", "" if one.port is None else str(one.port), one.end_port or 0)
        for one in ports or ()
    )
    return k.PolicyRule(tuple(map(_peer, peers or ())), tuple(made))


def network_policy(of: s.PolicyShape) -> k.NetworkPolicy:
    """Make a policy's record. Without policyTypes it restricts ingress, and egress if it has rules for it.

    Source: networking.k8s.io/v1, NetworkPolicySpec.policyTypes; pkg/apis/networking/v1/defaults.go.
    """
    spec = of.spec
    types = spec.policy_types or (("Ingress", "Egress") if spec.egress else ("Ingress",))
    if unknown := set(types) - {"Ingress", "Egress"}:
        raise ValueError(f"policyTypes: {min(unknown)} isn't known")
    return k.NetworkPolicy(
        namespace=of.metadata.namespace,
        name=of.metadata.name,
        pods=selector(spec.pod_selector or s.SelectorShape()),
        restricts_ingress="Ingress" in types,
        restricts_egress="Egress" in types,
        ingress=tuple(_rule(one.from_, one.ports) for one in spec.ingress or ()),
        egress=tuple(_rule(one.to, one.ports) for one in spec.egress or ()),
    )
