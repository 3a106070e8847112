"""nf_tables, ipsets and legacy xtables of every namespace.

The ruleset of nf_tables is read as `ruleset` says. Any event of NFNLGRP_NFTABLES only says "look again"; what
it says is not read.

ipsets and legacy tables announce nothing: they are read every `QUIET_POLL_S`, which costs next to nothing where
there are none. A changed ruleset is followed by the ipsets, for its rules may name new ones. They are asked for only where the kernel has loaded them, because asking would load them.
The request socket and the files that name the legacy tables are kept open (`Sources`), as it is entering a
namespace that costs.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from agents import xtables
from agents.bodies import EncodedBody
from agents.collectors.base import Host, NetnsHandle, Reading
from agents.collectors.ruleset import NFT_SECTIONS, Ruleset, read_generation, read_ruleset
from agents.kernel import Kernel
from agents.netlink.ipset import read_sets
from agents.netlink.nfacct import read_accounts
from agents.netlink.nfnetlink import (
    NETLINK_NETFILTER,
    NFNLGRP_NFTABLES,
)
from agents.netlink.nft_rules import BodyCache
from agents.netlink.wire import drain
from netviz.core.model.base import Record
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import (
    EMPTY_BODY,
    NFPROTO_ARP,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    IpSet,
    NfAcct,
    NftChain,
    RuleCounters,
    XtTable,
)

XT_SECTIONS = ("xt_tables", "xt_chains")
COUNTERS = "rule_counters"
QUIET_POLL_S = 15.0
COUNTERS_POLL_S = 60.0
_NET = "/proc/thread-self/net"
_XT_NAMES = {
    NFPROTO_IPV4: "ip_tables_names",
    NFPROTO_IPV6: "ip6_tables_names",
    NFPROTO_ARP: "arp_tables_names",
}
_EBTABLES = ("ebtable_broute", "ebtable_filter", "ebtable_nat")


class Sources:
    """What one namespace is read through."""

    def __init__(self, ns: NetnsHandle) -> None:
        """Open everything. Raises: OSError."""
        self._kernel = ns.kernel
        self.names, self.sock = ns.run(lambda: _open_sources(ns.kernel))

    def outdated(self) -> bool:
        """Tell whether the kernel has loaded an xtables since: then every namespace has its file."""
        return any(
            family not in self.names and self._kernel.exists(f"{_NET}/{file}")
            for family, file in _XT_NAMES.items()
        )

    def close(self) -> None:
        """Close everything."""
        self.sock.close()
        for file in self.names.values():
            os.close(file)


def _open_sources(kernel: Kernel) -> tuple[dict[int, int], socket.socket]:
    names: dict[int, int] = {}
    try:
        for family, file in _XT_NAMES.items():
            with suppress(FileNotFoundError):  # no such xtables in this kernel
                names[family] = kernel.open_file(f"{_NET}/{file}")
        return names, kernel.open_netlink(NETLINK_NETFILTER)
    except OSError:
        for opened in names.values():
            os.close(opened)
        raise


class Netfilter:
    """Collect nf_tables, ipsets and legacy xtables."""

    name = "netfilter"
    sections = (*NFT_SECTIONS, *XT_SECTIONS, "ipsets", "nfaccts", COUNTERS)
    poll_s: Mapping[str, float] = {
        **dict.fromkeys(("xt_tables", "ipsets", "nfaccts"), QUIET_POLL_S),
        COUNTERS: COUNTERS_POLL_S,
    }

    def __init__(self) -> None:
        self.cache = BodyCache()
        self._rulesets: dict[NetnsKey, Ruleset] = {}
        self._counted: dict[NetnsKey, dict[tuple[Any, ...], RuleCounters]] = {}
        self._attached: set[NetnsKey] = set()
        self._sources: dict[NetnsKey, Sources] = {}
        self._no_nft = ""

    def can_run(self, host: Host) -> str | None:
        """Ask the node's own namespace for its generation. Without nf_tables the others are still read."""
        self._no_nft = ""
        try:
            with host.root.open_netlink(NETLINK_NETFILTER) as sock:
                read_generation(sock)
        except OSError as err:
            self._no_nft = f"nf_tables cannot be read: {err.strerror or err}"
        return None

    async def start(self, host: Host) -> None:
        """Nothing to get ready."""
        self._host = host

    async def stop(self) -> None:
        """Forget everything."""
        self._rulesets.clear()
        self._counted.clear()
        self._attached.clear()
        for sources in self._sources.values():
            sources.close()
        self._sources.clear()

    def attach(self, ns: NetnsHandle) -> None:
        """Listen for changes of the namespace's ruleset, and open what it is read through. Raises: OSError."""
        sources = Sources(ns)
        try:
            if not self._no_nft:
                sock = ns.open_netlink(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))
                self._host.add_reader(ns, sock, lambda: self._on_event(ns, sock))
        except OSError:
            sources.close()
            raise
        self._attached.add(ns.key)
        self._sources[ns.key] = sources

    def detach(self, ns: NetnsHandle) -> None:
        """Forget a namespace and close what it is read through."""
        self._attached.discard(ns.key)
        self._rulesets.pop(ns.key, None)
        self._counted.pop(ns.key, None)
        sources = self._sources.pop(ns.key, None)
        if sources is not None:
            sources.close()

    def _on_event(self, ns: NetnsHandle, sock: socket.socket) -> None:
        if drain(sock):  # one section stands for all: whichever is asked for, all are read together
            self._host.dirty(ns, "nft_chains")

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Read the ruleset if it changed, the legacy tables, and the ipsets. Raises: OSError."""
        sources = self._sources.pop(ns.key, None)
        if sources is not None and sources.outdated():
            sources.close()
            sources = None
        if sources is None:
            sources = Sources(ns)
        try:
            reading = self._read(ns, sources, sections)
        except BaseException:
            sources.close()  # an answer may be left in the socket
            raise
        if ns.key in self._attached:
            self._sources[ns.key] = sources
        else:
            sources.close()
        return reading

    def _read(self, ns: NetnsHandle, sources: Sources, sections: Collection[str]) -> Reading:
        found: dict[str, Iterable[Record]] = {}
        gaps: dict[str, str] = {}
        bodies: dict[bytes, EncodedBody] = {}
        counted: list[RuleCounters] | None = [] if COUNTERS in sections else None
        if counted is not None or not set(sections).isdisjoint(XT_SECTIONS):
            tables = read_xt_tables(sources.names)
            found["xt_tables"], found["xt_chains"] = read_legacy(ns, tables, self.cache, bodies, counted)
            if loaded := [name for name in _EBTABLES if ns.kernel.exists(f"/sys/module/{name}")]:
                gaps["xt_tables"] = f"{', '.join(loaded)} loaded: legacy ebtables rules are not read"
        if "nfaccts" in sections:
            found["nfaccts"] = read_nfaccts(ns.kernel, sources.sock)
        is_new = False
        if counted is not None or not set(sections).isdisjoint(NFT_SECTIONS):
            if self._no_nft:
                unread = (*NFT_SECTIONS, COUNTERS) if counted is not None else NFT_SECTIONS
                gaps |= dict.fromkeys(unread, self._no_nft)
            else:
                known = self._rulesets.get(ns.key)
                ruleset = read_ruleset(sources.sock, self.cache, known, counted=counted is not None)
                self._rulesets[ns.key] = ruleset
                is_new = known is None or known.generation != ruleset.generation
                found |= {section: records.values() for section, records in ruleset.sections.items()}
                bodies |= ruleset.bodies
                if counted is not None:
                    counted += counted_in(ruleset)
            if counted is not None:
                found[COUNTERS] = self._counted_now(ns, counted)
        if is_new or "ipsets" in sections:  # behind the rules, which may name new ones
            found["ipsets"] = read_ipsets(ns.kernel, sources.sock, self.cache, bodies)
        return Reading(found, gaps, bodies)

    def _counted_now(self, ns: NetnsHandle, found: Iterable[RuleCounters]) -> Iterable[RuleCounters]:
        """Say of what has counted anything that it is of now; the rest stays of the time when it was first read so."""
        now_s, was = time.time(), self._counted.get(ns.key, {})
        now = {one.key: one for one in found}
        reset = {(family, table) for family, table, chain, legacy in was.keys() - now.keys() if chain}
        for key, one in now.items():
            known = was.get(key)
            if (
                known is None
                or msgspec.structs.replace(known, at_s=0.0) != one
                or (not one.chain and key[:2] in reset)
            ):
                now[key] = msgspec.structs.replace(one, at_s=now_s)
            else:
                now[key] = known
        self._counted[ns.key] = now
        return now.values()


def counted_in(ruleset: Ruleset) -> Iterable[RuleCounters]:
    """List what the rules of a ruleset had counted, by chain, and for each table that those of other chains had nothing."""
    last: dict[tuple[int, str], int] = {}
    for key, chain in ruleset.sections["nft_chains"].items():
        of_table = (chain.family, chain.table)
        last[of_table] = max(last.get(of_table, 0), *chain.handles, 0)
        if counts := ruleset.counts.get(key):
            yield RuleCounters(*of_table, chain.name, rules=chain.body, counts=counts)
    for table in ruleset.sections["nft_tables"].values():
        last_handle = last.get(table.key, 0)
        yield RuleCounters(table.family, table.name, "", table_handle=table.handle, last_handle=last_handle)


def read_xt_tables(names: Mapping[int, int]) -> list[XtTable]:
    """List the legacy xtables tables that open files (family -> file) name. Raises: OSError."""
    return [
        XtTable(family=family, name=name)
        for family, file in names.items()
        for name in os.pread(file, 4096, 0).decode("ascii").split()
    ]


def read_legacy(
    ns: NetnsHandle,
    named: Iterable[XtTable],
    cache: BodyCache,
    bodies: dict[bytes, EncodedBody],
    counted: list[RuleCounters] | None = None,
) -> tuple[list[XtTable], list[NftChain]]:
    """Read the legacy tables of a namespace and their chains. One that cannot be read is only named.

    What their rules have counted goes into `counted`.

    Raises: OSError.
    """
    tables: list[XtTable] = []
    chains: list[NftChain] = []
    for table in named:
        if table.family not in xtables.LAYOUTS:
            tables.append(table)
            continue
        try:
            info, entries = ns.run(partial(xtables.read_table, ns.kernel, table.family, table.name))
            split = xtables.split_table(table.family, info, entries)
            decoded = _decode_legacy(split, cache, bodies)
        except (OSError, ValueError, IndexError, struct.error):
            tables.append(table)
            continue
        tables.append(msgspec.structs.replace(table, read=True))
        chains += decoded
        if counted is not None:
            counted += [
                RuleCounters(*made.key, legacy=True, rules=made.body, counts=chain.counts)
                for made, chain in zip(decoded, split.chains, strict=True)
                if made.body
            ]
    return tables, chains


def _decode_legacy(
    table: xtables.LegacyTable, cache: BodyCache, bodies: dict[bytes, EncodedBody]
) -> list[NftChain]:
    made = []
    starts = hashlib.blake2b(repr(sorted(table.starts.items())).encode(), digest_size=16).digest()
    for chain in table.chains:
        digest = EMPTY_BODY
        if chain.rules:
            body = cache.legacy_chain([starts, *chain.stable], partial(xtables.decode_chain, table, chain))
            digest = body.digest
            bodies[digest] = body
        priority = xtables.priority_of(table.name, chain.hook) if chain.hook is not None else 0
        made.append(
            NftChain(
                family=table.family,
                table=table.name,
                name=chain.name,
                type="" if chain.hook is None else "nat" if table.name == "nat" else "filter",
                hook=chain.hook,
                priority=priority,
                policy=chain.policy,
                body=digest,
            )
        )
    return made


def read_ipsets(
    kernel: Kernel, sock: socket.socket, cache: BodyCache, bodies: dict[bytes, EncodedBody]
) -> list[IpSet]:
    """Read the ipsets of a namespace. Raises: OSError."""
    if not kernel.exists("/sys/module/ip_set"):
        return []
    made = []
    for one, raw in read_sets(sock):
        digest = EMPTY_BODY
        if raw:
            body = cache.ipset(raw, ordered=one.type == "list:set")
            digest = body.digest
            bodies[digest] = body
        made.append(msgspec.structs.replace(one, body=digest))
    return made


def read_nfaccts(kernel: Kernel, sock: socket.socket) -> list[NfAcct]:
    """Read the accounting objects of a namespace, where asking for them would not load them. Raises: OSError."""
    if not (kernel.exists("/sys/module/nfnetlink_acct") or kernel.has_symbol("nfnl_acct_find_get")):
        return []
    return read_accounts(sock)
