"""What of a frame's size a device that forwards frames looks at."""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Mtu
from netviz.core.state.node import NetnsState

ETH_VLAN_SLACK = 4


def check_frame(run: Run, ns: NetnsState, dev: Link, packet: Packet, at: LinkKey, by: str) -> None:
    """Drop a frame that is larger than the link `at` takes, which has room for a VLAN tag; `by` is the kind of device.

    Unmodelled: TCP's segments that are still to be cut (GSO) pass whatever the MTU is.

    Source: net/core/dev.c, ____dev_forward_skb; include/linux/netdevice.h, __is_skb_forwardable (Linux 6.18).
    """
    there = run.netns(at.netns)
    taker = there.links[at.ifindex]
    most = taker.mtu + ETH_VLAN_SLACK
    run.note_limit(there, taker, packet, most, silent=True)
    if packet.wire_length <= most:
        return
    what = Mtu(
        "drop",
        "frame",
        mtu=taker.mtu,
        length=packet.wire_length,
        taker=taker.ifname,
        taker_node=at.netns.node,
        by=by,
        kernel_reason="NOT_SPECIFIED",
    )
    run.end_dropped(ns, dev, packet, "PKT_TOO_BIG", what)
