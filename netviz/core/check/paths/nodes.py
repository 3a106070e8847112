"""A node in canonical form: all of its own namespace that is about no single pod and no other node."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from netviz.core.check.paths.forms import PLAIN, PodForms, content, gaps_of, link_fields
from netviz.core.check.paths.local import Local, Role, route_fields
from netviz.core.check.paths.names import MIXED, NOBODY, Names, bounds, covers
from netviz.core.check.paths.rulesets import Range
from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NTF_PROXY, Fdb, Neigh
from netviz.core.model.l3 import Route
from netviz.core.sim.node_index import TUNNEL_KINDS, outside, resolve_lower_of
from netviz.core.state.resolve import PAIR_KINDS


class NodeForm(msgspec.Struct, frozen=True):
    """A node's form, the names of others in it, and the address ranges that it tells packets apart by."""

    form: Hashable
    marks: frozenset[bytes]
    ranges: frozenset[Range]
    own_ranges: tuple[Range, ...]


class Nodes:
    """Makes one node's form."""

    def __init__(self, local: Local, names: Names, probes: tuple[bytes, ...]) -> None:
        self.local = local
        self.names = names
        self.probes = probes
        self.marks: set[bytes] = set()
        self.ranges: set[Range] = set()
        self.own: dict[Range, None] = {}
        self.gateways = {
            hop.gateway for route in local.root.routes.values() for hop in route.nexthops if hop.gateway
        }

    def take(self, records: Iterable[Any]) -> Hashable:
        """Sort the records that are about no other node: those of pods are put where they belong, the rest returned."""
        found: list[Hashable] = []
        for record in records:
            if isinstance(record, Route):
                form = self._take_route(record)
            elif isinstance(record, Neigh):
                form = self._take_neigh(record)
            else:
                form = self._take_fdb(record)
            if form is not None:
                found.append(form)
        return frozenset(found)

    def _take_route(self, route: Route) -> Hashable | None:
        local, names = self.local, self.names
        ports = {pod for hop in route.nexthops if (pod := local.pod_of.get(hop.oif)) is not None}
        if len(ports) == 1:
            local.routes[next(iter(ports))].append(route)
            return None
        whole = route.dst_len == len(route.dst) * 8
        owner = names.owner((route.dst, route.dst_len))
        own_addr = local.names.addrs.get(route.dst) if whole else None
        if own_addr is not None and own_addr != local.root.key:
            local.routes[route.dst].append(route)
            return None
        if owner == NOBODY and not self._matters(route):
            return None
        dst: Role = ("own",)
        if owner == local.node.node and whole:
            dst = ("root", local.names.devs.get(route.dst))
        elif owner == local.node.node:
            self.own[bounds((route.dst, route.dst_len))] = None
        else:
            dst = self.local.link_local_role(route.dst) or route.dst
            self.ranges.add(bounds((route.dst, route.dst_len)))
        hops = tuple(
            (local.dev(hop.oif), self.role(hop.gateway), hop.weight, hop.flags, hop.encap)
            for hop in route.nexthops
        )
        return (
            "route",
            dst,
            len(route.dst),
            route.dst_len,
            hops,
            *route_fields(route),
            self.role(route.prefsrc),
        )

    def _matters(self, route: Route) -> bool:
        """Tell whether a route to nobody known can be looked up at all: for a probe, or for an address of a link."""
        prefix = (route.dst, route.dst_len)
        return route.dst[:2] in (b"\xfe\x80", b"\x7f\0") or any(covers(prefix, addr) for addr in self.probes)

    def _take_neigh(self, entry: Neigh) -> Hashable | None:
        local = self.local
        pod = local.pod_of.get(entry.ifindex)
        own = local.names.addrs.get(entry.dst)
        if own is not None and own != local.root.key:
            local.neighs[entry.dst].append(entry)
            return None
        if pod is not None:
            local.neighs[pod].append(entry)  # type: ignore[index]
            return None
        known = self.names.addrs.get(entry.dst)
        if known is None and entry.dst not in self.gateways and not entry.flags & NTF_PROXY:
            return None
        return (
            "neigh",
            local.dev(entry.ifindex),
            self.role(entry.dst),
            self.role(entry.mac),
            entry.state,
            entry.flags,
        )

    def _take_fdb(self, entry: Fdb) -> Hashable | None:
        local = self.local
        own = local.names.macs.get(entry.mac)
        ours = own is not None and own != local.root.key
        if ours:
            local.fdb_macs[entry.mac].append(entry)
        if entry.ifindex in local.pod_of:
            local.fdb_ports[entry.ifindex].append(entry)
            return None
        if ours or (own is None and not entry.dst and not any(entry.mac) and not entry.nhid):
            return None
        if own is None and not entry.dst and self.names.macs.get(entry.mac) is None:
            return None
        return (
            *("fdb", local.dev(entry.ifindex), self.role(entry.mac), self.role(entry.dst), entry.vlan),
            *(
                entry.state,
                entry.flags,
                entry.vni,
                entry.port,
                entry.nhid,
                local.dev(entry.oif),
                local.dev(entry.master),
            ),
        )

    def role(self, name: bytes) -> Role:
        """Return the role of a name in the node's own namespace."""
        if not name:
            return ""
        known = (self.names.macs if len(name) == 6 else self.names.addrs).get(name)
        if known is None:
            return self.local.link_local_role(name) or name
        if known != MIXED and name not in self.local.names.twice:
            dev = self.local.names.devs.get(name)
            if dev is not None:
                return ("root", dev)
        self.marks.add(name)
        return name

    def links(self) -> Hashable:
        """Describe the links that are no pod's port."""
        local, found = self.local, []
        for ifindex, link in local.root.links.items():
            if ifindex in local.pod_of:
                continue
            info = link.info
            lower: Hashable = ()
            if info is not None:
                fields = msgspec.structs.asdict(info)
                info = tuple(  # type: ignore[assignment]
                    (name, local.dev(value) if name in ("link", "active_slave") else self._plain(value))
                    for name, value in fields.items()
                )
            if link.link and link.kind not in PAIR_KINDS:
                key = resolve_lower_of(local.node, LinkKey(local.root.key, ifindex))
                lower = (
                    local.dev(key.ifindex) if key is not None and key.netns == local.root.key else str(key)
                )
            vlans = tuple(sorted((v.vid, v.pvid, v.untagged, v.state) for v in local.vlans.get(ifindex, ())))
            shared = self.role(link.mac) if any(link.mac) else ""
            found.append(
                (link.ifname, *link_fields(link), local.dev(link.master), info, lower, vlans, shared)
            )
        return frozenset(found)

    def _plain(self, value: Any) -> Hashable:
        return self.role(value) if isinstance(value, bytes) and len(value) in (4, 16) else value

    def addrs(self) -> Hashable:
        """Describe the node's own addresses."""
        local = self.local
        return tuple(
            sorted(
                (
                    str(local.dev(a.ifindex)),
                    len(a.addr),
                    a.prefixlen,
                    a.scope,
                    a.flags,
                    str(self.role(a.addr)),
                    bool(a.peer),
                )
                if a.scope != 254
                else (str(local.dev(a.ifindex)), len(a.addr), a.prefixlen, a.scope, a.flags, "", False)
                for a in local.root.addrs.values()
            )
        )

    def policy_rules(self) -> Hashable:
        """Describe the policy rules; a source or destination is a range that tells packets apart."""
        found = []
        for rule in self.local.root.rules.values():
            ends: list[Hashable] = []
            for addr, length in ((rule.src, rule.src_len), (rule.dst, rule.dst_len)):
                if not addr:
                    ends.append(())
                elif self.names.owner((addr, length)) == self.local.node.node:
                    self.own[bounds((addr, length))] = None
                    ends.append(("own", length))
                else:
                    self.ranges.add(bounds((addr, length)))
                    ends.append((addr, length))
            found.append((msgspec.structs.replace(rule, src=b"", dst=b"", src_len=0, dst_len=0), *ends))
        return frozenset(found)

    def others(self) -> Hashable:
        """Describe the namespaces beside the node's own and its pods', and what its services are to the cluster."""
        local = self.local
        known = {local.root.key, *local.names.pods}
        forms = PodForms(local, self.names)
        found = []
        for key, ns in local.node.netns.items():
            if key not in known and not outside(key) and len(ns.links) > 1:
                form, marks = forms.form(ns)
                self.marks |= marks
                found.append(form)
        services = frozenset(
            service.addr for service in local.root.ipvs.values() if service.addr in self.names.addrs
        )
        self.marks |= services
        infos = (link.info for link in local.root.links.values() if link.kind in TUNNEL_KINDS)
        ports = {getattr(info, "port", 0) or getattr(info, "listen_port", 0) for info in infos}
        sockets = frozenset(
            (s.proto, s.sport) for s in local.root.sockets.values() if s.proto == 17 and s.sport in ports
        )
        return (frozenset(found), services, sockets)

    def status(self) -> Hashable:
        """Describe how much of the node is known."""
        node = self.local.node
        return frozenset(
            (n, s.whole, s.past, bool(s.shed)) for n, s in node.status.items() if not s.complete or s.shed
        )


def node_form(maker: Nodes, rest: Iterable[Any]) -> NodeForm:
    """Make a node's form. `rest` are the records of its tables that are about no other node."""
    local = maker.local
    tables = maker.take(rest)
    held = (
        frozenset(name for name in local.names.addrs if maker.names.addrs.get(name) == MIXED)
        | local.names.twice
    )
    maker.marks |= held
    plain = tuple(name for name in PLAIN if name not in ("rules", "ipvs", "nft_tables"))
    form = (
        *(tables, maker.links(), maker.addrs(), maker.policy_rules(), maker.others(), maker.status()),
        *(content(local.root, plain), gaps_of(local.root), held),
    )
    return NodeForm(form, frozenset(maker.marks), frozenset(maker.ranges), tuple(maker.own))
