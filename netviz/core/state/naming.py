"""What the API says of each node, laid over the node's own state: its pods, its Node, and names for namespaces.

A cluster's source says what pods there are; a node's collector says what namespaces there are. Whoever reads a cluster's
state is given both together: a node's state with `objects` of the API's pods on it, their owners, and its Node, and
with a pod in each namespace that the API can name.

A pod's address is in its namespace alone, on the node that it runs on. So a namespace that no runtime named is that pod's
if one pod of its node has one of its addresses; where two have, it stays without. While the list of pods isn't whole, a
namespace keeps a name that it had and gets no new one. Host-network pods have their node's namespace, and pods that
ended have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import KubeNode, KubePod, ObjectKey, Workload
from netviz.core.model.netns import Pod
from netviz.core.state.delta import NodeDelta
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from netviz.core.state.objects import NO_OBJECTS, Objects
from netviz.core.state.section import EMPTY

API = "api"
ENDED = ("Succeeded", "Failed")
_WorkloadKey = tuple[str, str, str]
_NOTHING = NodeState("")


class _Made(msgspec.Struct, gc=False):
    """What was made of a node's state, and of what."""

    state: NodeState
    objects: Objects
    whole: bool
    named: Mapping[NetnsKey, tuple[NetnsState, ObjectKey, NetnsState]]
    result: NodeState


class Overlay:
    """The API's view of all nodes, by node. `follow` the sources, and have nodes' states `laid` over.

    Node names are unique over all clusters, so whichever source speaks of a node is believed.
    """

    def __init__(self) -> None:
        self._pods: dict[str, dict[ObjectKey, KubePod]] = {}
        self._nodes: dict[str, KubeNode] = {}
        self._workloads: dict[_WorkloadKey, Workload] = {}
        # Which nodes have pods of a workload, and how many.
        self._owning: dict[_WorkloadKey, Counter[str]] = {}
        self._whole: dict[str, bool] = {}
        self._objects: dict[str, Objects] = {}
        self._made: dict[str, _Made] = {}

    def follow(
        self, old: NodeState | None, new: NodeState | None, delta: NodeDelta | None = None
    ) -> set[str]:
        """Follow one source from a state to another one (None: none); return the nodes of which it says something else.

        `delta` is what changed, where that is known: all of it is looked for otherwise.
        """
        before, now = old or _NOTHING, new or _NOTHING
        touched: set[str] = set()
        objects = delta.objects if delta is not None else None
        for section, put in (
            ("workloads", self._put_workload),
            ("kube_nodes", self._put_node),
            ("kube_pods", self._put_pod),
        ):
            was, is_ = getattr(before.objects, section), getattr(now.objects, section)
            if was is not is_:
                change = getattr(objects, section) if objects is not None else None
                keys = _changed(was, is_) if change is None else _named_in(change)
                for key in keys:
                    if (one := was.get(key)) is not (other := is_.get(key)):
                        touched.update(put(key, one, other))
        for name in touched:
            self._objects.pop(name, None)
        source = now.node or before.node
        whole = (status := now.status.get("kube_pods")) is not None and status.complete
        if self._whole.get(source, False) != whole:
            touched.update(self._pods)
        if new is None:
            self._whole.pop(source, None)
        else:
            self._whole[source] = whole
        return touched

    def _put_workload(self, key: _WorkloadKey, old: Workload | None, new: Workload | None) -> Collection[str]:
        if new is None:
            self._workloads.pop(key, None)
        else:
            self._workloads[key] = new
        return self._owning.get(key, ())

    def _put_node(self, key: str, old: KubeNode | None, new: KubeNode | None) -> Collection[str]:
        if new is None:
            self._nodes.pop(key, None)
        else:
            self._nodes[key] = new
        return (key,)

    def _put_pod(self, key: ObjectKey, old: KubePod | None, new: KubePod | None) -> Collection[str]:
        touched = []
        if old is not None and old.node:
            pods = self._pods.get(old.node, {})
            pods.pop(key, None)
            if not pods:
                self._pods.pop(old.node, None)
            self._own(old, -1)
            touched.append(old.node)
        if new is not None and new.node:
            self._pods.setdefault(new.node, {})[key] = new
            self._own(new, 1)
            touched.append(new.node)
        return touched

    def _own(self, pod: KubePod, count: int) -> None:
        if pod.owner is not None:
            key = (pod.owner.kind, pod.namespace, pod.owner.name)
            counts = self._owning.setdefault(key, Counter())
            counts[pod.node] += count
            if not counts[pod.node]:
                del counts[pod.node]
            if not counts:
                del self._owning[key]

    def laid(self, state: NodeState) -> NodeState:
        """Return a node's state with what the API says; the state itself where it says nothing."""
        name = state.node
        objects = self._objects.get(name)
        if objects is None:
            objects = self._objects[name] = self._of(name)
        if objects is NO_OBJECTS:
            self._made.pop(name, None)
            return state
        whole, made = all(self._whole.values()), self._made.get(name)
        if made is not None and made.state is state and made.objects is objects and made.whole == whole:
            return made.result
        old = made.named if made is not None else {}
        named = _named(state, objects.kube_pods.values(), old, whole)
        netns: Mapping[NetnsKey, NetnsState] = state.netns
        if named:
            netns = {**netns, **{key: result for key, (_, _, result) in named.items()}}
        result = msgspec.structs.replace(state, netns=netns, objects=objects)
        self._made[name] = _Made(state, objects, whole, named, result)
        return result

    def forget(self, name: str) -> None:
        """Drop what was made of a node that is gone."""
        self._made.pop(name, None)
        self._objects.pop(name, None)

    def _of(self, name: str) -> Objects:
        """What the API says of one node."""
        pods, node = self._pods.get(name), self._nodes.get(name)
        if not pods and node is None:
            return NO_OBJECTS
        keys = {(pod.owner.kind, pod.namespace, pod.owner.name) for pod in (pods or {}).values() if pod.owner}
        workloads = {key: self._workloads[key] for key in keys if key in self._workloads}
        return Objects(
            kube_nodes={name: node} if node is not None else EMPTY,
            kube_pods=dict(pods or EMPTY),
            workloads=workloads,
        )


