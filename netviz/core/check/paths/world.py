"""The cluster in canonical form, kept up by differences: each pod's class, and what each node knows of the others.

`World.follow` takes a new state, compares it with the last node by node, by identity, and makes anew what differs:
a node's names, its own form, those of its pods, its ties. What concerns all nodes (who has which prefix, which ranges
tell addresses apart, whose names others mention) is made anew where it changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping

import msgspec

from netviz.core.check.paths.forms import PodForms, gaps_of
from netviz.core.check.paths.local import Facts, Interner, Local
from netviz.core.check.paths.names import Names, NodeNames, covers, names_in, own_addrs
from netviz.core.check.paths.noderules import Ground, NodeRules, Rulesets, RulesForm
from netviz.core.check.paths.nodes import NodeForm, Nodes, node_form
from netviz.core.check.paths.rulesets import Range
from netviz.core.check.paths.spans import Spans
from netviz.core.check.paths.ties import Bases, Table, Ties, Units
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState

# What making one takes, about, in milliseconds.
NODE_MS, POD_MS = 1.0, 0.1
# Sections of a node's own namespace that are read apart from its form.
RULES = frozenset(
    (
        *("nft_tables", "nft_chains", "nft_sets", "xt_chains", "ipsets", "conntrack"),
        *("counters", "kernel_stats", "rule_counters"),
    )
)


def same_but_rules(was: NodeState, now: NodeState) -> bool:
    """Tell whether two states of a node differ in nothing but the rules of its own namespace, and counters."""
    if was.netns.keys() != now.netns.keys() or was.status != now.status:
        return False
    for key, ns in now.netns.items():
        old = was.netns[key]
        if old is ns:
            continue
        if not ns.netns.root or old.netns != ns.netns:
            return False
        if gaps_of(old) != gaps_of(ns):
            return False
        if any(getattr(old, n) is not getattr(ns, n) for n in SECTIONS if n not in RULES):
            return False
    return True


class PodEntry(msgspec.Struct):
    """A pod: its form, what its node's rules say of it, the names of others in it, its addresses.

    Pods of one `kind` are alike, and so are their nodes; those of one `cls` have also nodes that know most others alike.
    Those of one `filtered` are told apart by no rule, whatever else they are like.
    """

    ns: NetnsState
    form: int
    said: int
    marks: frozenset[bytes]
    addrs: tuple[bytes, ...]
    kind: int = -1
    cls: int = -1
    filtered: int = -1


class NodeEntry(msgspec.Struct):
    """A node: the state that it was made for, its form, its pods by key, its ties."""

    state: NodeState
    form: int
    made: NodeForm
    rules: RulesForm
    pods: dict[NetnsKey, PodEntry]
    ties: Ties
    pod_of: Mapping[int, NetnsKey]
    siblings: int  # what its pods' links are like, together
    mix: frozenset[tuple[int, bool]] = (
        frozenset()
    )  # the classes of its pods, and whether it has several of one


class World:
    """All nodes, and the classes of all pods."""

    def __init__(self, probes: tuple[bytes, ...]) -> None:
        self.probes = probes
        self.names = Names()
        self.rules = Rulesets()
        self.intern = Interner()
        self.facts = Facts(self.names, self.intern)
        self.units = Units(self.names)
        self.nodes: dict[str, NodeEntry] = {}
        self._table: Table | None = None
        self._bases = Bases()
        self._marked: frozenset[bytes] = frozenset()
        self._ranges: Counter[tuple[Range, Hashable]] = Counter()
        self._marks: Counter[bytes] = Counter()
        self._spans = Spans(())
        self.members: dict[int, dict[NetnsKey, int]] = {}  # class -> its pods, each with its kind
        self.mixes: dict[frozenset[tuple[int, bool]], dict[str, None]] = {}
        self.odd: dict[str, dict[int, int]] = {}  # nodes with ties that aren't their default
        self._spans_of: frozenset[tuple[Range, Hashable]] = frozenset()

    def odd_ties(self) -> Iterator[tuple[str, list[tuple[int, str]]]]:
        """Say of each node which units on other nodes it knows otherwise than most: (unit, its node)."""
        for name, others in self.odd.items():
            there = ((unit, self.units.node_of[unit]) for unit in others)
            yield name, [(unit, node) for unit, node in there if node != name and node in self.nodes]

    def follow(self, cluster: ClusterState) -> Iterator[float]:
        """Take in a state, in steps; each says how many milliseconds it took, about."""
        self.rules.bodies = cluster.bodies
        nodes, known = cluster.nodes, self.nodes
        differing = [
            name for name, node in nodes.items() if (was := known.get(name)) is None or was.state is not node
        ]
        changed = [name for name in differing if nodes[name].root is not None]
        gone = [name for name in differing if name in known and nodes[name].root is None]
        gone += known.keys() - nodes.keys()
        if not changed and not gone:
            return
        if not known:
            yield from self._make_all(nodes)
            return
        renamed: set[bytes] = set()
        for name in gone:
            self._drop(name)
            renamed |= self.names.put(name, None)
        rewritten = {
            n
            for n in changed
            if (entry := known.get(n)) is not None and same_but_rules(entry.state, nodes[n])
        }
        for name in changed:
            if name not in rewritten:
                renamed |= self.names.put(name, names_in(nodes[name].netns))
        if renamed:
            self.rules.rename()
        if renamed and self._moved(renamed, set(changed) | set(gone)):
            yield from self._make_all(nodes)
            return
        mentioning = (
            {n for n, entry in self.nodes.items() if self._mentions(entry, renamed)} if renamed else set()
        )
        again = [*changed, *(mentioning - set(changed))]
        yield from self._make(nodes, again, rewritten - mentioning)

    @staticmethod
    def _mentions(entry: NodeEntry, names: set[bytes]) -> bool:
        return not (
            entry.made.marks.isdisjoint(names)
            and entry.rules.marks.isdisjoint(names)
            and all(pod.marks.isdisjoint(names) for pod in entry.pods.values())
        )

    def _moved(self, renamed: set[bytes], changed: set[str]) -> bool:
        """Tell whether names went from or to other nodes, or a prefix has another owner now: that concerns all tables."""
        for name in renamed:
            if self.names.several(name) or self._marks.get(name):
                return True
        prefixes = {
            fact.prefix: fact.owner
            for fact in self.facts.facts
            if fact.prefix is not None and fact.owner in changed
        }
        return any(self.names.owner(prefix) != owner for prefix, owner in prefixes.items())

    def _make_all(self, nodes: Mapping[str, NodeState]) -> Iterator[float]:
        nodes = {name: node for name, node in nodes.items() if node.root is not None}
        self.rules.rename()
        self.names.load({name: names_in(node.netns) for name, node in nodes.items()})
        self.facts.clear()
        self.nodes, self.members, self.mixes, self.odd = {}, {}, {}, {}
        self._ranges.clear()
        self._marks.clear()
        self._bases = Bases()
        held = {}
        for name, node in nodes.items():
            local = self._local(node)
            found, rest = self.facts.split(local)
            held[name] = self._bases.held(found)
            self._enter(local, rest)
            yield NODE_MS + POD_MS * len(node.netns)
        self.units.build(self.facts.facts)
        self._table = Table(self.units, self.facts.facts, self.intern)
        for name in nodes:
            self.nodes[name].ties = self._table.ties(name, held[name])
            yield NODE_MS / 5
        yield from self._classify(self.nodes)

    def _local(self, node: NodeState) -> Local:
        root = node.root
        assert root is not None
        return Local(node, self.names.nodes[node.node], root)

    def _make(
        self, nodes: Mapping[str, NodeState], names: Iterable[str], rewritten: Collection[str]
    ) -> Iterator[float]:
        """Make some nodes anew; of those that are `rewritten` only what their rules say, if names are as they were."""
        names = list(names)
        assert self._table is not None
        before = len(self.facts.facts)
        held = {}
        for name in names:
            if name in rewritten:
                self._rewrite(nodes[name], self.nodes[name])
                yield NODE_MS / 5
                continue
            local = self._local(nodes[name])
            found, rest = self.facts.split(local)
            held[name] = self._bases.held(found)
            self._drop(name)
            self._enter(local, rest)
            yield NODE_MS + POD_MS * len(local.node.netns)
        grown = self.units.grows(self.facts.facts[before:])
        placed = [self.units.place(name) for name in held]
        if grown or any(placed):
            yield from self._make_all(nodes)
            return
        for name, one in held.items():
            self.nodes[name].ties = self._table.ties(name, one)
        yield from self._classify(names)

    def reread(self) -> Iterator[float]:
        """Make anew what rules say: traces have read more of them."""
        for entry in list(self.nodes.values()):
            self._rewrite(entry.state, entry)
            yield NODE_MS / 5
        yield from self._classify(self.nodes)

    def _rewrite(self, node: NodeState, was: NodeEntry) -> None:
        """Make a node's rules anew; all else of it is as it was."""
        name, root = node.node, node.root
        assert root is not None
        self._drop(name)
        ground = Ground(root, self.names.nodes[name], was.pod_of)
        rules = NodeRules(ground, self.names, self.rules).make()
        pods = {
            key: msgspec.structs.replace(pod, ns=node.netns[key], said=self._said(rules, key))
            for key, pod in was.pods.items()
        }
        form = self.intern(("node", was.made.form, rules.form, was.siblings))
        entry = NodeEntry(node, form, was.made, rules, pods, was.ties, was.pod_of, was.siblings)
        self.nodes[name] = entry
        self._count(entry, 1)

    def _said(self, rules: RulesForm, key: NetnsKey) -> int:
        return self.intern(("said", rules.pods.get(key, ())))

    def _drop(self, name: str) -> None:
        entry = self.nodes.pop(name, None)
        if entry is not None:
            self._count(entry, -1)
            self._remove(name, entry)

    def _count(self, entry: NodeEntry, by: int) -> None:
        for one in (*entry.made.ranges, *entry.rules.ranges):
            self._ranges[one, one] += by
        for member in entry.rules.members:
            self._ranges[member] += by
        for mark in (*entry.made.marks, *entry.rules.marks):
            self._marks[mark] += by
        for pod in entry.pods.values():
            for mark in pod.marks:
                self._marks[mark] += by

    def _enter(self, local: Local, rest: list[object]) -> None:
        """Make a node's forms."""
        names = self.names
        rules = NodeRules(Ground(local.root, local.names, local.pod_of), names, self.rules).make()
        made = node_form(Nodes(local, names, self.probes), rest)
        forms = PodForms(local, names)
        pods: dict[NetnsKey, PodEntry] = {}
        siblings = set()
        for key in local.names.pods:
            ns = local.node.netns[key]
            form, marks = forms.form(ns)
            siblings.add(form[0][:2])  # type: ignore[index]
            pods[key] = PodEntry(ns, self.intern(form), self._said(rules, key), marks, tuple(own_addrs(ns)))
        number = self.intern(("siblings", frozenset(siblings)))
        form = self.intern(("node", made.form, rules.form, number))
        entry = NodeEntry(local.node, form, made, rules, pods, Ties(-1, {}), local.pod_of, number)
        self.nodes[local.node.node] = entry
        self._count(entry, 1)

    def _classify(self, names: Iterable[str]) -> Iterator[float]:
        """Give the pods of nodes their classes; those of all nodes where what tells addresses apart has changed."""
        ranges = frozenset(one for one, count in self._ranges.items() if count > 0)
        if ranges != self._spans_of:
            self._spans, self._spans_of = Spans(ranges), ranges
            names = list(self.nodes)
        marked = frozenset(name for name, count in self._marks.items() if count > 0)
        if marked != self._marked:
            owners = {
                (self.names.macs if len(m) == 6 else self.names.addrs).get(m) for m in marked ^ self._marked
            }
            names = {*names, *(owner for owner in owners if owner in self.nodes)}
            self._marked = marked
        for name in names:
            entry = self.nodes[name]
            own = (*entry.made.own_ranges, *entry.rules.own_ranges)
            kinds = {}
            rules = self.intern(("rules", entry.rules.form))
            for key, pod in entry.pods.items():
                apart = self._apart(pod, own)
                kinds[key] = self.intern(("pod", entry.form, pod.form, pod.said, *apart))
                pod.filtered = self.intern(("filtered", rules, pod.said, *apart))
            self._remove(name, entry)
            for key, kind in kinds.items():
                entry.pods[key].kind = kind
            self._place(name, entry)
            yield POD_MS / 10 * len(kinds)

    def _place(self, name: str, entry: NodeEntry) -> None:
        counts: Counter[int] = Counter()
        for key, pod in entry.pods.items():
            pod.cls = self.intern(("class", pod.kind, entry.ties.default))
            self.members.setdefault(pod.cls, {})[key] = pod.kind
            counts[pod.cls] += 1
        entry.mix = frozenset((cls, count > 1) for cls, count in counts.items())
        self.mixes.setdefault(entry.mix, {})[name] = None
        if entry.ties.others:
            self.odd[name] = entry.ties.others

    def _remove(self, name: str, entry: NodeEntry) -> None:
        self.odd.pop(name, None)
        if name in (there := self.mixes.get(entry.mix, {})):
            del there[name]
            if not there:
                del self.mixes[entry.mix]
        for key, pod in entry.pods.items():
            if key in (members := self.members.get(pod.cls, {})):
                del members[key]
                if not members:
                    del self.members[pod.cls]

    def pod(self, key: NetnsKey) -> PodEntry:
        """Return a pod. Raises: KeyError."""
        return self.nodes[key.node].pods[key]

    def marks_of(self, key: NetnsKey) -> frozenset[bytes]:
        """Return the names of others in a pod's form and its node's, and its own that stand in others'."""
        entry, pod = self.nodes[key.node], self.pod(key)
        own = {*pod.addrs, *(link.mac for link in pod.ns.links.values())} & self._marked
        return pod.marks | entry.made.marks | entry.rules.marks | own

    def _apart(self, pod: PodEntry, own: tuple[Range, ...]) -> tuple[Hashable, ...]:
        """Tell what sets a pod's addresses apart: ranges that they lie in, and that others name it."""
        spans = tuple(self._spans.of(addr) for addr in pod.addrs)
        inside = tuple(tuple(low <= a <= high for low, high in own if len(low) == len(a)) for a in pod.addrs)
        named = frozenset(a for a in pod.addrs if self._marks.get(a, 0) > 0)
        macs = frozenset(link.mac for link in pod.ns.links.values() if self._marks.get(link.mac, 0) > 0)
        return spans, inside, named, macs


__all__ = ["NodeEntry", "NodeNames", "PodEntry", "World", "covers"]
