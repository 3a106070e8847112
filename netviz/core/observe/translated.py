"""Translations beside what connection tracking said of the probe's connection."""

from __future__ import annotations

from collections.abc import Sequence

from netviz.core.model.addr import format_ip
from netviz.core.observe.sighting import Tracked
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6
from netviz.core.sim.steps import Nat
from netviz.core.sim.trace import Step


def translated(step: Step, place: str, told: Sequence[Tracked]) -> str | None:
    """Say how an entry differs from a step that translates the first packet; "" where it doesn't, None where none was told of."""
    what = step.what
    if not isinstance(what, Nat) or what.reply is None or what.action not in ("snat", "dnat"):
        return None
    one = next((one for one in told if one.place == place), None)
    if one is None:
        return None
    entry, is_source = one.entry, what.action == "snat"
    address, port = (entry.rdst, entry.rdport) if is_source else (entry.rsrc, entry.rsport)
    predicted = what.reply.dport if is_source else what.reply.sport
    has_ports = entry.proto not in (IPPROTO_ICMP, IPPROTO_ICMPV6)
    if address == what.now and (what.unsure or not has_ports or port == predicted):
        return ""
    said = f"{format_ip(address)}:{port}" if has_ports else format_ip(address)
    return f"the connection's entry says {said}"
