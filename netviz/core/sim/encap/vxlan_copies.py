"""A frame that VXLAN sends to several remotes: which of its copies is followed.

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_one, encap_bypass_if_local (Linux 6.18).

Unmodelled: what is learned from a copy that comes back to its own host.
"""

from __future__ import annotations

from functools import partial

from netviz.core.model.l2 import Fdb
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.sim.actions import Send
from netviz.core.sim.encap.ends import question
from netviz.core.sim.encap.vxlan_remotes import Remote, outer_packet, remote_of, way_to
from netviz.core.sim.link.domain import takers_at
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Encap
from netviz.core.sim.trace import BRANCH, CERTAIN
from netviz.core.state.node import NetnsState


def followed_copy(
    run: Run,
    ns: NetnsState,
    space: NetnsState,
    link: Link,
    info: VxlanInfo,
    packet: Packet,
    entries: list[Fdb],
) -> Remote:
    """Choose the copy of a frame behind whose remote somebody takes it; one that is rejected may be first."""
    remotes = [remote_of(entry, info) for entry in entries if any(entry.dst)]
    _check_own_copies(run, ns, space, link, packet, remotes)
    good, maybe = _taken(run, space, info, packet, remotes)
    refused = _refused(run, space, info, packet, [one for one in remotes if one not in good]) if good else []
    choices = [*good, *refused] or maybe
    copies = tuple(Copy(addr=remote.addr) for remote in remotes)
    if not choices:
        run.end_dropped(ns, link, packet, "OTHERHOST", Encap("drop", "nobody"), copies=copies)
    picked = 0
    if len(choices) > 1:
        picked = run.choose(("vxlan copies", ns.key, link.ifindex, packet.dmac), len(choices), None)
    run.record(
        ns,
        link,
        packet,
        Bridge(
            "flood",
            "vxlan rejected" if choices[picked] in refused else "vxlan",
            remote=choices[picked].addr,
        ),
        certainty=CERTAIN if len(choices) == 1 else BRANCH,
        copies=copies,
    )
    return choices[picked]


def _check_own_copies(
    run: Run, ns: NetnsState, space: NetnsState, link: Link, packet: Packet, remotes: list[Remote]
) -> None:
    """End the walk where one of a frame's copies comes back to its own host: what is learned from it isn't modelled."""
    for remote in remotes:
        if way_to(space, remote, packet.mark).local:
            run.end_unknown(ns, link, packet, Encap("unknown", "own host", remote=remote.addr))


def _taken(
    run: Run, space: NetnsState, info: VxlanInfo, packet: Packet, remotes: list[Remote]
) -> tuple[list[Remote], list[Remote]]:
    """List the remotes behind which somebody takes a frame, and those where that isn't known.

    Asked with a frame that nothing inside keeps back; what becomes of the packet is told on its way.
    """
    frame = question(packet.dmac, packet.smac)

    def ask() -> tuple[list[Remote], list[Remote]]:
        good: list[Remote] = []
        maybe: list[Remote] = []
        for remote in remotes:
            outer = outer_packet(space, info, remote, frame)
            if outer is None:
                continue
            there, unknown = run.carry(space.key, outer, remote.link)
            found, unsure = takers_at(run, there, packet.dmac) if there is not None else ([], unknown)
            if found:
                good.append(remote)
            elif unsure:
                maybe.append(remote)
        return good, maybe

    return run.suppose(ask)


def _refused(
    run: Run, space: NetnsState, info: VxlanInfo, packet: Packet, remotes: list[Remote]
) -> list[Remote]:
    """List the remotes where rules refuse their copy and tell the sender so. Copies of copies are not looked at."""

    def is_refused(remote: Remote) -> bool:
        outer = outer_packet(space, info, remote, packet)
        return outer is not None and run.fate(Send(space.key, outer, remote.link)).answer is not None

    if run.speculation_depth:
        return []
    return [remote for remote in remotes if run.suppose(partial(is_refused, remote))]
