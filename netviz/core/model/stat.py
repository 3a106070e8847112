"""What the kernel counts of its own tables."""

from __future__ import annotations

from netviz.core.model.base import Record
from netviz.core.model.bounds import U64, FileName


class KernelStat(Record, frozen=True, gc=False):
    """A number of the kernel's, when it was read last, by a dotted name.

    conntrack.drop, .early_drop, .insert_failed     packets and entries of the namespace's connection tracking, since it began
    neigh.arp_cache.entries, .gc_thresh2,           neighbours of all namespaces of the kernel, how many there may be, and how
      .gc_thresh3, .table_fulls                     often there was no room; ndisc_cache: IPv6's
    read.at_s                                       seconds since the machine was started, when this was read

    Source: net/netfilter/nf_conntrack_netlink.c, ctnetlink_ct_stat_cpu_fill_info; net/core/neighbour.c,
    neightbl_fill_info (Linux 6.18).
    """

    name: FileName
    value: U64

    @property
    def key(self) -> str:
        """The name."""
        return self.name
