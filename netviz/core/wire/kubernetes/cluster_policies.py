"""Policies of the whole cluster: ClusterNetworkPolicy, and the older AdminNetworkPolicy and BaselineAdminNetworkPolicy.

Their API is young and changes: a field that isn't known may be a condition, so an object that has one is left out whole and
named, as is one of a version that isn't known. Nothing of it is guessed.

Source: policy.networking.k8s.io v1beta1 and v1alpha2 (ClusterNetworkPolicy), v1alpha1 (AdminNetworkPolicy,
BaselineAdminNetworkPolicy), network-policy-api's apis/.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from netviz.core.model import kubernetes as k
from netviz.core.model.bounds import Port, ShortName, Words
from netviz.core.wire.kubernetes.records import cidr, selector
from netviz.core.wire.kubernetes.shapes import Meta, SelectorShape, Shape

GROUP = "policy.networking.k8s.io"
# Those that are understood, the one that is asked for first before the others.
VERSIONS = {
    "ClusterNetworkPolicy": ("v1beta1", "v1alpha2"),
    "AdminNetworkPolicy": ("v1alpha1",),
    "BaselineAdminNetworkPolicy": ("v1alpha1",),
}
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_ACTIONS = {"Accept": "Accept", "Allow": "Accept", "Deny": "Deny", "Pass": "Pass"}
_KNOWN_ACTIONS = {
    "ClusterNetworkPolicy": ("Accept", "Deny", "Pass"),
    "AdminNetworkPolicy": ("Allow", "Deny", "Pass"),
    "BaselineAdminNetworkPolicy": ("Allow", "Deny"),
}


class Strict(Shape, frozen=True, gc=False, forbid_unknown_fields=True):
    """Base of shapes that say whom or what a rule is for."""


class StrictSelector(SelectorShape, frozen=True, gc=False, forbid_unknown_fields=True):
    """A label selector."""


class NamespacedPods(Strict, frozen=True, gc=False):
    """Pods of some namespaces. Without a selector of namespaces those of all (v1beta1)."""

    pod_selector: StrictSelector
    namespace_selector: StrictSelector | None = None


class SubjectShape(Strict, frozen=True, gc=False):
    """A policy's subject; one of the two is there."""

    namespaces: StrictSelector | None = None
    pods: NamespacedPods | None = None


class FarShape(Strict, frozen=True, gc=False):
    """A peer of a rule; one field is there."""

    namespaces: StrictSelector | None = None
    pods: NamespacedPods | None = None
    nodes: StrictSelector | None = None
    networks: tuple[str, ...] | None = None
    domain_names: tuple[Words, ...] | None = None


class RangeShape(Strict, frozen=True, gc=False):
    """A range of ports; `protocol` in v1alpha1 alone."""

    start: Port
    end: Port
    protocol: str = "TCP"


class NumberShape(Strict, frozen=True, gc=False):
    """A port (ClusterNetworkPolicy); one of the two is there."""

    number: Port = 0
    range: RangeShape | None = None


class ProtocolShape(Strict, frozen=True, gc=False):
    """What a rule says of a protocol."""

    destination_port: NumberShape | None = None


class ProtocolsShape(Strict, frozen=True, gc=False):
    """An entry of a rule's protocols (ClusterNetworkPolicy); one field is there."""

    tcp: ProtocolShape | None = None
    udp: ProtocolShape | None = None
    sctp: ProtocolShape | None = None
    destination_named_port: ShortName = ""


class OnePortShape(Strict, frozen=True, gc=False):
    """A port by number (v1alpha1)."""

    port: Port
    protocol: str = "TCP"


class PortsShape(Strict, frozen=True, gc=False):
    """An entry of a rule's ports (v1alpha1); one field is there."""

    port_number: OnePortShape | None = None
    port_range: RangeShape | None = None
    named_port: ShortName = ""


class ClusterRuleShape(Strict, frozen=True, gc=False):
    """A rule: `protocols` in ClusterNetworkPolicies, `ports` in the older ones."""

    action: str
    name: ShortName = ""
    from_: tuple[FarShape, ...] | None = msgspec.field(name="from", default=None)
    to: tuple[FarShape, ...] | None = None
    protocols: tuple[ProtocolsShape, ...] | None = None
    ports: tuple[PortsShape, ...] | None = None


class ClusterPolicySpec(Strict, frozen=True, gc=False):
    """A policy's spec: `tier` in ClusterNetworkPolicies alone, no `priority` in BaselineAdminNetworkPolicies."""

    subject: SubjectShape
    tier: str = ""
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    ingress: tuple[ClusterRuleShape, ...] | None = None
    egress: tuple[ClusterRuleShape, ...] | None = None


