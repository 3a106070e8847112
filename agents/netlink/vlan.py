"""Bridge VLANs: an AF_BRIDGE dump of links with RTEXT_FILTER_BRVLAN.

Source: include/uapi/linux/if_bridge.h; net/bridge/br_netlink.c br_fill_ifinfo (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from agents.netlink.link import IFINFOMSG, IFLA_AF_SPEC, IFLA_EXT_MASK, RTM_NEWLINK
from agents.netlink.wire import Message, attr, attr_list, attrs
from netviz.core.model.addr import AF_BRIDGE
from netviz.core.model.l2 import BridgeVlan

RTM_NEWVLAN, RTM_DELVLAN = 112, 113
_RTEXT_FILTER_BRVLAN = 1 << 1
_IFLA_BRIDGE_VLAN_INFO = 2
_VLAN_INFO = struct.Struct("=HH")  # flags, vid
_PVID, _UNTAGGED, _RANGE_BEGIN, _RANGE_END = 0x2, 0x4, 0x8, 0x10


def vlan_dump_request() -> bytes:
    """Make the body of a dump of every bridge's and port's VLANs."""
    return IFINFOMSG.pack(AF_BRIDGE, 0, 0, 0, 0) + attr(
        IFLA_EXT_MASK, struct.pack("=I", _RTEXT_FILTER_BRVLAN)
    )


def parse_vlans(messages: Iterable[Message]) -> Iterator[BridgeVlan]:
    """Decode the VLANs; a range stands for each of its ids. Raises: BadMessage."""
    for message in messages:
        if message.type != RTM_NEWLINK or message.body[0] != AF_BRIDGE:
            continue
        ifindex = IFINFOMSG.unpack_from(message.body)[2]
        spec = attrs(message.body, 16).get(IFLA_AF_SPEC, b"")
        first = 0
        for kind, payload in attr_list(spec):
            if kind != _IFLA_BRIDGE_VLAN_INFO:
                continue
            flags, vid = _VLAN_INFO.unpack_from(payload)
            if flags & _RANGE_BEGIN:
                first = vid
                continue
            for each in range(first if flags & _RANGE_END else vid, vid + 1):
                yield BridgeVlan(ifindex, each, bool(flags & _PVID), bool(flags & _UNTAGGED))
