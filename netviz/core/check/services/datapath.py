"""What a node's rules do with packets to services: judged by the simulator, once for nodes whose rules answer alike.

A flow of each sort of source is followed until its destination is translated. What the simulator read on the way is
kept with the answer: as long as it would read the same, the answer stays; another node whose rules answer alike has it
too. What isn't a rule (an address that is the node's own, a route) is taken to be as on the node that was traced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import is_not
from typing import Any

import msgspec

from netviz.core.check.checker import changed_sections
from netviz.core.intent.services import NODE, OUTSIDE, PODS, End, Entrance, From
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_UP
from netviz.core.model.netfilter import Body
from netviz.core.sim.endpoints import usable_addrs
from netviz.core.sim.entry import Entry, entries
from netviz.core.sim.index import Index
from netviz.core.sim.reads import Reads, Recording
from netviz.core.sim.services import NODE_PORT
from netviz.core.sim.steps import HookVerdict, Nat
from netviz.core.sim.trace import Disposition, Flow, Step
from netviz.core.sim.words.hook import hit_text
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from netviz.core.state.uplink import leads_outside

# What rules are made of: sections of the node's own namespace.
RULES = ("nft_tables", "nft_chains", "nft_sets", "nft_objects", "xt_tables", "xt_chains", "ipsets", "ipvs")
# What else decides where a packet to a service's address goes. Connections that stand decide nothing for a new one.
PLACES = ("netns", "links", "addrs", "routes", "rules", "sysctls")
SPORT = 40000
# Somebody outside, where no other node's address is known (RFC 5737, RFC 3849).
STRANGERS = {4: bytes((203, 0, 113, 77)), 16: bytes.fromhex("20010db8000000000000000000000077")}
MATTER = frozenset((*RULES, *PLACES))
MAX_TRIED = 3
MAX_KEPT = 8  # answers to one question, of nodes whose rules differ
LOOK_MS = 0.002  # at a chain
CILIUM = "cilium_host"
# Where rules refuse packets to services that have nobody to lead to.
FILTERS = ("forward", "input", "output")


class ChainRule(msgspec.Struct, frozen=True, gc=False, order=True):
    """A rule of a node: its text, and the chain that it stands in. `legacy`: of legacy xtables."""

    family: int = 0
    table: str = ""
    chain: str = ""
    text: str = ""
    legacy: bool = False


class Done(msgspec.Struct, frozen=True):
    """What becomes of packets to an entrance. They go to `ends`, by the rule that chooses each.

    `shares` says how likely each is, where that is known. `passes`: they may go on as they are, as that rule lets them;
    `refused`: they may be refused, by that rule. `unknown` says why nothing is known, or not all.
    """

    ends: Mapping[End, ChainRule] = {}
    shares: Mapping[End, float] | None = None
    passes: ChainRule | None = None
    refused: ChainRule | None = None
    unknown: str = ""


class Sender(msgspec.Struct, frozen=True):
    """Whose packet is followed: from the namespace, or coming in by a link of the node's."""

    src: bytes
    netns: NetnsState
    by: LinkKey | None = None


Print = tuple[tuple[int, int], ...]  # of each section of rules, how many records, and a hash of them


def _content(records: Iterable[object]) -> tuple[int, int]:
    """Sum records up, in whatever order: how many there are, and a hash of 64 bits of all of them."""
    known = frozenset(records)
    return len(known), hash(known)


# Each section's content, without handles and counters: once for sections that are shared.
_PRINTS: dict[str, Index[Mapping[Any, Any], tuple[int, int]]] = {
    "nft_tables": Index(lambda records: _content((one.key, one.flags) for one in records.values())),
    **{
        name: Index(
            lambda records: _content(
                (one.key, one.type, one.hook, one.priority, one.policy, one.devs, one.body)
                for one in records.values()
            )
        )
        for name in ("nft_chains", "xt_chains")
    },
    "nft_sets": Index(lambda records: _content((one.key, one.flags, one.body) for one in records.values())),
    "ipsets": Index(lambda records: _content((one.key, one.body) for one in records.values())),
    "ipvs": Index(lambda records: _content((key, repr(one)) for key, one in records.items())),
}


def fingerprint(node: NodeState) -> Print:
    """What the rules of a node are, whatever handles they have: nodes with the same are judged once."""
    root = node.root
    return (
        tuple(index(getattr(root, section)) for section, index in _PRINTS.items()) if root is not None else ()
    )


