"""Which flows are to be tried to see whether policies are enforced: some for each two kinds of pods on each node.

Pods that policies see alike, and of which agents' rules say the same, stand for each other on one node: each node enforces
for its own pods. The other end is one of each kind, of the same node and of another one. Of the port that the target listens
on, those that rules name, and one that none names, the first that is allowed is tried and the first that is denied.

Where that is too much, what comes first counts: pods of which rules say other things than of most that policies see
alike, with everybody; then each kind on each node, those of few nodes first, with one kind after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from netviz.core.check.netpol.pods import Kind, Pod
from netviz.core.intent.policies import Decision, Policies
from netviz.core.intent.subjects import Policy
from netviz.core.model.kubernetes import ObjectKey

# No rule names it by itself.
ANY_PORT = 47809
PROTOCOLS = {"TCP": 6, "UDP": 17}
MAX_PORTS = 32


class Try(NamedTuple):
    """A flow, and what policies say of it. `protocol` is TCP or UDP."""

    source: Pod
    target: Pod
    protocol: str
    port: int
    decision: Decision


def ports_named(policies: Iterable[Policy], pods: list[Pod]) -> list[tuple[str, int]]:
    """List the ports that are worth trying: those that rules name, by number or as some pod calls them, and another one."""
    found: dict[tuple[str, int], None] = {}
    names = set()
    for policy in policies:
        for rule in (*policy.ingress, *policy.egress):
            for port in rule.ports:
                if port.protocol not in PROTOCOLS:
                    continue
                if port.port.isdecimal():
                    found[port.protocol, int(port.port)] = None
                elif port.port:
                    names.add((port.port, port.protocol))
    for one in pods if names else ():
        for own in one.pod.ports:
            if (own.name, own.protocol) in names:
                found[own.protocol, own.port] = None
    return [*sorted(found)[:MAX_PORTS], ("TCP", ANY_PORT)]


def tries(
    policies: Policies,
    pods: list[Pod],
    ports: list[tuple[str, int]],
    of: Collection[ObjectKey] | None = None,
) -> Iterator[Try]:
    """Yield the flows, in order, as they are asked for; with `of`, those alone of which one end is one of these pods."""
    tried = set()
    for one, other in _pairs(pods, of):
        if of is not None and one.pod.key not in of and other.pod.key not in of:
            continue
        for source, target in ((other, one), (one, other)):
            ends = source.netns, target.netns, source.family
            if source.netns != target.netns and ends not in tried:
                tried.add(ends)
                yield from _ports(policies, source, target, ports)


def _pairs(pods: list[Pod], of: Collection[ObjectKey] | None) -> Iterator[tuple[Pod, Pod]]:
    """Yield pairs of one pod of each kind on each node with one of each kind, here and elsewhere.

    With `of`, those alone of which one kind has some of these pods.
    """
    kinds: dict[tuple[int, Kind], dict[str, Pod]] = defaultdict(dict)
    for one in pods:
        kinds[one.family, one.kind].setdefault(one.node, one)
    by_family: dict[int, list[dict[str, Pod]]] = defaultdict(list)
    # Where policies restrict nobody, only what one that is gone has left can be found.
    for (family, _), of_nodes in sorted(
        kinds.items(), key=lambda row: (not row[0][1].restricted, len(row[1]))
    ):
        by_family[family].append(of_nodes)
    for odd in _odd(kinds):
        for family, every in by_family.items():
            for of_nodes in every:
                for other in of_nodes.values():
                    for one in odd.values():
                        if one.family == family:
                            yield one, other
    ours = {
        family: [at for at, one in enumerate(every) if of is None or _has(one, of)]
        for family, every in by_family.items()
    }
    for turn in range(max(map(len, by_family.values()), default=0)):
        for family, every in by_family.items():
            size, mine = len(every), ours[family] if turn < len(every) else []
            for at in sorted({*mine, *((one - turn) % size for one in mine)}):
                others = every[(at + turn) % size]
                for one in every[at].values():
                    here = others.get(one.node)
                    there = next((pod for node, pod in others.items() if node != one.node), None)
                    for other in filter(None, (here, there)):
                        yield one, other


def _has(of_nodes: dict[str, Pod], of: Collection[ObjectKey]) -> bool:
    return any(one.pod.key in of for one in of_nodes.values())


def _odd(kinds: dict[tuple[int, Kind], dict[str, Pod]]) -> list[dict[str, Pod]]:
    """The kinds of which rules say other things than of most pods that policies see alike, the rarest first."""
    alike: dict[tuple[int, int], list[dict[str, Pod]]] = defaultdict(list)
    for (family, kind), of_nodes in kinds.items():
        alike[family, kind.sort].append(of_nodes)
    found = []
    for every in alike.values():
        usual = max(every, key=len)
        found += [one for one in every if one is not usual]
    return sorted(found, key=len)


def _ports(policies: Policies, source: Pod, target: Pod, ports: list[tuple[str, int]]) -> Iterator[Try]:
    """Try a pair at the first port that is allowed and the first that is denied; that which is listened on comes first."""
    told: set[bool] = set()
    heard = [("TCP", target.listens)] if target.listens is not None else []
    for protocol, port in dict.fromkeys((*heard, *ports)):
        decision = policies.decide(source.party, target.party, protocol, port)
        if decision.allowed is not None and decision.allowed not in told:
            told.add(decision.allowed)
            yield Try(source, target, protocol, port, decision)
