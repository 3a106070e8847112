"""Which nodes to look at for a name, an address or a MAC: one index over the cluster, kept up by differences.

The index only says where to look; what is there is read from that node's own indexes. It is made once
and then follows the state: a new state of the cluster is compared with the last one node by node, by
identity, and only what a changed node gained or lost is put in or taken out. It is never changed in
place, so the answers for an older state stay right: its buckets are shared until they differ. The last
indexes are remembered for those that follow; of the states that they were made for they keep nothing but
the keys.

A key that very many nodes have (a loopback's address, a service's on every node) is not followed:
all nodes are looked at for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import compress, repeat
from operator import call, is_not
from weakref import ReferenceType, ref

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.index import Index
from netviz.core.sim.link.underlay_members import members_of
from netviz.core.sim.node_index import names_in, names_of
from netviz.core.sim.one_read import one_read
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


keys_of: Index[Mapping[NetnsKey, NetnsState], frozenset[Key]] = Index(build_keys)


class ClusterIndex(msgspec.Struct, frozen=True):
    """An index: which nodes have a key, by the key's hash; and what it was made for, node by node.

    `seen` has the state of each node, as long as that lives, and `keys` its keys.
    """

    seen: dict[str, ReferenceType[NodeState]]
    keys: dict[str, frozenset[Key]]
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


def _differing(last: ClusterIndex, nodes: Mapping[str, NodeState]) -> list[tuple[str, NodeState]]:
    """List the nodes whose state isn't the one that an index was made for."""
    were = map(call, map(last.seen.get, nodes, repeat(_nothing)))
    return list(compress(nodes.items(), map(is_not, nodes.values(), were)))


def _nothing() -> None:
    """Stand for the state of a node that an index doesn't know."""


def _follow(last: ClusterIndex, nodes: Mapping[str, NodeState]) -> ClusterIndex:
    """Make the index of `nodes` out of another state's."""
    nothing: frozenset[Key] = frozenset()
    seen, keys, change = dict(last.seen), dict(last.keys), _Change(last.buckets)
    for name, node in _differing(last, nodes):
        was, now = keys.get(name, nothing), keys_of(node.netns)
        seen[name], keys[name] = ref(node), now
        if was is now:
            continue
        for key in was - now:
            change.remove(key, name)
        change.add(now - was, name)
    for name in [name for name in seen if name not in nodes] if len(seen) > len(nodes) else ():
        del seen[name]
        for key in keys.pop(name):
            change.remove(key, name)
    return ClusterIndex(seen, keys, change.buckets)


_EMPTY = ClusterIndex({}, {}, [{}] * BUCKETS)
# The indexes made last, newest at the end: replaced as a whole, so that threads need no lock.
_kept: tuple[ClusterIndex, ...] = ()


def _build(nodes: Mapping[str, NodeState]) -> ClusterIndex:
    """Make the index of a cluster's nodes by the last one that is akin."""
    global _kept
    index = _follow(next((last for last in reversed(_kept) if _akin(last, nodes)), _EMPTY), nodes)
    _kept = (*_kept[1 - KEPT :], index)
    return index


def _akin(last: ClusterIndex, nodes: Mapping[str, NodeState]) -> bool:
    """Tell whether an index was made for a state of the same cluster, by whether some node is as it was."""
    if len(nodes) < len(last.seen):
        return any(last.seen.get(name, _nothing)() is node for name, node in nodes.items())
    return any(seen() is not None and seen() is nodes.get(name) for name, seen in last.seen.items())


cluster_index: Index[Mapping[str, NodeState], ClusterIndex] = Index(_build)


@one_read()
def names_for(nodes: Mapping[str, NodeState], key: Key) -> tuple[str, ...]:
    """Name the nodes that may have a key, in order; EVERYWHERE when that is too many to say."""
    return cluster_index(nodes).names(key)


def candidates(nodes: Mapping[str, NodeState], key: Key) -> Iterable[NodeState]:
    """List the nodes that may have a key, by name."""
    names = names_for(nodes, key)
    if names == EVERYWHERE:
        return [nodes[name] for name in sorted(nodes)]
    return [nodes[name] for name in names]


def having_addr(nodes: Mapping[str, NodeState], addr: bytes) -> list[NetnsState]:
    """List the namespaces that have an address, node by node."""
    found = candidates(nodes, addr)
    return [node.netns[key] for node in found for key in names_of(node.netns).addrs.get(addr, ())]
