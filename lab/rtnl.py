"""Requests to one namespace's rtnetlink: links, addresses, routes, neighbours.

pyroute2's message classes write the messages. The socket is a plain one, opened inside the
namespace (`netns.open_socket`), so a request is one send and one receive in whatever thread asks, and
needs neither a process nor an event loop of its own.

Source: include/uapi/linux/netlink.h, rtnetlink.h, if_link.h (Linux 6.18).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from lab import netns

NETLINK_ROUTE = 0
SOL_NETLINK, NETLINK_CAP_ACK = 270, 10
NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE = 16, 17, 20, 21, 24, 25
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_NEWRULE, RTM_DELRULE = 28, 29, 32, 33

SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX = 0x8921, 0x8927, 0x8933
IFF_UP = 0x1
IFA_F_NODAD = 0x02
NUD_PERMANENT = 0x80
NTF_SELF = 0x02
RT_TABLE_MAIN = 254
RTPROT_BOOT, RTPROT_STATIC, RTPROT_BIRD = 3, 4, 12
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST, RT_SCOPE_NOWHERE = 0, 253, 254, 255
RTN_UNICAST, RTN_BLACKHOLE = 1, 6
RTNH_F_ONLINK = 4
FR_ACT_TO_TBL = 1
MACVLAN_MODE_BRIDGE = 4

Attrs = list[list[Any]]
_HEADER = struct.Struct("=IHHII")


class Route(NamedTuple):
    """How a route leads on: by a gateway (`onlink` if no route leads to it), by a device, or nowhere.

    `scope` None is the usual one: link for an IPv4 route without a gateway.
    """

    via: str | None = None
    oif: int | None = None
    metric: int | None = None
    src: str | None = None
    table: int = RT_TABLE_MAIN
    protocol: int = RTPROT_STATIC
    type: int = RTN_UNICAST
    onlink: bool = False
    scope: int | None = None


class RtnlError(OSError):
    """The kernel refused a request; `errno` and the request's description say which and why."""


def _given(**attrs: int | str) -> Attrs:
    """Write attributes by their IFLA names in lower case; those without a value are left to the kernel."""
    return [[f"IFLA_{name.upper()}", value] for name, value in attrs.items() if value]


