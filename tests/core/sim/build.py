"""A small builder of cluster states for simulator tests: says the topology, fills in what a kernel would.

    net = Net()
    node = net.node("node-1")
    br = node.bridge("cni0", "10.1.1.1/24")
    pod = net.pod(node, "web-1", br, "10.1.1.2/24", via="10.1.1.1")
    pod.listen("tcp", 80)
    cluster = net.cluster()

Links get MACs from a counter, addresses get their local and connected routes, namespaces their three
policy rules and a loopback: what a kernel does by itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from netviz.core.model.addr import mask_ip, pack_ip, pack_mac, pack_prefix
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.devconf import Ipv4Conf, Ipv6Conf
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l2 import NUD_PERMANENT, Fdb, Neigh
from netviz.core.model.l3 import RTN_LOCAL, RTN_UNICAST, Addr, Nexthop, Route, Rule
from netviz.core.model.link import (
    ARPHRD_LOOPBACK,
    IFF_BROADCAST,
    IFF_LOOPBACK,
    IFF_LOWER_UP,
    IFF_UP,
    BridgeInfo,
    BridgePort,
    Link,
    MacvlanInfo,
    VxlanInfo,
)
from netviz.core.model.netfilter import Body
from netviz.core.model.netns import Holder, Netns, Pod, Sysctl
from netviz.core.model.socket import TCP_CLOSE, TCP_LISTEN, Socket
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.trace import Trace
from netviz.core.state.delta import section_of
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState, SectionStatus
from tests.core.sim.readable import readable

UP = IFF_UP | IFF_LOWER_UP | IFF_BROADCAST


@dataclass
class Ns:
    """One namespace being built; `lists` holds each section's records."""

    net: Net
    key: NetnsKey
    name: str
    root: bool = False
    pod: Pod | None = None
    forwarding: bool = False
    nsids: dict[NetnsKey, int] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    lists: dict[str, list[Any]] = field(default_factory=dict)
    gaps: tuple[Any, ...] = ()

    def add(self, section: str, record: Any) -> Any:
        """Put a record in a section."""
        self.lists.setdefault(section, []).append(record)
        return record

    def link(self, name: str, kind: str = "", **fields: Any) -> Link:
        """Make a link; its MAC comes from the net's counter."""
        index = fields.pop("ifindex", None) or max(self.links, default=0) + 1
        fields.setdefault("flags", UP)
        fields.setdefault("mac", self.net.new_mac())
        fields.setdefault("programs", None if "tc" in fields or "xdp" in fields else ())
        made = Link(
            index,
            name,
            kind,
            operstate=6,
            ipv4=Ipv4Conf(forwarding=int(self.forwarding)),
            ipv6=Ipv6Conf(forwarding=int(self.forwarding)),
            **fields,
        )
        self.links[index] = made
        return made

    def named(self, name: str) -> Link:
        """Find a link by name."""
        return next(link for link in self.links.values() if link.ifname == name)

    def change(self, name: str, **fields: Any) -> Link:
        """Change a link's fields."""
        if "tc" in fields or "xdp" in fields:
            fields.setdefault("programs", None)
        link = msgspec.structs.replace(self.named(name), **fields)
        self.links[link.ifindex] = link
        return link

    def conf4(self, name: str, **fields: Any) -> None:
        """Change a link's net.ipv4.conf settings."""
        self.change(name, ipv4=msgspec.structs.replace(self.named(name).ipv4, **fields))

    def port(self, name: str, **fields: Any) -> None:
        """Change a bridge port's settings."""
        self.change(name, port=msgspec.structs.replace(self.named(name).port or BridgePort(), **fields))

    def down(self, name: str) -> None:
        """Take a link down, as `ip link set down` does: its routes go, its carrier too."""
        link = self.change(name, flags=IFF_BROADCAST)
        routes = self.lists.get("routes", [])
        self.lists["routes"] = [
            r for r in routes if r.type == RTN_LOCAL or all(n.oif != link.ifindex for n in r.nexthops)
        ]

    def addr(self, name: str, cidr: str) -> None:
        """Give a link an address, with the local and the connected route."""
        link = self.named(name)
        iface = ipaddress.ip_interface(cidr)
        packed, plen = iface.ip.packed, iface.network.prefixlen
        width = len(packed) * 8
        scope = 254 if link.flags & IFF_LOOPBACK else 0
        first = next(
            (a for a in self.lists.get("addrs", ()) if self.same_subnet(a, link, packed, plen)), None
        )
        self.add("addrs", Addr(link.ifindex, packed, plen, scope=scope, flags=0 if first is None else 1))
        if first is not None:
            local = Route(255, packed, width, RTN_LOCAL, scope=254, nexthops=(Nexthop(link.ifindex),))
            self.add("routes", msgspec.structs.replace(local, prefsrc=first.addr))
            return
        hop = (Nexthop(link.ifindex),)
        v6 = len(packed) == 16
        self.add(
            "routes",
            Route(255, packed, width, RTN_LOCAL, scope=254, prefsrc=b"" if v6 else packed, nexthops=hop),
        )
        if link.flags & IFF_LOOPBACK and not v6:
            self.add(
                "routes",
                Route(255, mask_ip(packed, plen), plen, RTN_LOCAL, scope=254, prefsrc=packed, nexthops=hop),
            )
        elif plen < width:
            self.add(
                "routes",
                Route(
                    254,
                    mask_ip(packed, plen),
                    plen,
                    RTN_UNICAST,
                    scope=0 if v6 else 253,
                    metric=256 if v6 else 0,
                    prefsrc=b"" if v6 else packed,
                    nexthops=hop,
                ),
            )

    @staticmethod
    def same_subnet(addr: Addr, link: Link, packed: bytes, plen: int) -> bool:
        """Tell whether an IPv4 address makes another of the same device and subnet a secondary one."""
        if addr.ifindex != link.ifindex or addr.prefixlen != plen or len(packed) != 4 or len(addr.addr) != 4:
            return False
        return mask_ip(addr.addr, plen) == mask_ip(packed, plen)

    def route(self, prefix: str, via: str = "", dev: str = "", **fields: Any) -> Route:
        """Add a route; the device is found by the gateway's subnet when it isn't given."""
        dst, plen = pack_prefix(prefix)
        gateway = pack_ip(via) if via else b""
        nexthops = fields.pop("nexthops", None)
        if nexthops is None:
            kind = fields.get("type", RTN_UNICAST)
            oif = self.named(dev).ifindex if dev else self.oif_to(gateway) if via else 0
            nexthops = (Nexthop(oif, gateway),) if kind == RTN_UNICAST else ()
        fields.setdefault("table_id", 254)
        fields.setdefault("scope", 0 if via or len(dst) == 16 else 253)
        return self.add("routes", Route(dst=dst, dst_len=plen, nexthops=nexthops, **fields))

    def oif_to(self, gateway: bytes) -> int:
        """Find the link whose subnet holds a gateway."""
        for addr in self.lists["addrs"]:
            if len(addr.addr) == len(gateway) and mask_ip(addr.addr, addr.prefixlen) == mask_ip(
                gateway, addr.prefixlen
            ):
                return int(addr.ifindex)
        raise LookupError("no link reaches the gateway")

    def no_route(self, prefix: str) -> None:
        """Remove the routes to a prefix."""
        dst, plen = pack_prefix(prefix)
        self.lists["routes"] = [r for r in self.lists["routes"] if (r.dst, r.dst_len) != (dst, plen)]

    def rule(self, priority: int, **fields: Any) -> None:
        """Add an IPv4 policy rule (`family=10` for IPv6)."""
        self.add("rules", Rule(fields.pop("family", 2), priority, **fields))

    def neigh(self, dev: str, addr: str, mac: str | bytes, state: int = NUD_PERMANENT) -> None:
        """Add a neighbour entry."""
        packed = mac if isinstance(mac, bytes) else pack_mac(mac)
        self.add("neighs", Neigh(self.named(dev).ifindex, pack_ip(addr), packed, state))

    def fdb(self, port: str, mac: bytes, state: int, **fields: Any) -> None:
        """Add an FDB entry on a bridge port."""
        link = self.named(port)
        self.add(
            "fdb", Fdb(link.ifindex, mac, state=state, master=fields.pop("master", link.master), **fields)
        )

    def listen(self, proto: str, port: int, addr: str = "0.0.0.0", **fields: Any) -> None:
        """Open a listening socket."""
        number, state = {"tcp": (6, TCP_LISTEN), "udp": (17, TCP_CLOSE)}[proto]
        self.net.cookie += 1
        self.add(
            "sockets", Socket(number, pack_ip(addr), port, state=state, cookie=self.net.cookie, **fields)
        )

    def sysctl(self, name: str, value: int) -> None:
        """Set a namespace-wide setting."""
        self.add("sysctls", Sysctl(name, value))

    def conntrack(self, entry: CtEntry) -> None:
        """Add a conntrack entry."""
        self.add("conntrack", entry)

    def bridge(self, name: str, *cidrs: str, **fields: Any) -> Link:
        """Make a bridge with addresses."""
        made = self.link(name, "bridge", info=BridgeInfo(), **fields)
        for cidr in cidrs:
            self.addr(name, cidr)
        return made

    def nic(self, name: str, *cidrs: str, **fields: Any) -> Link:
        """Make a physical device with addresses."""
        made = self.link(name, "", **fields)
        for cidr in cidrs:
            self.addr(name, cidr)
        return made

    def vxlan(self, name: str, vni: int, local: str, *cidrs: str, **fields: Any) -> Link:
        """Make a VXLAN device as flannel does: no learning, MTU for the overhead."""
        info = VxlanInfo(vni=vni, local=pack_ip(local), port=fields.pop("port", 8472), learning=False)
        made = self.link(name, "vxlan", info=info, mtu=fields.pop("mtu", 1450), **fields)
        for cidr in cidrs:
            self.addr(name, cidr)
        return made

    def build(self) -> NetnsState:
        """Freeze the namespace."""
        netns = Netns(
            self.key,
            self.name,
            self.root,
            (Holder("mount", f"/run/netns/{self.name}"),),
            tuple(sorted((nsid, key) for key, nsid in self.nsids.items())),
            self.pod,
            self.gaps,
        )
        sections = {name: section_of(records) for name, records in self.lists.items()}
        return NetnsState(netns, links=dict(self.links), **sections)