def sources(cluster: ClusterState, node: NodeState, source: From, family: int) -> Iterator[Sender]:
    """Yield who may stand for a sort of source on a node, the likeliest first."""
    root = node.root
    if root is None:
        return
    if source == NODE:
        for addr in usable_addrs(root):
            if len(addr) == family:
                yield Sender(addr, root)
                return
    elif source == PODS:
        for key in sorted(node.netns):
            ns = node.netns[key]
            if ns.netns.pod is not None and not ns.netns.root:
                mine = [one for one in usable_addrs(ns) if len(one) == family]
                if mine:
                    yield Sender(mine[0], ns)
    else:
        src = _other(cluster, node, family)
        for ifindex, link in sorted(root.links.items()):
            here = [one for one in root.addrs.values() if one.ifindex == ifindex]
            of_family = any(len(one.addr) == family for one in here)
            if of_family and link.flags & IFF_UP and leads_outside(link, here):
                yield Sender(src, root, LinkKey(root.key, ifindex))


def _other(cluster: ClusterState, node: NodeState, family: int) -> bytes:
    """An address of another node, else of nobody known."""
    for name, other in sorted(cluster.nodes.items()):
        known = other.objects.kube_nodes.get(name)
        if name != node.node and known is not None:
            addr = next((one for one in known.addresses if len(one) == family), None)
            if addr is not None:
                return addr
    return STRANGERS[family]


def target(entrance: Entrance, node: NodeState) -> bytes | None:
    """The address of an entrance on a node; None where that isn't known."""
    if entrance.how != NODE_PORT:
        return entrance.addr
    known = node.objects.kube_nodes.get(node.node)
    addrs = known.addresses if known is not None else ()
    return next((one for one in addrs if len(one) == entrance.family), None)


class Judged(msgspec.Struct):
    """An answer, what it was read from, and the node that was traced."""

    done: Done
    reads: Reads
    node: NodeState

    def stands(self, cluster: ClusterState) -> bool:
        """Tell whether the answer is still right for its node."""
        now = cluster.nodes.get(self.node.node)
        if now is None:
            return False
        if now is self.node and not self.done.unknown:
            return True
        matters = self.done.unknown or not MATTER.isdisjoint(changed_sections(self.node, now))
        if matters and not self.reads.hold(cluster):
            return False
        self.node = now
        return True

    def fits(self, node: NodeState, bodies: Mapping[bytes, Body]) -> bool:
        """Tell whether another node's rules answer alike."""
        was, now = self.node.root, node.root
        return was is not None and now is not None and self.reads.fit(was.key, now, bodies, RULES)


class Alike(msgspec.Struct):
    """Nodes whose rules are the same: the first stands for them all."""

    first: NodeState
    known: dict[tuple[Entrance, From], Judged] = {}


class Datapath:
    """What all nodes do with packets to services. It follows the cluster, and remembers."""

    def __init__(self) -> None:
        self._cluster = ClusterState()
        self._prints: dict[str, tuple[tuple[object, ...], Print]] = {}
        self._groups: dict[tuple[Print, bool], Alike] = {}
        self._group: dict[str, Alike] = {}
        self._judged: dict[tuple[Entrance, From], list[Judged]] = {}
        self.traced = 0

    def follow(self, cluster: ClusterState) -> Iterator[float]:
        """Take a new state. Yields what it costs, in ms."""
        self._cluster = cluster
        groups: dict[tuple[Print, bool], Alike] = {}
        self._group = {}
        for name, node in sorted(cluster.nodes.items()):
            root = node.root
            made_of = tuple(getattr(root, section) for section in RULES) if root is not None else ()
            known = self._prints.get(name)
            if known is None or len(known[0]) != len(made_of) or any(map(is_not, known[0], made_of)):
                known = self._prints[name] = made_of, fingerprint(node)
                yield LOOK_MS * (1 + len(root.nft_chains) + len(root.xt_chains)) if root is not None else 0.0
            has_pods = any(ns.netns.pod is not None for ns in node.netns.values())
            key = known[1], has_pods
            if key not in groups:
                before = self._groups.get(key)
                groups[key] = Alike(node, before.known if before is not None else {})
            self._group[name] = groups[key]
        self._groups = groups
        self._prints = {name: one for name, one in self._prints.items() if name in cluster.nodes}

    def alike(self, names: Iterable[str]) -> list[list[str]]:
        """Put nodes together whose rules are the same."""
        found: dict[int, list[str]] = {}
        for name in names:
            found.setdefault(id(self._group[name]), []).append(name)
        return list(found.values())

    def done(self, name: str, entrance: Entrance, source: From) -> Done:
        """Say what a node does with a packet of a sort of source to an entrance."""
        group, key = self._group[name], (entrance, source)
        known = group.known.get(key)
        if known is None or not known.stands(self._cluster):
            group.known[key] = known = self._find(group.first, key)
        return known.done

    def _find(self, node: NodeState, key: tuple[Entrance, From]) -> Judged:
        """Find an answer that another node has had, or trace."""
        others = self._judged.setdefault(key, [])
        bodies = self._cluster.bodies
        for one in reversed(others):
            if one.done.ends and one.stands(self._cluster) and one.fits(node, bodies):
                return one
        self.traced += 1
        made = judge(self._cluster, node, *key)
        others.append(made)
        del others[:-MAX_KEPT]
        return made

    def forget(self, entrances: Collection[Entrance]) -> None:
        """Drop what is known of any other entrances."""
        for key in [key for key in self._judged if key[0] not in entrances]:
            del self._judged[key]
        for group in self._groups.values():
            for key in [key for key in group.known if key[0] not in entrances]:
                del group.known[key]


