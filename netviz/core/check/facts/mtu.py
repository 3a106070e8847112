"""Whether the MTU shrinks where nobody tells the sender: at a veth, on a bridge, on the wire, under a tunnel.

        pod 1500 --- 1400 vethX      what the pod sends is lost at vethX, silently
        pod 1450 --- 1450 vethX      on a bridge with ports of 1500: their pods' large datagrams are lost at vethX

Where a router makes the difference (pod 1500, the node's uplink 1450) the sender is told by ICMP: that works, as long
as nothing drops the message, and is a risk. IPv6 relies on these messages by design, and flannel gives its IPv6 tunnel
a smaller MTU than pods have: it isn't held to this.

Source: include/linux/netdevice.h, __is_skb_forwardable; drivers/net/veth.c, veth_forward_skb; net/bridge/br_forward.c,
br_dev_queue_push_xmit (Linux 6.18).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Affects, Command, Problem, Where
from netviz.core.check.text import affects, command, counted, joined, place
from netviz.core.check.wiring import Pair, Wiring, global_addr
from netviz.core.model.addr import format_prefix, mask_ip
from netviz.core.model.link import Link, TunnelInfo, VxlanInfo
from netviz.core.plain import quoted
from netviz.core.sim.encap.spec import GENEVE_OVERHEAD4, GENEVE_OVERHEAD6, overhead_of
from netviz.core.sim.node_index import TUNNEL_KINDS
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

NEEDS = ("links", "addrs", "routes")
# A VXLAN device's outer IP, UDP and VXLAN headers and the inner Ethernet header.
VXLAN_OVERHEAD = {4: 50, 16: 70}
Segment = tuple[bytes, int]
# Ifname, MTU, the largest MTU of the node's pods, the pods.
OnSegment = tuple[str, int, int, tuple[str, ...]]


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    for pair in look.wiring.pairs.values():
        look.judged += 1
        if pair.host.mtu != pair.inner.mtu:
            yield _ends_differ(look, root, pair)
    for ifindex, ports in look.wiring.bridged.items():
        bridge, even = root.links.get(ifindex), [pair for pair in ports if pair.host.mtu == pair.inner.mtu]
        if bridge is not None and len({pair.host.mtu for pair in even}) > 1:
            yield _ports_differ(look, root, bridge, even)
        elif bridge is not None and bridge.mtu < (least := min(pair.host.mtu for pair in ports)):
            pods = [pod_name(pair.ns.netns) for pair in ports]
            yield _told_by_icmp(root.key.node, bridge.ifname, bridge.mtu, least, pods)
    for link in root.links.values():
        if link.kind in TUNNEL_KINDS:
            look.judged += 1
            yield from _over_its_wire(look, root, link)
    yield from _pods_over_uplink(look, root)


def _ends_differ(look: Look, root: NetnsState, pair: Pair) -> Problem:
    """The host end is to blame: what CNI plugins and people change is there."""
    host, inner = pair.host, pair.inner
    name = pod_name(pair.ns.netns) or pair.ns.netns.name
    less = min(host.mtu, inner.mtu)
    lost = f"{name} sends" if host.mtu < inner.mtu else f"is sent to {name}"
    return Problem(
        kind="mtu-at-veth",
        cause=f"{root.key}:{host.ifname}",
        severity="error",
        harm="breaks traffic",
        headline=f"{host.ifname} on {root.key.node} has MTU {host.mtu}, but {inner.ifname} of {name}"
        f" at its other end has {inner.mtu}",
        consequence=f"Packets of more than {less} bytes that {lost} are lost without an error; small ones pass.",
        where=place(root.netns, host),
        affects=affects([pod_name(pair.ns.netns)]),
        check=(
            command(root.netns, f"ip link show {quoted(host.ifname)}"),
            command(pair.ns.netns, f"ip link show {quoted(inner.ifname)}"),
        ),
        fix=(command(root.netns, f"ip link set {quoted(host.ifname)} mtu {inner.mtu}"),),
        rests_on=look.rests_on(),
    )


def _ports_differ(look: Look, root: NetnsState, bridge: Link, ports: list[Pair]) -> Problem:
    counts = Counter(pair.host.mtu for pair in ports)
    usual = max(counts, key=lambda mtu: (counts[mtu], mtu))
    odd = [pair for pair in ports if pair.host.mtu != usual]
    first = odd[0]
    more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
    names = [pod_name(pair.ns.netns) for pair in odd]
    return Problem(
        kind="mtu-on-bridge",
        cause=f"{root.key}:{bridge.ifname}",
        severity="warning",
        harm="degrades",
        headline=f"{joined(names, 1)} on {root.key.node} has MTU {first.host.mtu}{more}, the other pods on"
        f" {bridge.ifname} have {usual}",
        consequence="A bridge tells no sender what is too large: large datagrams between these pods are lost.",
        where=place(root.netns, first.host),
        affects=affects(names),
        check=(command(root.netns, f"ip link show master {quoted(bridge.ifname)}"),),
        rests_on=look.rests_on(),
    )


def _overhead(link: Link) -> int | None:
    """How many bytes a tunnel puts around what it carries; None where that isn't known."""
    info = link.info
    if isinstance(info, VxlanInfo):
        return VXLAN_OVERHEAD.get(len(info.local or info.remote))
    if isinstance(info, TunnelInfo) and link.kind == "geneve":
        return {4: GENEVE_OVERHEAD4, 16: GENEVE_OVERHEAD6}.get(len(info.remote))
    return overhead_of(link.kind, info) if isinstance(info, TunnelInfo) else None


