"""Who has which address and MAC: what makes two places of a cluster the same but for their names.

One registry for the whole cluster, kept up by differences of single nodes. A prefix belongs to a node if all known
addresses in it are that node's; so it says which entries of a table are about whom.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import RT_SCOPE_HOST
from netviz.core.model.link import IFF_LOOPBACK
from netviz.core.sim.index import Index
from netviz.core.sim.node_index import outside
from netviz.core.sim.route.saddr import LOOPBACK6, is_link_local6
from netviz.core.state.node import NetnsState

Prefix = tuple[bytes, int]
MIXED, NOBODY = "*", ""


class NodeNames(msgspec.Struct, frozen=True):
    """A node's names: its addresses and MACs, each with the namespace, and which namespaces are pods' (in key order).

    `devs` names the device of each address and MAC of the node's own namespace; `twice` are those that two of its
    namespaces have.
    """

    root: NetnsKey | None
    pods: tuple[NetnsKey, ...]
    addrs: dict[bytes, NetnsKey]
    macs: dict[bytes, NetnsKey]
    devs: dict[bytes, str]
    twice: frozenset[bytes]


def is_pod(ns: NetnsState) -> bool:
    """Tell whether a namespace is a pod's: it has a name of one, or is nobody's own but has a network."""
    return not ns.netns.root and not outside(ns.key) and ns.netns.pod is not None


def _held_addrs(ns: NetnsState) -> list[bytes]:
    """List the addresses that a namespace takes packets for, on any link; those of one link or of the loopback left out."""
    return [a.addr for a in ns.addrs.values() if not is_loopback(a.addr) and not is_link_local6(a.addr)]


def is_loopback(addr: bytes) -> bool:
    """Tell whether an address is every host's own: 127.0.0.0/8 or ::1."""
    return addr[0] == 127 if len(addr) == 4 else addr == LOOPBACK6


def own_addrs(ns: NetnsState) -> list[bytes]:
    """List the addresses by which others know a namespace: without its loopback's and those of one link alone."""
    links = ns.links
    return [
        addr.addr
        for addr in ns.addrs.values()
        if addr.scope != RT_SCOPE_HOST
        and not is_link_local6(addr.addr)
        and not ((link := links.get(addr.ifindex)) is not None and link.flags & IFF_LOOPBACK)
    ]


def build_names(netns: Mapping[NetnsKey, NetnsState]) -> NodeNames:
    """Collect a node's names."""
    root, pods = None, []
    devs: dict[bytes, str] = {}
    addrs: dict[bytes, NetnsKey] = {}
    macs: dict[bytes, NetnsKey] = {}
    twice: set[bytes] = set()
    for key, ns in sorted(netns.items()):
        if outside(key):
            continue
        if ns.netns.root:
            root = key
        elif is_pod(ns):
            pods.append(key)
        for addr in _held_addrs(ns):
            if addrs.setdefault(addr, key) != key:
                twice.add(addr)
        for link in ns.links.values():
            if link.mac and any(link.mac) and macs.setdefault(link.mac, key) != key:
                twice.add(link.mac)
        if ns.netns.root:
            devs = _devs(ns)
    return NodeNames(root, tuple(pods), addrs, macs, devs, frozenset(twice))


def _devs(ns: NetnsState) -> dict[bytes, str]:
    """Name the devices of a node's own addresses and MACs; a MAC that several have, as a bond's slaves, names all."""
    devs: dict[bytes, str] = {}
    for link in sorted(ns.links.values(), key=lambda link: link.ifname):
        if link.mac and any(link.mac):
            devs[link.mac] = f"{devs[link.mac]}+{link.ifname}" if link.mac in devs else link.ifname
    for addr in ns.addrs.values():
        if (holder := ns.links.get(addr.ifindex)) is not None:
            devs[addr.addr] = holder.ifname
    return devs


names_in: Index[Mapping[NetnsKey, NetnsState], NodeNames] = Index(build_names)