def judge(cluster: ClusterState, node: NodeState, entrance: Entrance, source: From) -> Judged:
    """Find out by tracing what a node does with a packet of a sort of source to an entrance."""
    recording = Recording(cluster)
    addr = target(entrance, node)
    if addr is None:
        why = f"the API says no address of {node.node} of this family, at which node ports would be"
        return Judged(Done(unknown=why), recording.reads(), node)
    found = Done(unknown=_nobody(node, source))
    for number, sender in enumerate(sources(cluster, node, source, entrance.family)):
        flow = Flow(
            sender.netns.key,
            sender.src,
            addr,
            entrance.proto,
            SPORT,
            entrance.port,
            bound=sender.by is not None,
        )
        courses = entries(recording.cluster, flow, sender.by)
        found = done_of(node, courses)
        if found.unknown or not _stuck(sender, courses):
            break
        found = Done(unknown=f"no packet of {source} of {node.node} that was tried comes to its rules")
        if number + 1 == MAX_TRIED:
            break
    return Judged(found, recording.reads(), node)


def _nobody(node: NodeState, source: From) -> str:
    if node.root is None:
        return f"the own namespace of {node.node} isn't known"
    if source == PODS:
        return f"no pod is known on {node.node} that could send"
    if source == OUTSIDE:
        return f"no link of {node.node} is known to lead outside"
    return f"no address of {node.node} is known"


def _stuck(sender: Sender, courses: list[Entry]) -> bool:
    """Tell whether a pod's packets end before they come to its node."""
    if sender.by is not None or sender.netns.netns.root:
        return False
    return all(
        one.ended is not None and all(_at(step) == sender.netns.key for step in one.steps) for one in courses
    )


def _at(step: Step) -> object:
    return step.at.netns if isinstance(step.at, LinkKey) else step.at


def done_of(node: NodeState, courses: list[Entry]) -> Done:
    """Sum up what a node does in all courses."""
    ends: dict[End, ChainRule] = {}
    shares: dict[End, float] | None = {}
    passes, refused, unknown = None, None, ""
    for one in courses:
        if one.translated:
            end = one.packet.dst, one.packet.dport
            ends.setdefault(end, rule_of(one))
            if shares is not None and one.probability is not None:
                shares[end] = shares.get(end, 0.0) + one.probability
            else:
                shares = None
        elif one.ended is Disposition.UNKNOWN:
            unknown = unknown or f"{node.node}: {one.reason or 'something that is not modelled decides'}"
        elif one.ended is None or one.ended is Disposition.DELIVERED:
            passes = passes or rule_of(one, FILTERS)
        else:
            refused = refused or rule_of(one)
    root = node.root
    if (
        passes
        and not ends
        and root is not None
        and any(link.ifname == CILIUM for link in root.links.values())
    ):
        unknown = unknown or f"{node.node}: Cilium may translate services' addresses in eBPF"
    return Done(ends, shares, passes, refused, unknown)


def rule_of(entry: Entry, hooks: Collection[str] = ()) -> ChainRule:
    """The rule that decided last in a course, at some hooks (none named: at any); an empty one where none did."""
    for step in reversed(entry.steps):
        what = step.what
        if isinstance(what, HookVerdict) and what.chain is not None and what.hit is not None:
            if hooks and what.hook not in hooks:
                continue
            chain = what.chain.chain
            return ChainRule(
                chain.family, chain.table, what.hit.within, hit_text(what.chain, what.hit), what.chain.legacy
            )
        if isinstance(what, Nat) and what.cause == "IPVS":
            return ChainRule(text="IPVS")
    return ChainRule()
