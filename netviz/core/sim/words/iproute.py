"""Routes and policy rules as `ip route` and `ip rule` write them: the one text for the trace and the inspector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netviz.core.model.addr import format_ip, format_prefix
from netviz.core.model.l3 import (
    FR_ACT_BLACKHOLE,
    FR_ACT_GOTO,
    FR_ACT_NOP,
    FR_ACT_PROHIBIT,
    FR_ACT_TO_TBL,
    FR_ACT_UNREACHABLE,
    ROUTE_TYPES,
    RTN_UNICAST,
    Route,
    Rule,
)

TABLE_NAMES = {253: "default", 254: "main", 255: "local"}
PROTO_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
ACTION_NAMES = {
    FR_ACT_NOP: "nop",
    FR_ACT_BLACKHOLE: "blackhole",
    FR_ACT_UNREACHABLE: "unreachable",
    FR_ACT_PROHIBIT: "prohibit",
}
ALL_BITS = 0xFFFFFFFF


def table_name(table_id: int) -> str:
    """Name a route table, or return its number as text."""
    return TABLE_NAMES.get(table_id, str(table_id))


def route_text(route: Route, devs: Sequence[str]) -> str:
    """Write a route as `ip route` does; `devs` name the devices of its nexthops, in order."""
    dst = "default" if not route.dst_len else format_prefix(route.dst, route.dst_len)
    if route.dst_len == len(route.dst) * 8:
        dst = format_ip(route.dst)
    words = [dst]
    if route.type != RTN_UNICAST and route.type < len(ROUTE_TYPES):
        words.insert(0, ROUTE_TYPES[route.type])
    if route.src_len:
        words += ["from", format_prefix(route.src, route.src_len)]
    several = len(route.nexthops) > 1
    for nexthop, dev in zip(route.nexthops, devs, strict=True):
        if several:
            words.append("nexthop")
        if nexthop.gateway:
            words += ["via", format_ip(nexthop.gateway)]
        words += ["dev", dev]
        if several:
            words += ["weight", str(nexthop.weight)]
    if route.prefsrc:
        words += ["src", format_ip(route.prefsrc)]
    if route.metric:
        words += ["metric", str(route.metric)]
    if route.mtu:
        words += ["mtu", str(route.mtu)]
    return " ".join(words)


def rule_text(rule: Rule) -> str:
    """Write a policy rule as `ip rule` does, its priority first."""
    return f"{rule.priority}: {rule_body(rule)}"


def rule_body(rule: Rule) -> str:
    """Write what `ip rule` shows of a policy rule after its priority.

    Source: iproute2 6.1, ip/iprule.c, print_rule; masks of ports and DSCP and the flow label as newer ones write them.
    """
    return " ".join((*_selectors(rule), *_action(rule)))


def _selectors(rule: Rule) -> Iterator[str]:
    if rule.invert:
        yield "not"
    yield f"from {format_prefix(rule.src, rule.src_len) if rule.src_len else 'all'}"
    if rule.dst_len:
        yield f"to {format_prefix(rule.dst, rule.dst_len)}"
    if rule.tos:
        yield f"tos {rule.tos:#04x}"
    if rule.fwmark or rule.fwmask:
        yield f"fwmark {rule.fwmark:#x}" + ("" if rule.fwmask == ALL_BITS else f"/{rule.fwmask:#x}")
    if rule.iifname:
        yield f"iif {rule.iifname}"
    if rule.oifname:
        yield f"oif {rule.oifname}"
    if rule.uid_range is not None:
        yield f"uidrange {rule.uid_range[0]}-{rule.uid_range[1]}"
    if rule.ip_proto:
        yield f"ipproto {PROTO_NAMES.get(rule.ip_proto, str(rule.ip_proto))}"
    for name, ports, mask in (("sport", rule.sport, rule.sport_mask), ("dport", rule.dport, rule.dport_mask)):
        if ports != (0, 0):
            yield f"{name} {_ports(ports, mask)}"
    if rule.tun_id:
        yield f"tun_id {rule.tun_id}"
    if rule.dscp is not None:
        yield f"dscp {_masked(rule.dscp, rule.dscp_mask)}"
    if rule.flowlabel_mask:
        yield f"flowlabel {rule.flowlabel:#x}/{rule.flowlabel_mask:#x}"


def _ports(ports: tuple[int, int], mask: int) -> str:
    low, high = ports
    return _masked(low, mask) if low == high else f"{low}-{high}"


def _masked(value: int, mask: int) -> str:
    return f"{value:#x}/{mask:#x}" if mask else str(value)


def _action(rule: Rule) -> Iterator[str]:
    if rule.action == FR_ACT_TO_TBL:
        yield f"lookup {'[l3mdev-table]' if rule.l3mdev else table_name(rule.table_id)}"
        if rule.suppress_prefixlen >= 0:
            yield f"suppress_prefixlength {rule.suppress_prefixlen}"
        if rule.suppress_ifgroup >= 0:
            yield f"suppress_ifgroup {rule.suppress_ifgroup}"
    elif rule.action == FR_ACT_GOTO:
        yield f"goto {rule.goto}"
    else:
        yield ACTION_NAMES.get(rule.action, f"action {rule.action}")