def _changed(was: Mapping[Any, Any], now: Mapping[Any, Any]) -> list[Any]:
    found = [key for key, one in now.items() if was.get(key) is not one]
    return found + [key for key in was if key not in now]


def _named_in(change: Any) -> list[Any]:
    return [*(record.key for record in change.put), *change.drop]


def _named(
    state: NodeState,
    pods: Iterable[KubePod],
    old: Mapping[NetnsKey, tuple[NetnsState, ObjectKey, NetnsState]],
    whole: bool,
) -> dict[NetnsKey, tuple[NetnsState, ObjectKey, NetnsState]]:
    """Name the namespaces that no runtime named: key -> (as it was, which pod, with its name)."""
    by_address: dict[bytes, list[KubePod]] = {}
    for pod in pods:
        if not pod.host_network and pod.phase not in ENDED:
            for ip in pod.ips:
                by_address.setdefault(ip, []).append(pod)
    found = {}
    for key, ns in state.netns.items():
        if ns.netns.root or ns.netns.pod is not None:
            continue
        having = {pod.key: pod for addr in ns.addrs.values() for pod in by_address.get(addr.addr, ())}
        if len(having) != 1:
            continue
        ((name, pod),) = having.items()
        known = old.get(key)
        if not whole and (known is None or known[1] != name):
            continue
        told = Pod(pod.name, pod.namespace, pod.uid, labels=pod.labels, source=API)
        if known is not None and known[0] is ns and known[2].netns.pod == told:
            found[key] = known
            continue
        record = msgspec.structs.replace(ns.netns, pod=told)
        found[key] = (ns, name, msgspec.structs.replace(ns, netns=record))
    return found


def named(cluster: ClusterState) -> ClusterState:
    """Lay what the API says over all nodes' states. Returns `cluster` itself where it says nothing of any."""
    overlay = Overlay()
    for source in cluster.clusters.values():
        overlay.follow(None, source)
    nodes = {name: overlay.laid(state) for name, state in cluster.nodes.items()}
    if all(state is cluster.nodes[name] for name, state in nodes.items()):
        return cluster
    return ClusterState(nodes, cluster.bodies, cluster.clusters)
