"""What changed between two states of a node: `diff` makes it, `apply` folds it in.

The law: `apply(a, diff(a, b)) == b` for any two states of the same node. A snapshot is nothing else
but the difference from an empty state, so there is one way in for everything.

`apply` shares what did not change. A delta that repeats what is known already is harmless: putting
an equal record or dropping an absent key changes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from netviz.core.model.base import Record
from netviz.core.model.bounds import ShortName, Words
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.model.ipvs import IpvsConn, IpvsService
from netviz.core.model.kubernetes import (
    ClusterPolicy,
    EndpointSlice,
    KubeNamespace,
    KubeNode,
    KubePod,
    KubeService,
    NetworkPolicy,
    ObjectKey,
    Workload,
)
from netviz.core.model.l2 import BridgeVlan, Fdb, Neigh
from netviz.core.model.l3 import Addr, NexthopObject, Route, Rule
from netviz.core.model.link import Link, LinkCounters
from netviz.core.model.netfilter import (
    IpSet,
    NfAcct,
    NftChain,
    NftObject,
    NftSet,
    NftTable,
    RuleCounters,
    XtTable,
)
from netviz.core.model.netns import Netns, Refused, Sysctl
from netviz.core.model.socket import Socket
from netviz.core.model.stat import KernelStat
from netviz.core.state.node import SECTIONS, NetnsState, NodeState, SectionStatus
from netviz.core.state.objects import OBJECT_SECTIONS, Objects
from netviz.core.state.section import EMPTY, Section

R = TypeVar("R")
K = TypeVar("K")


class Change(msgspec.Struct, Generic[R, K], frozen=True, array_like=True, gc=False):
    """What changed in one section of one namespace: records put (new or changed), keys dropped."""

    put: tuple[R, ...] = ()
    drop: tuple[K, ...] = ()


_RouteKey = tuple[int, bytes, int, bytes, int, int, int, int]


class NetnsDelta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What changed in one namespace. `netns` is its record when new or changed."""

    key: NetnsKey
    netns: Netns | None = None
    links: Change[Link, int] | None = None
    addrs: Change[Addr, tuple[int, bytes, int, bytes]] | None = None
    neighs: Change[Neigh, tuple[int, bytes, bool]] | None = None
    fdb: Change[Fdb, tuple[int, bytes, int, int, bytes, int, int]] | None = None
    vlans: Change[BridgeVlan, tuple[int, int]] | None = None
    routes: Change[Route, _RouteKey] | None = None
    rules: Change[Rule, tuple[int, int, int]] | None = None
    nexthops: Change[NexthopObject, int] | None = None
    sysctls: Change[Sysctl, str] | None = None
    sockets: Change[Socket, int] | None = None
    conntrack: Change[CtEntry, tuple[int, bytes, bytes, int, int, int]] | None = None
    nft_tables: Change[NftTable, tuple[int, str]] | None = None
    nft_chains: Change[NftChain, tuple[int, str, str]] | None = None
    nft_sets: Change[NftSet, tuple[int, str, str]] | None = None
    nft_objects: Change[NftObject, tuple[int, str, str, str]] | None = None
    xt_tables: Change[XtTable, tuple[int, str]] | None = None
    xt_chains: Change[NftChain, tuple[int, str, str]] | None = None
    ipsets: Change[IpSet, str] | None = None
    nfaccts: Change[NfAcct, str] | None = None
    ipvs: Change[IpvsService, tuple[int, bytes, int, int]] | None = None
    ipvs_conns: Change[IpvsConn, tuple[int, bytes, int, bytes, int]] | None = None
    counters: Change[LinkCounters, int] | None = None
    kernel_stats: Change[KernelStat, str] | None = None
    rule_counters: Change[RuleCounters, tuple[int, str, str, bool]] | None = None
    refused: Change[Refused, tuple[str, str]] | None = None


class ObjectsDelta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What changed of a cluster's objects."""

    kube_nodes: Change[KubeNode, str] | None = None
    kube_namespaces: Change[KubeNamespace, str] | None = None
    kube_pods: Change[KubePod, ObjectKey] | None = None
    workloads: Change[Workload, tuple[str, str, str]] | None = None
    services: Change[KubeService, ObjectKey] | None = None
    endpoint_slices: Change[EndpointSlice, ObjectKey] | None = None
    network_policies: Change[NetworkPolicy, ObjectKey] | None = None
    cluster_policies: Change[ClusterPolicy, tuple[str, str]] | None = None
    refused: Change[Refused, tuple[str, str]] | None = None