def _over_its_wire(look: Look, root: NetnsState, link: Link) -> Iterator[Problem]:
    info, overhead = link.info, _overhead(link)
    if not isinstance(info, VxlanInfo | TunnelInfo) or overhead is None or link.link_nsid is not None:
        return
    lower = root.links.get(info.link) or _holder(root, info.local)
    if lower is None or link.mtu + overhead <= lower.mtu:
        return
    fits = lower.mtu - overhead
    yield Problem(
        kind="mtu-under-tunnel",
        cause=f"{root.key}:{link.ifname}",
        severity="error",
        harm="degrades",
        headline=f"{link.ifname} on {root.key.node} has MTU {link.mtu}, but {lower.ifname} below it"
        f" has room for {fits}",
        consequence=f"The tunnel adds {overhead} bytes: packets of more than {fits} bytes are fragmented or lost.",
        where=place(root.netns, link),
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
        check=(command(root.netns, f"ip -d link show {quoted(link.ifname)}"),),
        fix=(command(root.netns, f"ip link set {quoted(link.ifname)} mtu {fits}"),),
        rests_on=look.rests_on(),
    )


def _holder(root: NetnsState, addr: bytes) -> Link | None:
    found = next((one for one in root.addrs.values() if addr and one.addr == addr), None)
    return root.links.get(found.ifindex) if found is not None else None


def _pods_over_uplink(look: Look, root: NetnsState) -> Iterator[Problem]:
    """Compare the pods' MTU with that of the tunnels by which IPv4 leaves for other nodes' pods."""
    for ifindex, link in root.links.items():
        if link.kind in TUNNEL_KINDS and look.wiring.leads_on(ifindex, 4):
            larger = [pair for pair in look.wiring.pairs.values() if pair.inner.mtu > link.mtu]
            if larger:
                most = max(pair.inner.mtu for pair in larger)
                pods = [pod_name(pair.ns.netns) for pair in larger]
                yield _told_by_icmp(root.key.node, link.ifname, link.mtu, most, pods)


def _told_by_icmp(node: str, dev: str, mtu: int, most: int, pods: list[str]) -> Problem:
    return Problem(
        kind="mtu-at-router",
        cause=f"{node}:{dev}",
        severity="warning",
        harm="at risk",
        headline=f"{dev} on {node} has MTU {mtu}, the node's pods have {most}",
        consequence="Who sends too much is told by ICMP: where that is dropped, large packets are lost.",
        where=Where(node, "", dev),
        affects=affects(pods),
        check=(Command(node, "", f"ip link show {quoted(dev)}"),),
        rests_on=rests_on((node,), NEEDS),
    )


def _segments(wiring: Wiring) -> dict[Segment, OnSegment]:
    """Map the subnets of a node's wires to the link with the address, and its MTU."""
    root = wiring.root
    if root is None:
        return {}
    most = max((pair.inner.mtu for pair in wiring.pairs.values()), default=0)
    pods = tuple(pod_name(pod.netns) for pod in wiring.pods)
    tops = {root.links[ifindex].master or ifindex for ifindex in wiring.wires}
    return {
        (mask_ip(addr.addr, addr.prefixlen), addr.prefixlen): (link.ifname, link.mtu, most, pods)
        for addr in root.addrs.values()
        if addr.ifindex in tops and global_addr(addr) and addr.prefixlen < len(addr.addr) * 8 - 1
        for link in (root.links.get(addr.ifindex),)
        if link is not None
    }


def _judge(key: Hashable, held: list[tuple[str, OnSegment]]) -> Iterator[Problem]:
    assert isinstance(key, tuple)
    net, length = key
    counts = Counter(mtu for _, (_, mtu, _, _) in held)
    usual = max(counts, key=lambda mtu: (counts[mtu], mtu))
    for node, (dev, mtu, most, mine) in held:
        if mtu != usual:
            others = [pod for name, one in held if name != node for pod in one[3]]
            reach = affects((*mine, *others), pairs=len(mine) * len(others))
            segment = format_prefix(net, length)
            yield _odd_on_wire(node, dev, mtu, usual, segment, counts[usual], reach)
        elif mtu < most and len(net) == 4:
            yield _told_by_icmp(node, dev, mtu, most, [])


def _odd_on_wire(
    node: str, dev: str, mtu: int, usual: int, segment: str, others: int, reach: Affects
) -> Problem:
    smaller, to = min(mtu, usual), node if mtu < usual else "the others"
    return Problem(
        kind="mtu-on-wire",
        cause=f"{node}:{dev}",
        severity="error",
        harm="breaks traffic",
        headline=f"{dev} on {node} has MTU {mtu}, {counted(others, 'other node')} on {segment}"
        f" {'has' if others == 1 else 'have'} {usual}",
        consequence=f"What is sent to {to} in packets of more than {smaller} bytes may be lost without an error.",
        where=Where(node, "", dev),
        certainty="likely",
        affects=reach,
        check=(Command(node, "", f"ip link show {quoted(dev)}"),),
        fix=(Command(node, "", f"ip link set {quoted(dev)} mtu {usual}"),),
        rests_on=rests_on((node,), NEEDS),
    )


FACT = Fact(
    name="MTU",
    demands="Nothing on a path takes less than what is sent to it, without the sender being told.",
    unit="links",
    kinds=("mtu-at-veth", "mtu-on-bridge", "mtu-under-tunnel", "mtu-at-router", "mtu-on-wire"),
    needs=NEEDS,
    find=_find,
    table=Table("segments", ("netns", *NEEDS), _segments),
    across=_judge,
)
