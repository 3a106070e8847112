"""Which nodes to look at for a name, an address or a MAC: one index over the cluster, kept up by differences.

The index only says where to look; what is there is read from that node's own indexes. It is made once
and then follows the state: a new state of the cluster is compared with the last one node by node, by
identity, and only what a changed node gained or lost is put in or taken out. It is never changed in
place, so the answers for an older state stay right: its buckets are shared until they differ.

A key that very many nodes have (a loopback's address, a service's on every node) is not followed:
all nodes are looked at for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import compress
from operator import is_not

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.index import ByIdentity
from netviz.core.sim.link.underlay_members import members_of
from netviz.core.sim.node_index import names_in
from netviz.core.state.node import NetnsState, NodeState

Key = str | bytes
Bucket = dict[Key, tuple[str, ...]]
BUCKETS = 4096
MANY = 16
EVERYWHERE = ("*",)
ARP_PROXY = b"ARP proxy"  # the key of nodes that answer ARP for others on a wire
PROMISCUOUS = b"promiscuous"  # the key of nodes with a link on a wire that takes frames for any MAC
KEPT = 8


def build_keys(netns: Mapping[NetnsKey, NetnsState]) -> frozenset[Key]:
    """Collect what a node may be looked for by: pods, namespaces, addresses, and MACs on wires."""
    members = members_of(netns)
    keys = names_in(netns)
    keys.update([member.mac for member in members.all])
    if members.proxies:
        keys.add(ARP_PROXY)
    if members.promiscuous:
        keys.add(PROMISCUOUS)
    return frozenset(keys)


keys_of: ByIdentity[Mapping[NetnsKey, NetnsState], frozenset[Key]] = ByIdentity(build_keys)


class ClusterIndex(msgspec.Struct, frozen=True, gc=False):
    """An index and the nodes that it was made for."""

    nodes: Mapping[str, NodeState]
    buckets: list[Bucket]

    def names(self, key: Key) -> tuple[str, ...]:
        """Return the nodes that may have a key, in order; EVERYWHERE when that is too many to say."""
        return self.buckets[hash(key) % BUCKETS].get(key, ())


class _Change:
    """A copy of an index under way: buckets are copied when they are first written to."""

    def __init__(self, buckets: list[Bucket]) -> None:
        self.buckets = list(buckets)
        self._own: set[int] = set()

    def bucket(self, key: Key) -> Bucket:
        at = hash(key) % BUCKETS
        if at not in self._own:
            self._own.add(at)
            self.buckets[at] = dict(self.buckets[at])
        return self.buckets[at]

    def add(self, keys: Iterable[Key], name: str) -> None:
        alone = (name,)
        for key in keys:
            bucket = self.bucket(key)
            known = bucket.get(key)
            if known is None:
                bucket[key] = alone
            elif known != EVERYWHERE and name not in known:
                bucket[key] = EVERYWHERE if len(known) >= MANY else tuple(sorted((*known, name)))

    def remove(self, key: Key, name: str) -> None:
        bucket = self.bucket(key)
        known = bucket.get(key, ())
        if name in known:
            left = tuple(other for other in known if other != name)
            if left:
                bucket[key] = left
            else:
                del bucket[key]


def _follow(last: ClusterIndex, nodes: Mapping[str, NodeState]) -> ClusterIndex:
    """Make the index of `nodes` out of another state's."""
    nothing: frozenset[Key] = frozenset()
    changed = list(compress(nodes.items(), map(is_not, nodes.values(), map(last.nodes.get, nodes))))
    gone = (
        [name for name in last.nodes if name not in nodes]
        if len(last.nodes) + len(changed) > len(nodes)
        else []
    )
    change = _Change(last.buckets)
    for name, node in changed:
        old = last.nodes.get(name)
        if old is not None and old.netns is node.netns:
            continue
        was, now = keys_of(old.netns) if old is not None else nothing, keys_of(node.netns)
        for key in was - now:
            change.remove(key, name)
        change.add(now - was, name)
    for name in gone:
        for key in keys_of(last.nodes[name].netns):
            change.remove(key, name)
    return ClusterIndex(nodes, change.buckets)


_EMPTY = ClusterIndex({}, [{}] * BUCKETS)
# The indexes made last, newest at the end: replaced as a whole, so that threads need no lock.
_kept: tuple[ClusterIndex, ...] = ()


def cluster_index(nodes: Mapping[str, NodeState]) -> ClusterIndex:
    """Find or make the index of a cluster's nodes."""
    global _kept
    for index in reversed(_kept):
        if index.nodes is nodes:
            return index
    alike = [index for index in _kept if _akin(index.nodes, nodes)]
    index = _follow(alike[-1] if alike else _EMPTY, nodes)
    _kept = (*_kept[1 - KEPT :], index)
    return index


def _akin(one: Mapping[str, NodeState], other: Mapping[str, NodeState]) -> bool:
    """Tell whether two states are of one cluster, by whether some node of the smaller is as it was in the other."""
    small, large = sorted((one, other), key=len)
    return any(large.get(name) is node for name, node in small.items())


def candidates(nodes: Mapping[str, NodeState], key: Key) -> Iterable[NodeState]:
    """List the nodes that may have a key, by name."""
    names = cluster_index(nodes).names(key)
    if names == EVERYWHERE:
        return [nodes[name] for name in sorted(nodes)]
    return [nodes[name] for name in names]
