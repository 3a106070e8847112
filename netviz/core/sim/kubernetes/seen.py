"""What a recogniser sees of a step: the rules that matched, in order, and the state around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from netviz.core.model.addr import format_ip, pack_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.model.netfilter import NFPROTO_NAMES
from netviz.core.sim.index import Index
from netviz.core.sim.link.cluster_index import EVERYWHERE, having_addr, names_for
from netviz.core.sim.nft.written import WrittenRule
from netviz.core.sim.node_index import peer_of
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Step
from netviz.core.sim.words.hook import hit_written
from netviz.core.state.node import ClusterState, NetnsState
from netviz.core.state.resolve import PAIR_KINDS

_by_name: Index[Mapping[Any, Link], dict[str, Link]] = Index(
    lambda links: {link.ifname: link for link in links.values()}
)


class SeenRule:
    """A rule in the chain that it stands in: its text and comments as its tool writes them, when somebody looks."""

    def __init__(self, chain: str, write: Callable[[], WrittenRule]) -> None:
        self.chain = chain
        self._write = write

    @cached_property
    def _written(self) -> WrittenRule:
        return self._write()

    @property
    def text(self) -> str:
        """The rule."""
        return self._written.text

    @property
    def comments(self) -> tuple[str, ...]:
        """All its comments, in order."""
        return self._written.comments

    @property
    def comment(self) -> str:
        """Its first comment, or ""."""
        comments = self._written.comments
        return comments[0] if comments else ""

    @property
    def target(self) -> str:
        """The chain that it jumps or goes to, or its target; "" where a map chooses one."""
        return self._written.target


def _matched(what: HookVerdict) -> tuple[SeenRule, ...]:
    """List the rules that matched, the deciding one last."""
    hits = list(what.matched)
    if what.hit is not None and what.hit not in hits[-1:]:
        hits.append(what.hit)
    assert what.chain is not None
    return tuple(SeenRule(hit.within, partial(hit_written, what.chain, hit)) for hit in hits)


class Seen:
    """One step, the namespace where it was taken, and the cluster.

    `link` is the step's device; `rules` are those that matched in a chain, the deciding one last; `table`
    is the chain's family and table, ("", "") for other steps.
    """

    def __init__(self, cluster: ClusterState, ns: NetnsState, step: Step) -> None:
        self.cluster = cluster
        self.ns = ns
        self.step = step
        self.link = ns.links.get(step.at.ifindex) if isinstance(step.at, LinkKey) else None
        self.table = ("", "")
        self.rules: tuple[SeenRule, ...] = ()
        what = step.what
        if isinstance(what, HookVerdict) and what.chain is not None:
            self.table = (str(NFPROTO_NAMES.get(what.chain.chain.family, "")), what.chain.chain.table)
            # a rule whose match is only assumed has decided nothing
            if what.action not in ("assume match", "assume no match"):
                self.rules = _matched(what)

    @property
    def deciding(self) -> SeenRule | None:
        """The rule that decided; None when it was the policy."""
        what = self.step.what
        return (
            self.rules[-1] if isinstance(what, HookVerdict) and what.hit is not None and self.rules else None
        )

    def link_named(self, name: str) -> Link | None:
        """Find a device of the step's namespace by name."""
        return _by_name(self.ns.links).get(name)

    def peer(self, link: Link) -> tuple[NetnsState, Link] | None:
        """Find the other end of a pair; None where it isn't known for sure."""
        node = self.cluster.nodes[self.ns.key.node]
        if link.kind not in PAIR_KINDS:
            return None
        key = peer_of(node, LinkKey(self.ns.key, link.ifindex)).key
        if key is None:
            return None
        return node.netns[key.netns], node.netns[key.netns].links[key.ifindex]

    def pod_behind(self, name: str) -> str:
        """Name the pod that a veth of this namespace leads to, or ""."""
        link = self.link_named(name)
        other = self.peer(link) if link is not None else None
        pod = other[0].netns.pod if other is not None else None
        return f"pod {pod.namespace}/{pod.name}" if pod is not None else ""

    def owner(self, addr: bytes) -> str:
        """Name the only pod or node that has an address, as "pod NAMESPACE/NAME on NODE", or ""."""
        if names_for(self.cluster.nodes, addr) == EVERYWHERE:
            return ""
        holders = having_addr(self.cluster.nodes, addr)
        if len(holders) != 1:
            return ""
        netns = holders[0].netns
        if netns.pod is not None:
            return f"pod {netns.pod.namespace}/{netns.pod.name} on {netns.key.node}"
        return f"node {netns.key.node}" if netns.root else ""

    def owner_of(self, text: str) -> str:
        """Name who has an address given as text, or "" (also where it is no address)."""
        try:
            return self.owner(pack_ip(text))
        except ValueError:
            return ""

    def server(self, addr: bytes, port: int) -> str:
        """Write a real server of IPVS, with the pod's name where the state knows it."""
        return self.endpoint(f"{format_ip(addr)}:{port}")

    def endpoint(self, text: str) -> str:
        """Write an endpoint given as ADDRESS:PORT, with the pod's name where the state knows it."""
        addr, _, port = text.rpartition(":")
        addr = addr.strip("[]")
        shown = f"[{addr}]:{port}" if ":" in addr else text
        owner = self.owner_of(addr)
        return f"endpoint {shown} ({owner})" if owner else f"endpoint {shown}"