class Rtnl:
    """One rtnetlink socket inside one namespace. Close it, or use it as a context manager."""

    def __init__(self, path: str | Path) -> None:
        self._sock = netns.open_socket(path, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
        self._sock.bind((0, 0))
        self._sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._sock.settimeout(20)
        self._seq = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def __enter__(self) -> Rtnl:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- transport

    def request(self, msg: Any, kind: int, flags: int, what: str) -> None:
        """Send one message and wait for its acknowledgement. Raises: RtnlError."""
        with self._lock:
            self._exchange(msg, kind, flags, what)

    def _exchange(self, msg: Any, kind: int, flags: int, what: str) -> None:
        self._seq += 1
        msg["header"] = {
            "type": kind,
            "flags": NLM_F_REQUEST | NLM_F_ACK | flags,
            "sequence_number": self._seq,
        }
        msg.encode()
        self._sock.send(msg.data)
        while True:
            data = self._sock.recv(65536)
            _, answer, _, seq, _ = _HEADER.unpack_from(data)
            if answer == NLMSG_ERROR and seq == self._seq:
                (error,) = struct.unpack_from("=i", data, 16)
                if error:
                    raise RtnlError(-error, f"{what}: {os.strerror(-error)}")
                return

    # -- links

    def _link_request(
        self,
        kind: int,
        what: str,
        ifindex: int,
        attrs: Attrs,
        *,
        create: bool = False,
        up: bool | None = None,
    ) -> None:
        msg = ifinfmsg()
        msg["family"] = 0
        msg["index"] = ifindex
        if up is not None:
            msg["flags"] = IFF_UP if up else 0
            msg["change"] = IFF_UP
        msg["attrs"] = attrs
        self.request(msg, kind, NLM_F_CREATE | NLM_F_EXCL if create else 0, what)

    def find_link(self, ifname: str) -> int | None:
        """Return a link's ifindex, or None."""
        try:
            answer = fcntl.ioctl(self._sock, SIOCGIFINDEX, struct.pack("16si20x", ifname.encode(), 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return int(struct.unpack_from("i", answer, 16)[0])

    def ifindex(self, ifname: str) -> int:
        """Return a link's ifindex. Raises: LookupError."""
        found = self.find_link(ifname)
        if found is None:
            raise LookupError(f"no link {ifname}")
        return found

    def mtu(self, ifname: str) -> int:
        """Return a link's MTU in bytes. Raises: OSError."""
        answer = fcntl.ioctl(self._sock, SIOCGIFMTU, struct.pack("16si20x", ifname.encode(), 0))
        return int(struct.unpack_from("i", answer, 16)[0])

    def mac(self, ifname: str) -> str:
        """Return a link's MAC address. Raises: OSError."""
        answer = fcntl.ioctl(self._sock, SIOCGIFHWADDR, struct.pack("16si20x", ifname.encode(), 0))
        return answer[18:24].hex(":")

    def _new_link(self, kind: str, ifname: str, data: Attrs, attrs: Attrs, up: bool = True) -> None:
        info: Attrs = [["IFLA_INFO_KIND", kind], ["IFLA_INFO_DATA", {"attrs": data}]]
        whole: Attrs = [["IFLA_IFNAME", ifname], *attrs, ["IFLA_LINKINFO", {"attrs": info}]]
        self._link_request(RTM_NEWLINK, f"add {kind} {ifname}", 0, whole, create=True, up=up or None)

    def add_bridge(self, ifname: str, mac: str, *, mcast_snooping: bool = True) -> int:
        """Make a bridge that is up, and return its ifindex."""
        data = [["IFLA_BR_MCAST_SNOOPING", int(mcast_snooping)], ["IFLA_BR_FORWARD_DELAY", 0]]
        self._new_link("bridge", ifname, data, _given(address=mac))
        return self.ifindex(ifname)

    def add_veth(
        self,
        ifname: str,
        peer: str,
        peer_netns: str | Path,
        *,
        peer_mac: str = "",
        mac: str = "",
        master: int = 0,
        mtu: int = 0,
    ) -> None:
        """Make a veth pair: `ifname` here (up, a port of `master` if given), `peer` in `peer_netns` (down).

        The pair comes into being across the two namespaces at once; nothing appears anywhere else. The
        kernel joins the ends only after it has configured the peer, so the peer is brought up later.
        """
        fd = os.open(peer_netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            ends: Attrs = [["IFLA_IFNAME", peer], ["IFLA_NET_NS_FD", fd], *_given(address=peer_mac, mtu=mtu)]
            data: Attrs = [["VETH_INFO_PEER", {"attrs": ends}]]
            own = _given(address=mac, mtu=mtu, master=master)
            self._new_link("veth", ifname, data, own)
        finally:
            os.close(fd)

    def add_vxlan(
        self,
        ifname: str,
        *,
        vni: int,
        local: str,
        link: int,
        port: int,
        mac: str,
        learning: bool = False,
        mtu: int = 0,
    ) -> None:
        """Make a VXLAN device that is up."""
        family = 6 if ":" in local else ""
        data: Attrs = [
            ["IFLA_VXLAN_ID", vni],
            [f"IFLA_VXLAN_LOCAL{family}", local],
            ["IFLA_VXLAN_LINK", link],
            ["IFLA_VXLAN_PORT", port],
            ["IFLA_VXLAN_LEARNING", int(learning)],
        ]
        self._new_link("vxlan", ifname, data, _given(address=mac, mtu=mtu))

    def add_macvlan(self, ifname: str, target: str | Path, *, link: int, mac: str) -> None:
        """Make a macvlan in bridge mode over a link of this namespace, inside another one (down)."""
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data: Attrs = [["IFLA_MACVLAN_MODE", MACVLAN_MODE_BRIDGE]]
            own: Attrs = [["IFLA_LINK", link], ["IFLA_ADDRESS", mac], ["IFLA_NET_NS_FD", fd]]
            self._new_link("macvlan", ifname, data, own, up=False)
        finally:
            os.close(fd)

    def set_port(self, ifindex: int, **attrs: int) -> None:
        """Set attributes of a bridge's port by their IFLA_BRPORT names in lower case: `mode=1` is hairpin."""
        data: Attrs = [[f"IFLA_BRPORT_{name.upper()}", value] for name, value in attrs.items()]
        info: Attrs = [["IFLA_INFO_SLAVE_KIND", "bridge"], ["IFLA_INFO_SLAVE_DATA", {"attrs": data}]]
        pairs: Attrs = [["IFLA_LINKINFO", {"attrs": info}]]
        self._link_request(RTM_NEWLINK, f"set port {ifindex} {attrs}", ifindex, pairs)

    def delete_link(self, ifindex: int) -> None:
        """Delete a link (and a veth's peer with it)."""
        self._link_request(RTM_DELLINK, f"delete link {ifindex}", ifindex, [])

    def set_link(self, ifindex: int, **attrs: int | str) -> None:
        """Set attributes by their IFLA names in lower case: `master=7`, `mtu=1400`, `address="0a:..."`."""
        pairs: Attrs = [[f"IFLA_{name.upper()}", value] for name, value in attrs.items()]
        self._link_request(RTM_NEWLINK, f"set link {ifindex} {attrs}", ifindex, pairs)

    def set_xdp(self, ifindex: int, program: int) -> None:
        """Attach an XDP program by its descriptor, or detach what is there (-1)."""
        pairs: Attrs = [["IFLA_XDP", {"attrs": [["IFLA_XDP_FD", program]]}]]
        self._link_request(RTM_NEWLINK, f"set link {ifindex} xdp", ifindex, pairs)

    def set_up(self, ifindex: int, up: bool = True) -> None:
        """Bring a link up or down."""
        self._link_request(RTM_NEWLINK, f"set link {ifindex} up={up}", ifindex, [], up=up)

    # -- addresses

    def _addr_request(
        self, kind: int, flags: int, ifindex: int, cidr: str, addr_flags: int, more: Attrs
    ) -> None:
        addr, _, prefixlen = cidr.partition("/")
        msg = ifaddrmsg()
        msg["family"] = socket.AF_INET6 if ":" in addr else socket.AF_INET
        msg["prefixlen"] = int(prefixlen)
        msg["index"] = ifindex
        msg["flags"] = addr_flags
        msg["attrs"] = [["IFA_LOCAL", addr], ["IFA_ADDRESS", addr], *more]
        self.request(msg, kind, flags, f"address {cidr}")

    def add_addr(self, ifindex: int, cidr: str, *, broadcast: str = "", nodad: bool = True) -> None:
        """Add `10.0.0.1/24` or `fd00::1/64` to a link (IPv6 without waiting for duplicate detection)."""
        more: Attrs = [["IFA_BROADCAST", broadcast]] if broadcast else []
        flags = IFA_F_NODAD if ":" in cidr and nodad else 0
        self._addr_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifindex, cidr, flags, more)

    def delete_addr(self, ifindex: int, cidr: str) -> None:
        """Remove an address from a link."""
        self._addr_request(RTM_DELADDR, 0, ifindex, cidr, 0, [])

    # -- routes

    def _route_request(self, kind: int, flags: int, dst: str, route: Route) -> None:
        prefix, _, length = dst.partition("/")
        v6 = ":" in prefix
        msg = rtmsg()
        msg["family"] = socket.AF_INET6 if v6 else socket.AF_INET
        msg["dst_len"] = int(length)
        msg["table"] = min(route.table, 255)
        msg["type"] = route.type
        if kind == RTM_NEWROUTE:
            msg["proto"] = route.protocol
            is_far = route.via is not None or route.type != RTN_UNICAST or v6
            usual = RT_SCOPE_UNIVERSE if is_far else RT_SCOPE_LINK
            msg["scope"] = usual if route.scope is None else route.scope
        else:
            msg["scope"] = RT_SCOPE_NOWHERE  # matches any on deletion
        msg["flags"] = RTNH_F_ONLINK if route.onlink else 0
        attrs: Attrs = [["RTA_TABLE", route.table]]
        if int(length):
            attrs.append(["RTA_DST", prefix])
        for name, value in (("GATEWAY", route.via), ("OIF", route.oif), ("PREFSRC", route.src)):
            if value:
                attrs.append([f"RTA_{name}", value])
        if route.metric is not None:
            attrs.append(["RTA_PRIORITY", route.metric])
        msg["attrs"] = attrs
        self.request(msg, kind, flags, f"route {dst} via {route.via} oif {route.oif}")

    def add_route(self, dst: str, *, dev: str = "", **route: Any) -> None:
        """Add a route, given by `Route`'s fields or a device's name; `0.0.0.0/0` or `::/0` is the default."""
        self._route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, dst, self._route(dev, route))

    def delete_route(self, dst: str, *, dev: str = "", **route: Any) -> None:
        """Delete a route."""
        self._route_request(RTM_DELROUTE, 0, dst, self._route(dev, route))

    def _route(self, dev: str, route: dict[str, Any]) -> Route:
        return Route(**{"oif": self.ifindex(dev), **route} if dev else route)

    def add_rule(self, table: int, priority: int, *, src: str = "", dst: str = "") -> None:
        """Have packets from `src` and to `dst` (prefixes; "" is any) looked up in a table."""
        self._rule_request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, table, priority, src, dst)

    def delete_rule(self, table: int, priority: int, *, src: str = "", dst: str = "") -> None:
        """Delete a policy rule."""
        self._rule_request(RTM_DELRULE, 0, table, priority, src, dst)

    def _rule_request(self, kind: int, flags: int, table: int, priority: int, src: str, dst: str) -> None:
        msg = fibmsg()
        msg["family"] = socket.AF_INET6 if ":" in src + dst else socket.AF_INET
        msg["table"] = min(table, 255)
        msg["action"] = FR_ACT_TO_TBL
        attrs: Attrs = [["FRA_TABLE", table], ["FRA_PRIORITY", priority]]
        for name, prefix in (("src", src), ("dst", dst)):
            if prefix:
                addr, _, length = prefix.partition("/")
                msg[f"{name}_len"] = int(length)
                attrs.append([f"FRA_{name.upper()}", addr])
        msg["attrs"] = attrs
        self.request(msg, kind, flags, f"rule {priority} from {src} to {dst} lookup {table}")

    # -- neighbours

    def _neigh_request(self, kind: int, flags: int, ifindex: int, dst: str, mac: str, state: int) -> None:
        msg = ndmsg()
        msg["family"] = socket.AF_INET6 if ":" in dst else socket.AF_INET
        msg["ifindex"] = ifindex
        msg["state"] = state
        attrs: Attrs = [["NDA_DST", dst]]
        if mac:
            attrs.append(["NDA_LLADDR", mac])
        msg["attrs"] = attrs
        self.request(msg, kind, flags, f"neighbour {dst}")

    def replace_neigh(self, ifindex: int, dst: str, mac: str, state: int = NUD_PERMANENT) -> None:
        """Set a neighbour entry (permanent unless told otherwise), whatever was there."""
        self._neigh_request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, dst, mac, state)

    def delete_neigh(self, ifindex: int, dst: str) -> None:
        """Delete a neighbour entry."""
        self._neigh_request(RTM_DELNEIGH, 0, ifindex, dst, "", 0)

    # -- forwarding entries

    def add_fdb(self, ifindex: int, mac: str, dst: str) -> None:
        """Have a VXLAN device send what is for `mac` to the host `dst`, among others if there are any."""
        self._fdb_request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, ifindex, mac, dst)

    def delete_fdb(self, ifindex: int, mac: str, dst: str) -> None:
        """Delete such an entry."""
        self._fdb_request(RTM_DELNEIGH, 0, ifindex, mac, dst)

    def _fdb_request(self, kind: int, flags: int, ifindex: int, mac: str, dst: str) -> None:
        msg = ndmsg()
        msg["family"] = socket.AF_BRIDGE
        msg["ifindex"] = ifindex
        msg["state"] = NUD_PERMANENT
        msg["flags"] = NTF_SELF
        msg["attrs"] = [["NDA_LLADDR", mac], ["NDA_DST", dst]]
        self.request(msg, kind, flags, f"forwarding entry {mac} to {dst}")
