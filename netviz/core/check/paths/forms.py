"""Pods and nodes in canonical form: what a packet could meet there, with roles for their own names.

Two places of the same form answer every question of the simulator alike, up to those names. A form is a tuple of plain
values; its `marks` are the names of others that stand in it as they are (a neighbour entry for another pod, an address
that two have): who has such a name is not like anybody else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import msgspec

from netviz.core.check.paths.local import Local, Role, route_fields
from netviz.core.check.paths.names import MIXED, NOBODY, Names, bounds, is_loopback, own_addrs
from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NTF_PROXY, NUD_FAILED, Fdb, Neigh
from netviz.core.model.l3 import Addr, Route
from netviz.core.model.link import Link
from netviz.core.sim.index import Index
from netviz.core.sim.node_index import resolve_lower_of
from netviz.core.state.node import NetnsState
from netviz.core.state.resolve import PAIR_KINDS
from netviz.core.state.section import EMPTY

# Sections that have no name of a pod or node in them, or none that isn't kept as it is.
PLAIN = ("rules", "nexthops", "sysctls", "nft_tables", "nft_objects", "xt_tables", "nfaccts", "ipvs")
IN_PODS = (*PLAIN, "vlans", "fdb", "nft_chains", "nft_sets", "xt_chains", "ipsets")
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def _digest(section: Mapping[Any, Any]) -> int:
    return hash(tuple(sorted(map(_encoder.encode, section.values()))))


_content: Index[Mapping[Any, Any], int] = Index(_digest)


def content(ns: NetnsState, names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Digest sections as they are; empty ones are left out."""
    return tuple(
        (name, _content(section)) for name in names if (section := getattr(ns, name)) is not EMPTY and section
    )


class Form(msgspec.Struct, frozen=True):
    """A canonical form: its number, and the names of others in it."""

    number: int
    marks: frozenset[bytes]


def link_fields(link: Link) -> tuple[Hashable, ...]:
    """Return what a link is like, but for its names and those of others in it."""
    return (
        *(
            link.kind,
            link.arptype,
            link.flags,
            link.operstate,
            link.mtu,
            link.group,
            link.port,
            link.bond_slave,
        ),
        *(link.slave_kind, link.xdp, link.tc, link.ipv4, link.ipv6),
    )


class PodForms:
    """Makes the forms of one node's pods."""

    def __init__(self, local: Local, names: Names) -> None:
        self.local = local
        self.names = names

    def form(self, ns: NetnsState) -> tuple[Hashable, frozenset[bytes]]:
        """Return a pod's form and its marks."""
        marks: set[bytes] = set()
        own: dict[bytes, Role] = {}
        order = sorted(ns.links.values(), key=lambda link: link.ifindex)
        places = _Places({link.ifindex: place for place, link in enumerate(order)})
        for link in order:
            if link.mac and any(link.mac):
                own[link.mac] = self._own_name(link.mac, ("mac", places[link.ifindex]), marks)
        for number, addr in enumerate(ns.addrs.values()):
            self._add_addr(own, addr, number, marks)
        role = _Roles(self, own, marks)
        links = tuple(self._link(ns, link, places, role) for link in order)
        addrs = tuple(
            sorted(
                (
                    str(places.get(a.ifindex)),
                    len(a.addr),
                    a.prefixlen,
                    a.scope,
                    a.flags,
                    str(own.get(a.addr, "")),
                    bool(a.peer),
                )
                for a in ns.addrs.values()
            )
        )
        gateways = {hop.gateway for route in ns.routes.values() for hop in route.nexthops if hop.gateway}
        routes = frozenset(_route(route, places, role) for route in ns.routes.values())
        neighs = frozenset(
            found for entry in ns.neighs.values() if (found := self._neigh(entry, places, role, gateways))
        )
        form = (links, addrs, routes, neighs, self._listeners(ns, role), content(ns, IN_PODS), gaps_of(ns))
        return (form, self._outside(ns, role)), frozenset(marks)

    def _own_name(self, name: bytes, role: Role, marks: set[bytes]) -> Role:
        """Return a name's role; the name itself, marked, where somebody else has it too."""
        table = self.names.macs if len(name) == 6 else self.names.addrs
        if table.get(name) == MIXED or name in self.local.names.twice:
            marks.add(name)
            return name
        return role

    def _add_addr(self, own: dict[bytes, Role], addr: Addr, number: int, marks: set[bytes]) -> None:
        full = len(addr.addr) * 8
        if is_loopback(addr.addr):
            return
        own[addr.addr] = self._own_name(addr.addr, ("me", len(addr.addr), number), marks)
        if addr.prefixlen < full - 1:
            low, high = bounds((addr.addr, addr.prefixlen))
            own.setdefault(low, ("net", number))
            own.setdefault(high, ("all", number))

    def _link(self, ns: NetnsState, link: Link, places: _Places, role: _Roles) -> Hashable:
        joined: Hashable = ()
        if link.kind in PAIR_KINDS:
            joined = self._host_end(ns, link, role)
        elif link.link:
            lower = resolve_lower_of(self.local.node, _key(ns, link))
            joined = (
                self.local.dev(lower.ifindex)
                if lower is not None and lower.netns == self.local.root.key
                else str(lower)
            )
        return (link.ifname, *link_fields(link), places.get(link.master), role(link.mac), link.info, joined)

    def _host_end(self, ns: NetnsState, link: Link, role: _Roles) -> Hashable:
        """Describe the node's end of a pod's veth: the port, and the entries that lead to it or name the pod's MAC."""
        local = self.local
        end = local.host_ends.get(_key(ns, link))
        if end is None:
            return ("unresolved", link.link_nsid is None)
        role.own.setdefault(end.mac, self._own_name(end.mac, ("host mac",), role.marks))
        entries = {
            id(e): e for e in (*local.fdb_ports.get(end.ifindex, ()), *local.fdb_macs.get(link.mac, ()))
        }
        fdb = frozenset(_fdb(local, entry, end, role) for entry in entries.values())
        vlans = tuple(sorted((v.vid, v.pvid, v.untagged, v.state) for v in local.vlans.get(end.ifindex, ())))
        return (
            "host",
            local.dev(end.master) if end.master else (),
            *link_fields(end),
            role(end.mac),
            fdb,
            vlans,
        )

    def _outside(self, ns: NetnsState, role: _Roles) -> Hashable:
        """Describe what the node's own namespace says of a pod: routes and neighbours to it."""
        local = self.local
        routes = {id(r): r for r in local.routes.get(ns.key, ())}
        neighs: dict[int, Neigh] = {id(n): n for n in local.neighs.get(ns.key, ())}  # type: ignore[call-overload]
        for addr in own_addrs(ns):
            routes |= {id(r): r for r in local.routes.get(addr, ())}
            neighs |= {id(n): n for n in local.neighs.get(addr, ())}
        return (
            frozenset(_route(route, _Devs(local), role) for route in routes.values()),
            frozenset(
                (local.dev(n.ifindex), role(n.dst), role(n.mac), n.state, n.flags) for n in neighs.values()
            ),
        )

    def _neigh(self, entry: Neigh, places: _Places, role: _Roles, gateways: set[bytes]) -> Hashable | None:
        """Describe a pod's neighbour entry; one for another pod that says what is so is nobody's difference."""
        where = places.get(entry.ifindex)
        if entry.dst in gateways or entry.flags & NTF_PROXY:
            return (where, role(entry.dst), role(entry.mac), entry.state, entry.flags)
        if entry.state & NUD_FAILED:
            return None
        owner = self.names.addrs.get(entry.dst, NOBODY)
        if owner == NOBODY:
            return None
        there = self.names.nodes[owner] if owner != MIXED else None
        if there is not None and there.macs.get(entry.mac) == there.addrs.get(entry.dst):
            return None
        return (where, role(entry.dst), role(entry.mac), entry.state, entry.flags)

    def _listeners(self, ns: NetnsState, role: _Roles) -> Hashable:
        """Describe the sockets that take what is new, on the lowest port of each protocol."""
        taking = [s for s in ns.sockets.values() if s.takes_new]
        lowest = {
            proto: min(s.sport for s in taking if s.proto == proto) for proto in {s.proto for s in taking}
        }
        return frozenset(
            (s.proto, s.sport, role(s.src), bool(s.ifindex), s.v6only, s.state, bool(s.dport), s.transparent)
            for s in taking
            if s.sport == lowest[s.proto]
        )


