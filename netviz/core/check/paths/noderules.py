"""What a node's netfilter rules are to the node, and to each of its pods.

Looked at are the chains and sets that traces have read, by name (`Read`), and those that lead from there to one pod alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from netviz.core.check.paths.local import Role
from netviz.core.check.paths.names import Names, NodeNames
from netviz.core.check.paths.rulesets import BodyFacts, Range, RuleFacts, facts_of, rule_form
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body, NftChain
from netviz.core.sim.index import Index
from netviz.core.state.node import NetnsState

# A chain or set by its section and key.
ReadKey = tuple[str, Hashable]


def _by_body(section: Mapping[Any, Any]) -> dict[bytes, list[Hashable]]:
    found: dict[bytes, list[Hashable]] = {}
    for key, record in section.items():
        if record.body:
            found.setdefault(record.body, []).append(key)
    return found


by_body: Index[Mapping[Any, Any], dict[bytes, list[Hashable]]] = Index(_by_body)
_base: Index[Mapping[Any, NftChain], tuple[NftChain, ...]] = Index(
    lambda chains: tuple(chain for chain in chains.values() if chain.hook is not None)
)


class Reading(Mapping[bytes, Body]):
    """The bodies of a cluster, which of them were read, and which were asked for and aren't there."""

    def __init__(self, bodies: Mapping[bytes, Body]) -> None:
        self._bodies = bodies
        self.read: set[bytes] = set()
        self.lacking: set[bytes] = set()

    def __getitem__(self, digest: bytes) -> Body:
        """Read a body. Raises: KeyError."""
        self.read.add(digest)
        try:
            return self._bodies[digest]
        except KeyError:
            self.lacking.add(digest)
            raise

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the digests."""
        return iter(self._bodies)

    def __len__(self) -> int:
        """Count the bodies."""
        return len(self._bodies)


class Rulesets:
    """What is known of bodies by digest, and which chains and sets have been read."""

    def __init__(self) -> None:
        self.bodies: Mapping[bytes, Body] = {}
        self.lacking: set[bytes] = set()  # bodies that were looked for and weren't there
        self.read: set[ReadKey] = set()
        self._facts: dict[bytes, BodyFacts] = {}
        self._rules: dict[bytes, RuleFacts] = {}
        self._named: dict[bytes, frozenset[bytes]] = {}
        self.ordered: list[ReadKey] = []
        self.private: set[ReadKey] = set()  # chains that lead to one pod alone

    def facts(self, digest: bytes) -> BodyFacts | None:
        """Return what is known of a body; None where it isn't in the state."""
        found = self._facts.get(digest)
        if found is None and digest:
            body = self.bodies.get(digest)
            if body is None:
                self.lacking.add(digest)
                return None
            found = self._facts[digest] = facts_of(body, self._rules)
        return found

    def add(self, read: set[ReadKey]) -> bool:
        """Note what traces have read; tells whether that is more than was known."""
        if more := not read <= self.read:
            self.read = (self.read | read) - self.private
            self.ordered = sorted(self.read, key=repr)
        return more

    def news(self, roots: Iterable[NetnsState], digests: Collection[bytes]) -> set[ReadKey]:
        """Of the chains and sets with these bodies in these namespaces, return those that weren't read before."""
        found: set[ReadKey] = set()
        for ns in roots:
            for section in ("nft_sets", "ipsets"):
                index = by_body(getattr(ns, section))
                found.update((section, key) for digest in digests if digest in index for key in index[digest])
            for section in ("nft_chains", "xt_chains"):
                found.update(self._chains(section, getattr(ns, section), digests))
        return found - self.read - self.private

    def _chains(
        self, section: str, chains: Mapping[Any, NftChain], digests: Collection[bytes]
    ) -> Iterator[ReadKey]:
        """List the chains with these bodies that packets come to: by a hook, and by the rules of others."""
        todo = [chain for chain in _base(chains) if chain.body in digests] if chains else []
        seen = {chain.key for chain in todo}
        while todo:
            chain = todo.pop()
            yield section, chain.key
            facts = self.facts(chain.body)
            for target in {t for rule in facts.rules for t in rule.targets} if facts is not None else ():
                found = chains.get((chain.family, chain.table, target))
                if found is not None and found.body in digests and found.key not in seen:
                    seen.add(found.key)
                    todo.append(found)

    def named(self, digest: bytes, facts: BodyFacts, names: Names) -> frozenset[bytes]:
        """Return the names of somebody known that stand in a body."""
        found = self._named.get(digest)
        if found is None:
            addrs, macs = names.addrs, names.macs
            found = self._named[digest] = frozenset(n for n in facts.names if n in addrs or n in macs)
        return found

    def rename(self) -> None:
        """Forget who is named: names have changed."""
        self._named = {}

    def keep(self, digests: set[bytes]) -> None:
        """Forget bodies that nobody has any more."""
        if len(self._facts) > 2 * len(digests) + 1000:
            self._facts = {digest: one for digest, one in self._facts.items() if digest in digests}
            self._rules = {}


