"""What policies would change: flows that become allowed or denied, among all sorts of pods and among present connections.

Nothing is applied. The policies of a state and the same ones with those that are proposed (a new one, or another version
of one that is there) are asked for one pod of each sort, and for each connection that conntrack has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from netviz.core.intent.matrix import (
    OTHER,
    SOME_PORTS,
    At,
    alike,
    answer_of,
    names_of,
    one_of,
    others,
    ports_for,
    without_column,
)
from netviz.core.intent.parties import PROTOCOL_NAMES, party_at, party_text, policies_of
from netviz.core.intent.policies import Decision, Party, Policies, restricted
from netviz.core.intent.subjects import Direction, Policy, is_for, policy_at
from netviz.core.model.kubernetes import ClusterPolicy, KubePod, NetworkPolicy, ObjectKey
from netviz.core.plain import joined
from netviz.core.sim.known import left_out, why_missing
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import workload_of

MAX_SORTS = 400
MOST_PORTS = 100
MAX_ENTRIES = 200_000
DIRECTIONS: tuple[Direction, ...] = ("ingress", "egress")


class Change(msgspec.Struct, frozen=True):
    """Flows that are decided otherwise: from some pods to others, at some ports. `by` are the policies that decide then.

    Counts of pods are 0 of parties that are none. `named`: rules name ports, so that others are told apart.
    """

    source: str
    source_pods: int
    target: str
    target_pods: int
    becomes: str
    ports: tuple[At, ...]
    named: bool
    by: tuple[ObjectKey, ...]


class Connections(msgspec.Struct, frozen=True):
    """Present connections that are decided otherwise, together by who talks to whom at which port."""

    source: str
    target: str
    at: At
    becomes: str
    count: int
    by: tuple[ObjectKey, ...]


class Preview(msgspec.Struct, frozen=True):
    """What would change. `selected` counts the pods that the proposed policies select, `seen` the connections asked.

    `unsure` says in sentences what wasn't compared, or isn't known.
    """

    selected: int
    changes: tuple[Change, ...]
    connections: tuple[Connections, ...]
    seen: int
    unsure: tuple[str, ...] = ()


class _Group(NamedTuple):
    party: Party
    pods: list[KubePod]


# What changes of some flows: at which port, what it becomes, by which policies.
_Said = tuple[tuple[At, str, tuple[ObjectKey, ...]], ...]


class _Row(msgspec.Struct):
    """Flows that change alike: some concerned pods, and who is at the other end, by `name` where these are no pods."""

    sends: bool
    said: _Said
    name: str
    named: bool
    ours: list[KubePod] = []
    peers: dict[int, _Group] = {}


def preview(cluster: ClusterState, objects: Objects, proposed: Iterable[Policy]) -> Preview:
    """Say what some policies would change in a state of a cluster."""
    new = list(proposed)
    before = policies_of(objects)
    replaced = [old for one in new if (old := policy_at(objects, one.key)) is not None]
    after = Policies(
        {**objects.network_policies, **{one.key: one for one in new if isinstance(one, NetworkPolicy)}},
        objects.kube_namespaces,
        {**objects.cluster_policies, **{one.key: one for one in new if isinstance(one, ClusterPolicy)}},
        objects.kube_nodes,
    )
    groups = list(_groups(before, after, objects))
    changes = tuple(_changes(before, after, objects, groups, [*new, *replaced]))
    connections, seen = _connections(cluster, objects, before, after)
    selected = sum(
        any(is_for(one, pod, objects.kube_namespaces) for one in new)
        for pod in restricted(objects.kube_pods.values())
    )
    unsure = tuple(_unsure(cluster, len(groups), seen))
    return Preview(selected, changes, connections, seen, unsure)


def _unsure(cluster: ClusterState, groups: int, seen: int) -> Iterator[str]:
    if groups > MAX_SORTS:
        yield f"policies tell {groups} sorts of pods apart, of which {MAX_SORTS} were compared"
    if seen >= MAX_ENTRIES:
        yield f"only the first {MAX_ENTRIES} connections were looked at"
    blind = [
        name
        for name, node in sorted(cluster.nodes.items())
        if node.root is None or why_missing(node, node.root.key, "conntrack") or left_out(node, "conntrack")
    ]
    if blind:
        yield f"not all present connections of {joined(blind)} are known"


def _groups(before: Policies, after: Policies, objects: Objects) -> Iterator[_Group]:
    """Pods that both see alike, and whose own nodes both see alike; those that most pods are of first."""
    found = [
        _Group(Party(pods[0].ips[0], pods[0]), pods)
        for same in alike(before, objects, objects.kube_pods.values()).values()
        for pods in alike(after, objects, same).values()
    ]
    yield from sorted(found, key=lambda group: len(group.pods), reverse=True)


class _Ends(NamedTuple):
    """Who is at the other end of flows that change alike: groups of pods, or by name a party that is none.

    `key` tells them from others. Whether a pod reaches itself is never asked: one that is a group of its own is among
    those that its own flows have at their other end.
    """

    name: str
    groups: list[_Group]
    key: Any


def _changes(
    before: Policies,
    after: Policies,
    objects: Objects,
    groups: list[_Group],
    concerned: list[Policy],
) -> Iterator[Change]:
    """What changes has an end that a proposed policy, or the one that it replaces, selects.

    Flows to these pods come first, from whomever; then those from them, to all others. Pods of which the same is told
    for the same others are one row.
    """
    spaces = objects.kube_namespaces
    mine = [one for one in groups if any(is_for(policy, one.pods[0], spaces) for policy in concerned)]
    mine = mine[:MAX_SORTS]
    told = {id(one) for one in mine}
    others_than_mine = [one for one in groups[:MAX_SORTS] if id(one) not in told]
    rows: dict[Any, _Row] = {}
    for sends in (False, True):
        peers = others_than_mine if sends else [*mine, *others_than_mine]
        for ours in mine:
            ports = _ports(concerned, ours.pods)
            for said, ends in _of_one(before, after, objects, ours, peers, concerned, sends, ports):
                row = rows.setdefault((sends, said, ends.key), _Row(sends, said, ends.name, len(ports) > 1))
                row.ours.extend(ours.pods)
                row.peers.update((id(one), one) for one in ends.groups)
    for row in rows.values():
        yield from _told(objects, row)


def _ports(concerned: list[Policy], pods: list[KubePod]) -> list[At]:
    found = {
        at: None for direction in DIRECTIONS for at in ports_for(concerned, pods, direction, (), MOST_PORTS)
    }
    return sorted(found, key=lambda at: at == OTHER)


def _of_one(
    before: Policies,
    after: Policies,
    objects: Objects,
    ours: _Group,
    peers: list[_Group],
    concerned: list[Policy],
    sends: bool,
    ports: list[At],
) -> Iterator[tuple[_Said, _Ends]]:
    """Yield what changes for one sort of pods, with those at the other end of whom it is so."""
    family = len(ours.party.addr)
    same: dict[_Said, list[_Group]] = {}
    for peer in peers:
        if (other := one_of(peer.pods, family)) is not None:
            said = _said(before, after, ours.party, other(ours.party), sends, ports)
            same.setdefault(said, []).append(peer)
    for said, found in same.items():
        itself = [ours] if len(ours.pods) == 1 else []
        if said:
            yield said, _Ends("", found, frozenset(id(one) for one in (*found, *itself)))
    outside = {
        name: party
        for direction in DIRECTIONS
        for name, party in others([before, after], objects, concerned, ours.party, direction)
    }
    for name, party in outside.items():
        if said := _said(before, after, ours.party, party(ours.party), sends, ports):
            yield said, _Ends(name, [], name)


def _said(before: Policies, after: Policies, ours: Party, peer: Party, sends: bool, ports: list[At]) -> _Said:
    found = []
    source, target = (ours, peer) if sends else (peer, ours)
    firsts = {*before.firsts(source, target), *after.firsts(source, target)}
    for at in ports:
        asked = [at] if at != OTHER else without_column(firsts, ports)
        pairs = [
            tuple(each.decide(source, target, one.protocol, one.port) for each in (before, after))
            for one in asked
        ]
        changed = [(was, now) for was, now in pairs if was.allowed is not now.allowed]
        if not changed:
            continue
        answers = {answer_of(now.allowed) for _, now in changed}
        by = tuple(dict.fromkeys(key for was, now in changed for key in _by(was, now)))
        which = at if len(changed) == len(pairs) else At("", SOME_PORTS)
        found.append((which, answers.pop() if len(answers) == 1 else "mixed", by))
    return tuple(found)


def _by(was: Decision, now: Decision) -> tuple[ObjectKey, ...]:
    return now.deciding or was.deciding


def _told(objects: Objects, row: _Row) -> Iterator[Change]:
    rows: dict[tuple[str, tuple[ObjectKey, ...]], list[At]] = {}
    for at, becomes, by in row.said:
        rows.setdefault((becomes, by), []).append(at)
    us = names_of(objects, row.ours), len(row.ours)
    pods = [pod for one in row.peers.values() for pod in one.pods]
    ends = row.name or names_of(objects, pods), len(pods)
    for (becomes, by), ports in rows.items():
        source, target = (us, ends) if row.sends else (ends, us)
        yield Change(*source, *target, becomes, tuple(ports), row.named, by)


def _connections(
    cluster: ClusterState, objects: Objects, before: Policies, after: Policies
) -> tuple[tuple[Connections, ...], int]:
    parties: dict[bytes, Party] = {}
    seen: set[tuple[Any, ...]] = set()
    found: dict[tuple[str, str, At, str, tuple[ObjectKey, ...]], int] = {}

    def party(addr: bytes) -> Party:
        known = parties.get(addr)
        if known is None:
            known = parties[addr] = party_at(cluster, objects, addr)
        return known

    for node in cluster.nodes.values():
        for entry in node.root.conntrack.values() if node.root is not None else ():
            protocol = PROTOCOL_NAMES.get(entry.proto, "")
            key = entry.proto, entry.osrc, entry.osport, entry.rsrc, entry.rsport
            if protocol not in ("TCP", "UDP", "SCTP") or key in seen or len(seen) >= MAX_ENTRIES:
                continue
            seen.add(key)
            source, target = party(entry.osrc), party(entry.rsrc)
            if source.pod is None and target.pod is None:
                continue
            was, now = (each.decide(source, target, protocol, entry.rsport) for each in (before, after))
            if was.allowed is not now.allowed:
                row = (
                    _who(objects, source),
                    _who(objects, target),
                    At(protocol, entry.rsport),
                    answer_of(now.allowed),
                    _by(was, now),
                )
                found[row] = found.get(row, 0) + 1
    rows = [Connections(*row[:4], count, row[4]) for row, count in found.items()]
    rows.sort(key=lambda one: (one.becomes != "denied", -one.count, one.source, one.target, one.at))
    return tuple(rows), len(seen)


def _who(objects: Objects, party: Party) -> str:
    if party.pod is None:
        return party_text(party)
    made = workload_of(party.pod, objects.workloads)
    return f"{party.pod.namespace}/{made[1] if made is not None else party.pod.name}"


def changes_any(found: Preview) -> bool:
    """Tell whether policies that are tried concern a pod: without one, nothing else could decide otherwise either."""
    return bool(found.selected or found.changes)


def preview_json(found: Preview, doubts: Sequence[str] = ()) -> Mapping[str, Any]:
    """A preview as JSON; `doubts` are what else speaks against it."""
    return {
        "selected": found.selected,
        "changes": [
            {
                "from": one.source,
                "from_pods": one.source_pods,
                "to": one.target,
                "to_pods": one.target_pods,
                "becomes": one.becomes,
                "ports": [at_text(at, one.named) for at in one.ports],
                "by": ["/".join(key) for key in one.by],
            }
            for one in found.changes
        ],
        "connections": [
            {
                "from": one.source,
                "to": one.target,
                "port": at_text(one.at),
                "becomes": one.becomes,
                "count": one.count,
                "by": ["/".join(key) for key in one.by],
            }
            for one in found.connections
        ],
        "connections_seen": found.seen,
        "unsure": [*doubts, *found.unsure],
    }


def at_text(at: At, named: bool = True) -> str:
    """A port's name: "TCP 80", "other ports", "some other ports"; or "every port", "some ports" where no rule has `named` any."""
    if at == OTHER:
        return "other ports" if named else "every port"
    if at.port == SOME_PORTS:
        return "some other ports" if named else "some ports"
    return f"{at.protocol} {at.port}"
