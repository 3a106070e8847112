"""Devices that lead nowhere the walk can follow: those that swallow, and those whose doings aren't known."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.link import Link
from netviz.core.sim.actions import Action
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Transmit
from netviz.core.state.node import NetnsState


def swallow(run: Run, ns: NetnsState, link: Link, packet: Packet, _nexthop: bytes) -> Action:
    """End a packet at a dummy device, which counts what it is given and frees it.

    Source: drivers/net/dummy.c, dummy_xmit (Linux 6.18).
    """
    run.end_dropped(ns, link, packet, "CONSUMED", Transmit("drop", "dummy"))


def opaque(run: Run, ns: NetnsState, link: Link, packet: Packet) -> NoReturn:
    """End the walk at a device whose doings aren't known, by name."""
    run.end_unknown(
        ns, link, packet, Opaque("unknown", "device", device_kind=link.kind or f"link type {link.arptype}")
    )
