"""Devices that lead nowhere the walk can follow: those that swallow, and those whose doings aren't known."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.link import Link
from netviz.core.sim.actions import Action
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Transmit
from netviz.core.state.node import NetnsState

# What isn't followed through a device of a kind, for people.
WHY_OPAQUE = {
    "tun": "hands the packet to the program that holds it, which may do anything with it",
    "netkit": "runs the BPF program at its end, which the state doesn't show, before its other end gets the packet",
    "ifb": "gets packets from tc redirects and gives them back by rules of its own",
    "team": "is a team: a program decides by which port frames go",
    "nlmon": "copies netlink messages and has no other end",
    "openvswitch": "forwards by Open vSwitch's flows, which are not in the state",
}


def swallow(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """End a packet at a dummy device, which counts what it is given and frees it.

    Source: drivers/net/dummy.c, dummy_xmit (Linux 6.18).
    """
    run.end_dropped(ns, link, packet, "CONSUMED", Transmit("drop", "dummy"))


def opaque(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NoReturn:
    """End the walk at a device whose doings aren't known, by name."""
    kind = link.kind or f"link type {link.arptype}"
    WHY_OPAQUE.get(link.kind, f"is a {kind} device; what it does with the packet is not modelled")
    run.end_unknown(
        ns, link, packet, Opaque("unknown", "device", device_kind=link.kind or f"link type {link.arptype}")
    )
