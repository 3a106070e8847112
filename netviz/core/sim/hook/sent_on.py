"""A frame that a rule of a device sends on: out of the device that the rule names, to a neighbour or as it is.

Source: net/netfilter/nf_dup_netdev.c, nf_do_netdev_egress; nft_fwd_netdev.c, nft_fwd_neigh_eval (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action, Resolve, Tx
from netviz.core.sim.hook.frame_hooks import Forwarded
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Forward, Transmit
from netviz.core.state.node import NetnsState

NF_RECURSION_LIMIT = 2


def send_on(run: Run, ns: NetnsState, link: Link, forwarded: Forwarded, before: int = 0) -> Action:
    """Send a frame on from a link; `before` counts the turns that it has taken so far."""
    packet, out = forwarded.packet, forwarded.link
    if before > NF_RECURSION_LIMIT:
        run.end_dropped(ns, link, packet, "NOT_SPECIFIED", Transmit("drop", "too many turns"))
    into = LinkKey(ns.key, out.ifindex)

    def sent(packet: Packet) -> Action:
        run.record(ns, link, packet, Forward("forward", "by a rule", oif=out.ifname))
        return Tx(into, packet, forwarded.nexthop, before + 1)

    if forwarded.nexthop:
        return Resolve(into, packet, forwarded.nexthop, routed=False, then=sent)
    return sent(packet)
