"""What decided a step, as the JSON's `evidence`: a decision's fields by name, and what is made of several.

Names that are there are stable; those that a decision doesn't fill are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from operator import attrgetter, ne
from typing import Any, get_args

import msgspec

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.sim.steps import (
    Bridge,
    Conntrack,
    Decap,
    Decision,
    Encap,
    HookVerdict,
    Nat,
    Neighbour,
    Opaque,
    Origin,
    RouteLookup,
    SocketLookup,
    What,
)
from netviz.core.sim.trace import Step
from netviz.core.sim.words import conn, encap, hook, neigh, route
from netviz.core.sim.words.inet import bound_text
from netviz.core.sim.words.iproute import route_text, rule_text
from netviz.core.sim.words.show import copy_text, endpoint, show

# Fields that only sentences and commands are made of, or that are written out below.
HIDDEN = frozenset(
    ("action", "cause", "missing", "where", "target", "stray", "edge", "again", "asked", "refusal")
)
# Fields that are written out below, or that only sentences are made of.
WRITTEN_OUT: dict[type, frozenset[str]] = {
    Bridge: frozenset(
        (
            "route",
            "route_devs",
        )
    ),
    Conntrack: frozenset(("is_reply",)),
    Encap: frozenset(
        (
            "fdb",
            "fdb_mac",
            "fdb_choice",
            "fdb_copies",
            "peer",
            "allowed",
            "carried",
        )
    ),
    HookVerdict: frozenset(
        (
            "chain",
            "hit",
            "matched",
            "translates",
            "ipv6",
            "what",
            "table",
        )
    ),
    Nat: frozenset(
        (
            "hit",
            "within",
            "service",
            "server",
            "servers",
            "unsure",
            "what",
        )
    ),
    Neighbour: frozenset(
        (
            "announce",
            "asked_from",
            "answered_by",
            "answer_place",
            "silent",
            "closed",
            "stopped",
            "routed",
            "willing",
            "reached",
        )
    ),
    Opaque: frozenset(
        (
            "names",
            "error",
            "receiving",
        )
    ),
    RouteLookup: frozenset(
        (
            "rule",
            "route",
            "devs",
            "passed",
            "nexthop",
            "choices",
            "hash_policy",
            "sourceless",
            "unknown",
        )
    ),
    SocketLookup: frozenset(
        (
            "addr",
            "port",
            "answer",
            "error",
            "missed",
        )
    ),
}
Row = dict[str, Any]


def evidence_of(step: Step) -> Row:
    """Return what decided a step: name -> text, number, or a list of them."""
    what = step.what
    special = SPECIAL.get(type(what))
    row: Row = special(what) if special is not None else _plain(what)
    if step.copies:
        row[_copies_name(step)] = [copy_text(copy) for copy in step.copies]
    if (counted := step.counted) is not None:
        row.update(packets=counted.packets, bytes=counted.bytes, counted_at=counted.at)
    return row


def _plain(what: Decision) -> Row:
    """Return the fields that differ from their defaults, but those that are written out by hand."""
    names, values_of, defaults = _FIELDS[type(what)]
    values = values_of(what)
    told = compress(zip(names, values, strict=False), map(ne, values, defaults))
    return {name: show(value) for name, value in told}


def _fields(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]:
    left_out = HIDDEN | WRITTEN_OUT.get(kind, frozenset())
    fields = [field for field in msgspec.structs.fields(kind) if field.name not in left_out]
    names = tuple(field.name for field in fields)
    # "cause", which has no name here and is left out, makes it return a tuple where there is one field
    return names, attrgetter(*names, "cause"), tuple(field.default for field in fields)


_FIELDS = {kind: _fields(kind) for kind in get_args(What)}


def _copies_name(step: Step) -> str:
    if isinstance(step.what, HookVerdict):
        return "copies_sent_to"
    return "remotes" if step.copies[0].link is None else "copied_to"


def _origin(what: Origin) -> Row:
    row: Row = {}
    if what.default_ttl:
        row["sysctl"] = f"net.ipv4.ip_default_ttl = {what.default_ttl}"
    if what.inbound:
        row["source"] = "net.ipv4.icmp_errors_use_inbound_ifaddr"
    return row


def _route(what: RouteLookup) -> Row:
    row = _plain(what)
    if what.route is not None:
        row.update(route=route.found_route(what), table_id=what.route.table_id)
    if what.rule is not None:
        row["rule"] = rule_text(what.rule)
    if what.passed:
        row["passed"] = [route.passed_text(one) for one in what.passed]
    if what.nexthop is not None:
        row["gateway"] = format_ip(what.nexthop.gateway)
    if what.hash_policy is not None:
        row["hash_policy"] = route.hash_policy(what.hash_policy)
    return row


def _bridge(what: Bridge) -> Row:
    row = _plain(what)
    if what.route:
        row["route"] = what.route if isinstance(what.route, str) else route_text(what.route, what.route_devs)
    return row


def _encap(what: Encap) -> Row:
    row = _plain(what)
    if what.cause == "ip":
        row["key"] = what.key
    if what.fdb:
        row["fdb"] = encap.fdb_text(what)
    if what.allowed is not None:
        row["peer"] = what.peer.hex()
        row["allowed"] = [f"{format_ip(prefix)}/{length}" for prefix, length in what.allowed]
    return row


def _decap(what: Decap) -> Row:
    row = _plain(what)
    if what.cause == "ip":
        row["key"] = what.key
    return row


def _neighbour(what: Neighbour) -> Row:
    row = _plain(what)
    if what.asked is not None:
        row["asked"] = what.asked
    if what.asked_from is not None:
        row["asked_from"] = f"{format_ip(what.asked_from)} (arp_announce {what.announce})"
    if what.answered_by:
        row["answered_by"] = [f"{link} {format_mac(mac)}" for link, mac in what.answered_by]
    if what.silent:
        row["silent"] = [neigh.silence_text(one) for one in what.silent]
    if what.closed:
        row["closed"] = [neigh.closed_text(one) for one in what.closed]
    if what.stopped:
        row["stopped"] = [neigh.stopped_by(one) for one in what.stopped]
    if what.cause == "filtered":
        row["chain"] = ", ".join(row["stopped"])
    return row


def _hook(what: HookVerdict) -> Row:
    row = _plain(what)
    if what.chain is None:
        return row
    row.update(chain=hook.chain_name(what.chain), rule=hook.hit_text(what.chain, what.hit))
    if what.hook:
        row.update(
            priority=what.chain.chain.priority,
            within=what.hit.within if what.hit is not None else "",
            handle=what.hit.handle if what.hit is not None else 0,
            matched=hook.matched_texts(what),
        )
    return row


def _nat(what: Nat) -> Row:
    row = _plain(what)
    if what.service is not None:
        row["service"] = conn.service_text(what.service)
    if what.server is not None:
        row["server"] = endpoint(what.server.addr, what.server.port)
        row["servers"] = [endpoint(one.addr, one.port) for one in what.servers]
    if what.hit is not None:
        row["rule"] = hook.hit_text(what.within, what.hit)
    return row


def _socket(what: SocketLookup) -> Row:
    row = _plain(what)
    if what.addr is not None:
        row["socket"] = bound_text(what)
    return row


def _opaque(what: Opaque) -> Row:
    row = _plain(what)
    if what.asked is not None:
        row["asked"] = what.asked
    return row


SPECIAL: dict[type, Callable[[Any], Row]] = {
    Bridge: _bridge,
    Decap: _decap,
    Encap: _encap,
    HookVerdict: _hook,
    Nat: _nat,
    Neighbour: _neighbour,
    Opaque: _opaque,
    Origin: _origin,
    RouteLookup: _route,
    SocketLookup: _socket,
}
