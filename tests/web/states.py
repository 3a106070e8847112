"""States to show and trace, built of records: no kernel, no lab."""

from __future__ import annotations

import itertools
import time

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Addr, Nexthop, Route
from netviz.core.model.link import IFF_LOOPBACK, IFF_LOWER_UP, IFF_UP, BridgePort, Link
from netviz.core.model.netns import Netns, Pod
from netviz.core.state.delta import NodeDelta, section_of
from netviz.core.state.node import NetnsState, NodeState, SectionStatus
from netviz.ingest.store import Position, Store

UP = IFF_UP | IFF_LOWER_UP
NOW_S = 1_700_000_000.0
_seq = itertools.count(1)


def pod_network(pods: int = 2, node: str = "a", third: int = 1) -> NodeState:
    """A node with a bridge and pods: root (eth0, cni0, veths) and one namespace for each pod."""
    root = NetnsKey(node, 4, 1)
    found, nsids = [], []
    root_links = [
        Link(1, "lo", flags=UP | IFF_LOOPBACK, mac=b"\0" * 6),
        Link(2, "eth0", flags=UP, operstate=6, mac=b"\x02\0\0\0\0\x01"),
        Link(3, "cni0", kind="bridge", flags=UP, operstate=6),
    ]
    for number in range(pods):
        key = NetnsKey(node, 4, 10 + number)
        index = 100 + number
        nsids.append((number, key))
        root_links.append(
            Link(
                index,
                f"veth{number}",
                "veth",
                flags=UP,
                master=3,
                link=2,
                link_nsid=number,
                port=BridgePort(),
            )
        )
        found.append(
            NetnsState(
                Netns(key, pod=Pod(f"web-{number}", "default"), nsids=((0, root),)),
                links=section_of(
                    [
                        Link(1, "lo", flags=UP | IFF_LOOPBACK),
                        Link(2, "eth0", "veth", flags=UP, link=index, link_nsid=0),
                    ]
                ),
                addrs=section_of([Addr(2, pack_ip(f"10.1.{third}.{2 + number}"), 24)]),
            )
        )
    hop = Nexthop(oif=2, gateway=pack_ip(f"192.168.0.{2 if third == 1 else 1}"))
    top = NetnsState(
        Netns(root, root=True, nsids=tuple(nsids)),
        links=section_of(root_links),
        addrs=section_of(
            [Addr(2, pack_ip(f"192.168.0.{third}"), 24), Addr(3, pack_ip(f"10.1.{third}.1"), 24)]
        ),
        routes=section_of([Route(254, pack_ip(f"10.1.{2 if third == 1 else 1}.0"), 24, nexthops=(hop,))]),
    )
    status = {"links": SectionStatus(1.0), "addrs": SectionStatus(1.0)}
    return NodeState(node, "6.18", netns={ns.key: ns for ns in (top, *found)}, status=status)


def show(store: Store, state: NodeState, connected: bool = True, silent_s: float = 0.0) -> None:
    """Take a node's state into a store as a snapshot, from a collector that has been silent since."""
    at_s = time.time() - silent_s
    store.set_connected(state.node, connected, at_s)
    store.replace(state, Position(1, next(_seq)), at_s)


def change(store: Store, node: str, delta: NodeDelta) -> None:
    """Fold a change into a store."""
    store.fold(node, delta, Position(1, next(_seq)), time.time())


def with_addr(state: NodeState, ino: int, ifindex: int, addr: str, **fields: int) -> NodeState:
    """A node with one more address in a namespace."""
    key = NetnsKey(state.node, 4, ino)
    ns = state.netns[key]
    more = Addr(ifindex, pack_ip(addr), 24, **fields)
    new = msgspec.structs.replace(ns, addrs={**ns.addrs, more.key: more})
    return msgspec.structs.replace(state, netns={**state.netns, key: new})


def with_link(state: NodeState, ino: int, link: Link) -> NodeState:
    """A node with one more link, or another one in its place."""
    key = NetnsKey(state.node, 4, ino)
    ns = state.netns[key]
    new = msgspec.structs.replace(ns, links={**ns.links, link.ifindex: link})
    return msgspec.structs.replace(state, netns={**state.netns, key: new})
