"""What agents' rules say of each pod: of pods that policies see alike, those are tried apart of which rules say other things.

A pod whose rule is missing, or that a set of addresses lacks, is so a sort of its own. Looked at are the rules that packets
come to by hooks of filters, each with the chains that it leads to for a pod, and on all nodes which sets have its
address. Comments and counters say nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Hashable, Mapping
from functools import cached_property
from typing import Any

from netviz.core.check.paths.rulesets import BodyFacts, RuleFacts, facts_of, rule_form
from netviz.core.check.wiring import Wiring
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body, NftChain
from netviz.core.sim.endpoints import usable_addrs
from netviz.core.sim.index import Index
from netviz.core.state.node import ClusterState, NodeState

MAX_DEPTH = 8
SETS = ("nft_sets", "ipsets")
LOOK_MS = 0.002


class Bodies:
    """What is known of bodies by digest. Keep it from one state to the next."""

    def __init__(self) -> None:
        self._facts: dict[bytes, BodyFacts] = {}
        self._rules: dict[bytes, RuleFacts] = {}
        self._members: dict[bytes, dict[bytes, list[Hashable]]] = {}
        self._kept = 0

    def facts(self, digest: bytes, bodies: Mapping[bytes, Body]) -> BodyFacts | None:
        """Look a body over, once; None where it isn't in the state."""
        found = self._facts.get(digest)
        if found is None and digest in bodies:
            found = self._facts[digest] = facts_of(bodies[digest], self._rules)
        return found

    def members(self, digest: bytes, bodies: Mapping[bytes, Body]) -> Mapping[bytes, list[Hashable]]:
        """The single addresses in a set, each with what stands beside it."""
        found = self._members.get(digest)
        if found is None:
            found = self._members[digest] = {}
            facts = self.facts(digest, bodies)
            for (low, high), what in facts.members if facts is not None else ():
                if low == high:
                    found.setdefault(low, []).append(what)
        return found

    def keep(self, digests: Collection[bytes]) -> None:
        """Forget bodies that nobody has any more, once there are many."""
        if len(self._facts) > 2 * self._kept + 1000:
            for known in (self._facts, self._members):
                for digest in [digest for digest in known if digest not in digests]:
                    del known[digest]
            self._kept, self._rules = len(self._facts), {}


# Address -> the sets that have it, each with what stands beside it.
SetsSay = Mapping[bytes, frozenset[Hashable]]


def _keys(section: Mapping[Any, Any]) -> frozenset[tuple[Hashable, bytes]]:
    return frozenset((record.key, record.body) for record in section.values())


_sets: Index[Mapping[Any, Any], frozenset[tuple[Hashable, bytes]]] = Index(_keys)


class Said:
    """What the rules of a cluster's nodes say of pods. It follows the state, and remembers."""

    def __init__(self) -> None:
        self._known = Bodies()
        self._made_of: frozenset[Hashable] | None = None
        self._sets: SetsSay = {}

    def follow(self, cluster: ClusterState) -> Generator[float, None, SetsSay]:
        """Take in a state; returns what sets say of addresses: the same object while they are the same."""
        every: set[tuple[str, frozenset[tuple[Hashable, bytes]]]] = set()
        for node in cluster.nodes.values():
            if node.root is not None:
                every.update((name, _sets(getattr(node.root, name))) for name in SETS)
        sets = frozenset((name, key, digest) for name, keys in every for key, digest in keys)
        yield LOOK_MS * (len(cluster.nodes) + len(sets))
        if sets != self._made_of:
            found: dict[bytes, set[Hashable]] = defaultdict(set)
            for name, key, digest in sets:
                members = self._known.members(digest, cluster.bodies)
                for addr, what in members.items():
                    found[addr].add((name, key, digest, tuple(what)))
                yield LOOK_MS * len(members)
            self._made_of, self._sets = sets, {addr: frozenset(one) for addr, one in found.items()}
        self._known.keep(cluster.bodies.keys())
        return self._sets

    def of_node(self, node: NodeState, bodies: Mapping[bytes, Body]) -> Mapping[NetnsKey, Hashable]:
        """What a node's rules say of each pod that they name, without its names."""
        return _NodeRules(node, bodies, self._known).said()


class _NodeRules:
    """One node's rules, as far as packets come to them by hooks of filters."""

    def __init__(self, node: NodeState, bodies: Mapping[bytes, Body], known: Bodies) -> None:
        self._bodies, self._known = bodies, known
        self._node = node

    @cached_property
    def _pods(self) -> dict[bytes, NetnsKey]:
        """The pods by their addresses, and by the names of their links on the node."""
        found: dict[bytes, NetnsKey] = {}
        for key, ns in self._node.netns.items():
            if ns.netns.pod is not None and not ns.netns.root:
                found |= dict.fromkeys(usable_addrs(ns), key)
        for pair in Wiring(self._node).pairs.values():
            found[pair.host.ifname.encode()] = pair.ns.key
        return found

    def said(self) -> dict[NetnsKey, Hashable]:
        """What is said of each pod that a rule names."""
        found: dict[NetnsKey, list[Hashable]] = defaultdict(list)
        root = self._node.root
        if root is None:
            return {}
        for section in ("nft_chains", "xt_chains"):
            chains: Mapping[Any, NftChain] = getattr(root, section)
            todo = [one for one in chains.values() if one.hook is not None and one.type == "filter"]
            seen = {one.key for one in todo}
            while todo:
                chain = todo.pop()
                facts = self._known.facts(chain.body, self._bodies)
                for rule in facts.rules if facts is not None else ():
                    pods = {self._pods[name] for name in rule.names if name in self._pods}
                    for pod in pods:
                        found[pod].append((chain.key, *self._rule(chains, chain, rule, pod, 0)))
                    for target in rule.targets if not pods else ():
                        key = chain.family, chain.table, target
                        if key in chains and key not in seen:
                            seen.add(key)
                            todo.append(chains[key])
        return {pod: tuple(every) for pod, every in found.items()}

    def _rule(
        self, chains: Mapping[Any, NftChain], chain: NftChain, rule: RuleFacts, pod: NetnsKey, depth: int
    ) -> tuple[Hashable, Hashable]:
        """A rule, and what stands in the chains that it leads to; a pod's own names and chains are left open."""
        roles: dict[bytes, Hashable] = {
            name: "own" if self._pods[name] == pod else "another's"
            for name in rule.names
            if name in self._pods
        }
        roles |= {target.encode(): "chain" for target in rule.targets}
        return rule_form(rule.exprs, roles, {}), tuple(
            self._chain(chains, (chain.family, chain.table, target), pod, depth) for target in rule.targets
        )

    def _chain(
        self, chains: Mapping[Any, NftChain], key: tuple[int, str, str], pod: NetnsKey, depth: int
    ) -> Hashable:
        chain = chains.get(key)
        if chain is None or depth > MAX_DEPTH:
            return key[2]
        facts = self._known.facts(chain.body, self._bodies)
        return tuple(self._rule(chains, chain, rule, pod, depth + 1) for rule in facts.rules) if facts else ()
