"""Connections and their translation in words, and IPVS's."""

from __future__ import annotations

from netviz.core.model.addr import format_ip
from netviz.core.model.ipvs import IpvsService
from netviz.core.sim.steps import Conntrack, Nat
from netviz.core.sim.trace import Step
from netviz.core.sim.words.show import Templates, endpoint


def service_text(service: IpvsService) -> str:
    """Name a service of IPVS."""
    if service.fwmark:
        return f"fwmark {service.fwmark:#x}"
    return endpoint(service.addr, service.port)


def _known(step: Step) -> str:
    what = step.what
    assert isinstance(what, Conntrack)
    direction = "reply" if what.is_reply else "original"
    return f"The packet belongs to a known connection ({direction} direction, {what.action})."


def _not_read(step: Step) -> str:
    what = step.what
    return f"Not all connections are in the state ({what.missing}): this packet may belong to one that isn't."


def _nat(step: Step) -> Nat:
    assert isinstance(step.what, Nat)
    return step.what


def _translated(step: Step) -> str:
    what = _nat(step)
    which = "source" if what.action == "snat" else "destination"
    doubt = " The port is one that nobody can know: it is taken or chosen at random." if what.unsure else ""
    return f"The {which} {format_ip(what.was)} becomes {format_ip(what.now)}, as the connection's entry says.{doubt}"


def _ipvs(step: Step) -> str:
    what = _nat(step)
    if what.action == "dnat":
        return f"IPVS rewrites the destination to {endpoint(what.now, what.port)}."
    if what.action == "snat":
        at = endpoint(what.now, what.port)
        return f"The packet answers a connection to the IPVS service {at}: its source is that."
    service, server = what.service, what.server
    assert service is not None
    assert server is not None
    return (
        f"The IPVS service {service_text(service)} (scheduler {service.scheduler}) gives the connection to "
        f"{endpoint(server.addr, server.port)} ({server.forward})."
    )


def _no_server(step: Step) -> str:
    what = _nat(step)
    assert what.service is not None
    name = service_text(what.service)
    return f"The IPVS service {name} has no server to choose: the client gets {what.icmp}."


def _ipvs_command(step: Step) -> str:
    return "ipvsadm -L -n" if step.action == "schedule" else "ipvsadm -L -n -c"


def _entry(step: Step) -> str:
    orig = _nat(step).orig
    return f"conntrack -L | grep {format_ip(orig.src if orig is not None else step.packet.src)}"


def _no_free_port(step: Step) -> str:
    server = endpoint(step.packet.dst, step.packet.dport)
    taken = f"No port is free: other connections to {server} have every one that the rule allows"
    if step.action == "unknown":
        return f"{taken}; whether one in TIME_WAIT gives up its own isn't known."
    return f"{taken}. The packet is dropped when its connection is confirmed (insert_failed in conntrack -S)."


WHY: Templates = {
    (Conntrack, "known"): _known,
    (Conntrack, "new"): "The packet starts a new connection.",
    (Conntrack, "related"): "The ICMP error is about a known connection.",
    (
        Conntrack,
        "SYN in reply direction",
    ): "A SYN in the reply direction of a known connection: it is invalid.",
    (
        Conntrack,
        "cannot start one",
    ): "The packet belongs to no known connection and cannot start one: it is invalid.",
    (
        Conntrack,
        "error about none",
    ): "The ICMP error is about no known connection: it is invalid.",
    (
        Conntrack,
        "assume known connection",
    ): "The tunnel packet's source port is a hash of what is inside. This branch takes it to belong to a known "
    "connection between these addresses.",
    (
        Conntrack,
        "assume new connection",
    ): "The tunnel packet's source port is a hash of what is inside. This branch takes it to start a new connection.",
    (
        Conntrack,
        "assume new",
    ): "A closed connection with these addresses and ports is still there; whether the SYN takes its place isn't "
    "known, this branch assumes it.",
    (
        Conntrack,
        "assume known",
    ): "A closed connection with these addresses and ports is still there; whether the SYN is counted to it isn't "
    "known, this branch assumes it.",
    (Conntrack, "connections not read"): _not_read,
    (
        Conntrack,
        "full table",
    ): "The connection table is full ({limit} entries): a new one takes another's place, or the packet is dropped.",
    (
        Conntrack,
        "helper",
    ): "The helper {helper} watches a connection of {dst} and may expect this one; what it expects isn't known.",
    (Nat, "snat"): _translated,
    (Nat, "dnat"): _translated,
    (Nat, "IPVS"): _ipvs,
    (Nat, "no server"): _no_server,
    (Nat, "no address"): "There is no address to translate to: the packet is dropped.",
    (
        Nat,
        "connections not read",
    ): "The packet comes from a real server; whether it answers one of IPVS's connections isn't known.",
    (
        Nat,
        "forwarding method",
    ): "IPVS sends the packet to {now} by a {forward}, which is not modelled.",
    (Nat, "no free port"): _no_free_port,
    (Nat, "statement"): "A nat rule asks for what is not modelled: {what}.",
}

UNKNOWN: Templates = {
    (Conntrack, "connections not read"): "connections not read",
    (Conntrack, "full table"): "full connection table",
    (Conntrack, "helper"): "expectation of helper {helper}",
    (Nat, "connections not read"): "IPVS connections not read",
    (Nat, "forwarding method"): "IPVS {forward}",
    (Nat, "no free port"): "no free port",
    (Nat, "statement"): "{what}",
}

ASSUMED: Templates = {
    (Conntrack, "assume new"): "closed connection",
    (Conntrack, "assume known"): "closed connection",
}

COMMANDS: Templates = {
    (
        Conntrack,
        "full table",
    ): "sysctl net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_count",
    (Conntrack, "helper"): "conntrack -L expect",
    (Conntrack, ""): "conntrack -L | grep {src}",
    (Nat, "snat"): _entry,
    (Nat, "dnat"): _entry,
    (Nat, "IPVS"): _ipvs_command,
    (Nat, "no server"): "ipvsadm -L -n",
    (Nat, "connections not read"): "ipvsadm -L -n -c",
    (Nat, "forwarding method"): "ipvsadm -L -n",
    (Nat, "no free port"): "conntrack -L -d {dst}",
    (Nat, ""): "nft list ruleset",
}
