"""Links, addresses, neighbours, forwarding entries, VLANs, routes, rules, nexthop objects, counters.

`collect` dumps whole sections through `agents.netlink`; `rtnl_events` turns what the kernel announces
into changes. See there for what it does not announce.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import msgspec

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.collectors.rtnl_events import ANNOUNCED, GROUPS, Folder
from agents.netlink.addr import IFA_TARGET_NETNSID, IFADDRMSG, RTM_GETADDR, addr_dump_request, parse_addrs
from agents.netlink.link import (
    IFINFOMSG,
    IFLA_TARGET_NETNSID,
    RTM_GETLINK,
    link_dump_request,
    parse_counters,
    parse_links,
)
from agents.netlink.neigh import RTM_GETNEIGH, fdb_dump_request, neigh_dump_request, parse_fdb, parse_neighs
from agents.netlink.nexthop import RTM_GETNEXTHOP, nexthop_dump_request, parse_nexthops
from agents.netlink.qdisc import RTM_GETQDISC, parse_tc, qdisc_dump_request
from agents.netlink.route import RTM_GETROUTE, parse_routes, route_dump_request
from agents.netlink.rule import RTM_GETRULE, parse_rules, rule_dump_request
from agents.netlink.vlan import RTM_GETVLAN, parse_vlans, vlan_dump_request
from agents.netlink.wire import NETLINK_ROUTE, Message, attrs, dump, parse_messages, receive, s32
from agents.netlink.wireguard import NETLINK_GENERIC, read_peers
from agents.programs import with_programs
from netviz.core.model.base import Record
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l2 import BridgeVlan, Fdb, Neigh
from netviz.core.model.l3 import Addr, NexthopObject, Route, Rule
from netviz.core.model.link import Link, LinkCounters

log = logging.getLogger(__name__)

MAX_DATAGRAMS = 64
COUNTERS_POLL_S = 30.0  # every reading of 100 namespaces takes a twentieth of a second
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)
# The namespace is out of our hands, or the nsid means nothing any more.
_REFUSED = (errno.EPERM, errno.EACCES, errno.EINVAL)
REMOTE_REASON = "the namespace is only known by a veth peer and cannot be entered"


def read_links(sock: socket.socket) -> list[Link]:
    """Dump links with what is attached to them. Raises: OSError."""
    return _with_tc(sock, parse_links(dump(sock, RTM_GETLINK, link_dump_request())))


def read_links_and_counters(sock: socket.socket) -> tuple[list[Link], list[LinkCounters]]:
    """Dump links with what is attached to them, and their counters from the same dump. Raises: OSError."""
    found = dump(sock, RTM_GETLINK, link_dump_request(stats=True))
    return _with_tc(sock, parse_links(found)), list(parse_counters(found))


def _with_tc(sock: socket.socket, found: Iterable[Link]) -> list[Link]:
    links = list(found)
    tc = parse_tc(dump(sock, RTM_GETQDISC, qdisc_dump_request()))
    if not tc:
        return links
    return [
        msgspec.structs.replace(link, tc=tc[link.ifindex]) if link.ifindex in tc else link for link in links
    ]


def read_addrs(sock: socket.socket) -> list[Addr]:
    """Dump addresses of both families. Raises: OSError."""
    return list(parse_addrs(dump(sock, RTM_GETADDR, addr_dump_request())))


def read_neighs(sock: socket.socket) -> list[Neigh]:
    """Dump neighbours and proxies of both families. Raises: OSError."""
    neighs = list(parse_neighs(dump(sock, RTM_GETNEIGH, neigh_dump_request())))
    return neighs + list(parse_neighs(dump(sock, RTM_GETNEIGH, neigh_dump_request(proxy=True))))


def read_fdb(sock: socket.socket) -> list[Fdb]:
    """Dump forwarding entries. Raises: OSError."""
    return list(parse_fdb(dump(sock, RTM_GETNEIGH, fdb_dump_request())))


def read_vlans(sock: socket.socket) -> list[BridgeVlan]:
    """Dump the VLANs of bridges and ports; a kernel that can't filter VLANs has none. Raises: OSError."""
    try:
        return list(parse_vlans(dump(sock, RTM_GETVLAN, vlan_dump_request())))
    except OSError as err:
        if err.errno not in _UNSUPPORTED:
            raise
        return []


def read_routes(sock: socket.socket) -> list[Route]:
    """Dump all tables' routes of both families. Raises: OSError."""
    return list(parse_routes(dump(sock, RTM_GETROUTE, route_dump_request())))


def read_rules(sock: socket.socket) -> list[Rule]:
    """Dump policy rules of both families. Raises: OSError."""
    return list(parse_rules(dump(sock, RTM_GETRULE, rule_dump_request())))


def read_nexthops(sock: socket.socket) -> list[NexthopObject]:
    """Dump nexthop objects. Raises: OSError."""
    return list(parse_nexthops(dump(sock, RTM_GETNEXTHOP, nexthop_dump_request())))


def read_counters(sock: socket.socket) -> list[LinkCounters]:
    """Dump links' counters. Raises: OSError."""
    return list(parse_counters(dump(sock, RTM_GETLINK, link_dump_request(stats=True))))


READERS: dict[str, Callable[[socket.socket], Iterable[Record]]] = {
    "links": read_links,
    "addrs": read_addrs,
    "neighs": read_neighs,
    "fdb": read_fdb,
    "vlans": read_vlans,
    "routes": read_routes,
    "rules": read_rules,
    "nexthops": read_nexthops,
    "counters": read_counters,
}