@dataclass
class Net:
    """A cluster being built."""

    nodes: dict[str, list[Ns]] = field(default_factory=dict)
    bodies: dict[bytes, Body] = field(default_factory=dict)
    macs: int = 0
    inode: int = 100
    cookie: int = 0

    def new_mac(self) -> bytes:
        """Count up."""
        self.macs += 1
        return b"\x02\x00" + self.macs.to_bytes(4, "big")

    def netns(self, node: str, name: str, **fields: Any) -> Ns:
        """Make a namespace with loopback and the three policy rules for both families."""
        self.inode += 1
        ns = Ns(self, NetnsKey(node, 4, self.inode), name, **fields)
        self.nodes.setdefault(node, []).append(ns)
        ns.link(
            "lo", flags=IFF_UP | IFF_LOWER_UP | IFF_LOOPBACK, mac=bytes(6), mtu=65536, arptype=ARPHRD_LOOPBACK
        )
        ns.addr("lo", "127.0.0.1/8")
        ns.addr("lo", "::1/128")
        for priority, table_id in ((0, 255), (32766, 254), (32767, 253)):
            ns.add("rules", Rule(2, priority, table_id=table_id))
            if table_id != 253:
                ns.add("rules", Rule(10, priority, table_id=table_id))
        return ns

    def node(self, name: str) -> Ns:
        """Make a node's own namespace: it forwards."""
        ns = self.netns(name, "", root=True, forwarding=True)
        ns.sysctl("net.ipv4.ip_forward", 1)
        ns.sysctl("net.ipv6.conf.all.forwarding", 1)
        return ns

    def veth(self, a: Ns, a_name: str, b: Ns, b_name: str, **fields: Any) -> tuple[Link, Link]:
        """Join two namespaces by a veth pair."""
        one, other = a.link(a_name, "veth", **fields), b.link(b_name, "veth", **fields)
        for ns, link, far, far_link in ((a, one, b, other), (b, other, a, one)):
            nsid = None if ns is far else ns.nsids.setdefault(far.key, len(ns.nsids))
            ns.change(link.ifname, link=far_link.ifindex, link_nsid=nsid)
        return a.named(a_name), b.named(b_name)

    def pod(self, node: Ns, name: str, bridge: str, *cidrs: str, via: str = "", mtu: int = 1500) -> Ns:
        """Make a pod on a bridge of a node: `eth0` inside, `veth-NAME` as the bridge's port."""
        ns = self.netns(node.key.node, f"{node.key.node}-{name}", pod=Pod(name, "default", source="file"))
        self.veth(ns, "eth0", node, f"veth-{name}", mtu=mtu)
        node.change(f"veth-{name}", master=node.named(bridge).ifindex, port=BridgePort(), slave_kind="bridge")
        for cidr in cidrs:
            ns.addr("eth0", cidr)
        if via:
            ns.route("::/0" if ":" in via else "0.0.0.0/0", via)
        return ns

    def macvlan(self, node: Ns, name: str, lower: str, cidr: str, mode: int = 4) -> Ns:
        """Make a pod with a macvlan over a device of its node."""
        ns = self.netns(node.key.node, f"{node.key.node}-{name}", pod=Pod(name, "default", source="file"))
        nsid = ns.nsids.setdefault(node.key, len(ns.nsids))
        ns.link("eth0", "macvlan", info=MacvlanInfo(mode), link=node.named(lower).ifindex, link_nsid=nsid)
        ns.addr("eth0", cidr)
        return ns

    def cluster(self) -> ClusterState:
        """Freeze everything."""
        status = {name: SectionStatus(1.0) for name in SECTIONS}
        nodes = {
            name: NodeState(name, "6.18", "boot", {ns.key: ns.build() for ns in spaces}, status)
            for name, spaces in self.nodes.items()
        }
        return ClusterState(nodes, dict(self.bodies))

    def trace(self, src: str, dst: str, proto: str = "tcp", dport: int | None = None, **fields: Any) -> Trace:
        """Resolve and simulate; whatever comes of it can be read."""
        cluster = self.cluster()
        extra = {name: fields.pop(name) for name in ("ttl", "tos", "mark") if name in fields}
        flow = resolve_flow(cluster, src, dst, proto, dport=dport, **fields)
        return readable(simulate_in_context(cluster, msgspec.structs.replace(flow, **extra)))


