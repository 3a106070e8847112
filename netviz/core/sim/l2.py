"""Links: how a frame leaves by one and arrives at another."""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import format_mac
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, Link, VlanInfo
from netviz.core.sim import br_netfilter
from netviz.core.sim import bridge as br
from netviz.core.sim.bond import pick_slave
from netviz.core.sim.domain import bridges, programs_on, takers
from netviz.core.sim.netfilter import bridge_hook, check_netdev
from netviz.core.sim.node_index import peer_not_collected, resolve_lower_of, uppers_of, veth_peer
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.run import Ended, Run, Rx, Send
from netviz.core.sim.stray import stray_note
from netviz.core.sim.trace import BRANCH, CERTAIN, Disposition, Recorder
from netviz.core.sim.underlay import Member, holders_of_mac, is_wire, owners
from netviz.core.sim.vxlan import encapsulate
from netviz.core.state.node import NetnsState

ETH_VLAN_SLACK = 4
ETH_P_8021Q = 0x8100
Action = Rx | Send


def xmit(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Transmit a frame on a link, and say where it arrives. `nexthop` is the address it is meant for.

    Source: net/core/dev.c, __dev_queue_xmit (Linux 6.18).
    """
    name = link.ifname
    if not link.up:
        run.drop(
            ns, "link_tx", name, packet, "DEV_READY", f"{name} is down.", command=f"ip link show dev {name}"
        )
    if not link.carrier and not link.flags & IFF_LOOPBACK:
        run.drop(
            ns,
            "link_tx",
            name,
            packet,
            "QDISC_DROP",
            f"{name} has no carrier: its other end is down or gone, so its queue takes nothing.",
            command=f"ip link show dev {name}",
        )
    check_programs(run, ns, link, packet, "link_tx")
    check_netdev(run, ns, link, packet, egress=True)
    if link.flags & IFF_LOOPBACK:
        run.step(ns, "link_tx", name, packet, "loop back", "The destination is this namespace itself.")
        return Rx(LinkKey(ns.key, link.ifindex), packet)
    if link.kind == "veth":
        return _xmit_veth(run, ns, link, packet, nexthop)
    if link.kind == "bridge":
        return _xmit_bridge(run, ns, link, packet, nexthop)
    if link.kind == "macvlan":
        return _xmit_macvlan(run, ns, link, packet, nexthop)
    if link.kind == "vlan":
        return _xmit_vlan(run, ns, link, packet, nexthop)
    if link.kind == "bond":
        return xmit(run, ns, pick_slave(run, ns, link, packet), packet, nexthop)
    if link.kind == "vxlan":
        return encapsulate(run, ns, link, packet)
    if is_wire(run.node(ns.key), LinkKey(ns.key, link.ifindex), link):
        return _xmit_wire(run, ns, link, packet, nexthop)
    kind = link.kind or f"link type {link.arptype}"
    run.unknown(
        ns,
        "opaque",
        name,
        packet,
        f"{kind} device",
        f"{name} is a {kind} device; what it does with the packet is not modelled.",
        command=f"ip -d link show dev {name}",
    )


def check_programs(run: Run, ns: NetnsState, link: Link, packet: Packet, kind: str) -> None:
    """End the walk where a tc or XDP program could do anything with the packet."""
    programs = programs_on(link, receiving=kind == "link_rx")
    if programs:
        what = ", ".join(programs)
        run.unknown(
            ns,
            "opaque",
            link.ifname,
            packet,
            f"{what} on {link.ifname}",
            f"{what} is attached to {link.ifname} and may do anything with the packet.",
            command=f"tc filter show dev {link.ifname} {'ingress' if kind == 'link_rx' else 'egress'}",
        )


def _fits(link: Link, packet: Packet) -> bool:
    """Tell whether a frame fits a device's MTU, with room for a VLAN tag.

    Source: net/core/dev.c, is_skb_forwardable via include/linux/netdevice.h (Linux 6.18).
    """
    return packet.wire_length <= link.mtu + ETH_VLAN_SLACK


def _xmit_veth(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Hand a frame to the veth's other end.

    Source: drivers/net/veth.c, veth_xmit; net/core/dev.c, __dev_forward_skb (Linux 6.18).
    """
    node = run.node(ns.key)
    key = LinkKey(ns.key, link.ifindex)
    peer = veth_peer(node, key)
    if peer.key is None:
        if is_wire(node, key, link):
            return _xmit_wire(run, ns, link, packet, nexthop)
        run.unknown(
            ns,
            "link_tx",
            link.ifname,
            packet,
            f"veth peer {peer.state}",
            f"The other end of {link.ifname} isn't known: {peer.reason}.",
            command=f"ip -d link show dev {link.ifname}",
        )
    other_ns, other = node.netns[peer.key.netns], node.netns[peer.key.netns].links[peer.key.ifindex]
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "cross veth",
        f"{link.ifname} is a veth; its other end is {other.ifname} in {_place(other_ns)}.",
        peer=str(peer.key),
        peer_ifname=other.ifname,
        command=f"ip -d link show dev {link.ifname}",
    )
    if not other.up:
        run.drop(ns, "link_tx", link.ifname, packet, "DEV_READY", f"The other end, {other.ifname}, is down.")
    if not _fits(other, packet):
        run.drop(
            ns,
            "mtu",
            link.ifname,
            packet,
            "PKT_TOO_BIG",
            f"The packet has {packet.wire_length} bytes and the other end, {other.ifname}, takes at most "
            f"{other.mtu}; a veth drops it without a word.",
            mtu=other.mtu,
            length=packet.wire_length,
            kernel_reason="NOT_SPECIFIED",
        )
    return Rx(peer.key, packet.scrubbed(peer.key.netns != ns.key))


