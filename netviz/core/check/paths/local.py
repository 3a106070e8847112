"""A node as its own pods and tables see it: what each record of its own namespace is about.

Records of the node's namespace are sorted by whom they speak of: one of its pods (a route to its address, an entry for
its MAC, the port of its veth), another node or its pods (`Fact`: what this node knows of that one), or everybody, which
is what the node itself is like.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from itertools import compress
from typing import Any

import msgspec

from netviz.core.check.paths.names import MIXED, NOBODY, Names, NodeNames, Prefix
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l2 import BridgeVlan, Fdb, Neigh
from netviz.core.model.l3 import Route
from netviz.core.model.link import Link
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.route.saddr import is_link_local6
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.resolve import PAIR_KINDS

Role = Hashable
NONE = -1
MAX_HELD = 400_000


class Fact(msgspec.Struct, frozen=True):
    """What a node's table says of another node: of the addresses in `prefix`, or (None) of that node's own links."""

    owner: str
    prefix: Prefix | None
    form: int


class Interner:
    """Numbers for values: equal ones have the same."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def __call__(self, value: Hashable) -> int:
        """Return a value's number."""
        return self._known.setdefault(value, len(self._known))

    def __len__(self) -> int:
        """Count the values."""
        return len(self._known)


class Local:
    """A node's namespace, its records sorted by whom they are about."""

    def __init__(self, node: NodeState, names: NodeNames, root: NetnsState) -> None:
        self.node = node
        self.names = names
        self.root = root
        self.pod_of: dict[int, NetnsKey] = {}  # the ifindex of a veth's end here -> the pod
        self.host_ends: dict[LinkKey, Link] = {}
        for key in names.pods:
            for ifindex, link in node.netns[key].links.items():
                if link.kind in PAIR_KINDS:
                    self._join(LinkKey(key, ifindex))
        self.dev_roles: dict[int, Role] = {
            ifindex: ("port",) if ifindex in self.pod_of else (link.ifname,)
            for ifindex, link in root.links.items()
        }
        self.gateways: set[bytes] = set()
        self.routes: dict[Hashable, list[Route]] = defaultdict(list)  # pod's key, or address -> its routes
        self.neighs: dict[bytes, list[Neigh]] = defaultdict(list)  # address -> entries
        self.fdb_ports: dict[int, list[Fdb]] = defaultdict(list)
        self.fdb_macs: dict[bytes, list[Fdb]] = defaultdict(list)
        # Link-local addresses are made of MACs, and known by nobody else: the device has the role.
        self.link_local = {a.addr: a.ifindex for a in root.addrs.values() if is_link_local6(a.addr)}
        self.vlans: dict[int, list[BridgeVlan]] = defaultdict(list)
        for vlan in root.vlans.values():
            self.vlans[vlan.ifindex].append(vlan)

    def _join(self, key: LinkKey) -> None:
        peer = peer_of(self.node, key).key
        if peer is not None and peer.netns == self.root.key:
            self.pod_of[peer.ifindex] = key.netns
            self.host_ends[key] = self.root.links[peer.ifindex]

    def link_local_role(self, addr: bytes) -> Role | None:
        """Return the role of one of the node's own link-local addresses; None for another address."""
        ifindex = self.link_local.get(addr)
        return ("link-local", self.dev(ifindex)) if ifindex is not None else None

    def dev(self, ifindex: int) -> Role:
        """Return a device's role: its name, or that it is a pod's port."""
        return self.dev_roles.get(ifindex, ("none",) if not ifindex else ("gone", ifindex))


def role_at(names: Names, owner: str, name: bytes) -> Role:
    """Return the role that an address or MAC has on its node: the device of its own namespace, or a pod's."""
    found = names.nodes[owner]
    if name in found.twice:
        return name
    dev = found.devs.get(name)
    return ("root", dev) if dev is not None else ("pod",)


def prefix_of(route: Route) -> Prefix:
    """Return a route's prefix."""
    return (route.dst, route.dst_len)


def owner_of(names: Names, name: bytes) -> str:
    """Return the node that has an address (4 or 16 bytes) or a MAC (6)."""
    return (names.macs if len(name) == 6 else names.addrs).get(name, NOBODY)


