"""The sentence of each kind of cause, and of a flow that passes."""

from __future__ import annotations

from collections.abc import Callable

from netviz.core.model.addr import format_ip, format_mac, format_prefix
from netviz.core.sim.headline.cause import Cause, cause_of, nodes_of_loop, owner_of, shared_mac
from netviz.core.sim.kubernetes.policy import denied_by_policy
from netviz.core.sim.outcome import GOOD, outcome_of
from netviz.core.sim.packet import PROTO_NAMES
from netviz.core.sim.steps import (
    Bridge,
    Conntrack,
    Decap,
    Encap,
    Forward,
    HookVerdict,
    Mtu,
    Nat,
    Neighbour,
    RouteLookup,
    RpFilter,
    Silence,
    SocketLookup,
    Transmit,
)
from netviz.core.sim.trace import Disposition, Hop, Owner, Trace
from netviz.core.sim.words.show import place as place_text
from netviz.core.sim.words.step import reason as step_reason

MAX_WORDS = 20
Sentence = Callable[[Trace, Cause], str]


def where(hop: Hop) -> str:
    """Name a step's place: `pod NAMESPACE/NAME`, or the node's name."""
    return hop.place.netns.node if hop.place.root else place_text(hop.place)


def owner_text(owner: Owner | None, addr: bytes) -> str:
    """Say whose an address is: "node2's pods, 10.244.2.0/24", a node, or the address alone."""
    if owner is None:
        return format_ip(addr)
    node = owner.place.netns.node
    if not owner.place.pod:
        return (
            f"{node}, {format_ip(addr)}"
            if owner.place.root
            else f"{place_text(owner.place)}, {format_ip(addr)}"
        )
    if owner.prefix is None:
        return f"{place_text(owner.place)}, {format_ip(addr)}"
    return f"{node}'s pods, {format_prefix(*owner.prefix)}"


def _no_route(trace: Trace, cause: Cause) -> str:
    what, place = cause.step.what, where(cause.hop)
    whom = owner_text(owner_of(trace, cause), cause.step.packet.dst)
    if isinstance(what, RouteLookup):
        if what.cause in ("blackhole", "unreachable", "prohibit"):
            if what.route is None:
                return f"{place} has a policy rule of type {what.cause} for packets to {whom}"
            prefix = format_prefix(what.route.dst, what.route.dst_len)
            return f"{place} has a {what.cause} route for {prefix}, which catches packets to {format_ip(cause.step.packet.dst)}"
        if what.cause.startswith("martian"):
            return f"{place} refuses source {format_ip(cause.step.packet.src)} as martian"
        if what.cause not in ("no route", "sending fails"):
            return f"{place} cannot route to {whom}: {what.cause}"
    return f"{place} has no route to {whom}"


def _wrong_route(trace: Trace, cause: Cause) -> str:
    whom = owner_text(owner_of(trace, cause), cause.step.packet.dst)
    return (
        f"{where(cause.hop)} sends packets for {whom} out of {cause.step.dev}, where nobody known takes them"
    )


def _no_neighbour(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Neighbour)
    silent = what.silent[0] if what.silent else None
    stops = next((one for one in what.stopped if isinstance(one, HookVerdict)), None)
    why = ""
    if stops is not None and stops.chain is not None:
        chain = stops.hit.within if stops.hit is not None else stops.chain.chain.name
        message = "the answer" if what.reached else "the request"
        why = f": {chain} on {stops.chain.ns.key.node} drops {message}"
    elif silent is not None and silent.cause:
        who = place_text(silent.place).removeprefix("node ")
        return f"{who} doesn't answer {where(cause.hop)} for {format_ip(what.nexthop)}: {_silent(silent)}"
    elif silent is not None and silent.setting:
        why = f": {silent.setting} is {silent.value} on {silent.ifname} of {place_text(silent.place)}"
    return f"Nobody answers {where(cause.hop)} for {format_ip(what.nexthop)} on {cause.step.dev}{why}"


def _silent(silent: Silence) -> str:
    """Say in a few words why a link doesn't answer."""
    addrs = " and ".join(f"{format_ip(addr)}/{length}" for addr, length in silent.addrs)
    return {
        "another range": f"{silent.ifname} has {addrs}",
        "proxy without route": f"{silent.ifname} has proxy_arp, but no route",
        "proxy to itself": f"its route leads back out of {silent.ifname}",
        "not reached": f"{silent.ifname} is {silent.state}"
        if silent.state
        else f"the request doesn't reach {silent.ifname}",
        "shared device": f"their links share {silent.lower}",
    }[silent.cause]


def _untranslated(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, SocketLookup)
    assert what.missed is not None
    by = place_text(what.missed.place).removeprefix("node ")
    asked = format_ip(what.missed.orig.dst)
    why = f"{what.missed.setting.rpartition('.')[2]} is 0" if what.missed.setting else "its path misses that"
    return f"{by} translated {asked}, but not the answer from {format_ip(cause.step.packet.src)}: {why}"


