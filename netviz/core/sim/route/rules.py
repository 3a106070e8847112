"""Policy routing: which table answers for a flow, and with which route and nexthop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.addr import AF_INET, AF_INET6, in_prefix
from netviz.core.model.l3 import (
    FR_ACT_BLACKHOLE,
    FR_ACT_GOTO,
    FR_ACT_NOP,
    FR_ACT_PROHIBIT,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    RT_TABLE_LOCAL,
    RTN_LOCAL,
    Nexthop,
    Route,
    Rule,
)
from netviz.core.model.link import Link, VrfInfo
from netviz.core.sim.index import Index
from netviz.core.sim.one_read import one_read
from netviz.core.sim.route.fib import Lookup, Match, linkdown_ignored, lookup_table, route_index, selected_tos
from netviz.core.sim.route_flow import RouteFlow
from netviz.core.state.node import NetnsState

RULE_ERRORS = {FR_ACT_BLACKHOLE: "EINVAL", FR_ACT_UNREACHABLE: "ENETUNREACH", FR_ACT_PROHIBIT: "EACCES"}
MAX_RULES = 4096


class RouteResult(msgspec.Struct, frozen=True, gc=False):
    """What a lookup came to.

    `error` is "" for a usable route, else the kernel's errno name (ENETUNREACH when no rule had a
    route); `unknown` says why the lookup could not be done. `passed` are the rules that matched and yet did not
    decide: a jump, nothing, a table that throws the packet back, a route that is suppressed.
    """

    error: str = ""
    unknown: str = ""
    rule: Rule | None = None
    route: Route | None = None
    nexthops: tuple[Nexthop, ...] = ()
    passed: tuple[tuple[Rule, Route | None], ...] = ()

    @property
    def local(self) -> bool:
        """The destination is this namespace's own address."""
        return self.route is not None and not self.error and self.route.type == RTN_LOCAL


RulesByFamily = dict[int, tuple[Rule, ...]]


def build_rules(rules: Mapping[Any, Rule]) -> RulesByFamily:
    """Order a namespace's rules by priority and position, for each family."""
    ordered = sorted(rules.values(), key=lambda rule: (rule.priority, rule.pos))
    return {
        family: tuple(rule for rule in ordered if rule.family == family) for family in (AF_INET, AF_INET6)
    }


ordered_rules: Index[Mapping[Any, Rule], RulesByFamily] = Index(build_rules)


def build_selective(rules: Mapping[Any, Rule]) -> dict[int, tuple[tuple[Rule, bool], ...]]:
    """Order a namespace's rules as `build_rules` does, each with whether it looks at anything of a flow."""
    return {
        family: tuple((rule, _is_selective(rule)) for rule in ordered)
        for family, ordered in build_rules(rules).items()
    }


def _is_selective(rule: Rule) -> bool:
    """Tell whether a rule says anything but its place, what it does, and to whom it belongs."""
    bare = Rule(rule.family, rule.priority, rule.pos, rule.action, rule.table_id)
    kept = {
        name: getattr(rule, name)
        for name in ("goto", "l3mdev", "protocol", "suppress_prefixlen", "suppress_ifgroup")
    }
    return msgspec.structs.replace(bare, **kept) != rule


_selective: Index[Mapping[Any, Rule], dict[int, tuple[tuple[Rule, bool], ...]]] = Index(build_selective)


def build_dissects(rules: Mapping[Any, Rule]) -> dict[int, bool]:
    """Tell for each family whether a rule makes the kernel read packets' protocol and ports before it asks the rules.

    Rules for the host's own packets don't: those are looked up by what their socket says.

    Source: include/net/fib_rules.h, fib_rule_requires_fldissect; include/net/ip_fib.h,
    fib4_rules_early_flow_dissect (Linux 6.18).
    """
    none = (0, 0)
    return {
        family: any(
            rule.iifname != "lo" and (rule.ip_proto or rule.sport != none or rule.dport != none)
            for rule in rules.values()
            if rule.family == family
        )
        for family in (AF_INET, AF_INET6)
    }


