"""NodeState and ClusterState.

A `NetnsState` holds, for each section, a mapping from the record's key to the record. A `NodeState`
holds its namespaces, a `ClusterState` its nodes and the netfilter bodies that they share. All of it
is immutable by contract: a new state shares whatever did not change with the old one, so an
unchanged section is the *same object* in both, and `is` tells quickly that nothing happened. Any mapping is taken
for a section, and kept as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.core.model.bounds import Count, Seconds, Words
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.ipvs import IpvsConn, IpvsService
from netviz.core.model.l2 import BridgeVlan, Fdb, Neigh
from netviz.core.model.l3 import Addr, NexthopObject, Route, Rule
from netviz.core.model.link import Link, LinkCounters
from netviz.core.model.netfilter import (
    Body,
    IpSet,
    NfAcct,
    NftChain,
    NftObject,
    NftSet,
    NftTable,
    RuleCounters,
    XtTable,
)
from netviz.core.model.netns import Gap, Netns, Refused, Sysctl
from netviz.core.model.socket import Socket
from netviz.core.model.stat import KernelStat
from netviz.core.state.objects import NO_OBJECTS, Objects
from netviz.core.state.section import EMPTY, Section


class SectionStatus(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How far a node's section can be trusted.

    `read_at_s` is the collector's wall clock (Unix seconds) at the last full read or audit; `whole`
    is false when something could not be read (`reason` says what; `Netns.gaps` says where); `lost`
    counts events known lost since the collector started, each followed by a re-read; `shed` counts
    changes left out under load (conntrack) that no whole read has made good since.

    `past`: the section is of an earlier time, from the journal, which keeps of it only what the first packet of
    a new flow meets: of sockets those that take one, of conntrack, counters and rules' counters nothing.

    `max_age_s`: within so many seconds the collector compares the section with the kernel again, wherever it is
    and whatever the kernel announces of it; 0 where that isn't said.
    """

    read_at_s: Seconds = 0.0
    whole: bool = True
    lost: Count = 0
    shed: Count = 0
    reason: Words = ""
    past: bool = False
    max_age_s: Seconds = 0.0

    @property
    def complete(self) -> bool:
        """All of the section is here."""
        return self.whole and not self.past


class NetnsState(msgspec.Struct, frozen=True, gc=False):
    """One namespace. Every field but `netns` is a section: record key -> record, in no promised order.

    `xt_chains` holds the chains of legacy xtables tables in the same form as nftables' chains; `refused` what
    the collector told of any section and could not be understood.
    """

    netns: Netns
    links: Mapping[Any, Link] = EMPTY
    addrs: Mapping[Any, Addr] = EMPTY
    neighs: Mapping[Any, Neigh] = EMPTY
    fdb: Mapping[Any, Fdb] = EMPTY
    vlans: Mapping[Any, BridgeVlan] = EMPTY
    routes: Mapping[Any, Route] = EMPTY
    rules: Mapping[Any, Rule] = EMPTY
    nexthops: Mapping[Any, NexthopObject] = EMPTY
    sysctls: Mapping[Any, Sysctl] = EMPTY
    sockets: Mapping[Any, Socket] = EMPTY
    conntrack: Mapping[Any, CtEntry] = EMPTY
    nft_tables: Mapping[Any, NftTable] = EMPTY
    nft_chains: Mapping[Any, NftChain] = EMPTY
    nft_sets: Mapping[Any, NftSet] = EMPTY
    nft_objects: Mapping[Any, NftObject] = EMPTY
    xt_tables: Mapping[Any, XtTable] = EMPTY
    xt_chains: Mapping[Any, NftChain] = EMPTY
    ipsets: Mapping[Any, IpSet] = EMPTY
    nfaccts: Mapping[Any, NfAcct] = EMPTY
    ipvs: Mapping[Any, IpvsService] = EMPTY
    ipvs_conns: Mapping[Any, IpvsConn] = EMPTY
    counters: Mapping[Any, LinkCounters] = EMPTY
    kernel_stats: Mapping[Any, KernelStat] = EMPTY
    rule_counters: Mapping[Any, RuleCounters] = EMPTY
    refused: Mapping[Any, Refused] = EMPTY

    def __post_init__(self) -> None:
        """Keep each section as one."""
        for name in SECTIONS:
            records = getattr(self, name)
            if type(records) is not Section:
                msgspec.structs.force_setattr(self, name, Section.of(records))

    @property
    def key(self) -> NetnsKey:
        """The namespace's identity."""
        return self.netns.key

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What isn't known whole of this namespace: what the collector couldn't read, and what it told wrong."""
        if not self.refused:
            return self.netns.gaps
        known = {gap.section: gap for gap in self.netns.gaps}
        for one in self.refused.values():
            for section in SECTIONS if one.section == "netns" else (one.section,):
                known.setdefault(section, Gap(section, one.words))
        return tuple(known[section] for section in sorted(known))


SECTIONS: tuple[str, ...] = tuple(f for f in NetnsState.__struct_fields__ if f != "netns")
# Sections whose records refer to a body by the digest in their field `body`.
BODY_SECTIONS: tuple[str, ...] = ("nft_chains", "nft_sets", "xt_chains", "ipsets")


class NodeState(msgspec.Struct, frozen=True, weakref=True):
    """One source: a node with its namespaces by key, or a cluster with its objects (`objects.py`).

    `status` says how far each section can be trusted.
    """

    node: str
    kernel: str = ""
    boot_id: str = ""
    netns: Mapping[NetnsKey, NetnsState] = EMPTY
    status: Mapping[str, SectionStatus] = EMPTY
    objects: Objects = NO_OBJECTS

    def __post_init__(self) -> None:
        """Keep the namespaces as a section."""
        msgspec.structs.force_setattr(self, "netns", Section.of(self.netns))

    @property
    def root(self) -> NetnsState | None:
        """The node's own namespace, or None before it is known."""
        return next((ns for ns in self.netns.values() if ns.netns.root), None)

    @property
    def complete(self) -> bool:
        """Every section is here, whole."""
        return (
            bool(self.status)
            and all(section.complete for section in self.status.values())
            and not any(ns.refused for ns in self.netns.values())
            and not self.objects.refused
        )

    @property
    def gaps(self) -> dict[str, str]:
        """Sections that aren't whole, and why."""
        known = {
            section: status.reason or "not read whole"
            for section, status in sorted(self.status.items())
            if not status.whole
        }
        for refused in (*(ns.refused for ns in self.netns.values()), self.objects.refused):
            for one in refused.values():
                known.setdefault(one.section, one.words)
        return known

    def link(self, key: LinkKey) -> Link | None:
        """Look a link up by its full key."""
        ns = self.netns.get(key.netns)
        return ns.links.get(key.ifindex) if ns is not None else None


class ClusterState(msgspec.Struct, frozen=True, gc=False):
    """All nodes by name, the netfilter bodies that their chains and sets refer to by digest, and clusters' objects.

    `clusters` has the states of the sources that speak for clusters, by the clusters' names.
    """

    nodes: Mapping[str, NodeState] = EMPTY
    bodies: Mapping[bytes, Body] = EMPTY
    clusters: Mapping[str, NodeState] = EMPTY

    def __post_init__(self) -> None:
        """Keep the nodes as a section."""
        msgspec.structs.force_setattr(self, "nodes", Section.of(self.nodes))
