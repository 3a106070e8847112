"""Who may reach some pods, and whom they may reach, as a matrix: a row for all parties that policies treat alike.

Columns are the ports that policies' rules name for these pods, those that are listened on, and one that stands for all
others: its cell is "mixed" where policies treat some of them otherwise. What a cell says is the decision of all policies,
of both ends. Of many kinds of pods, those are asked that most pods are of; how many pods aren't in it is counted, and a
text narrows the matrix to some of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from netviz.core.intent.parties import nodes_by_addr, pods_by_addr
from netviz.core.intent.policies import PROTOCOLS, Decision, Party, Policies, restricted
from netviz.core.intent.subjects import Direction, Policy, home_of, rules_of
from netviz.core.intent.words import peer_text
from netviz.core.model.addr import mask_ip
from netviz.core.model.kubernetes import KubePod, ObjectKey, PolicyPeer
from netviz.core.plain import joined
from netviz.core.sim.index import Index
from netviz.core.state.objects import Objects
from netviz.core.state.pods import workload_of

# Stands for every port that has no column, of any protocol; and for some of these.
OTHER_PORT = 0
SOME_PORTS = -1
# Somebody outside (RFC 5737, RFC 3849).
STRANGERS = {4: bytes((203, 0, 113, 77)), 16: bytes.fromhex("20010db8000000000000000000000077")}
MOST_PORTS = 6
MOST_SORTS = 8
MOST_PEERS = 400

# Who is at the other end of a party's flows.
Peer = Callable[[Party], Party]
Answer = Literal["allowed", "denied", "unknown", "mixed"]


class At(NamedTuple):
    """A column: a port; OTHER for the others."""

    protocol: str
    port: int


OTHER = At("", OTHER_PORT)


class Row(msgspec.Struct, frozen=True):
    """Some parties, what is said of them at each port, and the policies that decide. `pods` counts them.

    `sorts` are what policies see of these parties.
    """

    name: str
    pods: int
    cells: tuple[Answer, ...]
    by: tuple[ObjectKey, ...]
    sorts: frozenset[Any] = frozenset()


class Rows(NamedTuple):
    """The rows, what is allowed first; and how many pods aren't in them: of those that the matrix is of, and of the other ends."""

    rows: list[Row]
    mine_left_off: int = 0
    peers_left_off: int = 0


def ports_for(
    policies: Iterable[Policy],
    pods: Iterable[KubePod],
    direction: Direction,
    listens: Iterable[int],
    most: int = MOST_PORTS,
) -> list[At]:
    """List the columns for some pods: what they listen on, what rules name, `most` of these, and one for the others."""
    found: dict[At, None] = (
        {At("TCP", port): None for port in sorted(set(listens))} if direction == "ingress" else {}
    )
    named = {(port.name, port.protocol): port.port for pod in pods for port in pod.ports}
    for policy in policies:
        for rule in rules_of(policy, direction):
            for one in rule.ports:
                number = int(one.port) if one.port.isdecimal() else named.get((one.port, one.protocol), 0)
                if number and one.protocol in PROTOCOLS:
                    found[At(one.protocol, number)] = None
    return [*list(found)[:most], OTHER]


