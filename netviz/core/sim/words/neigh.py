"""Neighbours in words."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.plain import quoted
from netviz.core.sim.steps import ClosedPort, HookVerdict, Meddling, Neighbour, Place, Silence
from netviz.core.sim.trace import Step
from netviz.core.sim.words.hook import stopped_text
from netviz.core.sim.words.inet import refusal_text
from netviz.core.sim.words.show import Templates, short

MEDDLING = {
    "another MAC": "a rule sends it to another MAC",
    "requester": "a rule changes who requests",
    "content": "a rule changes what it says",
    "": "",
}


def request_name(addr: bytes) -> str:
    """Name the request for an address."""
    return "neighbour solicitation" if len(addr) == 16 else "ARP request"


def silence_text(silence: Silence) -> str:
    """Say why a link doesn't answer."""
    where = short(silence.place)
    if silence.refusal is not None:
        return (
            f"{where}: a request from {format_ip(silence.sender)} is refused on {silence.ifname}: "
            f"{refusal_text(silence.refusal)}"
        )
    value = "on" if silence.setting == "disable_ipv6" else silence.value
    return f"{where}: {silence.setting} of {silence.ifname} is {value}"


def closed_text(closed: ClosedPort) -> str:
    """Say where copies of a request end."""
    if closed.remote:
        return f"the tunnel to {format_ip(closed.remote)} has no end that takes its packets"
    return f"{closed.port}, a port of {closed.bridge}, is in state {closed.state}"


def stopped_by(stopped: HookVerdict | Meddling) -> str:
    """Say what stops a request or its answer."""
    return stopped_text(stopped) if isinstance(stopped, HookVerdict) else MEDDLING[stopped]


def _neigh(step: Step) -> Neighbour:
    assert isinstance(step.what, Neighbour)
    return step.what


def _answer(what: Neighbour) -> str:
    assert what.answer_place is not None
    where, dev = short(what.answer_place), what.answer_dev
    addr, mac = format_ip(what.nexthop), format_mac(what.mac)
    return {
        "address": f"{where} has {addr} and answers on {dev} with {mac}",
        "address6": f"{where} has {addr} on {dev}, at {mac}",
        "proxy_arp": f"{where} answers for it on {dev} (proxy_arp), having a route to it elsewhere",
        "proxy_arp_pvlan": f"{where} answers for it on {dev} (proxy_arp_pvlan)",
        "proxy entry": f"{where} has a proxy entry for it on {dev}",
    }[what.answer]


def _resolved(step: Step) -> str:
    what = _neigh(step)
    also = ""
    if len({mac for _, mac in what.answered_by}) > 1:
        also = (
            f" {len(what.answered_by)} links answer for this address: which answer comes first isn't known."
        )
    addr = format_ip(what.nexthop)
    return f"There is no usable entry for {addr}; the {request_name(what.nexthop)} is answered: {_answer(what)}.{also}"


def _gleaned(step: Step) -> str:
    addr = format_ip(_neigh(step).nexthop)
    return (
        f"Nobody answers the {request_name(_neigh(step).nexthop)} for {addr}, but {addr}'s own request, on its path by "
        "a tunnel, shows its MAC if it comes after this one."
    )


def _not_known(step: Step) -> str:
    addr = _neigh(step).nexthop
    return f"{format_ip(addr)} is on no known node; whether somebody out there answers the {request_name(addr)} isn't known."


def _nobody(step: Step) -> str:
    what = _neigh(step)
    request = f"the {request_name(what.nexthop)} for {format_ip(what.nexthop)}"
    why = f"Nobody answers {request} on {step.dev}, or rules stop the request or the answer."
    if what.silent:
        silent = "; ".join(silence_text(one) for one in what.silent)
        why = f"Nobody answers {request} on {step.dev}: {silent}."
    if what.cause == "failed entry":
        why = (
            f"The entry for {format_ip(what.nexthop)} on {step.dev} has failed: nobody answered the "
            f"{request_name(what.nexthop)}, and no known node has it."
        )
    if not what.routed:
        return f"{why} The frame was never routed: its sender isn't told."
    return f"{why} The sender is told (host unreachable)."


def elsewhere(what: Neighbour) -> Iterator[tuple[Place, str]]:
    """List what to look at on other machines: the settings of links that don't answer."""
    for silence in what.silent:
        family = "ipv6" if silence.setting == "disable_ipv6" else "ipv4"
        name = silence.setting or "rp_filter"
        dev = quoted(silence.ifname)
        yield silence.place, f"sysctl net.{family}.conf.{dev}.{name} net.{family}.conf.all.{name}"
    if what.answer_place is not None:
        yield what.answer_place, f"ip -d addr show dev {quoted(what.answer_dev)}"


WHY: Templates = {
    (Neighbour, "entry"): "{nexthop} is at {mac} ({state} entry).",
    (
        Neighbour,
        "resolved",
    ): "{nexthop} is at {mac}, as the packets before this one have shown.",
    (Neighbour, "resolve"): _resolved,
    (Neighbour, "gleaned"): _gleaned,
    (Neighbour, "not known"): _not_known,
    (Neighbour, "nobody answers"): _nobody,
    (Neighbour, "failed entry"): _nobody,
    (
        Neighbour,
        "request in its own packet",
    ): "The packet carries the request for {nexthop} and needs its answer.",
    (
        Neighbour,
        "filtered",
    ): "Rules on the path may stop the request for {nexthop} or its answer.",
    (
        Neighbour,
        "locked port",
    ): "The answer comes by a locked bridge port; whether its entry may pass isn't known.",
}

UNKNOWN: Templates = {
    (Neighbour, "filtered"): "filtered address resolution",
    (Neighbour, "locked port"): "locked bridge port",
}

COMMANDS: Templates = {
    (Neighbour, ""): "ip neigh get {nexthop} dev {dev}",
}