def textbook(nodes: int = 2, pods: int = 2) -> tuple[Net, dict[str, Ns]]:
    """Build the textbook cluster.

        node-1                                     node-2
        [pod-1-1] eth0--veth-pod-1-1 \\             / veth-pod-2-1--eth0 [pod-2-1]
                                      cni0     cni0
        [pod-1-2] eth0--veth-pod-1-2 /  |       |  \\ veth-pod-2-2--eth0 [pod-2-2]
                                      ens3 ---- ens3
        pods 10.1.N.1P/24 behind cni0 10.1.N.1; nodes 192.168.0.N/24; routes 10.1.M.0/24 via 192.168.0.M

    Each pod listens on TCP 80 and UDP 53.
    """
    net = Net()
    made: dict[str, Ns] = {}
    for n in range(1, nodes + 1):
        node = made[f"node-{n}"] = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.bridge("cni0", f"10.1.{n}.1/24")
        node.route("0.0.0.0/0", "192.168.0.254")
        for other in range(1, nodes + 1):
            if other != n:
                node.route(f"10.1.{other}.0/24", f"192.168.0.{other}")
        for p in range(1, pods + 1):
            name = f"pod-{n}-{p}"
            pod = made[name] = net.pod(node, name, "cni0", f"10.1.{n}.{10 + p}/24", via=f"10.1.{n}.1")
            pod.listen("tcp", 80)
            pod.listen("udp", 53)
    return net, made


__all__ = ["Net", "Ns", "replace", "textbook"]
