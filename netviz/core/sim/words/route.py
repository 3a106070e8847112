"""Routing in words."""

from __future__ import annotations

from netviz.core.model.addr import format_ip
from netviz.core.plain import quoted
from netviz.core.sim.steps import PassedRule, PolicyRule, RouteLookup
from netviz.core.sim.trace import Step
from netviz.core.sim.words.iproute import route_text, rule_text, table_name
from netviz.core.sim.words.show import Templates

HASH_POLICIES = (
    "the addresses",
    "addresses and ports",
    "the addresses, of a tunnel's inner packet where there is one",
    "the fields of fib_multipath_hash_fields",
)


def hash_policy(number: int) -> str:
    """Say what multipath routing hashes."""
    return HASH_POLICIES[number] if number < len(HASH_POLICIES) else f"policy {number}"


def passed_text(passed: PassedRule) -> str:
    """Write a rule that didn't decide, with the route that didn't count."""
    text = rule_text(passed.rule)
    return text if passed.route is None else f"{text}: {route_text(passed.route, passed.devs)}"


def found_route(what: RouteLookup) -> str:
    """Write the route that was found, as `ip route` does; "" when there is none."""
    return route_text(what.route, what.devs) if what.route is not None else ""


def _what(step: Step) -> RouteLookup:
    assert isinstance(step.what, RouteLookup)
    return step.what


def _table(what: RouteLookup) -> str:
    return table_name(what.route.table_id) if what.route is not None else "?"


def _taken(step: Step) -> str:
    what = _what(step)
    gateway = what.nexthop.gateway if what.nexthop is not None else b""
    how = f"via {format_ip(gateway)} " if gateway else "directly "
    why = f"Table {_table(what)} sends {format_ip(step.packet.dst)} {how}out of {what.oif}: {found_route(what)}."
    if what.hash_policy is not None:
        why += f" It has {what.choices} nexthops; a hash of {hash_policy(what.hash_policy)} chooses."
    return why


def _local(step: Step) -> str:
    return f"{format_ip(step.packet.dst)} is an address of this namespace (table {_table(_what(step))})."


CAUGHT_BY = {
    "ENETUNREACH": "no route",
    "EHOSTUNREACH": "unreachable route",
    "EACCES": "prohibit route",
    "EINVAL": "blackhole route",
}


def _sending_fails(step: Step) -> str:
    error = _what(step).errno
    dst = format_ip(step.packet.dst)
    if error == "ENETUNREACH":
        return f"There is no route to {dst} here: sending fails with {error}."
    return f"{dst} is caught by a {CAUGHT_BY[error]}: sending fails with {error}."


def _reject(step: Step) -> str:
    error = _what(step).errno
    return f"{format_ip(step.packet.dst)} is caught by a {CAUGHT_BY[error]}; the sender gets {step.reason}."


def lookup_command(step: Step) -> str:
    """Say how to look the packet's route up by hand."""
    what, packet = _what(step), step.packet
    words = ["ip route get", format_ip(packet.dst)]
    if what.asked == "in" or not what.sourceless:
        words += ["from", format_ip(packet.src)]
    if what.asked == "in":
        words += ["iif", quoted(step.dev)]
    if what.bound:
        words += ["oif", quoted(what.bound)]
    if packet.mark:
        words += ["mark", str(packet.mark)]
    return " ".join(words)


WHY: Templates = {
    (
        PolicyRule,
        "to vrf",
    ): "{dev} is a slave of the VRF {vrf}: the packet is routed in the VRF's table.",
    (RouteLookup, "via"): _taken,
    (RouteLookup, "direct"): _taken,
    (RouteLookup, "local"): _local,
    (
        RouteLookup,
        "on link",
    ): "No route leads to {dst}, but the sender is bound to {dev}: the destination is taken to be on its link.",
    (
        RouteLookup,
        "loopback address",
    ): "{dev} takes packets with loopback addresses, since route_localnet is on.",
    (RouteLookup, "martian"): "A packet from {src} to {dst} is a martian on {dev}.",
    (RouteLookup, "martian route"): "The destination's route is of a martian type.",
    (RouteLookup, "no route"): "No route leads to {dst}; the sender is told by ICMP ({icmp}).",
    (RouteLookup, "blackhole"): "{dst} is caught by a blackhole route: it is dropped silently.",
    (RouteLookup, "unreachable"): _reject,
    (RouteLookup, "prohibit"): _reject,
    (
        RouteLookup,
        "bound device down",
    ): "{dev}, which the sender is bound to, is down: sending fails with ENETUNREACH.",
    (RouteLookup, "sending fails"): _sending_fails,
    (
        RouteLookup,
        "loopback source",
    ): "{src} is a loopback address, which may not leave by {dev} (net.ipv4.conf.{dev}.route_localnet is off): sending "
    "fails with EINVAL.",
    (RouteLookup, "IPv6 disabled"): "IPv6 is disabled on {dev}.",
    (
        RouteLookup,
        "route of another packet",
    ): "It still has the route of the packet that it was made of, which was to be sent: it is discarded.",
    (
        RouteLookup,
        "bridged without route",
    ): "{dst} has no usable route: the bridged packet is dropped.",
    (RouteLookup, "lookup"): "The routing decision isn't known: {unknown}.",
    (RouteLookup, "broadcast or multicast"): "Broadcast and multicast are not followed.",
    (RouteLookup, "no loopback"): "The namespace's loopback is not in the state.",
    (RouteLookup, "missing device"): "The route goes out of device {ifindex}, which is not in the state.",
    (RouteLookup, "no nexthop"): "The route has no nexthop in the state.",
}

UNKNOWN: Templates = {
    (RouteLookup, "lookup"): "{unknown}",
    (RouteLookup, "broadcast or multicast"): "broadcast or multicast",
    (RouteLookup, "no loopback"): "no loopback",
    (RouteLookup, "missing device"): "route to a missing device",
    (RouteLookup, "no nexthop"): "route without nexthop",
}

COMMANDS: Templates = {
    (PolicyRule, "to vrf"): "ip route show vrf {vrf}",
    (RouteLookup, "loopback address"): "sysctl net.ipv4.conf.{dev}.route_localnet",
    (RouteLookup, "martian"): "sysctl net.ipv4.conf.{dev}.route_localnet",
    (RouteLookup, "loopback source"): "sysctl net.ipv4.conf.{dev}.route_localnet",
    (RouteLookup, "IPv6 disabled"): "sysctl net.ipv6.conf.{dev}.disable_ipv6",
    (RouteLookup, "bound device down"): "ip link show dev {dev}",
    (RouteLookup, "no loopback"): "ip link show type loopback",
    (RouteLookup, ""): lookup_command,
}
