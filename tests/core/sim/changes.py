"""Random changes of a cluster's state: records come, go and alter, in each section; namespaces and nodes go."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Gap
from netviz.core.state.delta import section_of
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState, SectionStatus

replace = msgspec.structs.replace


def alter(rng: random.Random, value: Any, others: list[Any]) -> Any:
    """Make another value of the same type; `others` are those that stand in the same place elsewhere."""
    other = rng.choice(others) if others else value
    if other != value and rng.random() < 0.5:
        return other
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([0, value ^ 1, value ^ 2, value ^ 0x10, abs(value - 1), value + 1])
    if isinstance(value, bytes) and value:
        at = rng.randrange(len(value))
        return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
    if isinstance(value, str):
        return rng.choice([value + "x", ""])
    if isinstance(value, tuple):
        if value and isinstance(value[0], msgspec.Struct):
            at = rng.randrange(len(value))
            return (*value[:at], altered(rng, value[at], list(value)), *value[at + 1 :])
        if len(value) == 2 and all(isinstance(part, int) for part in value):
            return (value[1], value[0] + 1)  # a pair, as of ports
        return value[:-1]
    if isinstance(value, msgspec.Struct):
        return altered(rng, value, [other])
    return other


def altered(rng: random.Random, record: Any, others: list[Any]) -> Any:
    """Change a field of a record."""
    name = rng.choice(record.__struct_fields__)
    same = [getattr(other, name) for other in others if type(other) is type(record)]
    return replace(record, **{name: alter(rng, getattr(record, name), same)})


def other_records(rng: random.Random, records: list[Any], alike: list[Any]) -> list[Any]:
    """Take a record away, put one in, or alter one; `alike` are the same section's in other namespaces."""
    records = list(records)
    what = rng.choice(("drop", "alter", "alter", "add"))
    if what == "add" or not records:
        pool = records + alike
        return [*records, altered(rng, rng.choice(pool), pool)] if pool else records
    at = rng.randrange(len(records))
    changed = [] if what == "drop" else [altered(rng, records[at], records)]
    return [*records[:at], *changed, *records[at + 1 :]]


def change_netns(rng: random.Random, cluster: ClusterState, ns: NetnsState) -> NetnsState:
    """Change something of a namespace: a section that isn't empty, mostly, or what is said of the namespace itself."""
    if rng.random() < 0.06:
        gap = (*ns.netns.gaps, Gap(rng.choice(SECTIONS), "it was not read"))
        changes = [
            {"name": ns.netns.name + "x"},
            {"holders": ns.netns.holders[1:]},
            {"nsids": ns.netns.nsids[1:]},
            {"pod": None},
            {"gaps": gap},
        ]
        return replace(ns, netns=replace(ns.netns, **rng.choice(changes)))
    filled = [name for name in SECTIONS if getattr(ns, name)]
    name = rng.choice(filled) if filled and rng.random() < 0.9 else rng.choice(SECTIONS)
    alike = [
        record
        for node in cluster.nodes.values()
        for other in node.netns.values()
        for record in getattr(other, name).values()
    ]
    records = other_records(rng, list(getattr(ns, name).values()), alike[:50])
    return replace(ns, **{name: section_of(records)})


def change_node(rng: random.Random, cluster: ClusterState, node: NodeState) -> NodeState:
    """Change a node: one of its namespaces, seldom how far its sections are known, or a whole namespace."""
    what = rng.random()
    if not node.netns:
        return node
    key: NetnsKey = rng.choice(sorted(node.netns))
    if what < 0.04:
        return replace(node, netns={other: ns for other, ns in node.netns.items() if other != key})
    if what < 0.07:
        section = rng.choice(SECTIONS)
        status = rng.choice(
            [SectionStatus(whole=False, reason="lost"), SectionStatus(past=True), SectionStatus(shed=3)]
        )
        return replace(node, status={**node.status, section: status})
    return replace(node, netns={**node.netns, key: change_netns(rng, cluster, node.netns[key])})


def change(rng: random.Random, cluster: ClusterState) -> ClusterState:
    """Change one thing of a cluster."""
    if not cluster.nodes:
        return cluster
    name = rng.choice(sorted(cluster.nodes))
    if rng.random() < 0.02:
        return replace(cluster, nodes={other: node for other, node in cluster.nodes.items() if other != name})
    if rng.random() < 0.02 and cluster.bodies:
        gone = rng.choice(sorted(cluster.bodies))
        return replace(cluster, bodies={key: body for key, body in cluster.bodies.items() if key != gone})
    return replace(cluster, nodes={**cluster.nodes, name: change_node(rng, cluster, cluster.nodes[name])})