class ClusterPolicyShape(Shape, frozen=True, gc=False):
    """A policy of any of the three kinds."""

    metadata: Meta
    spec: ClusterPolicySpec
    api_version: str = ""


def cluster_policy(kind: str, of: ClusterPolicyShape) -> k.ClusterPolicy:
    """Make a policy's record. Raises: ValueError."""
    version = of.api_version.rpartition("/")[2]
    if version and version not in VERSIONS[kind]:
        raise ValueError(f"version {version[:40]} isn't known")
    spec, tier = of.spec, of.spec.tier
    if kind != "ClusterNetworkPolicy":
        tier = "Baseline" if kind == "BaselineAdminNetworkPolicy" else "Admin"
    if tier not in ("Admin", "Baseline"):
        raise ValueError(f"tier {tier[:40]!r} isn't known")
    subject = _peers((FarShape(spec.subject.namespaces, spec.subject.pods),), "subject")
    return k.ClusterPolicy(
        kind=kind,
        name=of.metadata.name,
        tier=tier,
        priority=spec.priority,
        subject=subject[0],
        ingress=tuple(_rule(kind, one, one.from_) for one in spec.ingress or ()),
        egress=tuple(_rule(kind, one, one.to, outwards=True) for one in spec.egress or ()),
    )


def _rule(
    kind: str, of: ClusterRuleShape, peers: tuple[FarShape, ...] | None, *, outwards: bool = False
) -> k.ClusterRule:
    if of.action not in _KNOWN_ACTIONS[kind]:
        raise ValueError(f"action {of.action[:40]!r} isn't known")
    if not peers or (of.from_ and of.to):
        raise ValueError("a rule without peers, or with two lists of them")
    what = "to" if outwards else "from"
    return k.ClusterRule(
        action=_ACTIONS[of.action],
        name=of.name,
        peers=_peers(peers, what),
        ports=(
            *(port for one in of.protocols or () for port in _protocols(one)),
            *(port for one in of.ports or () for port in _ports(one)),
        ),
    )


def _peers(of: Iterable[FarShape], what: str) -> tuple[k.PolicyPeer, ...]:
    found: list[k.PolicyPeer] = []
    for one in of:
        said = [name for name in one.__struct_fields__ if getattr(one, name) is not None]
        if len(said) != 1 or (what != "to" and said[0] not in ("namespaces", "pods")):
            raise ValueError(f"{what}: a peer of a kind that isn't known")
        if one.pods is not None:
            spaces = selector(one.pods.namespace_selector or StrictSelector())
            found.append(k.PolicyPeer(selector(one.pods.pod_selector), spaces))
        elif one.namespaces is not None:
            found.append(k.PolicyPeer(namespaces=selector(one.namespaces)))
        elif one.nodes is not None:
            found.append(k.PolicyPeer(nodes=selector(one.nodes)))
        elif one.networks is not None:
            found += [k.PolicyPeer(block=cidr(text)) for text in one.networks]
        else:
            found.append(k.PolicyPeer(domains=one.domain_names or ()))
    return tuple(found)


def _protocols(of: ProtocolsShape) -> Iterable[k.PolicyPort]:
    said = [(name, one) for name in ("tcp", "udp", "sctp") if (one := getattr(of, name)) is not None]
    if len(said) + bool(of.destination_named_port) != 1:
        raise ValueError("protocols: an entry of a kind that isn't known")
    if of.destination_named_port:
        return _named(of.destination_named_port)
    (name, one), port = said[0], said[0][1].destination_port
    if port is None:
        return (k.PolicyPort(name.upper()),)
    if (port.range is None) == (not port.number):
        raise ValueError(f"{name}: a port of a kind that isn't known")
    if port.range is None:
        return (k.PolicyPort(name.upper(), str(port.number)),)
    return (k.PolicyPort(name.upper(), str(port.range.start), port.range.end),)


def _ports(of: PortsShape) -> Iterable[k.PolicyPort]:
    if (of.port_number is not None) + (of.port_range is not None) + bool(of.named_port) != 1:
        raise ValueError("ports: an entry of a kind that isn't known")
    if of.named_port:
        return _named(of.named_port)
    if of.port_range is not None:
        return (k.PolicyPort(of.port_range.protocol, str(of.port_range.start), of.port_range.end),)
    assert of.port_number is not None
    return (k.PolicyPort(of.port_number.protocol, str(of.port_number.port)),)


def _named(name: str) -> Iterable[k.PolicyPort]:
    """A port by its container's name alone, of whichever protocol that is."""
    if name.isdecimal():
        raise ValueError(f"{name[:40]!r} is no port's name")
    return (k.PolicyPort(protocol, name) for protocol in _PROTOCOLS)