def _place(ns: NetnsState) -> str:
    netns = ns.netns
    if netns.pod is not None:
        return f"pod {netns.pod.namespace}/{netns.pod.name}"
    if netns.root:
        return f"node {netns.key.node}"
    return f"namespace {netns.name or netns.key}"


def _xmit_wire(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Put a frame on the wire between nodes: the link with its MAC takes it, or nobody known does."""
    key = LinkKey(ns.key, link.ifindex)
    nodes = run.cluster.nodes
    by_mac = holders_of_mac(nodes, key, packet.dmac, packet.vlan)
    by_addr = owners(nodes, key, nexthop, packet.vlan)
    if by_mac:
        return _arrive(run, ns, link, packet, by_mac)
    if by_addr:
        member = by_addr[0]
        run.drop(
            ns,
            "link_tx",
            link.ifname,
            packet,
            "OTHERHOST",
            f"The frame goes to {format_mac(packet.dmac)}, but {member.wire.netns.node}, which has the "
            f"next hop's address, has {format_mac(member.mac)}: it doesn't take the frame.",
            expected=format_mac(member.mac),
            sent_to=format_mac(packet.dmac),
            command=f"ip neigh show dev {link.ifname}",
        )
    node = run.node(ns.key)
    if link.kind == "veth" and not ns.netns.root and not peer_not_collected(node, key):
        run.unknown(ns, "link_tx", link.ifname, packet, "veth peer unresolved", "The other end isn't known.")
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "leave",
        f"The packet goes out of {link.ifname}; no known node has the next hop."
        + stray_note(run, ns.key, packet),
        command=f"ip -s link show dev {link.ifname}",
    )
    raise Ended(Disposition.LEFT_NETWORK, link.ifname)


def _arrive(run: Run, ns: NetnsState, link: Link, packet: Packet, members: list[Member]) -> Action:
    picked = 0
    if len(members) > 1:
        picked = run.choose(("wire", link.ifname, ns.key, packet.dmac), len(members), None)
    member = members[picked]
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "cross wire",
        f"The packet goes out of {link.ifname} to {member.wire.netns.node}, whose link has the frame's MAC "
        "and shares the subnet.",
        peer=str(member.wire),
        certainty=CERTAIN if len(members) == 1 else BRANCH,
        command=f"ip neigh show dev {link.ifname}",
    )
    far_ns = run.netns(member.wire.netns)
    far = far_ns.links[member.wire.ifindex]
    if far.kind == "veth" and not _fits(far, packet):
        run.drop(
            ns,
            "mtu",
            link.ifname,
            packet,
            "PKT_TOO_BIG",
            f"The packet has {packet.wire_length} bytes and {far.ifname} of {member.wire.netns.node} takes at most "
            f"{far.mtu}; a veth drops it without a word.",
            mtu=far.mtu,
            length=packet.wire_length,
            kernel_reason="NOT_SPECIFIED",
        )
    return Rx(member.wire, packet.scrubbed(True))


def _xmit_macvlan(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send from a macvlan: to a sibling in bridge mode, else out of the lower device.

    Source: drivers/net/macvlan.c, macvlan_queue_xmit (Linux 6.18).
    """
    node = run.node(ns.key)
    key = LinkKey(ns.key, link.ifindex)
    lower = resolve_lower_of(node, key)
    if lower is None:
        run.unknown(
            ns, "link_tx", link.ifname, packet, "lower device", f"{link.ifname}'s lower device isn't known."
        )
    if bridges(link):
        for upper in uppers_of(node.netns).get(lower, ()):
            other = run.link(upper)
            if upper != key and other is not None and other.mac == packet.dmac and bridges(other):
                run.step(
                    ns,
                    "link_tx",
                    link.ifname,
                    packet,
                    "to sibling",
                    f"{other.ifname} in {_place(node.netns[upper.netns])} has this MAC and shares the lower device.",
                    peer=str(upper),
                )
                return Rx(upper, packet.scrubbed(upper.netns != ns.key))
    lower_ns = node.netns[lower.netns]
    lower_link = lower_ns.links[lower.ifindex]
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "to lower",
        f"{link.ifname} is a macvlan over {lower_link.ifname}.",
        peer=str(lower),
    )
    return xmit(run, lower_ns, lower_link, packet, nexthop)


