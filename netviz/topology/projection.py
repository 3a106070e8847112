"""From one node's state to what every page is told of it, and to what crosses nodes.

`project_node` works out a node's part; given the part that it made of an earlier state, it looks only at
what isn't the same object any more. What only a page that watches the node needs is node_detail.py's.
`projector.py` puts the nodes together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from netviz.core.check.wiring import global_addr
from netviz.core.model.addr import format_prefix, mask_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.l3 import Addr, Route
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.pods import condition, zone_of
from netviz.core.state.resolve import PAIR_KINDS, resolve_peer
from netviz.core.state.section import EMPTY
from netviz.topology.graph import GapObject, KubeNodeObject, SubnetObject, changed_keys
from netviz.topology.objects import addr_order, cidr
from netviz.topology.suspects import changed_netns, suspect_links

# Labels that each node has for itself.
OWN_LABELS = frozenset(("kubernetes.io/hostname",))
MAX_LABELS = 16


class Uplinks(msgspec.Struct, frozen=True, gc=False):
    """The links by which a node reaches gateways, and the routes that say so: what leads to a pod has none behind it."""

    routes: Mapping[Any, Route] = EMPTY
    links: frozenset[int] = frozenset()


class NodePart(msgspec.Struct, frozen=True, gc=False):
    """One node's part, before what crosses nodes.

    `peers` are the proved far ends of the veths in the node's own namespace, by their ifindex. `beyond` are
    namespaces that aren't the node's: they were never entered, and are known only by the far end of the veth
    that the node itself hangs on. `pods` names the pods, as `namespace/name`; `namespace` is the one that most of them are in, None without any.
    `owned` are the addresses by which other nodes' gateways may know the node. `complete` and `gaps` are the state's. With a `fault` the state could not be worked out, and the part is empty.
    """

    state: NodeState
    root: NetnsKey | None = None
    peers: Mapping[int, LinkKey] = EMPTY
    uplinks: Uplinks = Uplinks()
    beyond: frozenset[NetnsKey] = frozenset()
    pods: Mapping[NetnsKey, str] = EMPTY
    addrs: tuple[str, ...] = ()
    owned: frozenset[bytes] = frozenset()
    subnets: tuple[SubnetObject, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    kube: KubeNodeObject | None = None
    namespace: str | None = None
    complete: bool = False
    gaps: tuple[GapObject, ...] = ()
    fault: str | None = None

    def shows_as(self, other: NodePart) -> bool:
        """Tell, by what is the same object in both, whether a page is told the same of the node."""
        return (
            self.pods is other.pods
            and self.addrs is other.addrs
            and self.subnets is other.subnets
            and self.pod_cidrs is other.pod_cidrs
            and self.kube is other.kube
            and self.gaps is other.gaps
            and self.complete == other.complete
            and self.fault == other.fault
            and self.state.kernel == other.state.kernel
        )


def project_node(state: NodeState, old: NodePart | None = None) -> NodePart:
    """Make a node's part, from scratch or from the part of an earlier state."""
    if old is None:
        old = NodePart(NodeState(state.node))
    if old.state is state:
        return old
    root = state.root
    changed = changed_netns(old.state, state)
    suspects = suspect_links(old.state, state, changed)
    peers = _follow_peers(state, root, old, suspects)
    uplinks = Uplinks() if root is None else _uplinks(root, old.uplinks)
    beyond = frozenset(
        peer.netns
        for index in uplinks.links
        if (peer := peers.get(index)) is not None and peer.netns.dev == 0
    )
    looked_at = dict.fromkeys(changed)
    looked_at |= dict.fromkeys(key for key in beyond ^ old.beyond)
    if root is not None and (peers is not old.peers):
        looked_at[root.key] = None
    pods = _follow_pods(state, old, looked_at, beyond)
    told = _told(state) if old.root is None or _may_differ(old.state, state, changed) else {}
    part = msgspec.structs.replace(
        old,
        state=state,
        root=root.key if root is not None else None,
        peers=peers,
        uplinks=uplinks,
        beyond=beyond,
        pods=pods,
        namespace=old.namespace if pods is old.pods else _main_namespace(pods.values()),
        kube=old.kube if old.state.objects is state.objects else _kube(state),
        **told,
    )
    if root is None:
        return msgspec.structs.replace(part, addrs=(), subnets=(), owned=frozenset(), pod_cidrs=())
    if root.key in looked_at and not _is_same_for_facts(old, part):
        return msgspec.structs.replace(part, **_node_facts(root, _PodSide(root, peers, uplinks.links)))
    return part


def _told(state: NodeState) -> dict[str, Any]:
    """How far a state can be trusted, as a part has it."""
    gaps = tuple(GapObject(section, reason) for section, reason in state.gaps.items())
    return {"complete": state.complete, "gaps": gaps}


def _may_differ(old: NodeState, new: NodeState, changed: Iterable[NetnsKey]) -> bool:
    """Tell whether that may be another one than before."""
    if old.status is not new.status or old.objects.refused is not new.objects.refused:
        return True
    pairs = ((old.netns.get(key), new.netns.get(key)) for key in changed)
    return any((was.refused if was else EMPTY) is not (now.refused if now else EMPTY) for was, now in pairs)


def _follow_pods(
    state: NodeState, old: NodePart, looked_at: Iterable[NetnsKey], beyond: Collection[NetnsKey]
) -> Mapping[NetnsKey, str]:
    """The pods' names; the old mapping itself where none is another one."""
    changes: dict[NetnsKey, str | None] = {}
    for key in looked_at:
        ns = state.netns.get(key)
        pod = ns.netns.pod if ns is not None and key not in beyond else None
        name = f"{pod.namespace}/{pod.name}" if pod is not None else None
        if name != old.pods.get(key):
            changes[key] = name
    if not changes:
        return old.pods
    pods = dict(old.pods)
    for key, name in changes.items():
        _set(pods, key, name)
    return pods