def rows_for(
    policies: Policies,
    objects: Objects,
    selecting: Iterable[Policy],
    mine: list[KubePod],
    direction: Direction,
    ports: list[At],
    match: str = "",
) -> Rows:
    """Say who may reach some pods (ingress), or whom they may reach. `match` narrows the other ends to those that it fits."""
    wanted = match.strip().lower()
    kinds = sorted(alike(policies, objects, mine).values(), key=len, reverse=True)
    ours = [Party(pods[0].ips[0], pods[0]) for pods in kinds[:MOST_SORTS]]
    if not ours:
        return Rows([])
    family = len(ours[0].addr)
    made: dict[tuple[tuple[Answer, ...], tuple[ObjectKey, ...]], list[tuple[Any, list[KubePod]]]] = {}
    peers = sorted(
        _sorted_pods(policies, objects, wanted).items(), key=lambda item: len(item[1]), reverse=True
    )
    for sort, pods in peers[:MOST_PEERS]:
        peer = one_of(pods, family)
        if peer is not None:
            said = _said(policies, ours, peer, direction, ports)
            made.setdefault(said, []).append((sort, pods))
    pods_of = {said: [pod for _, pods in same for pod in pods] for said, same in made.items()}
    names = {said: names_of(objects, pods) for said, pods in pods_of.items()}
    often = Counter(names.values())
    rows = [
        Row(
            # Of a workload that stands in several rows, the pods are named.
            names[said] if often[names[said]] == 1 else f"{names[said]}: {joined(one.name for one in pods)}",
            len(pods),
            *said,
            frozenset(sort for sort, _ in made[said]),
        )
        for said, pods in pods_of.items()
    ]
    rows.sort(key=lambda row: (-sum(cell == "allowed" for cell in row.cells), row.pods, row.name))
    for name, other in others([policies], objects, selecting, ours[0], direction):
        if wanted in name.lower():
            cells, by = _said(policies, ours, other, direction, ports)
            rows.append(Row(name, 0, cells, by))
    return Rows(
        rows,
        sum(len(pods) for pods in kinds[MOST_SORTS:]),
        sum(len(pods) for _, pods in peers[MOST_PEERS:]),
    )


def alike(policies: Policies, objects: Objects, pods: Iterable[KubePod]) -> dict[Any, list[KubePod]]:
    """Put pods together that policies see alike, and whose own nodes they see alike."""
    nodes: dict[str, frozenset[int]] = {}
    for addr, name in nodes_by_addr(objects.kube_nodes).items():
        nodes[name] = nodes.get(name, frozenset()) | policies.sort(Party(addr, None, name)).peers
    found: dict[Any, list[KubePod]] = {}
    for pod in restricted(pods):
        found.setdefault((policies.sort(Party(pod.ips[0], pod)), nodes.get(pod.node)), []).append(pod)
    return found


class _Kinds(list[Any]):
    """The pods of a section by what some policies see of them, after these policies."""


def build_kinds(pods: Mapping[Any, KubePod]) -> _Kinds:
    """Make room for what policies see of pods."""
    return _Kinds()


_kinds: Index[Mapping[Any, KubePod], _Kinds] = Index(build_kinds)


def _sorted_pods(policies: Policies, objects: Objects, wanted: str) -> dict[Any, list[KubePod]]:
    """The pods that policies can restrict, by what these see of them; all of them are worked out once for a state of the lists."""
    known = _kinds(objects.kube_pods)
    if not wanted and known and known[0] is policies:
        every: dict[Any, list[KubePod]] = known[1]
        return every
    found: dict[Any, list[KubePod]] = {}
    for pod in restricted(objects.kube_pods.values()):
        if not wanted or fits(objects, pod, wanted):
            found.setdefault(policies.sort(Party(pod.ips[0], pod)), []).append(pod)
    if not wanted:
        known[:] = policies, found
    return found


def fits(objects: Objects, pod: KubePod, wanted: str) -> bool:
    """Tell whether a text in lower case is in a pod's name, its workload's, either with the namespace before it, or in a label."""
    if wanted in f"{pod.namespace}/{pod.name}".lower() or wanted in names_of(objects, (pod,)).lower():
        return True
    return any(wanted in f"{key}={value}".lower() for key, value in pod.labels.items())


def _said(
    policies: Policies, ours: list[Party], peer: Peer, direction: Direction, ports: list[At]
) -> tuple[tuple[Answer, ...], tuple[ObjectKey, ...]]:
    cells: list[Answer] = []
    by: dict[ObjectKey, None] = {}
    pairs = [(peer(one), one) if direction == "ingress" else (one, peer(one)) for one in ours]
    for at in ports:
        decisions = [said for pair in pairs for said in decisions_at(policies, *pair, at, ports)]
        answers = {one.allowed for one in decisions}
        cells.append("mixed" if len(answers) > 1 else answer_of(answers.pop()))
        by |= dict.fromkeys(key for one in decisions for key in one.deciding)
    return tuple(cells), tuple(by)


def decisions_at(
    policies: Policies, source: Party, target: Party, at: At, ports: Collection[At]
) -> list[Decision]:
    """The decisions for a column: of the others, for one of each ports that have one answer and no column."""
    asked = [at] if at != OTHER else without_column(policies.firsts(source, target), ports)
    return [policies.decide(source, target, one.protocol, one.port) for one in asked]


