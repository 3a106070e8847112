"""The pod network's contract, as far as state alone proves that it is broken.

Every pod has an address of its own. A *claim* is an address that a link of some namespace carries;
`Claims` indexes them over all nodes, so that a change of one node costs only that node's claims.

What counts as a claim is chosen so that an alert is always true:
- A pod's address is the one on its `eth0`, the name that container runtimes give to the link they
  report; its further links may belong to networks of their own, where addresses repeat by right.
- Loopback links, link-local and loopback addresses, and addresses of narrower scope than global
  are nobody's claim; neither are dummy links, which carry service addresses on every node alike
  (kube-ipvs0, a node-local DNS cache), nor the node's ends of the pods' veths (gateways that are
  the same everywhere).
- Nodes may repeat each other's addresses (every docker0 is 172.17.0.1): that is an alert only when
  a pod has the address too. Namespaces that are no pod's are compared within their node only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import RT_SCOPE_UNIVERSE, Addr
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.state.node import NetnsState, NodeState
from netviz.topology.graph import Alert

POD_LINK = "eth0"


class AddressClaim(msgspec.Struct, frozen=True, order=True, gc=False):
    """A link's claim to an address. `rank` is "pod", "node" or "other"; `who` names it for people."""

    rank: str
    link: LinkKey
    who: str


def global_addr(addr: Addr) -> bool:
    """Tell whether an address is meant to be unique beyond its link."""
    return addr.scope == RT_SCOPE_UNIVERSE and not (
        addr.addr[:1] == b"\x7f" or addr.addr[:2] == b"\xa9\xfe"
        if len(addr.addr) == 4
        else _v6_local(addr.addr)
    )


def _v6_local(addr: bytes) -> bool:
    return (addr[0] == 0xFE and addr[1] & 0xC0 == 0x80) or addr == b"\0" * 15 + b"\x01"


def claims_of(ns: NetnsState, pod_side: Mapping[LinkKey, bool]) -> Iterator[tuple[bytes, AddressClaim]]:
    """Yield (address, claim) of a namespace. `pod_side` tells of the root's veths whether they lead to a pod."""
    rank = "node" if ns.netns.root else "pod" if ns.netns.pod else "other"
    named = any(link.ifname == POD_LINK for link in ns.links.values())
    for addr in ns.addrs.values():
        link = ns.links.get(addr.ifindex)
        if link is None or not global_addr(addr) or link.flags & IFF_LOOPBACK or link.kind == "dummy":
            continue
        key = LinkKey(ns.key, link.ifindex)
        if rank == "node" and pod_side.get(key, False):
            continue
        if rank == "pod" and named and link.ifname != POD_LINK:
            continue
        yield addr.addr, AddressClaim(rank, key, _who(ns, link))


def _who(ns: NetnsState, link: Link) -> str:
    node = ns.key.node
    if ns.netns.root:
        return f"node {node} ({link.ifname})"
    pod = ns.netns.pod
    if pod is not None:
        return f"pod {pod.namespace}/{pod.name} on {node}"
    return f"namespace {ns.netns.name or ns.key.ino} on {node}"


def duplicate(addr: bytes, claims: Iterable[AddressClaim]) -> Alert | None:
    """Judge one address; None when nobody else's claim collides with it."""
    everyone = sorted(claims)
    per_node: dict[str, set[str]] = {}
    for claim in everyone:
        if claim.rank != "node":
            per_node.setdefault(claim.link.netns.node, set()).add(str(claim.link.netns))
    pods = any(claim.rank == "pod" for claim in everyone)
    guilty = [
        claim
        for claim in everyone
        if claim.rank == "pod"
        or (claim.rank == "node" and pods)
        or (claim.rank == "other" and len(per_node[claim.link.netns.node]) > 1)
    ]
    namespaces = tuple(dict.fromkeys(str(claim.link.netns) for claim in guilty))
    if len(namespaces) < 2:
        return None
    text = format_ip(addr)
    who = list(dict.fromkeys(claim.who for claim in guilty))
    return Alert(
        key=f"duplicate-address:{text}",
        kind="duplicate-address",
        severity="error",
        message=f"{text} is the address of {', '.join(who[:-1])} and {who[-1]}",
        addr=text,
        netns=namespaces,
        links=tuple(str(claim.link) for claim in guilty),
        nodes=tuple(dict.fromkeys(claim.link.netns.node for claim in guilty)),
    )


class Claims:
    """Who claims which address, over all nodes."""

    def __init__(self) -> None:
        self._by_addr: dict[bytes, dict[AddressClaim, None]] = {}

    def step(
        self, gone: Iterable[tuple[bytes, AddressClaim]], come: Iterable[tuple[bytes, AddressClaim]]
    ) -> set[bytes]:
        """Take claims away and add others; return the addresses to judge again."""
        touched = set()
        for addr, claim in gone:
            claims = self._by_addr[addr]
            del claims[claim]
            if not claims:
                del self._by_addr[addr]
            touched.add(addr)
        for addr, claim in come:
            self._by_addr.setdefault(addr, {})[claim] = None
            touched.add(addr)
        return touched

    def judge(self, addr: bytes) -> Alert | None:
        """The alert about an address, or None."""
        claims = self._by_addr.get(addr, {})
        return duplicate(addr, claims) if len(claims) > 1 else None


def no_uplink(node: NodeState, ns: NetnsState) -> Alert | None:
    """Say so when a pod's namespace surely has no link to the outside that could carry a packet."""
    pod = ns.netns.pod
    status = node.status.get("links")
    if pod is None or ns.netns.root or status is None or not status.whole:
        return None
    if any(gap.section == "links" for gap in ns.gaps):
        return None
    if any(link.up and link.carrier for link in ns.links.values() if not link.flags & IFF_LOOPBACK):
        return None
    return Alert(
        key=f"no-uplink:{ns.key}",
        kind="no-uplink",
        severity="warning",
        message=f"pod {pod.namespace}/{pod.name} on {ns.key.node} has no link that is up with carrier",
        addr=None,
        netns=(str(ns.key),),
        links=(),
        nodes=(ns.key.node,),
    )


def not_understood(node: str) -> Alert:
    """Say of a node whose state could not be worked out that no check covers it."""
    return Alert(
        key=f"not-understood:{node}",
        kind="not-understood",
        severity="error",
        message=f"node {node} is not understood: none of it is shown, and it is in no check of addresses or pod CIDRs",
        addr=None,
        netns=(),
        links=(),
        nodes=(node,),
    )


def overlapping_cidrs(cidrs: Mapping[str, Iterable[str]]) -> Iterator[Alert]:
    """Yield an alert for each pod CIDR that overlaps another node's: node -> its CIDRs, as text.

    A CIDR is named beside one other only, so that n nodes with the same one give n - 1 alerts.
    """
    nets = sorted(
        ((ipaddress.ip_network(cidr), node) for node, texts in cidrs.items() for cidr in texts),
        key=lambda item: (item[0].version, item[0].network_address, item[0].prefixlen, item[1]),
    )
    around: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, str]] = []
    for net, node in nets:
        around = [(o, n) for o, n in around if o.version == net.version and o.overlaps(net)]
        other, owner = next(((o, n) for o, n in around if n != node), (None, ""))
        if other is not None:
            yield Alert(
                key=f"overlapping-pod-cidrs:{node}:{net}",
                kind="overlapping-pod-cidrs",
                severity="warning",
                message=f"the pod CIDR {net} of {node} overlaps {other} of {owner}",
                addr=None,
                netns=(),
                links=(),
                nodes=(node, owner),
            )
        if not around or owner == "":
            around.append((net, node))
