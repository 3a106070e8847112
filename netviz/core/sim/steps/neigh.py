"""Decisions about neighbours: which MAC a next hop has, how that is known, or why it isn't."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.sim.steps.base import Decision, Place
from netviz.core.sim.steps.hook import HookVerdict
from netviz.core.sim.steps.inet import SourceRefusal

# What a rule changes of a request or an answer so that it doesn't come to anything.
Meddling = Literal["another MAC", "requester", "content", ""]
AnswerCause = Literal["address", "proxy_arp", "proxy_arp_pvlan", "proxy entry", "address6"]


class Silence(msgspec.Struct, frozen=True):
    """A link that has the address, or could answer for it, and doesn't: a setting's value, its source check, a `cause`.

    `addrs` are its own addresses with their lengths, `state` what is wrong with a link that doesn't hear the request,
    `lower` the device that it shares with who asks.
    """

    place: Place
    ifname: str
    setting: Literal["", "arp_ignore", "arp_filter", "disable_ipv6", "proxy_arp"] = ""
    value: int = 0
    sender: bytes = b""
    refusal: SourceRefusal | None = None
    cause: Literal[
        "",
        "another range",
        "proxy without route",
        "proxy to itself",
        "not reached",
        "shared device",
    ] = ""
    addrs: tuple[tuple[bytes, int], ...] = ()
    state: Literal["", "down", "without carrier"] = ""
    lower: str = ""


class ClosedPort(msgspec.Struct, frozen=True, order=True):
    """Where copies of a request end: at a bridge's port by its state, in `netns`, or at a tunnel's remote that takes no packets."""

    port: str = ""
    bridge: str = ""
    state: str = ""
    remote: bytes = b""
    netns: NetnsKey | None = None


class Neighbour(Decision, frozen=True, tag="neigh"):
    """The MAC of a next hop is found in an entry or by a request, or isn't.

    `asked` links have heard the request; `answered_by` are those that answer with their MACs, the followed one
    answering for `answer`, on `answer_dev` at `answer_place`. `silent`, `closed`, `stopped` say why others don't;
    `willing` would have answered, had request and answer got through; `reached`: the request does get to them. `shared` are
    the requester's link and those of who would answer with the same MAC, which is `mac` then.
    """

    kind: ClassVar[str] = "neigh"

    action: Literal["entry", "resolved", "resolve", "not known", "drop", "unknown"]
    cause: Literal[
        "",
        "gleaned",
        "nobody answers",
        "no carrier",
        "failed entry",
        "request in its own packet",
        "filtered",
        "locked port",
        "section not read",
    ] = ""
    nexthop: bytes = b""
    mac: bytes = b""
    state: str = ""
    asked: int | None = None
    entry: str = ""
    asked_from: bytes | None = None
    announce: int = 0
    answered_by: tuple[tuple[LinkKey, bytes], ...] = ()
    answer: AnswerCause | Literal[""] = ""
    answer_place: Place | None = None
    answer_dev: str = ""
    silent: tuple[Silence, ...] = ()
    closed: tuple[ClosedPort, ...] = ()
    stopped: tuple[HookVerdict | Meddling, ...] = ()
    routed: bool = True
    willing: int = 0
    reached: bool = False
    shared: tuple[LinkKey, ...] = ()
