"""What tells the causes of failing traces apart, and which of them are one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from netviz.core.check.facts.forwarding import IP_FORWARD
from netviz.core.check.paths.contract import Demand
from netviz.core.check.wiring import Wiring
from netviz.core.model.addr import format_ip, format_mac, format_prefix, pack_ip
from netviz.core.model.l3 import Route
from netviz.core.model.link import Link
from netviz.core.sim import sysctl
from netviz.core.sim.headline.cause import Cause, nodes_of_loop, owner_of, shared_mac
from netviz.core.sim.link.cluster_index import having_addr
from netviz.core.sim.nft.written import written
from netviz.core.sim.steps import (
    Forward,
    HookVerdict,
    Neighbour,
    Opaque,
    Place,
    RouteLookup,
    RpFilter,
)
from netviz.core.sim.trace import Trace, place_of
from netviz.core.state.node import ClusterState, NetnsState

DUPLICATE = "duplicate-address"  # as the check of addresses says it


def identity_of(cluster: ClusterState, trace: Trace, cause: Cause, demand: Demand) -> tuple[str, str]:
    """Name a cause: its kind, and what tells it apart from others of the kind."""
    shared = shared_address(cause, demand)
    if shared and len(having_addr(cluster.nodes, shared)) > 1:
        return DUPLICATE, format_ip(shared)
    if mac := shared_mac(cause.step):
        return cause.kind, format_mac(mac)
    stops = rule_that_stops(cause)
    if stops is not None:
        return "rule-drops", _rule(seat_of(cause), stops)
    wide = too_wide(cluster, cause)
    if wide is not None:
        prefix = format_prefix(wide.dst, wide.dst_len)
        return "wrong-route", "/".join((cause.place.key, cause.dev, prefix))
    return cause.kind, detail_of(cluster, trace, cause)


def rule_that_stops(cause: Cause) -> HookVerdict | None:
    """Return the rule that keeps a request for a neighbour, or its answer, away."""
    what = cause.step.what
    if not isinstance(what, Neighbour) or cause.kind != "no-neighbour":
        return None
    return next((one for one in what.stopped if isinstance(one, HookVerdict) and one.chain is not None), None)


def seat_of(cause: Cause) -> Place:
    """Say where a cause's deciding record is: not where a neighbour is asked for, where a rule elsewhere stops that."""
    stops = rule_that_stops(cause)
    return cause.place if stops is None or stops.chain is None else place_of(stops.chain.ns.netns)


def too_wide(cluster: ClusterState, cause: Cause) -> Route | None:
    """Return the route by which a namespace takes others' addresses for those of its own link, where nobody has them.

    Its link leads to pods of its own node alone, and the address is on another.
    """
    what, key = cause.step.what, cause.hop.netns
    if (
        not isinstance(what, Neighbour)
        or cause.kind != "no-neighbour"
        or what.nexthop != cause.step.packet.dst
    ):
        return None
    lookup = next((one.what for one in reversed(cause.hop.steps) if isinstance(one.what, RouteLookup)), None)
    route = lookup.route if lookup is not None else None
    owners = having_addr(cluster.nodes, what.nexthop)
    node = cluster.nodes.get(key.node)
    if (
        route is None
        or route.dst_len == len(route.dst) * 8
        or not owners
        or node is None
        or key not in node.netns
    ):
        return None
    elsewhere = all(owner.netns.key.node != key.node for owner in owners)
    return route if elsewhere and _stays_on_node(Wiring(node), node.netns[key], cause.dev) else None


def _stays_on_node(wiring: Wiring, ns: NetnsState, dev: str) -> bool:
    """Tell whether a link leads to nobody beyond its node."""
    root = wiring.root
    pair = next((one for one in wiring.pairs_of.get(ns.key, ()) if one.inner.ifname == dev), None)
    if root is None or (pair is None and not ns.netns.root):
        return False
    link: Link | None = pair.host if pair is not None else None
    if link is None:
        link = next((one for one in root.links.values() if one.ifname == dev), None)
    bridge = link and (link if link.kind == "bridge" else root.links.get(link.master))
    if bridge is None:
        return link is not None and link.ifindex in wiring.pairs
    ports = [port.ifindex for port in root.links.values() if port.master == bridge.ifindex]
    return all(port in wiring.pairs for port in ports)


def _rule(place: Place, what: HookVerdict, says: Callable[[str], str] = str) -> str:
    """Name a rule by its table, its chain and what it says, which `says` may put otherwise.

    Who writes a rule anew, as programs do that restore all of theirs, gives it another handle.
    """
    assert what.chain is not None
    chain, hit = what.chain.chain, what.hit
    rule = "policy"
    if hit is not None:
        text = says(written(hit.of, hit.number, chain.family, what.chain.legacy).text)
        rule = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    at = (place.netns.node, "" if place.root else place.pod or place.name, chain.table)
    return "/".join(part for part in (*at, hit.within if hit is not None else chain.name, rule) if part)


