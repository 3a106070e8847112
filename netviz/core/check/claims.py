"""Who has which address: the table that checks ask for it.

What counts as a claim is chosen so that a problem is always one:
- A pod's address is the one on its `eth0`, the name that container runtimes give to the link they report; its
  further links may belong to networks of their own, where addresses repeat by right.
- Link-local and loopback addresses, and addresses of narrower scope than global, are nobody's claim; nor are the
  node's ends of the pods' veths (gateways that are the same everywhere).
- What a node has on its loopback and on dummy links are service addresses, which are the same on every node: they count
  where a pod has the address too.
- A namespace that could not be entered is known only through its veth. As soon as it is known by itself as well, its
  addresses are seen twice for a moment: those of a link with the same MAC are one claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from netviz.core.check.fact import Table
from netviz.core.check.wiring import POD_LINK, Wiring, global_addr, is_loopback
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.model.netns import Netns
from netviz.core.sim.node_index import outside
from netviz.core.state.node import NetnsState

Rank = Literal["pod", "node", "service", "other"]


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A link's claim to an address: a pod's, a node's, a node's by a link that carries services' addresses, another's."""

    rank: Rank
    netns: Netns
    link: Link

    @property
    def key(self) -> LinkKey:
        """The link's identity."""
        return LinkKey(self.netns.key, self.link.ifindex)


def _claims_of(ns: NetnsState, wiring: Wiring) -> Iterator[tuple[bytes, Claim]]:
    root = ns.netns.root
    pod = ns.netns.pod is not None and not root
    named = pod and any(link.ifname == POD_LINK for link in ns.links.values())
    for addr in ns.addrs.values():
        link = ns.links.get(addr.ifindex)
        if link is None or not global_addr(addr):
            continue
        rank: Rank = "pod" if pod else "node" if root else "other"
        if is_loopback(link) or link.kind == "dummy":
            if not root:
                continue
            rank = "service"
        elif link.ifname != POD_LINK if named else root and _leads_to_a_pod(wiring, link):
            continue
        yield addr.addr, Claim(rank, ns.netns, link)


def _leads_to_a_pod(wiring: Wiring, link: Link) -> bool:
    return link.ifindex in wiring.pairs and not wiring.leads_on(link.ifindex)


def _build(wiring: Wiring) -> dict[bytes, tuple[Claim, ...]]:
    """Map each address that a node's namespaces claim to the claims, by link."""
    found: dict[bytes, tuple[Claim, ...]] = {}
    spaces = wiring.node.netns
    for key in sorted(spaces, key=lambda key: (outside(key), key)):
        if key in wiring.beyond:
            continue
        for addr, claim in _claims_of(spaces[key], wiring):
            known = found.get(addr, ())
            if outside(key) and any(claim.link.mac == other.link.mac for other in known):
                continue
            if claim not in known:
                found[addr] = (*known, claim)
    return found


CLAIMS: Table[tuple[Claim, ...]] = Table("claims", ("links", "addrs", "routes"), _build)
