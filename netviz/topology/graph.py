"""The graph that a page draws: keyed objects, and what changed between two graphs.

The objects are those of docs/browser-protocol.md, field for field: encoding one with msgspec.json
gives the documented JSON. They hold no kernel semantics, only what was worked out of state already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Object(msgspec.Struct, frozen=True, gc=False):
    """Base of all graph objects: frozen, compared by value."""


class GapObject(Object, frozen=True, gc=False):
    """A section that isn't whole, and why."""

    section: str
    reason: str


class PodObject(Object, frozen=True, gc=False):
    """A pod's name."""

    name: str
    namespace: str


class ResolvObject(Object, frozen=True, gc=False):
    """What a pod's resolv.conf says: whom it asks for names, in order."""

    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    options: tuple[str, ...]


class HolderObject(Object, frozen=True, gc=False):
    """What keeps a namespace alive."""

    kind: str
    name: str
    pid: int


class RouteObject(Object, frozen=True, gc=False):
    """A route of a node that leads to elsewhere; `to_node` is whose address the gateway is, if one node's."""

    dst: str
    via: str | None
    dev: str
    to_node: str | None


class RoutesObject(Object, frozen=True, gc=False):
    """A node's routes to elsewhere, cut to a bounded number; `left_off` says how many more there are."""

    node: str
    routes: tuple[RouteObject, ...]
    left_off: int


class CollectorObject(Object, frozen=True, gc=False):
    """How a node's collector is."""

    version: str
    lag_s: float
    lost_events: int
    shed_events: int
    rss_bytes: int
    cpu: float


class SubnetObject(Object, frozen=True, gc=False):
    """The subnet that one of a node's own devices is on."""

    dev: str
    subnet: str


class KubeNodeObject(Object, frozen=True, gc=False):
    """A Node as the API says it is: `ready` is None where it doesn't say, `pods` counts those on it.

    `labels` are those that nodes can have in common, a bounded number of them.
    """

    ready: bool | None
    unschedulable: bool
    zone: str
    pods: int
    labels: Mapping[str, str] = {}


class NodeObject(Object, frozen=True, gc=False):
    """A node, as every page is told of it. `pods` counts its pods, `namespace` is the one that most of them are in.

    `subnets` are those of the devices that its own addresses are on, by the devices' names; one a device.

    `health` is "error" where something certainly doesn't work (or the collector is away: nobody knows), "warning"
    where something is odd or not known, else "ok"; `problem` is the worst of it in words, None with "ok".
    `kube` is None where no Kubernetes API speaks of the node. `not_understood` says what the server failed at when it worked the node's state out: nothing else of
    the node is in the graph then. `leaves_in_s`, in whole minutes: no collector may speak for the node any
    more, and its state leaves.
    """

    name: str
    connected: bool
    complete: bool
    age_s: float
    kernel: str
    gaps: tuple[GapObject, ...]
    addrs: tuple[str, ...]
    pod_cidrs: tuple[str, ...]
    pods: int
    health: str
    problem: str | None
    collector: CollectorObject | None
    not_understood: str | None = None
    leaves_in_s: int | None = None
    subnets: tuple[SubnetObject, ...] = ()
    kube: KubeNodeObject | None = None
    namespace: str | None = None


class ClusterObject(Object, frozen=True, gc=False):
    """What is told of a cluster's Kubernetes API, and how its watcher is. `counts` are of objects, by kind.

    `health` is "error" while the watcher isn't connected (what is shown may be old), "warning" with a gap.
    """

    name: str
    connected: bool
    complete: bool
    age_s: float
    gaps: tuple[GapObject, ...]
    counts: Mapping[str, int]
    health: str
    problem: str | None
    collector: CollectorObject | None


class WorkloadObject(Object, frozen=True, gc=False):
    """What users know a pod by: a Deployment, StatefulSet, DaemonSet, Job, or whatever else made it."""

    kind: str
    name: str


class KubePodObject(Object, frozen=True, gc=False):
    """A pod as the API says it is, on its node. `netns` is its namespace's key, None where no namespace is shown to be its.

    `ready` is None where the API doesn't say. `waits` is why a container doesn't run, "" where all do.
    """

    key: str
    node: str
    netns: str | None
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    workload: WorkloadObject | None
    phase: str
    ready: bool | None
    waits: str
    deleting: bool
    host_network: bool
    addrs: tuple[str, ...]


class NetnsObject(Object, frozen=True, gc=False):
    """A network namespace. `health` is as a node's; its link and the link's other end count, and problems there."""

    key: str
    node: str
    name: str
    root: bool
    pod: PodObject | None
    holders: tuple[HolderObject, ...]
    addrs: tuple[str, ...]
    gaps: tuple[GapObject, ...]
    health: str = "ok"
    resolv: ResolvObject | None = None


