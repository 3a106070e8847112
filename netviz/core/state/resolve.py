"""Joins between links: the ends of pairs and lower devices, proved or said to be unproved.

The kernel tells a link's peer as (IFLA_LINK, IFLA_LINK_NETNSID): an ifindex, and a number that only
the link's own namespace understands. Two things make a naive join wrong: IFLA_LINK is left out when
the peer has the same ifindex (rtnl_fill_link_netnsid and nla_put_iflink in net/core/rtnetlink.c:
it is put only if it differs from the ifindex, or a netnsid goes with it), and an ifindex alone
exists in every namespace. So a peer counts as proved only when each end names the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import Link
from netviz.core.state.node import NetnsState, NodeState

PROVED = "proved"
UNRESOLVED = "unresolved"
AMBIGUOUS = "ambiguous"
# Links that come in pairs, each end of which names the other.
PAIR_KINDS = ("veth", "netkit")
# Links that lie over another one.
UPPER_KINDS = ("macvlan", "macvtap", "ipvlan", "ipvtap", "vlan")


class Peer(msgspec.Struct, frozen=True, gc=False):
    """The other end of a pair. `state` is proved, unresolved or ambiguous; `key` is None unless proved."""

    state: str
    key: LinkKey | None = None
    reason: str = ""


def _target(ns: NetnsState, link: Link) -> NetnsKey | None:
    """The namespace in which `link`'s IFLA_LINK counts, or None when its nsid isn't mapped."""
    if link.link_nsid is None:
        return ns.key
    return next((key for nsid, key in ns.netns.nsids if nsid == link.link_nsid), None)


def _peer_ifindex(link: Link) -> int:
    return link.link or link.ifindex


def _points_back(node: NodeState, peer: LinkKey, link: LinkKey) -> bool:
    """Tell whether `peer` is the same kind of pair, and its own words name `link`, or at least don't contradict it."""
    ns = node.netns[peer.netns]
    other = ns.links.get(peer.ifindex)
    kind = node.netns[link.netns].links[link.ifindex].kind
    if other is None or other.kind != kind or kind not in PAIR_KINDS or _peer_ifindex(other) != link.ifindex:
        return False
    return _target(ns, other) == link.netns


def resolve_peer(node: NodeState, key: LinkKey) -> Peer:
    """Find the other end of the pair that `key` is one of.

    Raises: KeyError when the node has no such link.
    """
    ns = node.netns[key.netns]
    link = ns.links[key.ifindex]
    target = _target(ns, link)
    if link.link_nsid is None and link.link in (0, link.ifindex):
        return Peer(UNRESOLVED, None, "the kernel names no peer namespace")
    if target is not None:
        if target not in node.netns:
            return Peer(UNRESOLVED, None, f"namespace {target} was not collected")
        peer = LinkKey(target, _peer_ifindex(link))
        if _points_back(node, peer, key):
            return Peer(PROVED, peer)
        return Peer(UNRESOLVED, None, f"no {link.kind} {peer.ifindex} in {target} points back")
    back = [
        candidate
        for other in node.netns
        if other != key.netns
        for candidate in (LinkKey(other, _peer_ifindex(link)),)
        if _points_back(node, candidate, key)
    ]
    if len(back) > 1:
        return Peer(AMBIGUOUS, None, f"{len(back)} links could be the peer")
    return Peer(UNRESOLVED, None, f"nsid {link.link_nsid} is not mapped to a namespace")


def resolve_lower(node: NodeState, key: LinkKey) -> LinkKey | None:
    """Find the lower device of a macvlan, ipvlan or vlan link, perhaps in another namespace."""
    ns = node.netns[key.netns]
    link = ns.links[key.ifindex]
    target = _target(ns, link)
    if not link.link or target is None or target not in node.netns:
        return None
    lower = LinkKey(target, link.link)
    return lower if node.link(lower) is not None else None


def pairs(node: NodeState) -> Iterator[LinkKey]:
    """Every end of a pair on the node, in no promised order."""
    for ns_key, ns in node.netns.items():
        for ifindex, link in ns.links.items():
            if link.kind in PAIR_KINDS:
                yield LinkKey(ns_key, ifindex)


def resolve_node(node: NodeState) -> Mapping[LinkKey, Peer]:
    """Resolve every pair of a node: link -> peer."""
    return {key: resolve_peer(node, key) for key in pairs(node)}
