"""What of a frame's size a device that forwards frames looks at."""

from __future__ import annotations

from typing import NoReturn

from netviz.core.model.link import Link
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

ETH_VLAN_SLACK = 4


def fits(link: Link, packet: Packet) -> bool:
    """Tell whether a frame fits a device's MTU, with room for a VLAN tag.

    Source: net/core/dev.c, is_skb_forwardable via include/linux/netdevice.h (Linux 6.18).
    """
    return packet.wire_length <= link.mtu + ETH_VLAN_SLACK


def too_big(run: Run, ns: NetnsState, dev: Link, packet: Packet, taker: Link, what: str) -> NoReturn:
    """Drop a frame that is larger than `taker` takes; `what` says who drops it."""
    run.drop(
        ns,
        "mtu",
        dev.ifname,
        packet,
        "PKT_TOO_BIG",
        f"The packet has {packet.wire_length} bytes and {taker.ifname} takes at most {taker.mtu}; "
        f"{what} drops it without a word.",
        mtu=taker.mtu,
        length=packet.wire_length,
        kernel_reason="NOT_SPECIFIED",
    )
