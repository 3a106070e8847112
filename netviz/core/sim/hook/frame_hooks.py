r"""Netfilter's hooks of frames: the netdev family and inet ingress at a device, bridges, ARP.

    device --> ingress --> bridge prerouting --> forward --> postrouting --> egress --> device
                                             \-> input --> ingress of the bridge --> IP, ARP input
    bridge's own frames ----------------------> output ----> postrouting

Source: net/core/dev.c, nf_ingress, __dev_queue_xmit; include/linux/netfilter_netdev.h, nf_hook_egress;
net/netfilter/nft_chain_filter.c; net/bridge/br_input.c, br_forward.c, __br_forward; net/ipv4/arp.c,
arp_rcv, arp_xmit; net/netfilter/nft_fwd_netdev.c (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from netviz.core.model.conntrack import CtEntry
from netviz.core.model.link import Link
from netviz.core.model.netfilter import (
    NFPROTO_ARP,
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    NFPROTO_NETDEV,
    NftChain,
)
from netviz.core.sim.actions import Ended
from netviz.core.sim.hook.hooks import base_chains, ordered
from netviz.core.sim.hook.netfilter import conclude, filter_chain, record
from netviz.core.sim.index import Index
from netviz.core.sim.nft.chain import Outcome, run_chain
from netviz.core.sim.nft.context import NF_INET_INGRESS, NF_NETDEV_EGRESS, Context
from netviz.core.sim.one_read import one_read
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import HookVerdict, Opaque
from netviz.core.state.node import NetnsState

NETDEV_INGRESS, NETDEV_EGRESS, INET_INGRESS = 0, 1, 5
ARP_FAMILIES = frozenset((NFPROTO_ARP, NFPROTO_BRIDGE, NFPROTO_NETDEV))
NF_ARP_IN, NF_ARP_OUT, NF_ARP_FORWARD = range(3)
IPS_OFFLOAD = 1 << 14
BRIDGE_HOOKS = {"pre": 0, "in": 1, "forward": 2, "out": 3, "post": 4}
NF_BR_PRI_BRNF = 0
HookPart = Literal["all", "before IP", "after IP"]


class Forwarded(msgspec.Struct, frozen=True):
    """A rule sends the frame out of another device. `nexthop` is the neighbour that it goes to; b"": as it is."""

    link: Link
    packet: Packet
    nexthop: bytes = b""


def _for_device(chain: NftChain, link: Link) -> bool:
    return any(
        link.ifname.startswith(name[:-1]) if name.endswith("*") else link.ifname == name
        for name in chain.devs
    )


def _chains(ns: NetnsState, *places: tuple[int, int]) -> list[NftChain]:
    """List the base chains of some (family, hook) that are switched on, in order."""
    index = base_chains(ns.nft_chains)
    found = [chain for place in places for chain in index.get(place, ())]
    return ordered(ns, found) if found else found


def _meets_arp(chains: Mapping[Any, NftChain]) -> bool:
    return any(family in ARP_FAMILIES for family, _ in base_chains(chains))


arp_chains: Index[Mapping[Any, NftChain], bool] = Index(_meets_arp)


@one_read(sections=("nft_chains", "xt_tables"))
def filters_arp(ns: NetnsState) -> bool:
    """Tell whether any chain or legacy table of a namespace could meet an ARP message."""
    legacy = ns.xt_tables and any(table.family == NFPROTO_ARP for table in ns.xt_tables.values())
    return bool(legacy or (ns.nft_chains and arp_chains(ns.nft_chains)))


def netdev_hook(run: Run, ns: NetnsState, link: Link, packet: Packet, egress: bool) -> Packet | Forwarded:
    """Pass a frame through the chains of a device: those of the netdev family, and inet's ingress."""
    if not ns.nft_chains:
        return packet
    places = [(NFPROTO_NETDEV, NETDEV_EGRESS if egress else NETDEV_INGRESS)]
    if not egress:
        _check_offloaded(run, ns, link, packet)
        places.append((NFPROTO_INET, INET_INGRESS))
    for chain in _chains(ns, *places):
        if not _for_device(chain, link) or (chain.family == NFPROTO_INET and packet.arp):
            continue
        ctx = _device_context(run, ns, link, packet, chain, egress)
        outcome = run_chain(ctx, chain, link)
        if outcome.action is not None and outcome.action.name == "fwd":
            return _forwarded(ctx, chain, outcome, link)
        conclude(ctx, chain, outcome, link)
        packet = ctx.packet
    return packet


def has_egress(ns: NetnsState, link: Link) -> bool:
    """Tell whether frames that a device transmits meet a chain."""
    chains = _chains(ns, (NFPROTO_NETDEV, NETDEV_EGRESS)) if ns.nft_chains else ()
    return any(_for_device(chain, link) for chain in chains)


