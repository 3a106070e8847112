"""Which links of a node may look different after a change.

A link's object depends on its own record and addresses, and, for a veth, on whether its peer names it in
turn. So beside the links that changed, those are suspect that a changed link named before or names now:
whether anyone else is proved to be a peer cannot have changed. A macvlan, ipvlan or vlan link depends
besides on whether its lower device is there: when any link came or went, all of these are suspect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import Link
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.resolve import PAIR_KINDS, UPPER_KINDS
from netviz.topology.graph import changed_keys


def changed_netns(old: NodeState, new: NodeState) -> list[NetnsKey]:
    """List the namespaces that came, went, or changed in anything that the graph shows."""
    return [
        key for key in changed_keys(old.netns, new.netns) if _matters(old.netns.get(key), new.netns.get(key))
    ]


def suspect_links(old: NodeState, new: NodeState, changed: Sequence[NetnsKey]) -> dict[LinkKey, None]:
    """The links whose objects may differ because these namespaces changed."""
    found: dict[LinkKey, None] = {}
    for key in changed:
        found.update(dict.fromkeys(_suspects(old.netns.get(key), new.netns.get(key))))
    if any(_came_or_went(old.netns.get(key), new.netns.get(key)) for key in changed):
        found.update(dict.fromkeys(_uppers(new)))
    return found


def _came_or_went(old: NetnsState | None, new: NetnsState | None) -> bool:
    was, now = (ns.links if ns is not None else {} for ns in (old, new))
    return was.keys() != now.keys()


def _uppers(node: NodeState) -> Iterator[LinkKey]:
    for key, ns in node.netns.items():
        for ifindex, link in ns.links.items():
            if link.kind in UPPER_KINDS:
                yield LinkKey(key, ifindex)


def _matters(old: NetnsState | None, new: NetnsState | None) -> bool:
    """Tell whether a namespace changed in anything that the graph shows."""
    if old is None or new is None:
        return True
    return any(
        getattr(old, part) is not getattr(new, part)
        for part in ("netns", "links", "addrs", "routes", "refused")
    )


def _suspects(old: NetnsState | None, new: NetnsState | None) -> Iterator[LinkKey]:
    """Links whose objects may differ because one namespace changed from `old` to `new`."""
    was, now = (ns.links if ns is not None else {} for ns in (old, new))
    old_nsids, new_nsids = (dict(ns.netns.nsids) if ns is not None else {} for ns in (old, new))
    touched = set(changed_keys(was, now))
    if old is not None and new is not None:
        touched.update(key[0] for key in changed_keys(old.addrs, new.addrs))
        if old_nsids != new_nsids:
            touched.update(
                index
                for index, link in now.items()
                if link.link_nsid is not None
                and old_nsids.get(link.link_nsid) != new_nsids.get(link.link_nsid)
            )
    for index in touched:
        for ns, nsids in ((old, old_nsids), (new, new_nsids)):
            if ns is not None and (link := ns.links.get(index)) is not None:
                yield LinkKey(ns.key, index)
                if (named := _named(ns, link, nsids)) is not None:
                    yield named


def _named(ns: NetnsState, link: Link, nsids: Mapping[int, NetnsKey]) -> LinkKey | None:
    """The link that a veth names as its peer, by its own words."""
    if link.kind not in PAIR_KINDS:
        return None
    target = ns.key if link.link_nsid is None else nsids.get(link.link_nsid)
    return None if target is None else LinkKey(target, link.link or link.ifindex)
