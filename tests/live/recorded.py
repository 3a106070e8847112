"""A recorded Kubernetes cluster: the API's lists and two nodes' states, and the rules of a node as text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from netviz.core.model.netfilter import ChainBody, SetBody
from netviz.core.sim.nft.text import rule_text
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz

DATA = Path(__file__).resolve().parents[1] / "data/states/kubernetes"
Chains = dict[tuple[int, str, str], list[str]]


def items(name: str) -> list[dict[str, Any]]:
    """The items of one of the API's lists."""
    found: list[dict[str, Any]] = json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))[
        "items"
    ]
    return found


def node(name: str) -> ClusterState:
    """The state of a node, read when the lists were."""
    return join_captures([load_nvz((DATA / f"{name}.nvz").read_bytes())])


def chains(state: ClusterState) -> Chains:
    """The rules of the one node's own namespace: family, table, chain -> rules as text."""
    (one,) = state.nodes.values()
    ns = one.root
    assert ns is not None

    def elements(name: str) -> tuple[SetBody, int] | None:
        record = next((found for found in ns.nft_sets.values() if found.name == name), None)
        body = state.bodies.get(record.body) if record is not None else None
        return (body, record.data_type) if record is not None and isinstance(body, SetBody) else None

    found = {}
    for chain in ns.nft_chains.values():
        body = state.bodies.get(chain.body)
        rules = body.rules if isinstance(body, ChainBody) else ()
        texts = [rule_text(rule, chain.family, ns.ipsets, False, elements) for rule in rules]
        found[chain.family, chain.table, chain.name] = texts
    return found


def sets(state: ClusterState) -> dict[tuple[int, str], set[tuple[bytes, int | None, str]]]:
    """The named sets and maps of the node's nftables: family and name -> keys, verdicts, chains."""
    (one,) = state.nodes.values()
    assert one.root is not None
    found = {}
    for record in one.root.nft_sets.values():
        body = state.bodies.get(record.body)
        if not record.name.startswith("__"):
            elems = body.elems if isinstance(body, SetBody) else ()
            found[record.family, record.name] = {(e.key, e.verdict, e.chain) for e in elems}
    return found
