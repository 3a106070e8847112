"""Bridge VLANs: a dump of RTM_GETVLAN, which also tells each VLAN's own spanning tree state.

A kernel without bridge VLAN filtering doesn't know the message: it has no VLANs either.

Source: include/uapi/linux/if_bridge.h, BRIDGE_VLANDB_*; net/bridge/br_vlan.c br_vlan_dump_dev,
br_vlan_fill_vids (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from agents.netlink.wire import Message, attr_list, attrs, u8, u16
from netviz.core.model.addr import AF_BRIDGE
from netviz.core.model.l2 import BridgeVlan
from netviz.core.model.link import BR_STATE_FORWARDING

RTM_NEWVLAN, RTM_DELVLAN, RTM_GETVLAN = 112, 113, 114
_BRIDGE_VLANDB_ENTRY = 1
_ENTRY_INFO, _ENTRY_RANGE, _ENTRY_STATE = 1, 2, 3
_BR_VLAN_MSG = struct.Struct("=BBHI")  # family, reserved, reserved, ifindex
_VLAN_INFO = struct.Struct("=HH")  # flags, vid
_PVID, _UNTAGGED = 0x2, 0x4


def vlan_dump_request() -> bytes:
    """Make the body of a dump of every bridge's and port's VLANs."""
    return _BR_VLAN_MSG.pack(AF_BRIDGE, 0, 0, 0)


def parse_vlans(messages: Iterable[Message]) -> Iterator[BridgeVlan]:
    """Decode the VLANs; a range stands for each of its ids. Raises: BadMessage."""
    for message in messages:
        if message.type != RTM_NEWVLAN:
            continue
        ifindex = _BR_VLAN_MSG.unpack_from(message.body)[3]
        for kind, payload in attr_list(message.body, _BR_VLAN_MSG.size):
            if kind != _BRIDGE_VLANDB_ENTRY:
                continue
            entry = attrs(payload)
            flags, first = _VLAN_INFO.unpack_from(entry[_ENTRY_INFO])
            state = u8(entry.get(_ENTRY_STATE), BR_STATE_FORWARDING)
            for vid in range(first, u16(entry.get(_ENTRY_RANGE), first) + 1):
                yield BridgeVlan(ifindex, vid, bool(flags & _PVID), bool(flags & _UNTAGGED), state)