rules_dissect: Index[Mapping[Any, Rule], dict[int, bool]] = Index(build_dissects)

PORT_UNKNOWN = "a rule looks at a port that isn't known"
LABEL_UNKNOWN = "a rule looks at the IPv6 flow label"


def _selectors_match(rule: Rule, flow: RouteFlow, links: Mapping[Any, Link], vrf: int) -> bool | str:
    """Compare a rule's selectors, without `invert`; what it can't be compared with is said in words.

    Source: net/core/fib_rules.c, fib_rule_match; net/ipv4/fib_rules.c, fib4_rule_match;
    net/ipv6/fib6_rules.c, fib6_rule_match; include/net/fib_rules.h, fib_rule_port_match (Linux 6.18).
    """
    if rule.iifname and not _device_matches(links, rule.iifname, _ifname(links, flow.iif, "lo"), vrf):
        return False
    if rule.oifname and not _device_matches(links, rule.oifname, _ifname(links, flow.oif, ""), vrf):
        return False
    if (rule.fwmark ^ flow.mark) & rule.fwmask:
        return False
    if rule.tun_id:
        return False
    if rule.uid_range is not None and not rule.uid_range[0] <= flow.uid <= rule.uid_range[1]:
        return False
    if rule.src_len and not in_prefix(flow.src or bytes(len(flow.dst)), rule.src, rule.src_len):
        return False
    if rule.dst_len and not in_prefix(flow.dst, rule.dst, rule.dst_len):
        return False
    if rule.dscp is not None and (rule.dscp ^ flow.tos >> 2) & (rule.dscp_mask or 0x3F):
        return False
    if rule.tos and rule.tos != selected_tos(flow.tos, len(flow.dst) == 16):
        return False
    if rule.ip_proto and rule.ip_proto != flow.proto:
        return False
    ports = (
        _port_matches(flow.sport, flow.sport_unsure, rule.sport, rule.sport_mask),
        _port_matches(flow.dport, flow.dport_unsure, rule.dport, rule.dport_mask),
    )
    if False in ports:
        return False
    if PORT_UNKNOWN in ports:
        return PORT_UNKNOWN
    return LABEL_UNKNOWN if rule.flowlabel_mask else True


def _port_matches(port: int, unsure: bool, wanted: tuple[int, int], mask: int) -> bool | str:
    if wanted == (0, 0):
        return True
    if unsure:
        return PORT_UNKNOWN
    if mask:
        return not (port ^ wanted[0]) & mask
    return wanted[0] <= port <= wanted[1]


def _device_matches(links: Mapping[Any, Link], wanted: str, name: str, vrf: int) -> bool:
    """Compare a rule's device; one that names a VRF's device is for all that belongs to the VRF.

    Source: net/core/fib_rules.c, fib_rule_iif_match, fib_rule_oif_match (Linux 6.18).
    """
    return wanted == name or bool(vrf and links[vrf].ifname == wanted)


def _ifname(links: Mapping[Any, Link], ifindex: int, otherwise: str) -> str:
    link = links.get(ifindex)
    return link.ifname if link is not None else otherwise