class LinkObject(Object, frozen=True, gc=False):
    """A link; keys are text."""

    key: str
    netns: str
    ifname: str
    ifindex: int
    kind: str
    mtu: int
    mac: str
    state: str
    addrs: tuple[str, ...]
    master: str | None
    peer: str | None
    peer_state: str | None
    up: bool
    carrier: bool
    port_state: str | None
    vni: int | None
    lower: str | None = None


class Graph(msgspec.Struct, frozen=True):
    """All objects by key. Problems and the checking are as JSON shows them (netviz/problems/shown.py)."""

    nodes: Mapping[str, NodeObject] = {}
    routes: Mapping[str, RoutesObject] = {}
    netns: Mapping[str, NetnsObject] = {}
    links: Mapping[str, LinkObject] = {}
    problems: Mapping[str, dict[str, Any]] = {}
    checking: Mapping[str, dict[str, Any]] = {}
    clusters: Mapping[str, ClusterObject] = {}
    pods: Mapping[str, KubePodObject] = {}


PARTS = ("clusters", "nodes", "pods", "routes", "netns", "links", "problems", "checking")
HEALTH = ("ok", "warning", "error")


class Upsert(msgspec.Struct, gc=False):
    """Whole objects that are new or changed."""

    nodes: list[NodeObject] = msgspec.field(default_factory=list)
    routes: list[RoutesObject] = msgspec.field(default_factory=list)
    netns: list[NetnsObject] = msgspec.field(default_factory=list)
    links: list[LinkObject] = msgspec.field(default_factory=list)
    problems: list[dict[str, Any]] = msgspec.field(default_factory=list)
    checking: list[dict[str, Any]] = msgspec.field(default_factory=list)
    clusters: list[ClusterObject] = msgspec.field(default_factory=list)
    pods: list[KubePodObject] = msgspec.field(default_factory=list)


class Remove(msgspec.Struct, gc=False):
    """Keys of objects that went away."""

    nodes: list[str] = msgspec.field(default_factory=list)
    routes: list[str] = msgspec.field(default_factory=list)
    netns: list[str] = msgspec.field(default_factory=list)
    links: list[str] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    checking: list[str] = msgspec.field(default_factory=list)
    clusters: list[str] = msgspec.field(default_factory=list)
    pods: list[str] = msgspec.field(default_factory=list)


class GraphDelta(msgspec.Struct, gc=False):
    """What changed between two graphs."""

    upsert: Upsert = msgspec.field(default_factory=Upsert)
    remove: Remove = msgspec.field(default_factory=Remove)

    def __bool__(self) -> bool:
        return any(getattr(self.upsert, part) or getattr(self.remove, part) for part in PARTS)

    def put(self, part: str, key: str, old: Any, new: Any) -> None:
        """Note the step from `old` to `new` (None: absent) of one object; equal ones leave no trace."""
        if new is None:
            if old is not None:
                getattr(self.remove, part).append(key)
        elif old is not new and old != new:
            getattr(self.upsert, part).append(new)


def as_lists(graph: Graph) -> dict[str, list[object]]:
    """The graph as the protocol sends it: lists of objects."""
    return {part: list(getattr(graph, part).values()) for part in PARTS}


def key_of(item: Any) -> str:
    """The key of any object: a node's or a cluster's is its name, and so is that of its routes; a problem's is its id."""
    if isinstance(item, dict):
        return str(item["id"])
    if isinstance(item, NodeObject | ClusterObject):
        return item.name
    return item.node if isinstance(item, RoutesObject) else item.key


def worse(one: str, other: str) -> str:
    """The worse of two healths."""
    return max(one, other, key=HEALTH.index)


def fold(graph: Graph, delta: GraphDelta) -> Graph:
    """Apply a delta as a page does."""
    parts: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        objects = dict(getattr(graph, part))
        for key in getattr(delta.remove, part):
            objects.pop(key, None)
        objects.update((key_of(item), item) for item in getattr(delta.upsert, part))
        parts[part] = objects
    return Graph(**parts)


def changes(old: Graph, new: Graph) -> GraphDelta:
    """The delta that turns one graph into another."""
    delta = GraphDelta()
    for part in PARTS:
        was, now = getattr(old, part), getattr(new, part)
        for key in changed_keys(was, now):
            delta.put(part, key, was.get(key), now.get(key))
    return delta


def changed_keys(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Any]:
    """Keys whose values aren't the same object in both mappings: `new`'s order, then those that went."""
    if old is new:
        return
    yield from (key for key, value in new.items() if old.get(key) is not value)
    yield from (key for key in old if key not in new)
