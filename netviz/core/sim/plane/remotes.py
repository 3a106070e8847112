"""A frame that a tunnel device sends to several remotes: which of its copies a trace follows.

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_one, encap_bypass_if_local (Linux 6.18).

Unmodelled: what is learned from a copy that comes back to its own host.
"""

from __future__ import annotations

from functools import partial

from netviz.core.sim.actions import Action, Carried, Spread
from netviz.core.sim.plane.domain import takers_at
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Encap


def follow_remote(run: Run, spread: Spread) -> Action:
    """Follow the copy behind whose remote somebody takes the frame; one that is rejected may be first."""
    ns, packet = run.netns(spread.link.netns), spread.packet
    link = ns.links[spread.link.ifindex]
    good, maybe = run.suppose(partial(_taken, run, spread))
    refused = [number for number in range(len(spread.copies)) if number not in good] if good else []
    refused = [number for number in refused if _is_refused(run, spread.copies[number])]
    choices = [*good, *refused] or maybe
    copies = tuple(Copy(addr=one.remote) for one in spread.copies)
    if not choices:
        run.end_dropped(ns, link, packet, "OTHERHOST", Encap("drop", "nobody"), copies=copies)
    chosen, certainty = run.pick(("vxlan copies", ns.key, link.ifindex, packet.dmac), choices)
    run.record(
        ns,
        link,
        packet,
        Bridge(
            "flood",
            "vxlan rejected" if chosen in refused else "vxlan",
            remote=spread.copies[chosen].remote,
        ),
        certainty=certainty,
        copies=copies,
    )
    return spread.then(chosen)


def _taken(run: Run, spread: Spread) -> tuple[list[int], list[int]]:
    """List the copies that somebody takes behind their remotes, and those of which that isn't known.

    Asked with a frame that nothing inside keeps back; what becomes of the packet is told on its way.
    """
    good: list[int] = []
    maybe: list[int] = []
    for number, one in enumerate(spread.copies):
        if one.small is None:
            continue
        there, unknown = run.carry(one.small.netns, one.small.packet, one.small.oif)
        found, unsure = takers_at(run, there, spread.packet.dmac) if there is not None else ([], unknown)
        if found:
            good.append(number)
        elif unsure:
            maybe.append(number)
    return good, maybe


def _is_refused(run: Run, one: Carried) -> bool:
    """Tell whether rules refuse a copy and tell the sender so. Copies of copies are not looked at."""
    whole = one.whole
    if run.speculation_depth or whole is None:
        return False
    return run.suppose(lambda: run.fate(whole).answer is not None)