class Rtnl:
    """The rtnetlink collector."""

    name = "rtnl"
    sections = tuple(READERS)
    poll_s: Mapping[str, float] = {"counters": COUNTERS_POLL_S}

    def __init__(self, *, rcvbuf_bytes: int = 0) -> None:
        """`rcvbuf_bytes` bounds what the kernel queues of each namespace's events; 0 for the usual."""
        self._rcvbuf_bytes = rcvbuf_bytes
        self._requests: dict[NetnsHandle, socket.socket] = {}
        self._listening: set[NetnsKey] = set()

    def can_run(self, host: Host) -> str | None:
        """rtnetlink is there wherever network namespaces are."""
        self._host = host
        return None

    async def start(self, host: Host) -> None:
        """Nothing to get ready."""
        self._host = host

    def attach(self, ns: NetnsHandle) -> None:
        """Listen to what the kernel announces. Raises: OSError."""
        if ns.fd >= 0:
            sock = ns.open_netlink(NETLINK_ROUTE, GROUPS, rcvbuf_bytes=self._rcvbuf_bytes)
            folder = Folder(self._host, ns)
            try:
                self._request_socket(ns)
            except OSError:
                sock.close()
                raise
            self._host.add_reader(ns, sock, lambda: self._on_event(ns, sock, folder))
            self._listening.add(ns.key)

    def _on_event(self, ns: NetnsHandle, sock: socket.socket, folder: Folder) -> None:
        try:
            for _ in range(MAX_DATAGRAMS):
                try:
                    for kind, flags, _seq, body in parse_messages(receive(sock)):
                        folder.fold(kind, flags, body)
                except BlockingIOError:
                    return
                except OSError as err:
                    log.warning("%s: lost link events: %s", ns.key, err)
                    self._lost(ns)
        finally:
            folder.finish()

    def _lost(self, ns: NetnsHandle) -> None:
        """Have everything that events tell of read again; what was lost is counted once, with the links."""
        counted, *others = ANNOUNCED
        self._host.lost(ns, counted)
        for section in others:
            self._host.dirty(ns, section)

    async def stop(self) -> None:
        """Close all request sockets."""
        for sock in self._requests.values():
            sock.close()
        self._requests.clear()

    def detach(self, ns: NetnsHandle) -> None:
        """Close the namespace's request socket."""
        self._listening.discard(ns.key)
        self._close_request(ns)

    def _close_request(self, ns: NetnsHandle) -> None:
        sock = self._requests.pop(ns, None)
        if sock is not None:
            sock.close()

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Dump the sections asked for. Raises: OSError."""
        if ns.fd < 0:
            return self._collect_remote(ns, sections)
        try:
            return self._collect_inside(ns, self._request_socket(ns), sections)
        except OSError:
            self._close_request(ns)  # an answer may be left in the socket
            raise
        finally:
            if ns.key not in self._listening:
                self._close_request(ns)

    def _collect_inside(self, ns: NetnsHandle, sock: socket.socket, sections: Collection[str]) -> Reading:
        read: dict[str, Iterable[Record]] = {}
        gaps: dict[str, str] = {}
        if "links" in sections and "counters" in sections:
            read["links"], read["counters"] = read_links_and_counters(sock)
        for name in READERS:
            if name not in sections or name in read:
                continue
            try:
                read[name] = READERS[name](sock)
            except OSError as err:
                if err.errno not in _UNSUPPORTED:
                    raise
                gaps[name] = f"this kernel cannot list them: {err.strerror}"
        if "links" in read:
            links = _with_peers(ns, read["links"])
            read["links"] = ns.run(partial(with_programs, ns.kernel, sock, links))
        return Reading(read, gaps)

    def _request_socket(self, ns: NetnsHandle) -> socket.socket:
        sock = self._requests.get(ns)
        if sock is None:
            sock = self._requests[ns] = ns.open_netlink(NETLINK_ROUTE)
        return sock

    def _collect_remote(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Read what the kernel shows of a namespace through another's socket (IFLA_TARGET_NETNSID)."""
        sock, nsid = self._request_socket(self._host.root), ns.key.ino
        read: dict[str, Iterable[Record]] = {}
        gaps = dict.fromkeys(sections, REMOTE_REASON)
        try:
            if "links" in sections:
                found = dump(sock, RTM_GETLINK, link_dump_request(target_nsid=nsid))
                if _speak_of(nsid, found, IFINFOMSG.size, IFLA_TARGET_NETNSID):
                    read["links"] = list(parse_links(found))
                    gaps["links"] = "what is attached to devices (tc) cannot be read: " + REMOTE_REASON
            if "addrs" in sections:
                found = dump(sock, RTM_GETADDR, addr_dump_request(target_nsid=nsid))
                if _speak_of(nsid, found, IFADDRMSG.size, IFA_TARGET_NETNSID):
                    read["addrs"] = list(parse_addrs(found))
                    del gaps["addrs"]
        except OSError as err:
            if err.errno not in _REFUSED:
                self._close_request(self._host.root)
                raise
        return Reading(read, gaps)


def _with_peers(ns: NetnsHandle, found: Iterable[Record]) -> list[Link]:
    """Ask for the peers of WireGuard devices, if there are any. Raises: OSError."""
    links = [link for link in found if isinstance(link, Link)]
    if not any(link.kind == "wireguard" for link in links):
        return links
    with ns.open_netlink(NETLINK_GENERIC) as sock:
        return read_peers(sock, links)


def _speak_of(nsid: int, messages: Iterable[Message], header: int, nla_type: int) -> bool:
    """Tell whether a dump is of the namespace asked for: an old kernel ignores the question."""
    return all(s32(attrs(message.body, header).get(nla_type), -1) == nsid for message in messages)
