"""Small pieces of sentences that several checks write."""

from __future__ import annotations

from collections.abc import Iterable

from netviz.core.check.problem import Affects, Command, Where
from netviz.core.check.wiring import name_of
from netviz.core.model.link import Link
from netviz.core.model.netfilter import NFPROTO_NAMES, NftChain
from netviz.core.model.netns import Netns
from netviz.core.plain import counted as counted
from netviz.core.plain import joined as joined
from netviz.core.plain import quoted, runnable
from netviz.core.sim.trace import place_of

MAX_PODS = 100


def not_watched(cluster: str) -> str:
    """Say why what a cluster's API says may not be so any more."""
    return f"the API of cluster {cluster} isn't watched"


def affects(pods: Iterable[str], pairs: int = 0) -> Affects:
    """Name the pods that a problem affects, as many as a list may hold."""
    every = sorted(set(pods) - {""})
    return Affects(pairs, tuple(every[:MAX_PODS]), max(len(every) - MAX_PODS, 0))


def place(netns: Netns, link: Link | None = None) -> Where:
    """The place of a cause: a namespace, or a link in it."""
    dev = link.ifname if link is not None else ""
    return Where(netns.key.node, name_of(netns), dev, str(netns.key))


def command(netns: Netns, text: str) -> Command:
    """A command that is run in a namespace, as it is written on the node outside of it."""
    return Command(netns.key.node, name_of(netns), place_of(netns).enter + runnable(text))


def chain_listing(chain: NftChain, legacy: bool) -> str:
    """The command that lists a netfilter chain; `legacy`: one of a legacy xtables table."""
    family = NFPROTO_NAMES[chain.family]
    if legacy:
        tool = "ip6tables-legacy" if family == "ip6" else "iptables-legacy"
        return f"{tool} -t {quoted(chain.table)} -S {quoted(chain.name)}"
    return f"nft list chain {family} {quoted(chain.table)} {quoted(chain.name)}"