def _shared(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Bridge | Neighbour)
    nodes = sorted({key.netns.node for key in what.shared})
    who = " and ".join(nodes) if len(nodes) > 1 else f"links of {nodes[0]}"
    return f"{who} have the same MAC {format_mac(shared_mac(cause.step))}: a switch cannot tell them apart"


def _edge(trace: Trace, cause: Cause) -> str:
    what, packet = cause.step.what, cause.step.packet
    assert isinstance(what, Transmit)
    assert what.edge is not None
    leaves = f"Packets to {format_ip(packet.dst)} leave by {cause.step.dev} of {where(cause.hop)}"
    if what.edge.source == "another link":
        return f"{leaves} with {what.edge.source_dev}'s address {format_ip(packet.src)}"
    assert what.edge.translator is not None
    return f"{leaves} untranslated, past the NAT rules of {place_text(what.edge.translator)}"


def _silently(trace: Trace, cause: Cause) -> str:
    return f"{where(cause.hop)} rejects packets to {_dst(cause)} silently: it sends them back out of {cause.step.dev}, and a redirect instead"


def _stale(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Conntrack)
    assert what.orig is not None
    assert what.reply is not None
    flow = f"{PROTO_NAMES.get(what.orig.proto, '')} source port {what.orig.sport}"
    return f"A conntrack entry of {where(cause.hop)} sends {flow} to {format_ip(what.reply.src)}, which nobody has"


def _rule(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, HookVerdict)
    verb = "rejects" if cause.path.disposition is Disposition.REJECTED else "drops"
    chain = what.chain.chain if what.chain is not None else None
    if what.hit is None:
        name = f"{chain.table} {chain.name}" if chain is not None else "a chain"
        return f"The policy of chain {name} on {where(cause.hop)} {verb} packets to {_dst(cause)}"
    if cause.step.meaning and denied_by_policy(cause.step):
        meant = cause.step.meaning.removeprefix("That is ").rstrip(".")
        return f"{where(cause.hop)} {verb} packets to {_dst(cause)}: {meant}"
    table = f"{chain.table} " if chain is not None else ""
    return f"A rule of chain {table}{what.hit.within} on {where(cause.hop)} {verb} packets to {_dst(cause)}"


def _dst(cause: Cause) -> str:
    return format_ip(cause.step.packet.dst)