class _Roles:
    """Names as a pod has them: its own as roles, its node's by device, all others as they are."""

    def __init__(self, forms: PodForms, own: dict[bytes, Role], marks: set[bytes]) -> None:
        self.own = own
        self.marks = marks
        self._devs = forms.local.names.devs
        self._twice = forms.local.names.twice
        self._names = forms.names
        self._link_local = forms.local.link_local_role

    def __call__(self, name: bytes) -> Role:
        if not name:
            return ""
        found = self.own.get(name)
        if found is not None:
            return found
        known = (self._names.macs if len(name) == 6 else self._names.addrs).get(name)
        if known is None:
            return self._link_local(name) or name
        dev = self._devs.get(name) if known != MIXED and name not in self._twice else None
        if dev is not None:
            return ("root", dev)
        self.marks.add(name)
        return name


class _Places(dict[int, int]):
    """A namespace's devices by ifindex, as places in their order: "" is no device, one that isn't known "gone"."""

    def get(self, ifindex: int, default: Any = None) -> Any:
        """Return a device's place."""
        return super().get(ifindex, "gone" if ifindex else "")


class _Devs:
    """The devices of a node's own namespace by ifindex, as a mapping's `get` gives them."""

    def __init__(self, local: Local) -> None:
        self.get = local.dev


def _key(ns: NetnsState, link: Link) -> LinkKey:
    return LinkKey(ns.key, link.ifindex)


def _route(route: Route, places: Any, role: Any) -> Hashable:
    hops = tuple(
        (places.get(hop.oif), role(hop.gateway), hop.weight, hop.flags, hop.encap) for hop in route.nexthops
    )
    return (role(route.dst), route.dst_len, hops, *route_fields(route), role(route.prefsrc))


def _fdb(local: Local, entry: Fdb, end: Link, role: Any) -> Hashable:
    return (
        "here" if entry.ifindex == end.ifindex else local.dev(entry.ifindex),
        role(entry.mac),
        role(entry.dst),
        *(entry.vlan, entry.state, entry.flags, entry.vni, entry.port),
        local.dev(entry.master),
    )


def gaps_of(ns: NetnsState) -> Hashable:
    limit = ns.sysctls.get("net.netfilter.nf_conntrack_max")
    full = limit is not None and 0 < limit.value <= len(ns.conntrack)
    return (tuple(gap.section for gap in ns.gaps), full)
