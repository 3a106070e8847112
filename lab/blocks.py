"""The parts that pod networks are put together from, as data: what each plugin makes in a namespace.

The lab's kinds build a block over netlink (`build`), the oracle's random networks write it out for iproute2
(`lab.randomnet.written`); so both have the same routed pod, the same end of a tunnel. A block is made in the
order of its fields.

    bridged     vethX, a port of the bridge          <->  eth0 10.244.1.2/24, default by the bridge's address
    routed      vethX, a route to the pod, proxy ARP <->  eth0 10.244.1.2/32, default by 169.254.1.1
    ptp         vethX with the gateway's address     <->  eth0 10.244.1.2/24, all else by the gateway
    tunnel_end  a VXLAN device that learns nothing   <->  tunnel_peer: neighbour, forwarding entry, route
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lab import netns, plan
from lab.rtnl import RT_SCOPE_HOST, RT_SCOPE_LINK, RTPROT_BOOT, Rtnl

# Calico's, as felix sets every host end up.
ROUTED_MAC = "ee:ee:ee:ee:ee:ee"
ROUTED_GATEWAY4, ROUTED_GATEWAY6 = "169.254.1.1", "fe80::ecee:eeff:feee:eeee"


class Bridge(msgspec.Struct, frozen=True):
    """A bridge that is up."""

    name: str
    mac: str


class Veth(msgspec.Struct, frozen=True):
    """A veth pair: `name` here (up), eth0 in namespace `place` (down). `mtu` is of both ends, in bytes."""

    name: str
    place: str
    peer_mac: str
    mac: str = ""
    master: str = ""
    mtu: int = 0
    hairpin: bool = False


class Vxlan(msgspec.Struct, frozen=True):
    """A VXLAN device that is up. `mtu` 0 is what the kernel makes of its lower device's.

    `more` are further options in iproute2's words, which only written blocks can have.
    """

    name: str
    vni: int
    port: int
    local: str
    lower: str
    mac: str
    mtu: int = 0
    learning: bool = False
    master: str = ""
    more: str = ""


class Addr(NamedTuple):
    """An address of a device, with the length of its prefix."""

    dev: str
    cidr: str


class Neigh(NamedTuple):
    """A permanent neighbour entry."""

    dev: str
    addr: str
    mac: str


class Remote(NamedTuple):
    """A VXLAN device's permanent forwarding entry: behind which host a MAC is."""

    dev: str
    mac: str
    host: str


class Way(NamedTuple):
    """A route; `scope` None is the usual one."""

    dst: str
    dev: str = ""
    via: str = ""
    src: str = ""
    onlink: bool = False
    scope: int | None = None


class Block(msgspec.Struct, frozen=True):
    """What one namespace gets. `up` are devices that are there already; `gone` routes that the kernel made."""

    links: tuple[Bridge | Veth | Vxlan, ...] = ()
    up: tuple[str, ...] = ()
    addrs: tuple[Addr, ...] = ()
    gone: tuple[Way, ...] = ()
    neighs: tuple[Neigh, ...] = ()
    remotes: tuple[Remote, ...] = ()
    sysctls: Mapping[str, int] = {}
    ways: tuple[Way, ...] = ()


class End(NamedTuple):
    """A pod's address in one family, the length of its node's range, and its gateway."""

    addr: str
    prefixlen: int
    gateway: str

    @property
    def cidr(self) -> str:
        """The address with the length of the range."""
        return f"{self.addr}/{self.prefixlen}"

    @property
    def range(self) -> str:
        """The range of the node's pods."""
        return str(ipaddress.ip_interface(self.cidr).network)

    @property
    def default(self) -> str:
        """The default route's prefix."""
        return plan.default(6 if ":" in self.addr else 4)


def gateway(name: str, mac: str, ranges: Mapping[str, str]) -> Block:
    """A node's bridge, which is its pods' gateway: its address in each family -> the range of the pods."""
    cidrs = [f"{addr}/{plan.prefixlen(cidr)}" for addr, cidr in ranges.items()]
    return Block(links=(Bridge(name, mac),), addrs=tuple(Addr(name, cidr) for cidr in cidrs))


def on_subnet(ends: Sequence[End]) -> Block:
    """A pod whose gateway is on its own subnet."""
    return Block(
        up=("lo", "eth0"),
        addrs=tuple(Addr("eth0", end.cidr) for end in ends),
        ways=tuple(Way(end.default, via=end.gateway) for end in ends),
    )


def bridged(veth: Veth, ends: Sequence[End]) -> tuple[Block, Block]:
    """A pod on a bridge (`veth.master`): the node's part and the pod's. As the CNI plugin bridge makes it."""
    return Block(links=(veth,)), on_subnet(ends)


def routed(host: str, place: str, mac: str, addrs: Sequence[str]) -> tuple[Block, Block]:
    """A pod that its node has a route to, and that takes its node for a router: the node's part and the pod's.

    Nobody has the gateway 169.254.1.1: the host end answers for it (proxy_arp), if the node has a default route.
    """
    sysctls = {f"ipv4/conf/{host}/{name}": 1 for name in ("route_localnet", "proxy_arp", "forwarding")}
    sysctls[f"ipv4/neigh/{host}/proxy_delay"] = 0
    if any(":" in addr for addr in addrs):
        sysctls[f"ipv6/conf/{host}/proxy_ndp"] = 1
    outer = Block(
        links=(Veth(host, place, mac, ROUTED_MAC),),
        sysctls=sysctls,
        ways=tuple(Way(plan.host(addr), host) for addr in addrs),
    )
    ways: list[Way] = []
    for addr in addrs:
        if ":" in addr:
            ways.append(Way(plan.DEFAULT6, "eth0", ROUTED_GATEWAY6))
        else:
            ways += [
                Way(plan.host(ROUTED_GATEWAY4), "eth0", scope=RT_SCOPE_LINK),
                Way(plan.DEFAULT4, "eth0", ROUTED_GATEWAY4),
            ]
    own = tuple(Addr("eth0", plan.host(addr)) for addr in addrs)
    return outer, Block(up=("lo", "eth0"), addrs=own, ways=tuple(ways))


