"""The fib expression: what routing would say about one of the packet's addresses.

Source: net/netfilter/nft_fib.c; net/ipv4/netfilter/nft_fib_ipv4.c, nft_fib4_eval, nft_fib4_eval_type;
net/ipv6/netfilter/nft_fib_ipv6.c, nft_fib6_eval, __nft_fib6_eval_type (Linux 6.18).
"""

from __future__ import annotations

from typing import Any

from netviz.core.model.l3 import (
    RTN_ANYCAST,
    RTN_BLACKHOLE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
)
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import NF_FORWARD, NF_LOCAL_IN, NF_PRE_ROUTING
from netviz.core.sim.nft.context import NF_INET_INGRESS, Context, Result, Tri
from netviz.core.sim.nft.meta import ifname, u32
from netviz.core.sim.route.rules import lookup_local, lookup_route
from netviz.core.sim.route.saddr import is_link_local6, is_multicast, owned_addrs
from netviz.core.sim.route_flow import RouteFlow

F_SADDR, F_DADDR, F_MARK, F_IIF, F_OIF, F_PRESENT = 1, 2, 4, 8, 16, 32
RESULT_OIF, RESULT_OIFNAME, RESULT_ADDRTYPE = 1, 2, 3
ERROR_TYPES = {"EINVAL": RTN_BLACKHOLE, "EACCES": RTN_PROHIBIT, "EAGAIN": RTN_THROW}
DSCP_BITS = 0xFC
LINK_SCOPE = 2  # of an IPv6 group
LOOPBACK_HOOKS = (NF_PRE_ROUTING, NF_LOCAL_IN, NF_INET_INGRESS)


def eval_fib(ctx: Context, a: dict[str, Any]) -> Result:
    """Load the device or the type that a lookup of an address comes to."""
    flags, result, packet = a.get("flags", 0), a.get("result", 0), ctx.packet
    if packet.arp:
        return Tri.FALSE
    dev = ctx.iif if flags & F_IIF else ctx.oif if flags & F_OIF else None
    if result == RESULT_ADDRTYPE:
        kind = _type6(ctx, flags, dev) if packet.ipv6 else _type4(ctx, flags, dev)
        ctx.store(a["dreg"], None if kind is None else u32(kind), 4)
        return Tri.TRUE
    if _skips(ctx):
        _store(ctx, a["dreg"], flags, result, ctx.iif)
        return Tri.TRUE
    found, known = _device6(ctx, flags, dev) if packet.ipv6 else _device4(ctx, flags, dev)
    if known:
        _store(ctx, a["dreg"], flags, result, found)
    else:
        ctx.store(a["dreg"], None, 16)
    return Tri.TRUE


def _skips(ctx: Context) -> bool:
    """Tell whether there is no lookup: the packet came by the loopback. Source: nft_fib.h, nft_fib_can_skip."""
    return ctx.hook in LOOPBACK_HOOKS and ctx.iif is not None and bool(ctx.iif.flags & IFF_LOOPBACK)


def _store(ctx: Context, reg: int, flags: int, result: int, dev: Link | None) -> None:
    if flags & F_PRESENT:
        ctx.store(reg, bytes([dev is not None]))
    elif result == RESULT_OIFNAME:
        ctx.store(reg, ifname(dev))
    else:
        ctx.store(reg, u32(dev.ifindex if dev is not None else 0))


def _addresses(ctx: Context, flags: int) -> tuple[bytes, bytes]:
    """Return the address that is looked up, and the other one."""
    packet = ctx.packet
    return (packet.dst, packet.src) if flags & F_DADDR else (packet.src, packet.dst)


def _special4(addr: bytes) -> bool:
    return is_multicast(addr) or addr == b"\xff" * 4 or addr[0] == 0


