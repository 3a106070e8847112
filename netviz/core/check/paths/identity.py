"""What tells the causes of failing traces apart, and which of them are one."""

from __future__ import annotations

import hashlib

from netviz.core.check.facts.forwarding import IP_FORWARD
from netviz.core.check.paths.contract import Ask
from netviz.core.model.addr import format_ip, format_prefix
from netviz.core.sim import sysctl
from netviz.core.sim.headline.cause import Cause, owner_of
from netviz.core.sim.nft.written import written
from netviz.core.sim.steps import (
    ChainRef,
    Forward,
    HookVerdict,
    Neighbour,
    Opaque,
    RouteLookup,
    RpFilter,
    RuleHit,
)
from netviz.core.sim.trace import Trace
from netviz.core.state.node import ClusterState


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
        chain = what.chain.chain
        within = what.hit.within if what.hit is not None else chain.name
        rule = _digest(what.hit, what.chain) if what.hit is not None else "policy"
        said = f"{chain.table}/{within}/{rule}"
    elif cause.kind in ("tunnel", "loop", "bridge-drops", "path-unknown"):
        said = cause.path.reason or cause.step.what.cause
    elif cause.kind == "forwarding-off" and isinstance(what, Forward) and what.sysctl:
        return f"{place.netns.node}:{_setting(cluster, cause, what.sysctl)}"
    dev = "" if cause.kind in ("no-route", "rule-drops", "loop") else cause.dev
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
    """Name a pod's lack of a default route, or a node's of one to another's pods, for both families."""
    owner, place = owner_of(trace, cause), cause.place
    if lacks_default(cluster, cause):
        return f"{place.key}:no default route"
    if cause.kind != "no-route" or not place.root or owner is None or not owner.place.pod:
        return ""
    return f"{place.netns.node}:{owner.place.netns.node}"


def shared_address(cause: Cause, ask: Ask) -> bytes:
    """Return the address that somebody else may have too, where that is how a cause looks."""
    what = cause.step.what
    if isinstance(what, RpFilter) and what.refusal is not None and what.refusal.cause == "own address":
        return cause.step.packet.src
    return ask.addr if cause.kind == "wrong-place" else b""


def _setting(cluster: ClusterState, cause: Cause, name: str) -> str:
    """Name the setting that stops forwarding: a device's, or the one that sets it for all devices and is off too."""
    node = cluster.nodes.get(cause.place.netns.node)
    ns = node.netns.get(cause.place.netns) if node is not None else None
    if ns is None or not name.startswith("net.ipv4.") or IP_FORWARD not in ns.sysctls:
        return name
    return name if sysctl.value(ns, IP_FORWARD) else IP_FORWARD


def _digest(hit: RuleHit, ref: ChainRef) -> str:
    """Name a rule by what it says: who writes it anew, as programs do that restore all of theirs, gives it another handle."""
    text = written(hit.of, hit.number, ref.chain.family, ref.legacy).text
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
