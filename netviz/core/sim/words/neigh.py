"""Neighbours in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.plain import quoted
from netviz.core.sim.steps import ClosedPort, HookVerdict, Meddling, Neighbour, Place, Silence
from netviz.core.sim.trace import Step
from netviz.core.sim.words.hook import stopped_text
from netviz.core.sim.words.inet import refusal_text
from netviz.core.sim.words.show import Templates, short

MEDDLING = {
    "another MAC": "a rule that sends it to another MAC",
    "requester": "a rule that changes who requests",
    "content": "a rule that changes what it says",
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
    if silence.cause:
        return CAUSES[silence.cause](silence, where)
    value = {"disable_ipv6": "on", "proxy_arp": "off"}.get(silence.setting, silence.value)
    return f"{where}: {silence.setting} of {silence.ifname} is {value}"


def _another_range(silence: Silence, where: str) -> str:
    addrs = " and ".join(f"{format_ip(addr)}/{length}" for addr, length in silence.addrs)
    return f"{silence.ifname} of {where} has {addrs}, another range"


def _not_reached(silence: Silence, where: str) -> str:
    state = f"which is {silence.state}" if silence.state else "which the request doesn't reach"
    return f"{where} has it on {silence.ifname}, {state}"


# Why a link doesn't answer, where it isn't a setting or a source check.
CAUSES: dict[str, Callable[[Silence, str], str]] = {
    "another range": _another_range,
    "proxy without route": lambda silence, where: (
        f"{where} answers for others on {silence.ifname} (proxy_arp), but has no route to it"
    ),
    "proxy to itself": lambda silence, where: (
        f"{where} answers for others on {silence.ifname} (proxy_arp), but its route to it leads back there"
    ),
    "not reached": _not_reached,
    "shared device": lambda silence, where: (
        f"{where} has it on {silence.ifname}, and the requester's link shares the device {silence.lower} with that; "
        "macvlans and ipvlans exchange nothing with the host of their lower device"
    ),
}


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
    why = f"Nobody answers {request} on {step.dev}: {_silence(what)}."
    if what.cause == "no carrier":
        why = f"{step.dev} has no carrier, so {request} isn't sent, and nobody answers."
    if what.cause == "failed entry":
        why = (
            f"The entry for {format_ip(what.nexthop)} on {step.dev} has failed: nobody answered the "
            f"{request_name(what.nexthop)}, and no known node has it."
        )
    if not what.routed:
        return f"{why} The frame was never routed: its sender isn't told."
    return f"{why} The sender is told (host unreachable)."


def _silence(what: Neighbour) -> str:
    """Say why no answer comes."""
    if what.shared:
        return (
            f"the answer comes from {format_mac(what.mac)}, which the requester has too, and a switch sends no frame back "
            "by the port that it came from"
        )
    lost = "the answer gets lost on its path" if what.reached else "the request gets lost on its path"
    if what.stopped:
        stops = "; ".join(dict.fromkeys(filter(None, map(stopped_by, what.stopped))))
        message = "the answer" if what.reached else "the request"
        return f"{message} is dropped on its path, by {stops}" if stops else lost
    if what.willing:
        return lost
    if what.silent:
        return "; ".join(silence_text(one) for one in what.silent)
    if what.closed:
        return "; ".join(map(closed_text, what.closed))
    return "no known namespace that hears it has this address"


def elsewhere(what: Neighbour) -> Iterator[tuple[Place, str]]:
    """List what to look at on other machines: the settings of links that don't answer."""
    for silence in what.silent:
        family = "ipv6" if silence.setting == "disable_ipv6" else "ipv4"
        name = silence.setting or "rp_filter"
        dev = quoted(silence.ifname)
        if silence.cause:
            routed = silence.cause in ("proxy without route", "proxy to itself")
            command = f"ip route get {format_ip(what.nexthop)}" if routed else f"ip addr show dev {dev}"
            yield silence.place, command
            continue
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
    (Neighbour, "no carrier"): _nobody,
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