class NodeDelta(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What changed of one source. `gone` names namespaces that ended; `status` holds changed sections.

    `kernel`, `boot_id` and `objects` are None when unchanged; a node has no objects.
    """

    netns: tuple[NetnsDelta, ...] = ()
    gone: tuple[NetnsKey, ...] = ()
    status: dict[ShortName, SectionStatus] = {}
    kernel: Words | None = None
    boot_id: ShortName | None = None
    objects: ObjectsDelta | None = None

    @property
    def empty(self) -> bool:
        """Nothing changed."""
        return self == _NOTHING


_NOTHING = NodeDelta()


def section_of(records: Iterable[Record]) -> Section[Hashable, Any]:
    """Key records as a section holds them."""
    return Section((record.key, record) for record in records)  # type: ignore[attr-defined]


def diff_section(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Change[Any, Any] | None:
    """Compare two sections; None when they are equal. Order: puts as in `new`, drops as in `old`."""
    if old is new:
        return None
    if not old:
        return Change(tuple(new.values())) if new else None
    if old == new:  # as most are: told without a step of Python for each record
        return None
    put = tuple(rec for key, rec in new.items() if (was := old.get(key)) is not rec and was != rec)
    drop = tuple(key for key in old if key not in new)
    return Change(put, drop) if put or drop else None


def diff_netns(old: NetnsState | None, new: NetnsState) -> NetnsDelta | None:
    """Compare two states of one namespace (`old` None: it is new); None when they are equal."""
    if old is new:
        return None
    changes = _diff_sections(old, new, SECTIONS)
    record = new.netns if old is None or old.netns != new.netns else None
    if record is None and not changes:
        return None
    return NetnsDelta(key=new.key, netns=record, **changes)


def diff_objects(old: Objects, new: Objects) -> ObjectsDelta | None:
    """Compare two states of a cluster's objects; None when they are equal."""
    changes = {} if old is new else _diff_sections(old, new, OBJECT_SECTIONS)
    return ObjectsDelta(**changes) if changes else None


def _diff_sections(old: object, new: object, names: Iterable[str]) -> dict[str, Any]:
    found = ((name, diff_section(getattr(old, name, EMPTY), getattr(new, name))) for name in names)
    return {name: change for name, change in found if change is not None}


def diff(old: NodeState, new: NodeState) -> NodeDelta:
    """Return the delta that turns `old` into `new`: `apply(old, diff(old, new)) == new`.

    Raises: ValueError when the two are different nodes, or a section's status vanished.
    """
    if old.node != new.node:
        raise ValueError(f"states of different nodes: {old.node!r}, {new.node!r}")
    if any(name not in new.status for name in old.status):
        raise ValueError("a section's status cannot vanish")
    netns = (diff_netns(old.netns.get(key), ns) for key, ns in new.netns.items())
    return NodeDelta(
        netns=tuple(d for d in netns if d is not None),
        gone=tuple(key for key in old.netns if key not in new.netns),
        status={name: s for name, s in new.status.items() if old.status.get(name) != s},
        kernel=new.kernel if new.kernel != old.kernel else None,
        boot_id=new.boot_id if new.boot_id != old.boot_id else None,
        objects=diff_objects(old.objects, new.objects),
    )


def apply_section(old: Mapping[Any, Any], change: Change[Any, Any]) -> Mapping[Any, Any]:
    """Fold one section's change in. Returns `old` itself when nothing changes."""
    if not old:
        return section_of(change.put) or EMPTY
    if all(old.get(rec.key) == rec for rec in change.put) and not any(key in old for key in change.drop):
        return old
    return Section.of(old).changed(change.drop, {rec.key: rec for rec in change.put})


def apply_netns(old: NetnsState | None, delta: NetnsDelta) -> NetnsState:
    """Fold one namespace's delta in.

    Raises: KeyError when the namespace is new and the delta doesn't introduce it.
    """
    if old is None:
        if delta.netns is None:
            raise KeyError(f"delta for a namespace that was never introduced: {delta.key}")
        old = NetnsState(delta.netns)
    changes = _apply_sections(old, delta, SECTIONS)
    if delta.netns is not None:
        changes["netns"] = delta.netns
    return msgspec.structs.replace(old, **changes) if changes else old


def apply_objects(old: Objects, delta: ObjectsDelta) -> Objects:
    """Fold a delta of a cluster's objects in. Returns `old` itself when nothing changes."""
    changes = _apply_sections(old, delta, OBJECT_SECTIONS)
    return msgspec.structs.replace(old, **changes) if changes else old


def _apply_sections(old: object, delta: object, names: Iterable[str]) -> dict[str, Any]:
    """Fold changes into the sections of something; return those that are others now."""
    changes: dict[str, Any] = {}
    for name in names:
        change = getattr(delta, name)
        if change is not None:
            section = getattr(old, name)
            new = apply_section(section, change)
            if new is not section:
                changes[name] = new
    return changes


def apply(state: NodeState, delta: NodeDelta) -> NodeState:
    """Fold a delta into a state.

    Raises: KeyError when the delta speaks of a namespace that neither it nor the state introduces.
    """
    netns = dict(state.netns)
    for key in delta.gone:
        netns.pop(key, None)
    for change in delta.netns:
        netns[change.key] = apply_netns(netns.get(change.key), change)
    return NodeState(
        node=state.node,
        kernel=state.kernel if delta.kernel is None else delta.kernel,
        boot_id=state.boot_id if delta.boot_id is None else delta.boot_id,
        netns=netns or EMPTY,
        status={**state.status, **delta.status} if delta.status else state.status,
        objects=state.objects if delta.objects is None else apply_objects(state.objects, delta.objects),
    )
