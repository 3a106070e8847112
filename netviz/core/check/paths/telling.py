"""A case of failing pairs as a problem: its words, its place, whom it affects, what checks and fixes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from netviz.core.check.facts.pod_links import GRACE_S as LINK_GRACE_S
from netviz.core.check.paths.cases import Case, nodes_of, reach_of
from netviz.core.check.paths.contract import Demand, families, pod_name
from netviz.core.check.paths.identity import (
    both_of,
    detail_of,
    lacks_default,
    rule_that_stops,
    seat_of,
    too_wide,
)
from netviz.core.check.paths.judge import MAX_MOVES
from netviz.core.check.paths.repair import fix_of, without
from netviz.core.check.paths.world import World
from netviz.core.check.problem import Affects, Command, Harm, Judgement, Problem, Where
from netviz.core.check.text import affects
from netviz.core.check.wiring import name_of
from netviz.core.model.addr import format_ip, format_prefix
from netviz.core.plain import quoted, runnable
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.headline.cause import Cause, cause_of
from netviz.core.sim.headline.sentences import headline_of, where
from netviz.core.sim.outcome import BREAKS, BROKEN, UNSURE
from netviz.core.sim.steps import Opaque, Place
from netviz.core.sim.trace import Trace
from netviz.core.sim.words.step import checks
from netviz.core.state.node import ClusterState
from netviz.core.state.resolve import PAIR_KINDS

MAX_BEYOND = 4
HARMS: dict[Judgement, Harm] = {BROKEN: "breaks traffic", BREAKS: "breaks the contract", UNSURE: "not known"}
SECTIONS = ("links", "addrs", "neighs", "fdb", "routes", "rules", "sysctls", "nft_chains", "xt_chains")


def problem_of(cluster: ClusterState, world: World, case: Case) -> Problem:
    """Make a case's problem."""
    cause, trace, demand = case.looked.cause, case.looked.trace, case.looked.demand
    assert cause is not None
    assert trace is not None
    assert demand is not None
    place, verdict = cause.place, case.looked.verdict
    fix = fix_of(cluster, trace, cause)
    if case.looked.beyond is None:
        case.looked.beyond = tuple(beyond(without(cluster, trace, cause), trace, {case.key}))
    return Problem(
        kind=case.kind,
        cause=case.detail,
        severity="warning" if verdict == UNSURE else "error",
        harm=HARMS[verdict],
        headline=_headline(cluster, trace, cause),
        consequence=_consequence(demand, trace, verdict),
        where=_where(cause),
        both=both_of(cluster, trace, cause),
        certainty="likely" if verdict == UNSURE else "certain",
        affects=_affects(world, case),
        check=tuple(_checks(cluster, cause)),
        fix=(Command(place.netns.node, _name(place), place.enter + runnable(fix)),) if fix else (),
        also=case.looked.beyond,
        flow=trace.flow,
        grace_s=LINK_GRACE_S if _is_pods_link(cluster, cause) else 0.0,
        family=_family(demand, case),
        rests_on=tuple((node, section) for node in nodes_of(trace) for section in SECTIONS),
    )