class Ground(msgspec.Struct, frozen=True, gc=False):
    """What rules stand on, and don't change: a node's names, its own namespace, and which of its devices are pods' ports."""

    root: NetnsState
    names: NodeNames
    pod_of: Mapping[int, NetnsKey]


class RulesForm(msgspec.Struct, frozen=True):
    """A node's rules: its own form, what they say of each pod, names of others and ranges in them, members of sets."""

    form: Hashable
    pods: Mapping[NetnsKey, Hashable]
    marks: frozenset[bytes]
    ranges: frozenset[Range]
    own_ranges: tuple[Range, ...]
    members: frozenset[tuple[Range, Hashable]]


class NodeRules:
    """Makes the form of one node's rules."""

    def __init__(self, ground: Ground, names: Names, known: Rulesets) -> None:
        self.ground = ground
        self.names = names
        self.known = known
        self.pods: dict[bytes, NetnsKey] = {}
        self.roles: dict[bytes, Role] = {}
        self.marks: set[bytes] = set()
        self.ranges: set[Range] = set()
        self.own: dict[Range, Role] = {}
        self.members: set[tuple[Range, Hashable]] = set()
        self.said: dict[NetnsKey, list[Hashable]] = defaultdict(list)
        for name, key in (*ground.names.addrs.items(), *ground.names.macs.items()):
            if key == ground.root.key:
                self.roles[name] = ("root", ground.names.devs.get(name))
            elif name not in ground.names.twice:
                self.roles[name] = ("pod",)
                self.pods[name] = key
        self.root_names = frozenset(self.roles.keys() - self.pods.keys())
        for ifindex, pod in ground.pod_of.items():
            name = ground.root.links[ifindex].ifname.encode()
            self.roles[name] = ("port",)
            self.pods[name] = pod

    def make(self) -> RulesForm:
        """Make the form."""
        root = self.ground.root
        tables = frozenset((t.family, t.name, t.flags) for t in root.nft_tables.values())
        base = frozenset(
            (section, c.key, c.type, c.hook, c.priority, c.policy, c.devs, c.flags)
            for section, chains in (("nft", root.nft_chains), ("xt", root.xt_chains))
            if chains
            for c in _base(chains)
        )
        said: dict[ReadKey, Hashable] = {}
        for section, key in self.known.ordered:
            records = getattr(root, section)
            record = records.get(key) if records else None
            if record is not None and record.body:
                said[section, key] = (self._set_fields(section, record), self._body(section, record))
        for key2 in said.keys() & self.known.private:
            del said[key2]
        return RulesForm(
            (tables, base, frozenset(said.items())),
            {pod: tuple(found) for pod, found in self.said.items()},
            frozenset(self.marks),
            frozenset(self.ranges),
            tuple(self.own),
            frozenset(self.members),
        )

    @staticmethod
    def _set_fields(section: str, record: Any) -> Hashable:
        if section == "nft_sets":
            return (record.flags, record.key_type, record.key_len, record.data_type, record.fields)
        return (record.type, record.netmask, record.bitmask, record.markmask) if section == "ipsets" else ()

    def _body(self, section: str, record: Any) -> Hashable:
        facts = self.known.facts(record.body)
        if facts is None:
            return ("missing",)
        if section in ("nft_sets", "ipsets"):
            return self._set(record, facts)
        few, many = sorted((facts.names, self.roles.keys()), key=len)
        own_names = [name for name in few if name in many]
        own_ranges = [r for r in facts.ranges if self._is_own(r)]
        for one in facts.ranges:
            if one not in own_ranges:
                self.ranges.add(one)
        self._mark(record.body, facts)
        if not own_names and not own_ranges:
            return record.body  # type: ignore[no-any-return]
        self.own.update((r, ("own", number)) for number, r in enumerate(own_ranges))
        return self._rules(section, record, facts)

    def _set(self, record: Any, facts: BodyFacts) -> Hashable:
        """A set says of each address whether it is a member, and what it leads to."""
        self._mark(record.body, facts)
        label = (record.key, record.body)
        self.members.update((member, (label, what)) for member, what in facts.members)
        return record.body  # type: ignore[no-any-return]

    def _mark(self, digest: bytes, facts: BodyFacts) -> None:
        """Note whom a body names who isn't of this node."""
        self.marks |= self.known.named(digest, facts, self.names) - self.roles.keys()

    def _is_own(self, one: Range) -> bool:
        low, high = one
        if low == high:
            return False
        bits = (int.from_bytes(low, "big") ^ int.from_bytes(high, "big")).bit_length()
        return self.names.owner((low, len(low) * 8 - bits)) == self.ground.root.key.node

    def _rules(self, section: str, record: Any, facts: BodyFacts) -> Hashable:
        """Write a chain's rules; one that names a single pod is that pod's, in its place among the others."""
        common: list[Hashable] = []
        for one in facts.rules:
            pods = {self.pods[name] for name in one.names if name in self.pods}
            if len(pods) == 1 and self.root_names.isdisjoint(one.names):
                (pod,) = pods
                self.roles |= {target.encode(): ("own chain",) for target in one.targets}
                self.said[pod].append(
                    (record.key, len(common), self._form(one), self._follow(section, record, one, pod, 0))
                )
            elif pods:
                self.marks.update(name for name in one.names if name in self.pods)
                common.append(one.bare)
            else:
                common.append(self._form(one))
        return tuple(common)

    def _form(self, one: RuleFacts) -> Hashable:
        if not one.ranges and self.roles.keys().isdisjoint(one.names):
            return one.bare
        return rule_form(one.exprs, self.roles, self.own)

    def _follow(self, section: str, record: Any, one: Any, pod: NetnsKey, depth: int) -> Hashable:
        """Write the chains that a pod's rule leads to, as far as nothing but it leads there."""
        found: list[Hashable] = []
        for target in one.targets:
            key = (record.family, record.table, target)
            if depth > 8 or (depth and (section, key) in self.known.read):
                found.append(target)
                continue
            chain = getattr(self.ground.root, section).get(key)
            facts = self.known.facts(chain.body) if chain is not None else None
            if chain is None or facts is None:
                found.append(target if chain is None else ("empty",))
                continue
            self.known.private.add((section, key))
            self.ranges.update(r for r in facts.ranges if not self._is_own(r))
            self._mark(chain.body, facts)
            found.append(
                tuple(
                    (
                        self._form(rule),
                        self._follow(section, chain, rule, pod, depth + 1) if rule.targets else (),
                    )
                    for rule in facts.rules
                )
            )
        return tuple(found)