def ptp(host: str, place: str, mac: str, ends: Sequence[End]) -> tuple[Block, Block]:
    """A pod whose host end has the gateway's address: the node's part and the pod's. As the CNI plugin ptp makes it.

    The plugin replaces the route of the subnet: the node's other pods are behind the gateway.
    """
    outer = Block(
        links=(Veth(host, place, mac),),
        addrs=tuple(Addr(host, plan.host(end.gateway)) for end in ends),
        ways=tuple(Way(plan.host(end.addr), host, scope=RT_SCOPE_HOST) for end in ends),
    )
    ways: list[Way] = []
    for end in ends:
        ways += [
            Way(plan.host(end.gateway), "eth0", scope=RT_SCOPE_LINK),
            Way(end.range, via=end.gateway, src=end.addr),
            Way(end.default, via=end.gateway),
        ]
    inner = Block(
        up=("lo", "eth0"),
        addrs=tuple(Addr("eth0", end.cidr) for end in ends),
        gone=tuple(Way(end.range, "eth0") for end in ends),
        ways=tuple(ways),
    )
    return outer, inner


def tunnel_end(device: Vxlan, own: Sequence[str]) -> Block:
    """A node's end of flannel's tunnel. `own` are the addresses of the device itself."""
    return Block(links=(device,), addrs=tuple(Addr(device.name, plan.host(addr)) for addr in own))


def flooding_end(device: Vxlan, hosts: Sequence[str]) -> Block:
    """A node's end of a VXLAN that is one broadcast domain: what is for everybody or unknown goes to all hosts."""
    remotes = tuple(Remote(device.name, "00:00:00:00:00:00", host) for host in hosts)
    return Block(links=(device,), remotes=remotes)


def tunnel_peer(dev: str, mac: str, host: str, ranges: Mapping[str, str]) -> Block:
    """What a node knows of another's end: its MAC, its host, and for each of its own addresses the range behind it."""
    return Block(
        neighs=tuple(Neigh(dev, own, mac) for own in ranges),
        remotes=(Remote(dev, mac, host),),
        ways=tuple(tunnel_way(dev, own, cidr) for own, cidr in ranges.items()),
    )


def tunnel_way(dev: str, own: str, cidr: str) -> Way:
    """The route to a range by the other end's own address, which only the neighbour entry knows."""
    return Way(cidr, dev, own, onlink=True)


def build(path: Path, block: Block, rtnl: Rtnl | None = None) -> None:
    """Make a block in the namespace of a file; `rtnl` is its socket, if there is one. Raises: OSError, LookupError."""
    if rtnl is None:
        with Rtnl(path) as own:
            build(path, block, own)
        return
    for link in block.links:
        _make(rtnl, link)
    for dev in block.up:
        rtnl.set_up(rtnl.ifindex(dev))
    for addr in block.addrs:
        rtnl.add_addr(rtnl.ifindex(addr.dev), addr.cidr)
    for way in block.gone:
        rtnl.delete_route(way.dst, dev=way.dev)
    for neigh in block.neighs:
        rtnl.replace_neigh(rtnl.ifindex(neigh.dev), neigh.addr, neigh.mac)
    for remote in block.remotes:
        rtnl.add_fdb(rtnl.ifindex(remote.dev), remote.mac, remote.host)
    if block.sysctls:
        netns.set_sysctls(path, dict(block.sysctls))
    for way in block.ways:
        rtnl.add_route(way.dst, **route_args(way))


def route_args(way: Way) -> dict[str, Any]:
    """Return a route as `Rtnl.add_route` takes it, beside its prefix."""
    given = {"dev": way.dev, "via": way.via, "src": way.src, "onlink": way.onlink}
    return {
        **{name: value for name, value in given.items() if value},
        "scope": way.scope,
        "protocol": RTPROT_BOOT,
    }


def _make(rtnl: Rtnl, link: Bridge | Veth | Vxlan) -> None:
    match link:
        case Bridge():
            rtnl.add_bridge(link.name, link.mac)
        case Veth():
            master = rtnl.ifindex(link.master) if link.master else 0
            rtnl.add_veth(
                link.name,
                "eth0",
                link.place,
                peer_mac=link.peer_mac,
                mac=link.mac,
                master=master,
                mtu=link.mtu,
            )
            if link.hairpin:
                rtnl.set_port(rtnl.ifindex(link.name), mode=1)
        case Vxlan():
            if link.more:
                raise ValueError(f"{link.name}: {link.more} is for written blocks")
            rtnl.add_vxlan(
                link.name,
                vni=link.vni,
                local=link.local,
                link=rtnl.ifindex(link.lower),
                port=link.port,
                mac=link.mac,
                mtu=link.mtu,
                learning=link.learning,
            )
            if link.master:
                rtnl.set_link(rtnl.ifindex(link.name), master=rtnl.ifindex(link.master))
