"""Whether neighbour entries that nobody questions (permanent ones) have the MAC of who really has the address.

Who has it is looked for only where the link leads: the other end of a veth, the bridge and its ports, other nodes on the
wire, other ends of the tunnel. An entry for an address that nobody there has is no contradiction. The machine that
has the wrong entry is to blame, not the one that gets the frame, or doesn't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Affects, Edit, Problem
from netviz.core.check.tables import PODS
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import Pair, Wiring, name_of, who
from netviz.core.model.addr import format_ip, format_mac, in_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NTF_PROXY, NUD_NOARP, NUD_PERMANENT, NUD_REACHABLE, Neigh
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns
from netviz.core.plain import quoted
from netviz.core.sim.node_index import TUNNEL_KINDS, resolve_lower_of
from netviz.core.sim.route.saddr import link_addrs
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

MAC_BYTES = 6
# Who may have an address, as (namespace, its MAC there).
Holders = list[tuple[Netns, bytes]]


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    found = look.recall()
    for ns in (root, *(pod for pod in look.wiring.inside if look.whole(pod))):
        holders_on: dict[int, Callable[[bytes], Holders]] = {}
        for entry in ns.neighs.values():
            if not look.asks_again(entry.dst) or not _fixed(entry) or entry.ifindex not in ns.links:
                continue
            link = ns.links[entry.ifindex]
            look.judged += look.only is None
            if entry.ifindex not in holders_on:
                holders_on[entry.ifindex] = _holders_on(look, root, ns, link)
            holders = holders_on[entry.ifindex](entry.dst)
            if holders and all(mac != entry.mac for _, mac in holders):
                found.setdefault(entry.dst, []).append(_problem(look, ns, link, entry, holders))
            elif not holders and link.kind == "macvlan":
                found.setdefault(entry.dst, []).extend(_unlike_others(look, root, ns, link, entry))
    for problems in found.values():
        yield from problems


def _fixed(entry: Neigh) -> bool:
    """Tell whether an entry is for one neighbour, and nobody questions it."""
    return (
        bool(entry.state & (NUD_PERMANENT | NUD_NOARP))
        and len(entry.mac) == MAC_BYTES
        and not entry.mac[0] & 1
        and any(entry.mac)
        and not entry.flags & NTF_PROXY
    )


def _holders_on(look: Look, root: NetnsState, ns: NetnsState, link: Link) -> Callable[[bytes], Holders]:
    """How to find who has an address where a link leads: at its other end, on a bridge, in a tunnel, on a wire."""
    wiring = look.wiring
    if link.kind in TUNNEL_KINDS:
        return lambda addr: _in_tunnel(look, link, addr)
    if ns is not root:
        pair = next((pair for pair in wiring.pairs_of.get(ns.key, ()) if pair.inner is link), None)
        if pair is not None:
            return _at_host_end(wiring, root, pair)
    elif link.ifindex in wiring.pairs:
        return lambda addr: _of_pairs([wiring.pairs[link.ifindex]], addr)
    elif link.kind == "bridge" and not any(root.links[wire].master == link.ifindex for wire in wiring.wires):
        ports = [pair for pair in wiring.pairs.values() if pair.host.master == link.ifindex]
        return lambda addr: _of_pairs(ports, addr)
    subnets = [(addr.addr, addr.prefixlen) for addr in link_addrs(ns, link.ifindex)]
    return lambda addr: _on_wire(look, ns, subnets, addr)


def _at_host_end(wiring: Wiring, root: NetnsState, pair: Pair) -> Callable[[bytes], Holders]:
    bridge = root.links.get(pair.host.master)
    if bridge is None:  # the host end answers, for itself and by proxy
        return lambda addr: [(root.netns, pair.host.mac)]
    own = {one.addr for one in root.addrs.values() if one.ifindex == bridge.ifindex}
    ports = [p for p in wiring.pairs.values() if p.host.master == bridge.ifindex and p is not pair]
    return lambda addr: [(root.netns, bridge.mac)] if addr in own else _of_pairs(ports, addr)


def _of_pairs(pairs: list[Pair], addr: bytes) -> Holders:
    return [
        (pair.ns.netns, pair.inner.mac)
        for pair in pairs
        if any(one.addr == addr for one in link_addrs(pair.ns, pair.inner.ifindex))
    ]


def _in_tunnel(look: Look, link: Link, addr: bytes) -> Holders:
    return [
        (claim.netns, claim.link.mac)
        for node, mine in look.find(CLAIMS, addr)
        if node != look.node.node
        for claim in mine
        if claim.link.kind == link.kind
    ]


def _on_wire(look: Look, ns: NetnsState, subnets: list[tuple[bytes, int]], addr: bytes) -> Holders:
    if not any(in_prefix(addr, net, length) for net, length in subnets):
        return []
    return [
        (claim.netns, claim.link.mac)
        for _, mine in look.find(CLAIMS, addr)
        for claim in mine
        if claim.netns.key != ns.key and claim.rank != "service" and claim.link.kind not in TUNNEL_KINDS
    ]


def _unlike_others(
    look: Look, root: NetnsState, ns: NetnsState, link: Link, entry: Neigh
) -> Iterator[Problem]:
    """Compare an entry for somebody unknown with what the others on the same device have learned of him."""
    lower = resolve_lower_of(look.node, LinkKey(ns.key, link.ifindex))
    learned = {}
    for other in (root, *look.wiring.inside):
        for one in other.links.values():
            at = LinkKey(other.key, one.ifindex)
            if other is ns or lower is None or (at != lower and resolve_lower_of(look.node, at) != lower):
                continue
            known = other.neighs.get((one.ifindex, entry.dst, False))
            if known is not None and known.state == NUD_REACHABLE:
                learned[known.mac] = other.netns
    if len(learned) == 1 and entry.mac not in learned:
        ((mac, netns),) = learned.items()
        yield _problem(look, ns, link, entry, [(netns, mac)], learned_by=who(netns))


def _problem(
    look: Look, ns: NetnsState, link: Link, entry: Neigh, holders: Holders, learned_by: str = ""
) -> Problem:
    addr, dev = format_ip(entry.dst), quoted(link.ifname)
    netns, right = holders[0]
    whom = "" if learned_by else f" ({name_of(netns) or netns.key.node})"
    has = f"{learned_by} has learned" if learned_by else "the owner has"
    reach, owner = _reach(look, ns, netns, bool(learned_by)), name_of(netns) or netns.key.node
    lost = addr if learned_by else owner
    tunnel = link.kind in TUNNEL_KINDS  # of which there is one for each family
    return Problem(
        kind="wrong-neighbour",
        cause=f"{ns.key}:{link.ifname}:{addr}",
        severity="error",
        harm="breaks traffic",
        headline=f"{who(ns.netns)} has a permanent neighbour entry for {addr}{whom} on {link.ifname}"
        f" with a wrong MAC address",
        consequence=f"What it sends to or through {lost} goes to {format_mac(entry.mac)};"
        f" {has} {format_mac(right)}.",
        where=place(ns.netns, link),
        both="" if learned_by else f"{ns.key}:{'tunnel' if tunnel else link.ifname}:{netns.key}",
        certainty="likely" if learned_by else "certain",
        affects=reach,
        check=(command(ns.netns, f"ip neigh show {addr} dev {dev}"),),
        fix=(
            command(ns.netns, f"ip neigh replace {addr} lladdr {format_mac(right)} dev {dev} nud permanent")
            if tunnel
            else command(ns.netns, f"ip neigh del {addr} dev {dev}"),
        ),
        rests_on=look.rests_on(netns.key.node),
        repair=(Edit(ns.key, "neighs", entry.key, msgspec.structs.replace(entry, mac=right)),),
    )


def _reach(look: Look, ns: NetnsState, holder: Netns, learned: bool) -> Affects:
    """Whom a wrong entry affects: the pod that has it or that it is for, else all pods of both nodes."""
    pods = [
        name
        for netns in (ns.netns, holder)
        if (name := pod_name(netns)) and not (learned and netns is holder)
    ]
    if pods:
        return affects(pods)
    mine, theirs = (
        [name for _, names in look.find(PODS, node) for name in names]
        for node in (ns.key.node, holder.key.node)
    )
    return affects(
        [*mine, *theirs], pairs=2 * len(mine) * len(theirs) if ns.key.node != holder.key.node else 0
    )


FACT = Fact(
    name="neighbours",
    demands="Every permanent neighbour entry has the MAC address of who has the IP address.",
    unit="entries",
    kinds=("wrong-neighbour",),
    needs=("links", "addrs", "neighs"),
    reads=("routes",),
    find=_find,
    asks=(CLAIMS, PODS),
    by_key=CLAIMS,
)