def _link(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    lacks_carrier = (
        cause.down is None and isinstance(what, (Transmit, Neighbour)) and what.cause == "no carrier"
    )
    place = place_text(cause.place).removeprefix("node ")
    return f"{cause.dev} of {place} {'has no carrier' if lacks_carrier else 'is down'}"


def _port(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    node, port = cause.place.netns.node, cause.dev
    if isinstance(what, Neighbour):
        one = next(one for one in what.closed if (one.netns, one.port) == (cause.place.netns, port))
        return f"Port {port} of bridge {one.bridge} on {node} is {one.state}"
    assert isinstance(what, Bridge)
    return f"Port {what.port or port} of bridge {what.bridge or cause.step.dev} on {node} is {what.state or 'not forwarding'}"


def _bridge(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Bridge)
    bridge, port = what.bridge or cause.step.dev, what.port or cause.step.dev
    if what.cause in ("VLAN filter", "not in VLAN") or what.limit == "vlan":
        return f"Bridge {bridge} on {where(cause.hop)} does not carry VLAN {what.vlan} at port {port}"
    if what.limit:
        return f"Port {port} of bridge {bridge} on {where(cause.hop)} may not send: {what.limit}"
    if what.cause == "nobody":
        return (
            f"No port of bridge {bridge} on {where(cause.hop)} leads to {format_mac(cause.step.packet.dmac)}"
        )
    return f"Bridge {bridge} on {where(cause.hop)} drops the frame: {what.cause or what.action}"


def _listener(trace: Trace, cause: Cause) -> str:
    packet, what = cause.step.packet, cause.step.what
    assert isinstance(what, SocketLookup)
    if packet.is_icmp:  # which has no ports
        if what.sysctl:
            return f"{where(cause.hop)} ignores echo requests: {what.sysctl} is on"
        return f"Nobody in {where(cause.hop)} waits for the ICMP message from {format_ip(packet.src)}"
    proto = PROTO_NAMES.get(packet.proto, str(packet.proto)).upper()
    return f"Nothing listens on {proto} port {packet.dport} in {where(cause.hop)}"


def _rp_filter(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, RpFilter)
    src = format_ip(cause.step.packet.src)
    if what.refusal is not None and what.refusal.cause != "reverse path":
        return f"{where(cause.hop)} refuses source {src} on {cause.step.dev}: {what.refusal.cause}"
    return f"rp_filter of {cause.step.dev} on {where(cause.hop)} drops packets from {src}"


def _forward(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Forward)
    if what.cause == "forwarding off":
        return f"{where(cause.hop)} does not forward packets from {cause.step.dev}: {what.sysctl} is {what.value}"
    return f"{where(cause.hop)} does not forward the packet: {what.cause or what.action}"


def _mtu(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Mtu)
    place = what.taker_node or where(cause.hop)
    return f"{what.taker or cause.step.dev} of {place} takes at most {what.mtu} bytes, not {what.length}"


def _neighbour(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, Neighbour)
    return f"The neighbour entry for {format_ip(what.nexthop)} of {where(cause.hop)} has MAC {format_mac(what.mac)}, which is wrong"


def _tunnel(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    assert isinstance(what, (Encap, Decap))
    said = what.cause or what.action
    if isinstance(what, Encap) and what.cause == "no entry":
        return (
            f"{cause.step.dev} of {where(cause.hop)} has no remote for {format_mac(cause.step.packet.dmac)}"
        )
    return f"Tunnel {cause.step.dev} of {where(cause.hop)} drops packets to {_dst(cause)}: {said}"


def _nat(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    if isinstance(what, Nat) and what.action == "snat":
        return (
            f"{where(cause.hop)} rewrites source {format_ip(what.was)} to {format_ip(what.now)} between pods"
        )
    return f"The source of packets to {owner_text(trace.target, trace.flow.dst)} is rewritten on the way"


def _unknown(trace: Trace, cause: Cause) -> str:
    known = step_reason(cause.step) or cause.path.reason or cause.step.action
    return f"Unknown from {cause.step.dev or 'there'} of {where(cause.hop)} on: {known}"


def _loop(trace: Trace, cause: Cause) -> str:
    nodes = nodes_of_loop(cause.path)
    whom = owner_text(owner_of(trace, cause), cause.step.packet.dst)
    round_ = f"{', '.join(nodes[:-1])} and {nodes[-1]}" if len(nodes) > 1 else f"{nodes[0]} and itself"
    return f"Packets to {whom} go round between {round_}"


def _lost(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    return f"The frame is lost at {cause.step.dev} of {where(cause.hop)}: {what.cause or what.action}"


def _translation(trace: Trace, cause: Cause) -> str:
    what = cause.step.what
    return f"{where(cause.hop)} cannot translate the packet to {_dst(cause)}: {what.cause or what.action}"


def _place(trace: Trace, cause: Cause) -> str:
    return f"Packets for {_dst(cause)} end in {where(cause.hop)} instead"


SENTENCES: dict[str, Sentence] = {
    "no-route": _no_route,
    "wrong-route": _wrong_route,
    "no-neighbour": _no_neighbour,
    "wrong-neighbour": _neighbour,
    "rp-filter": _rp_filter,
    "forwarding-off": _forward,
    "mtu": _mtu,
    "rule-drops": _rule,
    "bridge-port": _port,
    "bridge-drops": _bridge,
    "tunnel": _tunnel,
    "translation": _translation,
    "conntrack": _translation,
    "loop": _loop,
    "no-listener": _listener,
    "link-down": _link,
    "frame-lost": _lost,
    "wrong-place": _place,
    "nat-between-pods": _nat,
    "not-translated-back": _untranslated,
    "shared-mac": _shared,
    "rejected-silently": _silently,
    "stale-conntrack": _stale,
    "edge-doubt": _edge,
    "path-unknown": _unknown,
}


def headline_of(trace: Trace, cause: Cause | None = None) -> str:
    """Say in one sentence what a trace comes to."""
    cause = cause or cause_of(trace)
    if cause is not None:
        return short(SENTENCES[cause.kind](trace, cause))
    origin = trace.origin.pod or trace.origin.name or trace.origin.node
    if outcome_of(trace) != GOOD:
        return short(
            f"Whether {origin} reaches {format_ip(trace.flow.dst)} is unknown: {trace.reason or 'its branches differ'}"
        )
    if trace.disposition is Disposition.LEFT_NETWORK:
        return f"What {origin} sends to {format_ip(trace.flow.dst)} leaves the known network by {trace.reason or 'a device'}"
    port = f" on {PROTO_NAMES.get(trace.flow.proto, '')} port {trace.flow.dport}" if trace.flow.dport else ""
    named = place_text(trace.target.place) if trace.target is not None else format_ip(trace.flow.dst)
    return f"{origin} reaches {named}{port}, and the answer comes back"


def short(text: str) -> str:
    """Cut a sentence after twenty words."""
    words = text.split()
    return " ".join(words[:MAX_WORDS]) + " …" if len(words) > MAX_WORDS else text
