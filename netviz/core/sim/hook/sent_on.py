"""A frame that a rule of a device sends on: out of the device that the rule names, to a neighbour or as it is.

Source: net/netfilter/nf_dup_netdev.c, nf_do_netdev_egress; nft_fwd_netdev.c, nft_fwd_neigh_eval (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.hook.frame_hooks import Forwarded
from netviz.core.sim.neighbour.resolve import resolve
from netviz.core.sim.run import Run, Tx
from netviz.core.state.node import NetnsState

NF_RECURSION_LIMIT = 2


def send_on(run: Run, ns: NetnsState, link: Link, forwarded: Forwarded, before: int = 0) -> Tx:
    """Send a frame on from a link; `before` counts the turns that it has taken so far."""
    packet, out = forwarded.packet, forwarded.link
    if before > NF_RECURSION_LIMIT:
        why = "Rules of devices send the frame from one to the next too often: it is dropped."
        run.drop(ns, "link_tx", link.ifname, packet, "NOT_SPECIFIED", why)
    if forwarded.nexthop:
        packet = resolve(run, ns, out, forwarded.nexthop, packet, routed=False)
    run.step(ns, "forward", link.ifname, packet, "forward", f"The frame goes out of {out.ifname} instead.")
    return Tx(LinkKey(ns.key, out.ifindex), packet, forwarded.nexthop, before + 1)