def _type4(ctx: Context, flags: int, dev: Link | None) -> int:
    """Ask the local table alone. Source: net/ipv4/fib_frontend.c, __inet_dev_addr_type (Linux 6.18)."""
    addr, _ = _addresses(ctx, flags)
    if is_multicast(addr):
        return RTN_MULTICAST
    if _special4(addr):
        return RTN_BROADCAST
    match = lookup_local(ctx.ns, addr)
    if match is None or match.error or not match.nexthops:
        return RTN_UNICAST
    return match.route.type if dev is None or match.nexthops[0].oif == dev.ifindex else RTN_UNICAST


def _device4(ctx: Context, flags: int, dev: Link | None) -> tuple[Link | None, bool]:
    """Find the device that a lookup leads to; the flag says that it is known."""
    packet = ctx.packet
    addr, other = _addresses(ctx, flags)
    iif = 0
    if not flags & F_DADDR and ctx.hook == NF_FORWARD and flags & F_IIF and not ctx.bridged:
        iif = ctx.oif.ifindex if ctx.oif is not None else 0
    flow = RouteFlow(
        addr,
        b"" if _special4(other) else other,
        iif,
        _master(ctx, dev) if flags & F_IIF else 0,
        packet.mark if flags & F_MARK else 0,
        packet.tos & DSCP_BITS,
    )
    result = lookup_route(ctx.ns, flow)
    if result.unknown:
        return None, False
    if result.error or result.route is None or result.route.type == RTN_LOCAL or not result.nexthops:
        return None, True
    if dev is None:
        return ctx.ns.links.get(result.nexthops[0].oif), True
    uses = any(nexthop.oif == dev.ifindex for nexthop in result.nexthops)
    return (dev if uses else None), True


def _master(ctx: Context, dev: Link | None) -> int:
    """Return the VRF that a device is, or belongs to; 0 for none."""
    if dev is None:
        return 0
    master = ctx.ns.links.get(dev.master)
    if dev.kind == "vrf":
        return dev.ifindex
    return master.ifindex if master is not None and master.kind == "vrf" else 0


def _flow6(ctx: Context, flags: int, dev: Link | None) -> RouteFlow:
    packet = ctx.packet
    addr, other = _addresses(ctx, flags)
    oif = 0
    if is_link_local6(addr) or (is_multicast(addr) and addr[1] & 0xF == LINK_SCOPE):
        via = dev or ctx.iif or ctx.oif
        oif = via.ifindex if via is not None else 0
    elif flags & F_IIF and dev is not None and _master(ctx, dev):
        oif = dev.ifindex
    mark = packet.mark if flags & F_MARK else 0
    return RouteFlow(addr, other, 0, oif, mark, packet.tos, packet.proto)


def _type6(ctx: Context, flags: int, dev: Link | None) -> int | None:
    addr, _ = _addresses(ctx, flags)
    own = dev is not None and any(one.ifindex == dev.ifindex for one in owned_addrs(ctx.ns, addr))
    result = lookup_route(ctx.ns, _flow6(ctx, flags, dev))
    if result.unknown:
        return None
    if result.error or result.route is None:
        return ERROR_TYPES.get(result.error, RTN_UNREACHABLE)
    if result.route.type == RTN_ANYCAST:
        return RTN_ANYCAST
    if own or (dev is None and result.route.type == RTN_LOCAL):
        return RTN_LOCAL
    return RTN_MULTICAST if is_multicast(addr) else RTN_UNICAST


def _device6(ctx: Context, flags: int, dev: Link | None) -> tuple[Link | None, bool]:
    result = lookup_route(ctx.ns, _flow6(ctx, flags, dev))
    if result.unknown:
        return None, False
    if result.error or result.route is None or result.route.type in (RTN_LOCAL, RTN_ANYCAST):
        return None, True
    oifs = {nexthop.oif for nexthop in result.nexthops}
    if len(oifs) != 1:
        return None, not oifs  # a hash of the flow chooses
    found = ctx.ns.links.get(oifs.pop())
    if dev is not None and found is not None and found.ifindex != dev.ifindex:
        return (found if _master(ctx, found) == dev.ifindex else None), True
    return found, True
