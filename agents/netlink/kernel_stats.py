"""What the kernel counts of connection tracking and of its neighbour tables.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h (ctattr_stats_cpu), net/netfilter/nf_conntrack_netlink.c;
include/uapi/linux/neighbour.h (ndtmsg, ndt_config, ndt_stats), net/core/neighbour.c, neightbl_fill_info (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from agents.netlink.nfnetlink import NFGENMSG_LEN, NFNL_SUBSYS_CTNETLINK, number
from agents.netlink.wire import Message, attrs, text, u32
from netviz.core.model.stat import KernelStat

IPCTNL_MSG_CT_GET_STATS_CPU = NFNL_SUBSYS_CTNETLINK << 8 | 4
_CT = {9: "insert_failed", 10: "drop", 11: "early_drop"}  # CTA_STATS_*

RTM_NEWNEIGHTBL, RTM_GETNEIGHTBL = 64, 66
NDTMSG = bytes(4)  # of any family
_NAME, _THRESH2, _THRESH3, _CONFIG, _STATS = 1, 3, 4, 5, 7
_ENTRIES = struct.Struct("=I")
_ENTRIES_AT = 4  # of struct ndt_config
_FULLS = struct.Struct("=Q")
_FULLS_AT = 10 * 8  # of struct ndt_stats


def parse_conntrack_stats(bodies: Iterable[bytes]) -> Iterator[KernelStat]:
    """Sum up what each processor has counted. Raises: BadMessage."""
    sums = dict.fromkeys(_CT, 0)
    for body in bodies:
        found = attrs(body, NFGENMSG_LEN)
        for kind in sums:
            sums[kind] += number(found.get(kind))
    for kind, name in _CT.items():
        yield KernelStat(f"conntrack.{name}", sums[kind])


def parse_neigh_tables(messages: Iterable[Message]) -> Iterator[KernelStat]:
    """Decode a dump of neighbour tables; what is told of single devices is left out. Raises: BadMessage."""
    for message in messages:
        found = attrs(message.body, len(NDTMSG)) if message.type == RTM_NEWNEIGHTBL else {}
        config, stats = found.get(_CONFIG, b""), found.get(_STATS, b"")
        if len(config) < _ENTRIES_AT + _ENTRIES.size or len(stats) < _FULLS_AT + _FULLS.size:
            continue
        name = f"neigh.{text(found.get(_NAME))}"
        yield KernelStat(f"{name}.entries", _ENTRIES.unpack_from(config, _ENTRIES_AT)[0])
        yield KernelStat(f"{name}.gc_thresh2", u32(found.get(_THRESH2)))
        yield KernelStat(f"{name}.gc_thresh3", u32(found.get(_THRESH3)))
        yield KernelStat(f"{name}.table_fulls", _FULLS.unpack_from(stats, _FULLS_AT)[0])