class Names:
    """The registry: address -> node, MAC -> node; `MIXED` where several nodes have it."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeNames] = {}
        self.addrs: dict[bytes, str] = {}
        self.macs: dict[bytes, str] = {}
        self._several: dict[bytes, set[str]] = {}
        self._sorted: dict[int, list[bytes]] = {4: [], 16: []}
        self._owners: dict[Prefix, str] = {}

    def put(self, node: str, now: NodeNames | None) -> frozenset[bytes]:
        """Take in a node's names (None: it is gone). Returns the addresses and MACs that changed their owner."""
        was = self.nodes.get(node)
        if now is None:
            self.nodes.pop(node, None)
        else:
            self.nodes[node] = now
        changed: set[bytes] = set()
        for table, before, after in (
            (self.addrs, was.addrs if was else {}, now.addrs if now else {}),
            (self.macs, was.macs if was else {}, now.macs if now else {}),
        ):
            if before.keys() == after.keys():
                continue
            for name in before.keys() - after.keys():
                self._remove(table, name, node)
                changed.add(name)
            for name in after.keys() - before.keys():
                self._add(table, name, node)
                changed.add(name)
        return frozenset(changed)

    def _add(self, table: dict[bytes, str], name: bytes, node: str) -> None:
        known = table.setdefault(name, node)
        if known == node:
            if table is self.addrs:
                insort(self._sorted[len(name)], name)
                self._forget(name)
            return
        self._several.setdefault(name, {known}).add(node)
        table[name] = MIXED
        self._forget(name)

    def _remove(self, table: dict[bytes, str], name: bytes, node: str) -> None:
        several = self._several.get(name)
        if several is not None:
            several.discard(node)
            if len(several) == 1:
                table[name] = several.pop()
                del self._several[name]
        else:
            del table[name]
            if table is self.addrs:
                ordered = self._sorted[len(name)]
                del ordered[bisect_left(ordered, name)]
        self._forget(name)

    def _forget(self, name: bytes) -> None:
        """Forget whose the prefixes are that an address lies in."""
        if self._owners and len(name) in (4, 16):
            self._owners = {
                prefix: owner for prefix, owner in self._owners.items() if not covers(prefix, name)
            }

    def load(self, nodes: Mapping[str, NodeNames]) -> None:
        """Take in many nodes at once, in place of all that was known."""
        self.__init__()  # type: ignore[misc]
        self.nodes = dict(nodes)
        for node, names in nodes.items():
            for table, own in ((self.addrs, names.addrs), (self.macs, names.macs)):
                for name in own:
                    known = table.setdefault(name, node)
                    if known != node:
                        self._several.setdefault(name, {known}).add(node)
                        table[name] = MIXED
        for name in sorted(self.addrs):
            self._sorted[len(name)].append(name)

    def several(self, name: bytes) -> frozenset[str]:
        """Return the nodes that have a name that several have."""
        return frozenset(self._several.get(name, ()))

    def in_prefix(self, prefix: Prefix) -> list[bytes]:
        """List the known addresses in a prefix, in order."""
        low, high = bounds(prefix)
        ordered = self._sorted[len(low)]
        start = bisect_left(ordered, low)
        end = start
        while end < len(ordered) and ordered[end] <= high:
            end += 1
        return ordered[start:end]

    def owner(self, prefix: Prefix) -> str:
        """Return the node that has all known addresses of a prefix; MIXED, or NOBODY where none is known."""
        found = self._owners.get(prefix)
        if found is None:
            found = self._owners[prefix] = self._find_owner(prefix)
        return found

    def _find_owner(self, prefix: Prefix) -> str:
        addr, length = prefix
        if length == len(addr) * 8:
            return self.addrs.get(addr, NOBODY)
        low, high = bounds(prefix)
        ordered = self._sorted[len(low)]
        at = bisect_left(ordered, low)
        found = NOBODY
        while at < len(ordered) and ordered[at] <= high:
            node = self.addrs[ordered[at]]
            if node == MIXED or (found and node != found):
                return MIXED
            found = node
            at += 1
        return found


def bounds(prefix: Prefix) -> tuple[bytes, bytes]:
    """Return the first and the last address of a prefix."""
    addr, length = prefix
    host = (1 << len(addr) * 8 - length) - 1
    low = int.from_bytes(addr, "big") & ~host
    return low.to_bytes(len(addr), "big"), (low | host).to_bytes(len(addr), "big")


def covers(prefix: Prefix, addr: bytes) -> bool:
    """Tell whether an address lies in a prefix."""
    if len(prefix[0]) != len(addr):
        return False
    low, high = bounds(prefix)
    return low <= addr <= high
