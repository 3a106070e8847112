"""What the kernel announces on rtnetlink, folded into changes; and what it doesn't announce.

An event that says all there is to say is folded in at once: a link, an address, a neighbour, a
forwarding entry, a route without siblings. The rest makes its section dirty, to be read again.
Not announced, and therefore looked for:

- IPv4 routes and nexthop objects vanish, die or come alive with their device, and IPv4 routes
  vanish with their preferred source address (fib_sync_down_dev, fib_sync_down_addr, fib_sync_up in
  net/ipv4/fib_semantics.c): read again when a route in the state names the device or the address.
- A forwarding entry that moves to another port is announced at the new one only (br_fdb_update in
  net/bridge/br_fdb.c).
- Proxies, most per-device settings and a bridge's own settings through sysfs: every event
  settles its section (a comparison a second later), and the audit finds the rest.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from agents.collectors.base import Host, NetnsHandle
from agents.netlink.addr import RTM_DELADDR, RTM_NEWADDR, parse_addr
from agents.netlink.link import (
    AF_UNSPEC,
    IFINFOMSG,
    IFLA_AF_SPEC,
    IFLA_MASTER,
    RTM_DELLINK,
    RTM_NEWLINK,
    parse_bridge_port,
    parse_link,
)
from agents.netlink.neigh import RTM_DELNEIGH, RTM_NEWNEIGH, is_state, parse_fdb_entry, parse_neigh
from agents.netlink.netconf import RTM_NEWNETCONF, fold_netconf, parse_netconf
from agents.netlink.nexthop import RTM_DELNEXTHOP, RTM_NEWNEXTHOP
from agents.netlink.nsid import RTM_DELNSID, RTM_NEWNSID
from agents.netlink.qdisc import HOOK_KINDS, RTM_DELQDISC, RTM_NEWQDISC, parse_qdisc_kind
from agents.netlink.route import RTM_DELROUTE, RTM_NEWROUTE, parse_route
from agents.netlink.rule import RTM_DELRULE, RTM_NEWRULE
from agents.netlink.vlan import RTM_DELVLAN, RTM_NEWVLAN
from agents.netlink.wire import NLM_F_APPEND, NLM_F_REPLACE, attrs, u32
from agents.programs import queried
from netviz.core.model.addr import AF_BRIDGE
from netviz.core.model.l2 import Fdb
from netviz.core.model.link import IFF_LOWER_UP, IFF_UP, Link, WireguardInfo
from netviz.core.state.delta import Change, NetnsDelta

GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25, 28, 32, 33)
"""RTNLGRP_LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE,
IPV4_NETCONF, IPV6_NETCONF, NSID, NEXTHOP, BRVLAN."""

ANNOUNCED = ("links", "addrs", "neighs", "fdb", "vlans", "routes", "rules", "nexthops")
"""The sections that events keep up to date."""

_IFLA_PROTINFO = 12
_UP = IFF_UP | IFF_LOWER_UP


class Folder:
    """Fold one namespace's events; call `finish` after each batch."""

    def __init__(self, host: Host, ns: NetnsHandle) -> None:
        self._host = host
        self._ns = ns
        self._key = ns.key
        self._disturbed: set[int] = set()
        self._lost_addrs: set[bytes] = set()
        self._settle: set[str] = set()
        self._links_moved = False
        self._new_links: list[Link] = []
        self._fold = {
            RTM_NEWLINK: self._new_link,
            RTM_DELLINK: self._del_link,
            RTM_NEWADDR: self._new_addr,
            RTM_DELADDR: self._del_addr,
            RTM_NEWNEIGH: self._new_neigh,
            RTM_DELNEIGH: self._del_neigh,
            RTM_NEWROUTE: self._new_route,
            RTM_DELROUTE: self._del_route,
            RTM_NEWRULE: self._rule,
            RTM_DELRULE: self._rule,
            RTM_NEWNEXTHOP: self._nexthop,
            RTM_DELNEXTHOP: self._nexthop,
            RTM_NEWNETCONF: self._netconf,
            RTM_NEWQDISC: self._qdisc,
            RTM_DELQDISC: self._qdisc,
            RTM_NEWVLAN: self._vlan,
            RTM_DELVLAN: self._vlan,
            RTM_NEWNSID: self._nsid,
            RTM_DELNSID: self._nsid,
        }

    def fold(self, msg_type: int, flags: int, body: bytes) -> None:
        """Fold one event; types that say nothing here are ignored. Raises: BadMessage."""
        handler = self._fold.get(msg_type)
        if handler is not None:
            handler(flags, body)

    def finish(self) -> None:
        """Ask for what the batch disturbed silently."""
        if self._disturbed or self._lost_addrs:
            self._disturb()
        if self._new_links:
            self._ask_programs()
        for section in self._settle:
            self._host.settle(self._ns, section)
        if self._links_moved:
            self._host.nsids_changed(self._ns)
        self._disturbed, self._lost_addrs = set(), set()
        self._settle, self._links_moved = set(), False

    def _ask_programs(self) -> None:
        """Ask what stands at links that are new. What comes later, tcx's programs, nobody announces: an audit finds it."""
        links, self._new_links = self._new_links, []
        with suppress(OSError):
            found = self._ns.run(lambda: [queried(self._ns.kernel, link) for link in links])
            for link, programs in zip(links, found, strict=True):
                now = self._host.lookup(self._key, "links", link.ifindex)
                if now is not None and now.programs is None and programs is not None:
                    self._put("links", msgspec.structs.replace(now, programs=programs))

    def _disturb(self) -> None:
        if self._disturbs_routes():
            self._host.dirty(self._ns, "routes")
        if self._disturbed and self._host.section(self._key, "nexthops"):
            self._host.dirty(self._ns, "nexthops")

    def _disturbs_routes(self) -> bool:
        links, addrs = self._disturbed, self._lost_addrs
        for route in self._host.section(self._key, "routes").values():
            if route.prefsrc in addrs:
                return True
            for hop in route.nexthops:
                if hop.oif in links:
                    return True
        return False

    def _put(self, section: str, record: Any) -> None:
        self._change(section, Change((record,)))

    def _drop(self, section: str, key: Any) -> None:
        self._change(section, Change((), (key,)))

    def _change(self, section: str, change: Change[Any, Any]) -> None:
        changes: dict[str, Any] = {section: change}
        self._host.changed(NetnsDelta(key=self._key, **changes))
        self._settle.add(section)

    def _new_link(self, _flags: int, body: bytes) -> None:
        if body[0] == AF_BRIDGE:
            self._bridge_port(body, gone=False)
            return
        if body[0] != AF_UNSPEC:
            return
        link = parse_link(body)
        old = self._host.lookup(self._key, "links", link.ifindex)
        xdp = link.programs or ()
        if old is not None:
            link = msgspec.structs.replace(link, tc=old.tc, programs=old.programs)
            known = [one.id for one in old.programs or () if one.hook == "xdp"]
            if old.programs is not None and [one.id for one in xdp] != known:
                self._host.dirty(self._ns, "links")
        else:
            link = msgspec.structs.replace(link, programs=None)
            self._new_links.append(link)
        if old is not None and isinstance(old.info, WireguardInfo) and link.info is None:
            link = msgspec.structs.replace(link, info=old.info)  # the event doesn't tell of peers
        if old is not None and ((old.flags ^ link.flags) & _UP or old.operstate != link.operstate):
            self._disturbed.add(link.ifindex)
        if link.link_nsid is not None and (old is None or old.link_nsid != link.link_nsid):
            self._links_moved = True
        self._put("links", link)

    def _del_link(self, _flags: int, body: bytes) -> None:
        ifindex = IFINFOMSG.unpack_from(body)[2]
        if body[0] == AF_BRIDGE:
            self._bridge_port(body, gone=True)
        elif body[0] == AF_UNSPEC:
            old = self._host.lookup(self._key, "links", ifindex)
            self._links_moved |= old is not None and old.link_nsid is not None
            self._disturbed.add(ifindex)
            self._drop("links", ifindex)
            self._drop("counters", ifindex)
            if self._host.section(self._key, "vlans"):
                self._host.dirty(self._ns, "vlans")

    def _bridge_port(self, body: bytes, *, gone: bool) -> None:
        """Fold an AF_BRIDGE link event: what a link is as a bridge's port."""
        _, _, ifindex, flags, _ = IFINFOMSG.unpack_from(body)
        old = self._host.lookup(self._key, "links", ifindex)
        a = attrs(body, 16)
        if IFLA_AF_SPEC in a:
            self._host.dirty(self._ns, "vlans")
        if old is None or old.ifindex == u32(a.get(IFLA_MASTER)):
            return
        if gone:
            self._put("links", msgspec.structs.replace(old, master=0, port=None, slave_kind=""))
        elif _IFLA_PROTINFO in a:
            port = parse_bridge_port(a[_IFLA_PROTINFO])
            master = u32(a.get(IFLA_MASTER))
            self._put(
                "links",
                msgspec.structs.replace(old, flags=flags, master=master, port=port, slave_kind="bridge"),
            )

    def _new_addr(self, _flags: int, body: bytes) -> None:
        addr = parse_addr(body)
        if addr is not None:
            self._put("addrs", addr)

    def _del_addr(self, _flags: int, body: bytes) -> None:
        addr = parse_addr(body)
        if addr is not None:
            self._drop("addrs", addr.key)
            self._lost_addrs.add(addr.addr)

    def _new_neigh(self, _flags: int, body: bytes) -> None:
        if body[0] == AF_BRIDGE:
            entry = parse_fdb_entry(body)
            if entry is not None:
                self._put_fdb(entry)
            return
        neigh = parse_neigh(body)
        if neigh is not None and is_state(neigh):
            self._put("neighs", neigh)
        elif neigh is not None:
            self._drop("neighs", neigh.key)

    def _put_fdb(self, entry: Fdb) -> None:
        drop: tuple[Any, ...] = ()
        if entry.master:
            known = self._host.section(self._key, "fdb")
            drop = tuple(
                key
                for key in known
                if key[1] == entry.mac and key[0] != entry.ifindex and key[2:4] == (entry.vlan, entry.master)
            )
        self._change("fdb", Change((entry,), drop))

    def _del_neigh(self, _flags: int, body: bytes) -> None:
        if body[0] == AF_BRIDGE:
            entry = parse_fdb_entry(body)
            if entry is not None:
                self._drop("fdb", entry.key)
            return
        neigh = parse_neigh(body)
        if neigh is not None:
            self._drop("neighs", neigh.key)

    def _new_route(self, flags: int, body: bytes) -> None:
        route = parse_route(body)
        if route is None:
            return
        old = self._host.lookup(self._key, "routes", route.key)
        if old is not None or flags & (NLM_F_REPLACE | NLM_F_APPEND):
            if old != route:
                self._host.dirty(self._ns, "routes")
        else:
            self._put("routes", route)

    def _del_route(self, _flags: int, body: bytes) -> None:
        route = parse_route(body)
        if route is None:
            return
        old = self._host.lookup(self._key, "routes", route.key)
        if old is None:
            return
        sibling = self._host.lookup(self._key, "routes", (*route.key[:7], 1))
        if sibling is not None or old.nexthops != route.nexthops or old.type != route.type:
            self._host.dirty(self._ns, "routes")
        else:
            self._drop("routes", route.key)

    def _rule(self, _flags: int, _body: bytes) -> None:
        self._host.dirty(self._ns, "rules")

    def _nexthop(self, _flags: int, _body: bytes) -> None:
        self._host.dirty(self._ns, "nexthops")
        if any(route.nhid for route in self._host.section(self._key, "routes").values()):
            self._host.dirty(self._ns, "routes")

    def _netconf(self, _flags: int, body: bytes) -> None:
        family, ifindex, values = parse_netconf(body)
        link = self._host.lookup(self._key, "links", ifindex) if ifindex > 0 else None
        if link is not None:
            self._put("links", fold_netconf(link, family, values))

    def _qdisc(self, _flags: int, body: bytes) -> None:
        if parse_qdisc_kind(body) in HOOK_KINDS:
            self._host.dirty(self._ns, "links")

    def _vlan(self, _flags: int, _body: bytes) -> None:
        self._host.dirty(self._ns, "vlans")

    def _nsid(self, _flags: int, _body: bytes) -> None:
        self._host.nsids_changed(self._ns)