def _for_both(cluster: ClusterState, text: str) -> str:
    """Put a rule's text so that it is the same in both families: who has an address instead of that."""
    words = []
    for word in text.split():
        try:
            owners = having_addr(cluster.nodes, pack_ip(word.partition("/")[0]))
        except ValueError:
            owners = []
        words.append(
            str(owners[0].key) if len(owners) == 1 else {"ip6": "ip", "icmpv6": "icmp"}.get(word, word)
        )
    return " ".join(words)


def detail_of(cluster: ClusterState, trace: Trace, cause: Cause) -> str:
    """Name a cause apart from others of its kind, whomever it affects: place, device, and the record that decides."""
    what, place = cause.step.what, cause.place
    if isinstance(what, Opaque) and what.names:
        return "/".join((place.netns.node, *what.names))
    said = ""
    if lacks_default(cluster, cause):
        said = f"no default route/{8 * len(cause.step.packet.dst)}"
    elif cause.kind == "no-route":
        owner = owner_of(trace, cause)
        prefix = owner.prefix if owner is not None else None
        said = format_prefix(*prefix) if prefix is not None else format_ip(cause.step.packet.dst)
        if isinstance(what, RouteLookup) and what.route is not None:
            said = format_prefix(what.route.dst, what.route.dst_len)
    elif cause.kind in ("no-neighbour", "wrong-neighbour") and isinstance(what, Neighbour):
        said = format_ip(what.nexthop)
    elif cause.kind == "rule-drops" and isinstance(what, HookVerdict) and what.chain is not None:
        return _rule(place, what)
    elif cause.kind == "loop":
        owner = owner_of(trace, cause)
        prefix = owner.prefix if owner is not None else None
        towards = format_prefix(*prefix) if prefix is not None else format_ip(cause.step.packet.dst)
        return "/".join(("+".join(nodes_of_loop(cause.path)), towards))
    elif cause.kind in ("tunnel", "bridge-drops", "path-unknown"):
        said = cause.path.reason or cause.step.what.cause
    elif cause.kind == "forwarding-off" and isinstance(what, Forward) and what.sysctl:
        return f"{place.netns.node}:{_setting(cluster, cause, what.sysctl)}"
    dev = "" if cause.kind == "no-route" else cause.dev
    return "/".join(part for part in (place.netns.node, place.pod or place.name, dev, said) if part)


def lacks_default(cluster: ClusterState, cause: Cause) -> bool:
    """Tell whether a route is missing in a pod that has no default route of the packet's family in any table."""
    what, place = cause.step.what, cause.place
    node = cluster.nodes.get(place.netns.node)
    ns = node.netns.get(place.netns) if node is not None else None
    missing = (
        cause.kind == "no-route"
        and isinstance(what, RouteLookup)
        and what.route is None
        and cause.down is None
    )
    if ns is None or place.root or not missing:
        return False
    width = len(cause.step.packet.dst)
    return all(route.dst_len or len(route.dst) != width for route in ns.routes.values())


def both_of(cluster: ClusterState, trace: Trace, cause: Cause) -> str:
    """Name a cause that may show in both families: what is missing or wrong, and for whom, without addresses."""
    owner, place = owner_of(trace, cause), cause.place
    if lacks_default(cluster, cause):
        return f"{place.key}:no default route"
    if too_wide(cluster, cause) is not None:
        return f"{place.key}:{cause.dev}:too wide"
    if cause.kind == "nat-between-pods":
        return place.netns.node
    what = rule_that_stops(cause) or cause.step.what
    if isinstance(what, HookVerdict) and what.chain is not None:
        return _rule(seat_of(cause), what, partial(_for_both, cluster))
    if owner is None:
        return ""
    if cause.kind == "loop":
        return f"{'+'.join(nodes_of_loop(cause.path))}:{owner.place.netns.node}"
    if cause.kind == "no-neighbour" and owner.addr == getattr(cause.step.what, "nexthop", b""):
        return f"{place.key}:{cause.dev}:{owner.place.key}"
    if cause.kind != "no-route" or not place.root or not owner.place.pod:
        return ""
    return f"{place.netns.node}:{owner.place.netns.node}"


def shared_address(cause: Cause, demand: Demand) -> bytes:
    """Return the address that somebody else may have too, where that is how a cause looks."""
    what = cause.step.what
    if isinstance(what, RpFilter) and what.refusal is not None and what.refusal.cause == "own address":
        return cause.step.packet.src
    if cause.kind != "wrong-place":
        return b""
    return demand.addr if cause.forward else cause.step.packet.dst


def _setting(cluster: ClusterState, cause: Cause, name: str) -> str:
    """Name the setting that stops forwarding: a device's, or the one that sets it for all devices and is off too."""
    node = cluster.nodes.get(cause.place.netns.node)
    ns = node.netns.get(cause.place.netns) if node is not None else None
    if ns is None or not name.startswith("net.ipv4.") or IP_FORWARD not in ns.sysctls:
        return name
    return name if sysctl.value(ns, IP_FORWARD) else IP_FORWARD
