"""Decisions of routing: the table that a packet is looked up in, the route, and why it isn't taken."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from netviz.core.model.l3 import Nexthop, Route, Rule
from netviz.core.sim.steps.base import Decision


class PassedRule(msgspec.Struct, frozen=True, gc=False):
    """A policy rule that matched and yet didn't decide: it jumps, does nothing, or its table's `route` doesn't count."""

    rule: Rule
    route: Route | None = None
    devs: tuple[str, ...] = ()


class PolicyRule(Decision, frozen=True, tag="rule"):
    """A packet comes into a VRF by one of its slaves."""

    kind: ClassVar[str] = "rule"

    action: Literal["to vrf"]
    cause: Literal[""] = ""
    vrf: str = ""


class RouteLookup(Decision, frozen=True, tag="route"):
    """A route is looked up. `rule` and `route` are what was found, after the rules in `passed`.

    `asked`: for a packet that comes in, or for the host's own, whose socket had no source yet (`sourceless`) or was
    bound to a device (`bound`). `devs` name the devices of the route's nexthops in order, `oif` that of the one taken,
    of `choices`. `again`: a hook has had the packet routed once more. `unknown` is why a lookup can't be done.
    """

    kind: ClassVar[str] = "route"

    action: Literal["via", "direct", "local", "on link", "loopback address", "reject", "drop", "unknown"]
    cause: Literal[
        "",
        "martian",
        "martian route",
        "no route",
        "blackhole",
        "unreachable",
        "prohibit",
        "bound device down",
        "sending fails",
        "loopback source",
        "IPv6 disabled",
        "route of another packet",
        "bridged without route",
        "lookup",
        "broadcast or multicast",
        "no loopback",
        "missing device",
        "no nexthop",
        "section not read",
    ] = ""
    asked: Literal["", "in", "out"] = ""
    rule: Rule | None = None
    route: Route | None = None
    devs: tuple[str, ...] = ()
    passed: tuple[PassedRule, ...] = ()
    nexthop: Nexthop | None = None
    oif: str = ""
    choices: int = 1
    hash_policy: int | None = None
    errno: str = ""
    icmp: str = ""
    sourceless: bool = False
    bound: str = ""
    again: bool = False
    unknown: str = ""
    ifindex: int = 0