def _device_context(
    run: Run, ns: NetnsState, link: Link, packet: Packet, chain: NftChain, egress: bool
) -> Context:
    family = NFPROTO_NETDEV
    if chain.family == NFPROTO_INET:
        family = NFPROTO_IPV6 if packet.ipv6 else NFPROTO_IPV4
    hook = NF_NETDEV_EGRESS if egress else NF_INET_INGRESS
    return Context(run, ns, packet, family, hook, None if egress else link, link if egress else None)


def _forwarded(ctx: Context, chain: NftChain, outcome: Outcome, dev: Link) -> Forwarded:
    """Work out where `fwd` sends a frame. Source: net/netfilter/nft_fwd_netdev.c (Linux 6.18)."""
    assert outcome.action is not None
    a = outcome.action.attrs
    record(ctx, chain, outcome, dev)
    index = ctx.load(a.get("sreg_dev", 1), 4)
    link = ctx.ns.links.get(int.from_bytes(index, "little")) if index is not None else None
    if link is None:
        what: Literal["device of fwd", "missing device of fwd"] = (
            "device of fwd" if index is None else "missing device of fwd"
        )
        ctx.run.end_unknown(ctx.ns, dev, ctx.packet, HookVerdict("unknown", what))
    if not a.get("sreg_addr"):
        return Forwarded(link, ctx.packet)
    addr = ctx.load(a["sreg_addr"], len(ctx.packet.dst))
    if addr is None or ctx.hook == NF_NETDEV_EGRESS:
        ctx.run.end_unknown(ctx.ns, dev, ctx.packet, HookVerdict("unknown", "neighbour of fwd"))
    return Forwarded(link, ctx.packet.but(ttl=ctx.packet.ttl - 1), addr)


def _check_offloaded(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    """End the walk where a flow table takes the packet past the hooks: its flow was offloaded to one.

    Source: net/netfilter/nf_flow_table_ip.c, nf_flow_offload_ip_hook (Linux 6.18).
    """
    tables = [one for one in ns.nft_objects.values() if one.type == "flowtable"]
    if not any(link.ifname in one.attrs.get("devs", ()) for one in tables) or packet.arp:
        return
    for entry in ns.conntrack.values():
        if entry.status & IPS_OFFLOAD and _belongs(entry, packet):
            run.end_unknown(ns, link, packet, Opaque("unknown", "flow offload"))


def _belongs(entry: CtEntry, packet: Packet) -> bool:
    return packet.tuple() in (entry.orig, entry.reply)


def bridge_hook(
    run: Run,
    ns: NetnsState,
    packet: Packet,
    hook: str,
    port: Link | None,
    bridge: Link,
    out: Link | None = None,
    part: HookPart = "all",
) -> Packet:
    """Pass a frame through a bridge's hook: its bridge chains, or a part of them.

    `port` is where the frame came in, None where the kernel no longer says so; `out` where it goes out. Between the
    parts br_netfilter calls the IP hooks. It is registered with the namespace's first bridge: chains of its own
    priority came later and go first.

    Source: net/bridge/br_netfilter_hooks.c, br_nf_ops, br_nf_hook_thresh (Linux 6.18).
    """
    number = BRIDGE_HOOKS[hook]
    for chain in _chains(ns, (NFPROTO_BRIDGE, number)) if ns.nft_chains else ():
        if part != "all" and (part == "after IP") != (chain.priority > NF_BR_PRI_BRNF):
            continue
        ctx = Context(run, ns, packet, NFPROTO_BRIDGE, number, port, out)
        filter_chain(ctx, chain, bridge)
        packet = ctx.packet
    return packet


def copys_mac(
    run: Run, ns: NetnsState, packet: Packet, hook: str, port: Link | None, bridge: Link, out: Link
) -> bytes:
    """Return the destination that a bridge's chains, and a port's, give the copy of a flooded frame for the port."""
    hooked = base_chains(ns.nft_chains).get((NFPROTO_BRIDGE, BRIDGE_HOOKS[hook]))
    if not hooked and not has_egress(ns, out):
        return packet.dmac

    def copy() -> bytes:
        try:
            copied = bridge_hook(run, ns, packet, hook, port, bridge, out)
            passed = netdev_hook(run, ns, out, copied, egress=True)
            return packet.dmac if isinstance(passed, Forwarded) else passed.dmac
        except Ended:
            return packet.dmac

    return run.suppose(copy)


def arp_hook(
    run: Run, ns: NetnsState, message: Packet, hook: int, iif: Link | None, oif: Link | None
) -> Packet:
    """Pass an ARP message through the chains of the ARP family where it is sent, received, or bridged.

    Source: net/ipv4/arp.c, arp_xmit, arp_rcv; net/bridge/br_netfilter_hooks.c, br_nf_forward_arp (Linux 6.18).
    """
    link = oif if oif is not None else iif
    for chain in _chains(ns, (NFPROTO_ARP, hook)) if ns.nft_chains else ():
        ctx = Context(run, ns, message, NFPROTO_ARP, hook, iif, oif)
        filter_chain(ctx, chain, link)
        message = ctx.packet
    return message
