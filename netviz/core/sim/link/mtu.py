"""What of a frame's size a device that forwards frames looks at."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.link import Link
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Mtu
from netviz.core.state.node import NetnsState

ETH_VLAN_SLACK = 4


def fits(link: Link, packet: Packet) -> bool:
    """Tell whether a frame fits a device's MTU, with room for a VLAN tag.

    Source: net/core/dev.c, is_skb_forwardable via include/linux/netdevice.h (Linux 6.18).
    """
    return packet.wire_length <= link.mtu + ETH_VLAN_SLACK


def too_big(run: Run, ns: NetnsState, dev: Link, packet: Packet, taker: Link, by: str) -> NoReturn:
    """Drop a frame that is larger than `taker` takes; `by` is the kind of device that drops it."""
    run.end_dropped(
        ns,
        dev,
        packet,
        "PKT_TOO_BIG",
        Mtu(
            "drop",
            "frame",
            mtu=taker.mtu,
            length=packet.wire_length,
            taker=taker.ifname,
            by=by,
            kernel_reason="NOT_SPECIFIED",
        ),
    )