@one_read(sections=("rules", "routes", "nexthops", "links"))
def lookup_route(ns: NetnsState, flow: RouteFlow) -> RouteResult:
    """Find the route for a flow through the namespace's policy rules.

    A flow that comes in or is to go out by a VRF's device or slave belongs to that VRF: the l3mdev rule
    sends it to the VRF's table, and an `oif` that is the VRF itself selects no nexthop.

    Source: net/l3mdev/l3mdev.c, l3mdev_update_flow, l3mdev_fib_rule_match; net/core/fib_rules.c,
    fib_rules_lookup; net/ipv4/fib_rules.c, fib4_rule_action, fib4_rule_suppress; net/ipv6/fib6_rules.c,
    fib6_rule_action (Linux 6.18).
    """
    family = AF_INET6 if len(flow.dst) == 16 else AF_INET
    rules = _selective(ns.rules)[family]
    if not rules:
        return RouteResult(unknown="the state holds no policy rules for this family")
    if flow.dissected and not rules_dissect(ns.rules)[family]:
        flow = msgspec.structs.replace(
            flow, proto=0, sport=0, dport=0, sport_unsure=False, dport_unsure=False
        )
    vrf = flow.l3mdev or vrf_of(ns.links, flow.oif or flow.iif)
    oif = 0 if flow.oif and flow.oif == vrf else flow.oif
    strict = flow.strict or family == AF_INET
    ignored, prefer = linkdown_ignored(ns.links), oif or flow.iif
    lookup = Lookup(flow.dst, flow.src, flow.tos, oif, flow.scope, ignored, strict, prefer)
    index = route_index(ns.routes)
    at, steps = 0, 0
    passed: list[tuple[Rule, Route | None]] = []
    while at < len(rules) and steps < MAX_RULES:
        rule, selective = rules[at]
        at, steps = at + 1, steps + 1
        matches = _selectors_match(rule, flow, ns.links, vrf) if selective else True
        if isinstance(matches, str):
            return RouteResult(unknown=matches, rule=rule)
        if matches == rule.invert:
            continue
        if rule.action == FR_ACT_GOTO:
            target = next((i for i, (r, _) in enumerate(rules) if r.priority >= rule.goto), len(rules))
            if target == len(rules) or rules[target][0].priority != rule.goto:
                continue  # an unresolved goto does nothing
            passed.append((rule, None))
            at = max(target, at)
            continue
        if rule.action == FR_ACT_NOP:
            passed.append((rule, None))
            continue
        if rule.action in RULE_ERRORS:
            return RouteResult(error=RULE_ERRORS[rule.action], rule=rule, passed=tuple(passed))
        if rule.action != FR_ACT_TO_TBL:
            return RouteResult(unknown=f"rule action {rule.action} is not modelled", rule=rule)
        table_id = rule.table_id
        if rule.l3mdev:
            info = ns.links[vrf].info if vrf else None
            if not isinstance(info, VrfInfo):
                continue
            table_id = info.table_id
        match = lookup_table(index, table_id, lookup, ns.nexthops)
        if match is None:
            continue
        if match.error == "EAGAIN" or _suppressed(rule, match, ns.links):
            passed.append((rule, match.route))
            continue
        return RouteResult(match.error, "", rule, match.route, match.nexthops, tuple(passed))
    return RouteResult(error="ENETUNREACH", passed=tuple(passed))


@one_read(sections=("routes", "nexthops"))
def lookup_local(ns: NetnsState, addr: bytes) -> Match | None:
    """Look an address up in table local."""
    return lookup_table(route_index(ns.routes), RT_TABLE_LOCAL, Lookup(addr), ns.nexthops)


def vrf_of(links: Mapping[Any, Link], ifindex: int) -> int:
    """Return the ifindex of the VRF that a device is, or is a slave of; 0 for none.

    Source: net/l3mdev/l3mdev.c, l3mdev_master_ifindex_rcu (Linux 6.18).
    """
    link = links.get(ifindex)
    if link is None:
        return 0
    if link.kind == "vrf":
        return link.ifindex
    master = links.get(link.master) if link.master else None
    return master.ifindex if master is not None and master.kind == "vrf" else 0


def assumed_on_link(links: Mapping[Any, Link], oif: int, dst: bytes) -> bool:
    """Tell whether a destination that no route leads to is taken to be on the link of the sender's device.

    IPv4 does so for a socket that is bound to a device of no VRF.

    Source: net/ipv4/route.c, ip_route_output_key_hash_rcu (Linux 6.18).
    """
    return len(dst) == 4 and oif in links and not vrf_of(links, oif)


def _suppressed(rule: Rule, match: Match, links: Mapping[Any, Link]) -> bool:
    if match.error:
        return False
    if rule.suppress_prefixlen >= 0 and match.route.dst_len <= rule.suppress_prefixlen:
        return True
    if rule.suppress_ifgroup >= 0 and match.nexthops:
        link = links.get(match.nexthops[0].oif)
        return link is not None and link.group == rule.suppress_ifgroup
    return False
