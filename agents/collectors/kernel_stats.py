"""How full the kernel's own tables are, and what it dropped for them: of the node's own namespace, by the clock.

The kernel announces none of it. With the numbers goes when they were read, so that what rises is told from what rose once.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Collection, Mapping

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.netlink.kernel_stats import (
    IPCTNL_MSG_CT_GET_STATS_CPU,
    NDTMSG,
    RTM_GETNEIGHTBL,
    parse_conntrack_stats,
    parse_neigh_tables,
)
from agents.netlink.nfnetlink import NETLINK_NETFILTER, nfgenmsg, stream_dump
from agents.netlink.wire import NETLINK_ROUTE, dump
from netviz.core.model.stat import KernelStat

POLL_S = 30.0
_ABSENT = (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)


def read_neigh_tables(ns: NetnsHandle) -> list[KernelStat]:
    """Read the neighbour tables. Raises: OSError."""
    with ns.open_netlink(NETLINK_ROUTE) as sock:
        return list(parse_neigh_tables(dump(sock, RTM_GETNEIGHTBL, NDTMSG)))


def read_conntrack_stats(ns: NetnsHandle) -> list[KernelStat]:
    """Read what connection tracking counts; nothing where the kernel hasn't got it. Raises: OSError."""
    try:
        with ns.open_netlink(NETLINK_NETFILTER) as sock:
            return list(parse_conntrack_stats(stream_dump(sock, IPCTNL_MSG_CT_GET_STATS_CPU, nfgenmsg())))
    except OSError as err:
        if err.errno in _ABSENT:
            return []
        raise


class KernelStats:
    """Collect them."""

    name = "kernel_stats"
    sections = ("kernel_stats",)
    poll_s: Mapping[str, float] = {"kernel_stats": POLL_S}

    def can_run(self, host: Host) -> str | None:
        """Ask for the neighbour tables, which every kernel has."""
        try:
            read_neigh_tables(host.root)
        except OSError as err:
            return f"the neighbour tables cannot be read: {err.strerror}"
        return None

    async def start(self, host: Host) -> None:
        """Nothing to listen to."""

    async def stop(self) -> None:
        """Nothing is open."""

    def attach(self, ns: NetnsHandle) -> None:
        """Nothing to open."""

    def detach(self, ns: NetnsHandle) -> None:
        """Nothing to close."""

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Read them of the node's own namespace. Raises: OSError."""
        if not ns.root:
            return Reading({"kernel_stats": ()})
        at = KernelStat("read.at_s", int(time.clock_gettime(time.CLOCK_BOOTTIME)))
        return Reading({"kernel_stats": [*read_neigh_tables(ns), *read_conntrack_stats(ns), at]})