def without_column(firsts: Iterable[tuple[str, int]], ports: Collection[At]) -> list[At]:
    """Choose a port that has no column of each ports with one answer, by the first of them (`Policies.firsts`)."""
    found: dict[At, None] = {}
    every = sorted(set(firsts))
    for (protocol, first), after in zip(every, [*every[1:], ("", 0)], strict=True):
        end = after[1] if after[0] == protocol else 1 << 16
        free = (At(protocol, port) for port in range(first, end) if At(protocol, port) not in ports)
        if (at := next(free, None)) is not None:
            found[at] = None
    return list(found)


def one_of(pods: Iterable[KubePod], family: int) -> Peer | None:
    """One of some alike pods, another one than that at the other end where there is one; None of another family."""
    parties = [Party(ip, pod) for pod in pods for ip in pod.ips[:2] if len(ip) == family][:2]
    if not parties:
        return None

    def other(than: Party) -> Party:
        same = than.pod is not None and parties[0].pod is not None and than.pod.key == parties[0].pod.key
        return parties[-1] if same else parties[0]

    return other


def answer_of(allowed: bool | None) -> Answer:
    """A decision in a word."""
    return "unknown" if allowed is None else "allowed" if allowed else "denied"


def names_of(objects: Objects, pods: Iterable[KubePod]) -> str:
    """Name pods by their workloads, shortly: "shop/web and shop/orders", "shop/web, dev/api and 7 more"."""
    names: dict[str, None] = {}
    for pod in pods:
        made = workload_of(pod, objects.workloads)
        names[f"{pod.namespace}/{made[1] if made is not None else pod.name}"] = None
    return joined(sorted(names))


def others(
    policies: Sequence[Policies],
    objects: Objects,
    selecting: Iterable[Policy],
    one: Party,
    direction: Direction,
) -> Iterator[tuple[str, Peer]]:
    """Yield parties that are no pods: a pod's own node, others that policies see alike, ranges that rules name, and somebody outside."""
    family = len(one.addr)
    by_node = {name: addr for addr, name in nodes_by_addr(objects.kube_nodes).items() if len(addr) == family}

    def node(name: str) -> Party:
        return Party(by_node[name], None, name)

    def own_of(party: Party) -> str | None:
        return party.pod.node if party.pod is not None and party.pod.node in by_node else None

    def but_own(names: list[str]) -> Peer:
        return lambda party: node(next((name for name in names if name != own_of(party)), names[0]))

    kinds: dict[Any, list[str]] = {}
    for name in sorted(by_node):
        kinds.setdefault(tuple(each.sort(node(name)) for each in policies), []).append(name)
    every = [name for names in kinds.values() for name in names]
    if every:
        yield "their own node", lambda party: node(own_of(party) or every[0])
    for names in kinds.values() if len(every) > 1 else ():
        yield joined(names) if len(kinds) > 1 else "other nodes", but_own(names)
    seen = set()
    for policy in selecting:
        for rule in rules_of(policy, direction):
            for peer in rule.peers:
                addr = _in_range(objects, peer, family)
                if addr is not None and addr not in seen:
                    seen.add(addr)
                    yield peer_text(home_of(policy), peer), _always(Party(addr))
    yield "outside", _always(Party(STRANGERS[family]))


def _always(party: Party) -> Peer:
    return lambda _: party


def _in_range(objects: Objects, peer: PolicyPeer, family: int) -> bytes | None:
    """An address of a range that no pod and no node has; None of all addresses, or of another family."""
    if peer.block is None or len(peer.block.addr) != family or not peer.block.prefixlen:
        return None
    first = int.from_bytes(mask_ip(peer.block.addr, peer.block.prefixlen), "big")
    for number in range(min(64, 1 << (family * 8 - peer.block.prefixlen))):
        addr = (first + number).to_bytes(family, "big")
        taken = addr in pods_by_addr(objects.kube_pods) or addr in nodes_by_addr(objects.kube_nodes)
        if not taken and not any(mask_ip(addr, one.prefixlen) == one.addr for one in peer.but):
            return addr
    return None