class Facts:
    """Reads the facts out of nodes' tables: each record once, whoever holds it.

    Thousands of nodes hold the same records, so what was read of one is found again by its identity (and the record is
    held meanwhile), up to a bound; of others by their value.
    """

    def __init__(self, names: Names, intern: Interner) -> None:
        self._names = names
        self._intern = intern
        self._read: dict[Hashable, dict[int, int]] = {}
        self._by_value: dict[Hashable, dict[Any, int]] = {}
        self._held: list[Any] = []
        self._numbers: dict[Fact, int] = {}
        self._of: dict[str, set[int]] = defaultdict(set)
        self.facts: list[Fact] = []

    def clear(self) -> None:
        """Forget what was read: names have changed."""
        self.__init__(self._names, self._intern)  # type: ignore[misc]

    @property
    def size(self) -> int:
        """How many records are remembered."""
        return len(self._held) + sum(map(len, self._by_value.values()))

    def split(self, local: Local) -> tuple[frozenset[int], list[Any]]:
        """Return the numbers of the facts of a node's tables, and the records that are none."""
        devs = tuple(sorted((i, r) for i, r in local.dev_roles.items() if r != ("port",)))
        read = self._read.setdefault(devs, {})
        by_value = self._by_value.setdefault(devs, {})
        tables: list[tuple[list[Any], list[int]]] = []
        found: set[int] = set()
        for table in (local.root.routes, local.root.neighs, local.root.fdb):
            records = list(table.values())
            numbers: list[Any] = list(map(read.get, map(id, records)))
            if None in numbers:
                for at, known in enumerate(numbers):
                    if known is None:
                        numbers[at] = self._look(local, records[at], read, by_value)
            tables.append((records, numbers))
            found.update(numbers)
        own = found & self._of[local.node.node]
        found -= own
        found.discard(NONE)
        own.add(NONE)
        rest = [r for records, numbers in tables for r in compress(records, map(own.__contains__, numbers))]
        return frozenset(found), rest

    def _look(self, local: Local, record: Any, read: dict[int, int], by_value: dict[Any, int]) -> int:
        number = by_value.get(record)
        if number is None:
            fact = self._fact(local, record)
            number = NONE
            if fact is not None:
                number = self._numbers.setdefault(fact, len(self.facts))
                if number == len(self.facts):
                    self.facts.append(fact)
                    self._of[fact.owner].add(number)
            by_value[record] = number
        if len(self._held) < MAX_HELD:
            self._held.append(record)
            read[id(record)] = number
        return number

    def _fact(self, local: Local, record: Any) -> Fact | None:
        """Read a record; None where it is about nobody or everybody."""
        names = self._names
        if isinstance(record, Route):
            prefix = prefix_of(record)
            owner = names.owner(prefix)
            if owner in (MIXED, NOBODY) or any(hop.oif in local.pod_of for hop in record.nexthops):
                return None
            return Fact(owner, prefix, self._intern(self._route(local, record, owner)))
        if isinstance(record, Neigh):
            owner = names.addrs.get(record.dst, NOBODY)
            if owner in (MIXED, NOBODY) or record.ifindex in local.pod_of:
                return None
            whom = role_at(names, owner, record.dst)
            form: Hashable = (
                "neigh",
                local.dev(record.ifindex),
                whom,
                self._role(owner, record.mac),
                record.state,
                record.flags,
            )
            prefix2 = (record.dst, len(record.dst) * 8) if whom == ("pod",) else None
            return Fact(owner, prefix2, self._intern(form))
        owner = names.macs.get(record.mac, NOBODY)
        if owner in (MIXED, NOBODY):
            owner = names.addrs.get(record.dst, NOBODY) if record.dst else NOBODY
        if owner in (MIXED, NOBODY) or record.ifindex in local.pod_of:
            return None
        form = (
            "fdb",
            local.dev(record.ifindex),
            self._role(owner, record.mac),
            self._role(owner, record.dst),
            *(record.vlan, record.state, record.flags, record.vni, record.port, record.nhid),
            local.dev(record.oif),
            local.dev(record.master),
        )
        return Fact(owner, None, self._intern(form))

    def _role(self, owner: str, name: bytes) -> Role:
        """Return a name's role with regard to a node: where it is that node's; else the name itself."""
        return role_at(self._names, owner, name) if owner_of(self._names, name) == owner else name

    def _route(self, local: Local, route: Route, owner: str) -> Hashable:
        hops = tuple(
            (local.dev(hop.oif), self._role(owner, hop.gateway), hop.weight, hop.flags, hop.encap)
            for hop in route.nexthops
        )
        whole = route.dst_len == len(route.dst) * 8
        return (
            "route",
            role_at(self._names, owner, route.dst) if whole else (),
            *(len(route.dst), route.dst_len, hops, *route_fields(route)),
            own_source(local, route.prefsrc),
        )


def own_source(local: Local, addr: bytes) -> Role:
    """Return the role of a source address that a node's route names."""
    return local.names.devs.get(addr, addr) if addr else ""


def route_fields(route: Route) -> tuple[Hashable, ...]:
    """Return what a route says beside its prefix, nexthops and source.

    Every device has a route to what is link-local; which comes first is of no matter, since whoever uses one is bound to
    a device.
    """
    pos = 0 if route.dst[:1] in (b"\xfe", b"\xff") else route.pos
    return (
        *(route.table_id, route.type, route.tos, route.metric, pos, route.scope, route.protocol),
        *(route.src, route.src_len, route.nhid, route.flags, route.mtu, route.mtu_lock, route.pref),
    )
