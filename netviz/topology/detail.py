"""Everything about one namespace, for the inspector: the graph's objects and the records as rows.

Lists are cut to a bounded number of rows; `left_off` says how many are not shown of which list. A
section whose records cannot be described is empty, and a gap says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import NftChain
from netviz.core.sim.counted import counts_of
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from netviz.ingest.faults import faults
from netviz.topology import describe, nfttext
from netviz.topology.objects import addrs_by_link, project_link, project_netns

MAX_ROWS = 2000
CONNTRACK_SAMPLE = 100

_encode = msgspec.json.Encoder().encode


def netns_detail(cluster: ClusterState, key: NetnsKey) -> dict[str, Any] | None:
    """Describe a namespace; None when it doesn't exist."""
    node = cluster.nodes.get(key.node)
    ns = node.netns.get(key) if node is not None else None
    if node is None or ns is None:
        return None
    left_off: dict[str, int] = {}
    sections: dict[str, _Section] = {
        "links": (_sorted(ns.links), lambda: _link_row(node, ns)),
        "routes": (
            lambda: sorted(ns.routes.values(), key=describe.route_order),
            lambda: lambda r: describe.route_row(ns, r),
        ),
        "rules": (
            _sorted(ns.rules),
            lambda: describe.rule_row,
        ),
        "neighs": (_sorted(ns.neighs), lambda: lambda n: describe.neigh_row(ns, n)),
        "fdb": (_sorted(ns.fdb), lambda: lambda f: describe.fdb_row(ns, f)),
        "sockets": (
            lambda: sorted(ns.sockets.values(), key=lambda s: (s.dport != 0, s.proto, s.sport, s.src)),
            lambda: describe.socket_row,
        ),
        "nft": (
            lambda: sorted([*ns.nft_chains.values(), *ns.xt_chains.values()], key=_chain_order),
            lambda: partial(_chain_row, cluster, ns),
        ),
        "sysctls": (_sorted(ns.sysctls), lambda: lambda s: {"name": s.name, "value": s.value}),
    }

    def rows(name: str) -> list[Any]:
        records, row = sections[name]
        every = records()
        if len(every) > MAX_ROWS:
            left_off[name] = len(every) - MAX_ROWS
        return list(map(row(), every[:MAX_ROWS]))

    parts = _Parts(ns)
    about = parts.get("name", lambda: msgspec.to_builtins(project_netns(ns)), _nameless(ns))
    return {
        **{name: about[name] for name in ("key", "node", "name", "root", "pod", "holders")},
        **{name: parts.get(name, partial(rows, name), []) for name in sections},
        "conntrack": parts.get(
            "conntrack", lambda: _conntrack(ns), {"entries": len(ns.conntrack), "sample": []}
        ),
        "gaps": [*about["gaps"], *parts.gaps],
        "max_age_s": {
            section: status.max_age_s for section, status in sorted(node.status.items()) if status.max_age_s
        },
        "left_off": left_off,
    }


# How to list a section's records, and how to make what describes one.
_Section = tuple[Callable[[], list[Any]], Callable[[], Callable[[Any], Any]]]


class _Parts:
    """The parts of one namespace's detail, each worked out by itself."""

    def __init__(self, ns: NetnsState) -> None:
        self._ns = ns
        self.gaps: list[dict[str, str]] = []

    def get(self, name: str, make: Callable[[], Any], instead: Any) -> Any:
        """Make a part that JSON can say; `instead`, and a gap, when that fails."""
        with faults.attempt(self._ns.key.node, f"{name} of {self._ns.key}") as attempt:
            part = make()
            _encode(part)
            return part
        self.gaps.append({"section": name, "reason": f"the server does not understand it: {attempt.fault}"})
        return instead


def _nameless(ns: NetnsState) -> dict[str, Any]:
    """What can be said of a namespace by its key alone."""
    about = {"key": str(ns.key), "node": ns.key.node, "name": f"netns {ns.key.ino}"}
    return {**about, "root": ns.netns.root, "pod": None, "holders": [], "gaps": []}


def _sorted(section: Mapping[Any, Any]) -> Callable[[], list[Any]]:
    return lambda: [section[key] for key in sorted(section)]


def _chain_row(cluster: ClusterState, ns: NetnsState, chain: NftChain) -> dict[str, Any]:
    legacy = ns.xt_chains.get(chain.key) is chain
    counts = counts_of(ns, chain, legacy)
    return nfttext.chain_row(chain, cluster.bodies, ns.ipsets, legacy=legacy, counts=counts)


def _chain_order(chain: Any) -> tuple[Any, ...]:
    return (chain.family, chain.table, chain.hook is None, chain.hook or 0, chain.priority, chain.name)


def _link_row(node: NodeState, ns: NetnsState) -> Callable[[Any], dict[str, Any]]:
    addrs = addrs_by_link(ns)

    def row(link: Any) -> dict[str, Any]:
        return {
            **msgspec.to_builtins(project_link(node, ns, link, addrs.get(link.ifindex, ()))),
            "counters": describe.counters_row(ns.counters.get(link.ifindex)),
            "details": describe.link_details(ns, link),
        }

    return row


def _conntrack(ns: NetnsState) -> dict[str, Any]:
    sample = islice(ns.conntrack.values(), CONNTRACK_SAMPLE)
    return {"entries": len(ns.conntrack), "sample": [describe.ct_row(entry) for entry in sample]}