def _xmit_vlan(run: Run, ns: NetnsState, link: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send from a VLAN device: tagged, out of the lower device.

    Unmodelled: tags within tags.

    Source: net/8021q/vlan_dev.c, vlan_dev_hard_start_xmit (Linux 6.18).
    """
    node = run.node(ns.key)
    lower = resolve_lower_of(node, LinkKey(ns.key, link.ifindex))
    info = link.info if isinstance(link.info, VlanInfo) else None
    if lower is None or info is None or packet.vlan or info.protocol != ETH_P_8021Q:
        why = f"{link.ifname}'s lower device isn't known, or it adds a tag of a kind that is not modelled."
        run.unknown(ns, "link_tx", link.ifname, packet, "VLAN device", why)
    lower_ns = node.netns[lower.netns]
    lower_link = lower_ns.links[lower.ifindex]
    run.step(
        ns,
        "link_tx",
        link.ifname,
        packet,
        "tag",
        f"{link.ifname} tags the frame with VLAN {info.vid} and sends it by {lower_link.ifname}.",
        vlan=info.vid,
        peer=str(lower),
        command=f"ip -d link show dev {link.ifname}",
    )
    tagged = packet.scrubbed(lower.netns != ns.key).but(vlan=info.vid)
    return xmit(run, lower_ns, lower_link, tagged, nexthop)


def _xmit_bridge(run: Run, ns: NetnsState, bridge: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send the host's own frame into its bridge.

    Source: net/bridge/br_device.c, br_dev_xmit (Linux 6.18).
    """
    br.check_modelled(run, ns, bridge, packet)
    return _bridge_send(run, ns, bridge, None, packet, nexthop)


def bridge_input(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> Action:
    """Take a frame in by a bridge port; what is for the bridge itself arrives there as the hooks left it.

    Source: net/bridge/br_input.c, br_handle_frame, br_handle_frame_finish (Linux 6.18).
    """
    if not br.may_enter(port):
        run.drop(
            ns,
            "bridge",
            port.ifname,
            packet,
            "BRIDGE_INGRESS_STP_STATE",
            f"{port.ifname} is a port of {bridge.ifname} in state {br.state_name(port)}: it takes no frames.",
            state=br.state_name(port),
            command=f"bridge link show dev {port.ifname}",
        )
    br.check_modelled(run, ns, bridge, packet)
    packet = bridge_hook(run, ns, packet, "pre", port, bridge)
    packet = br_netfilter.pre_routing(run, ns, packet, bridge, port)
    br.check_locked(run, ns, bridge, port, packet)
    br.learn(run, ns, bridge, port, packet.smac)
    verdict = br.decide(run, ns, bridge, port, packet.dmac)
    if verdict.up and verdict.how == "local":
        run.step(
            ns,
            "bridge",
            bridge.ifname,
            packet,
            "up",
            f"{format_mac(packet.dmac)} is {bridge.ifname}'s own: the frame goes up to it.",
            command=f"bridge fdb get {format_mac(packet.dmac)} br {bridge.ifname}",
        )
        packet = bridge_hook(run, ns, packet, "in", port, bridge)
        return Rx(LinkKey(ns.key, bridge.ifindex), packet)
    return _bridge_send(run, ns, bridge, port, packet, b"")


def _bridge_send(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, nexthop: bytes
) -> Action:
    verdict = br.decide(run, ns, bridge, source, packet.dmac)
    if verdict.how == "learned" and _aged_out(run, ns, bridge, packet, verdict.ports[0]):
        verdict = br.Verdict(ports=br.flood_ports(ns, bridge, source, packet.dmac), how="flood")
    evidence = br.fdb_evidence(bridge, packet.dmac, verdict)
    command = f"bridge fdb show br {bridge.ifname}"
    name, mac = bridge.ifname, format_mac(packet.dmac)
    if verdict.how == "dangling" or (verdict.how == "local" and not verdict.up):
        why = (
            f"The bridge's entry for {mac} names no port that it has."
            if verdict.how == "dangling"
            else f"{mac} is the bridge's own; a frame from itself to itself goes nowhere."
        )
        run.drop(ns, "bridge", name, packet, "NOT_SPECIFIED", why, command=command, **evidence)
    if verdict.how in ("static", "learned"):
        port = verdict.ports[0]
        if not br.should_deliver(source, port):
            run.drop(
                ns,
                "bridge",
                name,
                packet,
                "NOT_SPECIFIED",
                f"{mac} is behind {port.ifname}, which may not send this frame: state {br.state_name(port)}"
                f"{_port_limits(source, port)}.",
                command=f"bridge link show dev {port.ifname}",
                **evidence,
            )
        run.step(
            ns,
            "bridge",
            name,
            packet,
            "forward",
            f"{name}'s table says that {mac} is behind {port.ifname} ({verdict.how}).",
            command=command,
            **evidence,
        )
    else:
        port = _flood_port(run, ns, bridge, source, packet, verdict, evidence)
    if source is not None:
        packet = bridge_hook(run, ns, packet, "forward", source, bridge, port)
        packet = br_netfilter.forward(run, ns, packet, bridge, port)
    else:  # asked port by port, after the bridge has decided: see __br_forward
        packet = bridge_hook(run, ns, packet, "out", None, bridge, port)
    packet = bridge_hook(run, ns, packet, "post", source, bridge, port)
    packet = br_netfilter.post_routing(run, ns, packet, bridge)
    if not _fits(port, packet):
        run.drop(
            ns,
            "mtu",
            port.ifname,
            packet,
            "PKT_TOO_BIG",
            f"The packet has {packet.wire_length} bytes and {port.ifname} takes at most {port.mtu}; "
            "a bridge drops it without a word.",
            mtu=port.mtu,
            length=packet.wire_length,
            kernel_reason="NOT_SPECIFIED",
        )
    return xmit(run, ns, port, packet, nexthop)


def _aged_out(run: Run, ns: NetnsState, bridge: Link, packet: Packet, port: Link) -> bool:
    """Ask whether a learned entry that leads to nobody is still there: it ages, and its fate decides here.

    Source: net/bridge/br_fdb.c, br_fdb_cleanup (Linux 6.18).
    """
    found, unknown = takers(run, LinkKey(ns.key, port.ifindex), packet.dmac)
    if found or unknown or (ns.key, bridge.ifindex, packet.dmac) in run.fdb:
        return False
    gone = run.choose(("aged", ns.key, bridge.ifindex, packet.dmac), 2, None) == 1
    mac = format_mac(packet.dmac)
    run.step(
        ns,
        "bridge",
        bridge.ifname,
        packet,
        "assume aged out" if gone else "assume entry",
        f"{bridge.ifname} has learned {mac} behind {port.ifname}, where nobody has it now. Learned entries age; "
        f"this branch takes it to be {'gone' if gone else 'there still'}.",
        certainty=BRANCH,
        command=f"bridge -s fdb show br {bridge.ifname}",
    )
    return gone


def _port_limits(source: Link | None, port: Link) -> str:
    if source is None:
        return ""
    if source.ifindex == port.ifindex:
        return ", hairpin off"
    both = source.port is not None and port.port is not None and source.port.isolated and port.port.isolated
    return ", both ports isolated" if both else ""


def _ask_copies(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, ports: tuple[Link, ...]
) -> tuple[bool, Link | None]:
    """Tell whether rules stop a flooded frame at every port, and at which first one they refuse it aloud.

    No steps are recorded: nobody takes these copies.
    """
    recorder, run.rec = run.rec, Recorder()
    stopped, refused = 0, None
    try:
        for port in ports:
            try:
                if source is None:
                    bridge_hook(run, ns, packet, "out", source, bridge, port)
                else:
                    copy = bridge_hook(run, ns, packet, "forward", source, bridge, port)
                    br_netfilter.forward(run, ns, copy, bridge, port)
            except Ended as ended:
                stopped += ended.disposition in (Disposition.DROPPED, Disposition.REJECTED)
                if refused is None and ended.answer is not None:
                    refused = port
    finally:
        run.rec = recorder
    return stopped == len(ports), refused


def _flood_port(
    run: Run,
    ns: NetnsState,
    bridge: Link,
    source: Link | None,
    packet: Packet,
    verdict: br.Verdict,
    evidence: dict[str, Any],
) -> Link:
    """Follow a flooded frame out of the port behind which somebody takes it."""
    name, mac = bridge.ifname, format_mac(packet.dmac)
    if packet.dmac == BROADCAST_MAC or br.is_group(packet.dmac):
        run.unknown(
            ns,
            "bridge",
            name,
            packet,
            "broadcast or multicast",
            f"The frame is flooded to every port of {name}; broadcast and multicast are not followed.",
            **evidence,
        )
    good: list[Link] = []
    maybe: list[Link] = []
    for port in verdict.ports:
        found, unknown = takers(run, LinkKey(ns.key, port.ifindex), packet.dmac)
        if found:
            good.append(port)
        elif unknown:
            maybe.append(port)
    choices = good or maybe
    if not verdict.ports:
        why = f"{name} has no entry for {mac}, and no other port takes a flooded frame."
        run.drop(
            ns,
            "bridge",
            name,
            packet,
            "NO_TX_TARGET",
            why,
            command=f"bridge -d link show master {name}",
            **evidence,
        )
    if not choices:
        stopped, refused = _ask_copies(run, ns, bridge, source, packet, verdict.ports)
        if refused is not None:
            run.step(
                ns,
                "bridge",
                name,
                packet,
                "flood",
                f"{name} has no entry for {mac} and floods the frame; nobody takes it, but a rule refuses the copy "
                f"for {refused.ifname}.",
                command=f"bridge fdb show br {name}",
                **evidence,
            )
            return refused
        run.drop(
            ns,
            "bridge",
            name,
            packet,
            "NETFILTER_DROP" if stopped else "OTHERHOST",
            f"{name} has no entry for {mac} and floods the frame, but nobody behind its ports has that MAC.",
            command=f"bridge fdb show br {name}",
            **evidence,
        )
    picked = 0
    if len(choices) > 1:
        picked = run.choose(("flood", ns.key, bridge.ifindex, packet.dmac), len(choices), None)
    port = choices[picked]
    run.step(
        ns,
        "bridge",
        name,
        packet,
        "flood",
        f"{name} has no entry for {mac} and floods the frame; {port.ifname} leads to who takes it.",
        certainty=CERTAIN if len(choices) == 1 else BRANCH,
        command=f"bridge fdb show br {name}",
        **evidence,
    )
    return port