def _main_namespace(pods: Iterable[str]) -> str | None:
    """The namespace that most of these pods (`namespace/name`) are in, of several the first; None without any."""
    counts = Counter(pod.partition("/")[0] for pod in pods)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def _is_same_for_facts(old: NodePart, new: NodePart) -> bool:
    """Tell whether all that a node's addresses and CIDRs are worked out from is as it was."""
    was, now = old.state.root, new.state.root
    if was is None or now is None or was.key != now.key or was.addrs is not now.addrs:
        return False
    if old.peers is not new.peers or old.uplinks.links != new.uplinks.links:
        return False
    return all(
        _for_facts(was.links.get(i)) == _for_facts(now.links.get(i))
        for i in changed_keys(was.links, now.links)
    )


def _for_facts(link: Link | None) -> tuple[object, ...] | None:
    return None if link is None else (link.ifname, link.kind, link.flags & IFF_LOOPBACK, link.master)


def _kube(state: NodeState) -> KubeNodeObject | None:
    """What the API says of a node; None where it doesn't know the node."""
    node = state.objects.kube_nodes.get(state.node)
    if node is None:
        return None
    ready = condition(node.conditions, "Ready")
    labels = {name: node.labels[name] for name in sorted(node.labels) if name not in OWN_LABELS}
    shown = dict(islice(labels.items(), MAX_LABELS))
    return KubeNodeObject(ready, node.unschedulable, zone_of(node), len(state.objects.kube_pods), shown)


def _set(mapping: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _follow_peers(
    state: NodeState, root: NetnsState | None, old: NodePart, suspects: Mapping[LinkKey, None]
) -> Mapping[int, LinkKey]:
    """The proved peers of the own namespace's veths; the old mapping itself where none of them is suspect."""
    if root is None:
        return EMPTY
    known = old.peers if old.root == root.key else EMPTY
    own = [key.ifindex for key in suspects if key.netns == root.key]
    if not own and old.root == root.key:
        return known
    peers = dict(known)
    for index in own:
        link = root.links.get(index)
        paired = link is not None and link.kind in PAIR_KINDS
        _set(peers, index, resolve_peer(state, LinkKey(root.key, index)).key if paired else None)
    return known if peers == known and old.root == root.key else peers


def _uplinks(root: NetnsState, old: Uplinks) -> Uplinks:
    if old.routes is root.routes:
        return old
    links = {hop.oif for route in root.routes.values() for hop in route.nexthops if hop.gateway}
    return Uplinks(root.routes, frozenset(links))


class _PodSide(Mapping[LinkKey, bool]):
    """Tells of a link of the own namespace whether it is a veth whose other end is in a pod, or could be."""

    def __init__(
        self, root: NetnsState | None, peers: Mapping[int, LinkKey], uplinks: frozenset[int]
    ) -> None:
        self._root = root
        self._peers = peers
        self._uplinks = uplinks

    def __getitem__(self, key: LinkKey) -> bool:
        if self._root is None or key.netns != self._root.key:
            raise KeyError(key)
        if key.ifindex in self._uplinks:
            return False
        peer = self._peers.get(key.ifindex)
        return peer is not None and peer.netns != key.netns

    def __iter__(self) -> Iterator[LinkKey]:
        return (LinkKey(self._root.key, index) for index in self._root.links) if self._root else iter(())

    def __len__(self) -> int:
        return len(self._root.links) if self._root else 0


def _subnets(root: NetnsState, addrs: Iterable[Addr]) -> tuple[SubnetObject, ...]:
    """The subnet of each device's first address that has one, by the devices' names."""
    found: dict[str, str] = {}
    for addr in addrs:
        if addr.prefixlen < 8 * len(addr.addr):
            net = format_prefix(mask_ip(addr.addr, addr.prefixlen), addr.prefixlen)
            found.setdefault(root.links[addr.ifindex].ifname, net)
    return tuple(SubnetObject(dev, net) for dev, net in sorted(found.items()))


def _node_facts(root: NetnsState, pod_side: Mapping[LinkKey, bool]) -> dict[str, object]:
    """What a node's own namespace says of the node: its addresses and pod CIDRs."""
    ports: dict[int, set[bool]] = {}
    for port in root.links.values():
        if port.master:
            ports.setdefault(port.master, set()).add(pod_side.get(LinkKey(root.key, port.ifindex), False))
    bridges = {i for i, link in root.links.items() if link.kind == "bridge"}
    pod_bridges = {i for i in bridges if True in ports.get(i, ())} or bridges
    addrs: list[Addr] = []
    cidrs: list[Addr] = []
    owned: set[bytes] = set()
    for addr in root.addrs.values():
        link = root.links.get(addr.ifindex)
        if link is None or not global_addr(addr) or link.flags & IFF_LOOPBACK or link.kind == "dummy":
            continue
        if link.kind in PAIR_KINDS and pod_side.get(LinkKey(root.key, link.ifindex), False):
            continue
        owned.add(addr.addr)
        if addr.ifindex in pod_bridges:
            cidrs.append(addr)
        elif addr.ifindex not in bridges or ports.get(addr.ifindex) == {False}:
            addrs.append(addr)
    nets = {(len(a.addr), mask_ip(a.addr, a.prefixlen), a.prefixlen) for a in cidrs}
    addrs.sort(key=addr_order)
    return {
        "addrs": tuple(cidr(addr) for addr in addrs),
        "subnets": _subnets(root, addrs),
        "owned": frozenset(owned),
        "pod_cidrs": tuple(format_prefix(net, length) for _, net, length in sorted(nets)),
    }
