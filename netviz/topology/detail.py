"""Everything about one namespace, for the inspector: the graph's objects and the records as rows.

Lists are cut to a bounded number of rows; `left_off` says how many are not shown of which list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.words.iproute import rule_body
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from netviz.topology import describe, nfttext
from netviz.topology.projection import addrs_by_link, project_link, project_netns

MAX_ROWS = 2000
CONNTRACK_SAMPLE = 100


def netns_detail(cluster: ClusterState, key: NetnsKey) -> dict[str, Any] | None:
    """Describe a namespace; None when it doesn't exist."""
    node = cluster.nodes.get(key.node)
    ns = node.netns.get(key) if node is not None else None
    if node is None or ns is None:
        return None
    left_off: dict[str, int] = {}

    def rows(name: str, records: Iterable[Any], row: Callable[[Any], Any]) -> list[Any]:
        every = list(records)
        if len(every) > MAX_ROWS:
            left_off[name] = len(every) - MAX_ROWS
        return [row(record) for record in every[:MAX_ROWS]]

    about = msgspec.to_builtins(project_netns(ns))
    return {
        **{name: about[name] for name in ("key", "node", "name", "root", "pod", "holders", "gaps")},
        "links": rows("links", _sorted(ns.links), _link_row(node, ns)),
        "routes": rows(
            "routes",
            sorted(ns.routes.values(), key=describe.route_order),
            lambda r: describe.route_row(ns, r),
        ),
        "rules": rows(
            "rules",
            _sorted(ns.rules),
            lambda r: {"priority": r.priority, "text": rule_body(r)},
        ),
        "neighs": rows("neighs", _sorted(ns.neighs), lambda n: describe.neigh_row(ns, n)),
        "fdb": rows("fdb", _sorted(ns.fdb), lambda f: describe.fdb_row(ns, f)),
        "sockets": rows(
            "sockets",
            sorted(ns.sockets.values(), key=lambda s: (s.dport != 0, s.proto, s.sport, s.src)),
            describe.socket_row,
        ),
        "conntrack": _conntrack(ns),
        "nft": rows(
            "nft",
            sorted([*ns.nft_chains.values(), *ns.xt_chains.values()], key=_chain_order),
            lambda c: nfttext.chain_row(c, cluster.bodies, ns.ipsets, legacy=ns.xt_chains.get(c.key) is c),
        ),
        "sysctls": rows("sysctls", _sorted(ns.sysctls), lambda s: {"name": s.name, "value": s.value}),
        "left_off": left_off,
    }


def _sorted(section: Mapping[Any, Any]) -> list[Any]:
    return [section[key] for key in sorted(section)]


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