def beyond(cluster: ClusterState | None, trace: Trace, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Say what else is in the way of a trace's flow in a state without its cause; `seen` causes are known already."""
    for _ in range(MAX_BEYOND):
        if cluster is None:
            return
        trace = simulate_in_context(cluster, trace.flow, MAX_MOVES)
        cause = cause_of(trace)
        if cause is None:
            return
        key = (cause.kind, detail_of(cluster, trace, cause))
        if key in seen:
            return
        seen.add(key)
        yield headline_of(trace, cause)
        cluster = without(cluster, trace, cause)


def _name(place: Place) -> str:
    """What people call a namespace, "" for the node's own."""
    return "" if place.root else place.pod or place.name


def _where(cause: Cause) -> Where:
    """Return the place of a cause; of a request that goes on through what isn't known, that device."""
    what, place = cause.step.what, seat_of(cause)
    if isinstance(what, Opaque) and what.names:
        return Where(place.netns.node, "", what.names[0].split(" ")[0])
    dev = "" if rule_that_stops(cause) is not None else cause.dev
    return Where(place.netns.node, _name(place), dev, place.key)


def _checks(cluster: ClusterState, cause: Cause) -> Iterator[Command]:
    """Yield the commands that show a cause."""
    place, name = cause.place, _name(cause.place)
    if cause.down is not None:
        yield Command(place.netns.node, name, f"{place.enter}ip -d link show dev {quoted(cause.dev)}")
    elif cause.kind in ("no-route", "wrong-route", "loop"):
        asked = format_ip(cause.step.packet.dst)
        yield Command(place.netns.node, name, f"{place.enter}ip route get {asked}")
    else:
        found = checks(cause.shown_by, cause.hop)
        if (stops := rule_that_stops(cause)) is not None:
            step = msgspec.structs.replace(cause.step, what=stops)
            found += checks(step, msgspec.structs.replace(cause.hop, place=seat_of(cause)))
        for one in found:
            yield Command(one["node"], _named(cluster, one["node"], one["netns"]), one["command"])


def _named(cluster: ClusterState, node: str, key: str) -> str:
    """Name a namespace, of which a step says the key, as people do."""
    state = cluster.nodes.get(node)
    spaces = state.netns if state is not None else {}
    return next((name_of(ns.netns) for at, ns in spaces.items() if str(at) == key), key)


def _headline(cluster: ClusterState, trace: Trace, cause: Cause) -> str:
    wide = too_wide(cluster, cause)
    if wide is not None:
        prefix = format_prefix(wide.dst, wide.dst_len)
        return (
            f"{where(cause.hop)} takes {prefix} for its own link {cause.dev}, where other nodes' pods aren't"
        )
    if not lacks_default(cluster, cause):
        return headline_of(trace, cause)
    family = "IPv4" if len(cause.step.packet.dst) == 4 else "IPv6"
    return f"{where(cause.hop)} has no {family} default route"


def _family(demand: Demand, case: Case) -> Literal["", "IPv4", "IPv6"]:
    """Name the family that a cause is about alone, where its pods have both."""
    both = len(families(demand.source)) > 1 and len(case.widths) == 1
    return "" if not both else "IPv4" if 4 in case.widths else "IPv6"


def _affects(world: World, case: Case) -> Affects:
    """Name the pods that a cause affects: those of a group that is part of another are counted with it."""
    classes = {token[1] for token in case.pods if token[0] == "class"}
    groups = [
        group
        for group in case.pods.values()
        if group.token[0] == "class" or world.pod(group.pods[0]).cls not in classes
    ]
    pods = dict.fromkeys(key for group in groups for key in group.pods)
    total = max(sum(group.size for group in groups), len(pods))
    names = (pod_name(world.pod(key).ns.netns.pod) for key in pods)
    pairs = sum(reach_of(case, lambda key: pod_name(world.pod(key).ns.netns.pod)).values())
    named = affects(names, pairs)
    single = all(group.size == len(group.pods) for group in groups)
    return named if single else msgspec.structs.replace(named, more=total - len(named.pods))


def _is_pods_link(cluster: ClusterState, cause: Cause) -> bool:
    """Tell whether a cause is a link that is down at either end of a pod's, as it is while the pod is made."""
    if cause.down is None:
        return False
    place, dev = cause.down
    node = cluster.nodes.get(place.netns.node)
    ns = node.netns.get(place.netns) if node is not None else None
    links = ns.links.values() if ns is not None else ()
    return not place.root or any(one.ifname == dev and one.kind in PAIR_KINDS for one in links)


def _consequence(demand: Demand, trace: Trace, verdict: Judgement) -> str:
    origin = trace.origin.pod or trace.origin.name or trace.origin.node
    target = demand.target
    whom = "the internet" if target is None else pod_name(target.netns.pod) or target.key.node
    proto = demand.proto.upper() if demand.port is None else f"{demand.proto.upper()} port {demand.port}"
    verbs: dict[Judgement, str] = {BREAKS: "is seen by another address at", UNSURE: "may not reach"}
    verb = verbs.get(verdict, "does not reach")
    return f"{origin} {verb} {whom} ({proto})."
