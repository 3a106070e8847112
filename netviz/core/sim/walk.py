"""The walk: a packet's course through the cluster, and the driver that explores every course.

`simulate` runs the walk once with no choices made; each run that chose (a multipath route, an
unknown match) is repeated with the next choice until all courses are known. Each run goes forward,
then sends the answer back through the conntrack entries that the forward packet made.
"""

from __future__ import annotations

from functools import partial

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import IFF_LOOPBACK, BondInfo, Link, VlanInfo
from netviz.core.sim import ip
from netviz.core.sim.bond import ACTIVE_BACKUP
from netviz.core.sim.domain import MACVLAN_PASSTHRU, MACVLAN_SOURCE, mode_of
from netviz.core.sim.frame_hooks import Forwarded, netdev_hook
from netviz.core.sim.kubernetes.overlay import add_meanings
from netviz.core.sim.l2 import Action, bridge_input, check_programs, forward_frame, xmit
from netviz.core.sim.nft_meta import PACKET_HOST, PACKET_OTHERHOST
from netviz.core.sim.node_index import uppers_of
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    TH_SYN,
    Packet,
)
from netviz.core.sim.routing import route_flow
from netviz.core.sim.rules import lookup_route
from netviz.core.sim.run import MAX_MOVES, Ended, Run, Rx, Send, display_name, pod_name
from netviz.core.sim.saddr import owned_addrs
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import (
    BRANCH,
    CERTAIN,
    UNCERTAIN,
    Branch,
    Disposition,
    Flow,
    Origin,
    Path,
    Recorder,
    Trace,
)
from netviz.core.state.node import ClusterState, NetnsState

MAX_BRANCHES = 64
DEFAULT_TTL = 64
# What a state that contradicts itself can raise inside the walk.
BAD_STATE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def first_packet(flow: Flow) -> Packet:
    """Make the packet that a flow starts with: a SYN, a datagram, or an echo request."""
    icmp = flow.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6)
    echo = ICMPV6_ECHO_REQUEST if flow.proto == IPPROTO_ICMPV6 else ICMP_ECHO
    return Packet(
        flow.src,
        flow.dst,
        flow.proto,
        sport=flow.sport or 0,
        dport=0 if icmp else flow.dport or 0,
        ttl=flow.ttl,
        mark=flow.mark,
        length=flow.length,
        df=flow.df,
        tos=flow.tos,
        tcp_flags=TH_SYN if flow.proto == IPPROTO_TCP else 0,
        icmp_type=echo if icmp else 0,
    )


def simulate(cluster: ClusterState, flow: Flow) -> Trace:
    """Predict what happens to a flow's first packet and to the answer. Never raises for bad state."""
    branches: list[Branch] = []
    script: list[int] = []
    origin = Origin(flow.src_netns.node, str(flow.src_netns), "")
    while True:
        run = Run(cluster, flow, script)
        run.carry = partial(_carry, run)
        branches.append(_course(run))
        choices = run.choices
        while choices and choices[-1].picked + 1 >= choices[-1].count:
            choices.pop()
        if not choices:
            break
        script = [choice.picked for choice in choices]
        script[-1] += 1
        if len(branches) >= MAX_BRANCHES:
            rest = Path(Disposition.UNKNOWN, f"more than {MAX_BRANCHES} possible courses", ())
            branches.append(Branch(None, rest))
            break
    node = cluster.nodes.get(flow.src_netns.node)
    ns = node.netns.get(flow.src_netns) if node is not None else None
    if ns is not None:
        origin = Origin(flow.src_netns.node, str(ns.key), pod_name(ns.netns), display_name(ns.netns))
    trace = _conclude(flow, origin, branches)
    try:
        return add_meanings(cluster, trace)
    except BAD_STATE:
        return trace  # words are not worth a trace


def _conclude(flow: Flow, origin: Origin, branches: list[Branch]) -> Trace:
    ends = {branch.forward.disposition for branch in branches}
    reasons = {branch.forward.reason for branch in branches}
    reason = branches[0].forward.reason if len(reasons) == 1 else ""
    if len(ends) > 1:
        names = ", ".join(sorted(end.value for end in ends))
        return Trace(flow, origin, Disposition.UNKNOWN, f"branches differ: {names}", BRANCH, tuple(branches))
    end = ends.pop()
    certainty = CERTAIN if len(branches) == 1 else BRANCH
    if end is Disposition.UNKNOWN:
        certainty = UNCERTAIN
    return Trace(flow, origin, end, reason, certainty, tuple(branches))


def _course(run: Run) -> Branch:
    flow = run.flow
    packet = first_packet(flow)
    run.client = (flow.src_netns, packet.tuple())
    sourceless = _asks_without_source(run, packet)
    ended = _travel(run, flow.src_netns, packet, "origin", sourceless, flow.oif)
    forward = run.finish(ended)
    reply = None
    if ended.answer is not None and ended.at is not None:
        run.start_path()
        answer = _with_default_ttl(run, ended.at, ended.answer)
        back = _travel(run, ended.at, answer, "answer", ended.sourceless, ended.oif, ended.via)
        reply = run.finish(back)
    return Branch(run.probability, forward, reply)


def _asks_without_source(run: Run, packet: Packet) -> bool:
    """Tell whether the sender's route is looked up before the packet has a source.

    A socket that was given no address asks so first, and IPv6 leaves it at that. If IPv4 finds a way, TCP asks again
    with the source; ping does not, and for a datagram it depends on the program (connect), so where that matters
    there are two courses.

    Source: include/net/route.h, ip_route_connect; net/ipv4/udp.c, udp_sendmsg; net/ipv4/ping.c,
    ping_v4_sendmsg; net/ipv6/ip6_output.c, ip6_dst_lookup_tail (Linux 6.18).
    """
    flow = run.flow
    node = run.cluster.nodes.get(flow.src_netns.node)
    ns = node.netns.get(flow.src_netns) if node is not None else None
    if flow.bound or ns is None:
        return False
    first = lookup_route(ns, route_flow(packet, oif=flow.oif, sourceless=True))
    if first.error or packet.is_icmp or packet.ipv6:
        return True
    if packet.proto == IPPROTO_TCP or first == lookup_route(ns, route_flow(packet, oif=flow.oif)):
        return False
    return run.choose(("connected", flow.src_netns), 2, None) == 1


def _with_default_ttl(run: Run, at: NetnsKey, answer: Packet) -> Packet:
    """Give an answer the TTL that its host starts with."""
    if answer.ipv6 or at.node not in run.cluster.nodes or at not in run.node(at).netns:
        return answer
    return answer.but(ttl=value(run.netns(at), "net.ipv4.ip_default_ttl", answer.ttl))


def _travel(
    run: Run,
    start: NetnsKey,
    packet: Packet,
    how: str,
    sourceless: bool = False,
    oif: int = 0,
    via: LinkKey | None = None,
) -> Ended:
    """Follow a packet from where it is sent to its end. `via` is the link that it leaves by as a frame."""
    try:
        ns = run.netns(start)
        what = packet.describe()
        why = f"The answer is sent: {what}." if how == "answer" else f"The packet is sent: {what}."
        if packet.inner is not None:
            why += " The kernel limits how many ICMP errors it sends: one may be left out (icmp_ratelimit)."
        evidence = {}
        if how == "answer" and not packet.ipv6 and packet.ttl != DEFAULT_TTL:
            evidence["sysctl"] = f"net.ipv4.ip_default_ttl = {packet.ttl}"
        run.step(ns, "origin", "", packet, "send", why, **evidence)
        if via is not None:
            action: Action = xmit(run, ns, ns.links[via.ifindex], packet, packet.dst)
        else:
            action = ip.local_out(run, ns, packet, oif, sourceless)
        for _move in range(MAX_MOVES):
            if isinstance(action, Rx):
                action = receive(run, action)
            else:
                action = ip.local_out(run, run.netns(action.netns), action.packet, action.oif)
        return Ended(Disposition.LOOP, f"more than {MAX_MOVES} moves")
    except Ended as ended:
        return ended
    except BAD_STATE as err:
        return _bad_state(run, start, packet, err)


def _carry(run: Run, start: NetnsKey, packet: Packet, oif: int) -> tuple[LinkKey | None, bool]:
    """Follow a tunnel packet until it is taken apart, without recording steps: it isn't the traced packet's.

    Returns the device where the inner frame comes out (None: it doesn't), and whether that isn't known.
    """
    recorder, seen = run.rec, run.seen
    run.rec, run.seen = Recorder(), set()
    action: Action = Send(start, packet, oif)
    try:
        for _move in range(MAX_MOVES):
            if isinstance(action, Rx):
                if action.packet.payload is None:
                    return action.link, False
                action = receive(run, action)
            else:
                action = ip.local_out(run, run.netns(action.netns), action.packet, action.oif)
    except Ended as ended:
        return None, ended.disposition in (Disposition.UNKNOWN, Disposition.LEFT_NETWORK)
    finally:
        run.rec, run.seen = recorder, seen
    return None, False


def _bad_state(run: Run, start: NetnsKey, packet: Packet, err: Exception) -> Ended:
    what = f"the state contradicts itself or lacks a part ({type(err).__name__}: {err})"
    run.rec.step(
        run.rec.where or (start, "", ""),
        "opaque",
        "",
        run.rec.last or packet,
        "unknown",
        f"The walk cannot go on: {what}.",
        reason=what,
        certainty=UNCERTAIN,
    )
    return Ended(Disposition.UNKNOWN, what)


def receive(run: Run, rx: Rx) -> Action:
    """Take a frame in at a link: up to a bridge or a stacked device, or to the network layer.

    Source: net/core/dev.c, __netif_receive_skb_core; net/ethernet/eth.c, eth_type_trans (Linux 6.18).
    """
    ns = run.netns(rx.link.netns)
    link = ns.links.get(rx.link.ifindex)
    packet = rx.packet
    if link is None:
        run.unknown(
            ns, "link_rx", "", packet, "missing device", f"Device {rx.link.ifindex} is not in the state."
        )
    _check_loop(run, ns, rx.link, link, packet)
    if not link.up:
        run.drop(ns, "link_rx", link.ifname, packet, "DEV_READY", f"{link.ifname} is down.")
    check_programs(run, ns, link, packet, "link_rx")
    passed = netdev_hook(run, ns, link, packet, egress=False)
    if isinstance(passed, Forwarded):
        run.step(ns, "link_rx", link.ifname, packet, "receive", f"{link.ifname} receives the frame.")
        return forward_frame(run, ns, link, passed)
    packet = _for_whom(link, packet, passed)
    if packet.vlan:
        untagged = _untag(run, ns, rx.link, link, packet)
        if untagged is not None:
            return untagged
    stacked = _stacked(run, ns, rx.link, link, packet)
    if stacked is not None:
        return stacked
    _check_mac(run, ns, link, packet)
    if not link.flags & IFF_LOOPBACK:
        run.step(
            ns,
            "link_rx",
            link.ifname,
            packet,
            "receive",
            f"{link.ifname} receives the packet.",
            command=f"ip -s link show dev {link.ifname}",
        )
    return ip.rcv(run, ns, link, packet)


def _for_whom(link: Link, before: Packet, packet: Packet) -> Packet:
    """Keep whom a frame is for, which was found out before its chains could change its MAC."""
    if packet.dmac == before.dmac or packet.pkttype is not None:
        return packet
    return packet.but(pkttype=PACKET_HOST if _accepts(link, before) else PACKET_OTHERHOST)


def _check_loop(run: Run, ns: NetnsState, key: LinkKey, link: Link, packet: Packet) -> None:
    seen = (key, packet.but(ttl=0, ct=None))
    mark = (
        key,
        seen[1].smac,
        seen[1].dmac,
        seen[1].tuple(),
        packet.vni,
        packet.payload is not None,
        packet.length,
    )
    if mark in run.seen:
        why = f"The packet is back at {link.ifname}, as it was when it was here before: it goes round."
        run.step(ns, "link_rx", link.ifname, packet, "loop", why, reason="LOOP")
        raise Ended(Disposition.LOOP, f"{link.ifname} on {ns.key.node}")
    run.seen.add(mark)


def _stacked(run: Run, ns: NetnsState, key: LinkKey, link: Link, packet: Packet) -> Action | None:
    """Hand a frame to the device on top of the link: bridge, macvlan, or one that isn't modelled."""
    if link.master:
        master = ns.links.get(link.master)
        if master is not None and master.kind == "bond":
            return _to_bond(run, ns, master, link, packet)
        if master is None or master.kind != "bridge":
            what = "missing" if master is None else f"a {master.kind or 'plain'} device"
            run.unknown(
                ns,
                "link_rx",
                link.ifname,
                packet,
                f"master of {link.ifname}",
                f"{link.ifname} belongs to master {link.master}, which is {what}: what it does isn't known.",
                command=f"ip -d link show dev {link.ifname}",
            )
        run.step(
            ns,
            "link_rx",
            link.ifname,
            packet,
            "receive",
            f"{link.ifname}, a port of {master.ifname}, receives the frame.",
            bridge=master.ifname,
            command=f"bridge link show dev {link.ifname}",
        )
        return bridge_input(run, ns, master, link, packet)
    for upper in uppers_of(run.node(ns.key).netns).get(key, ()):
        other = run.link(upper)
        if other is None:
            continue
        if other.kind in ("ipvlan", "ipvtap"):
            _check_ipvlan(run, upper, other, packet)
            continue
        if other.kind != "macvlan":
            continue
        mode = mode_of(other)
        if mode == MACVLAN_SOURCE and other.mac == packet.dmac:
            run.unknown(
                ns,
                "opaque",
                other.ifname,
                packet,
                "macvlan source mode",
                f"{other.ifname} takes frames from a list of MACs, which is not in the state.",
                command=f"ip -d link show dev {other.ifname}",
            )
        if mode == MACVLAN_PASSTHRU or (other.mac == packet.dmac and mode != MACVLAN_SOURCE):
            return Rx(upper, packet.scrubbed(upper.netns != ns.key))
    return None


def _untag(run: Run, ns: NetnsState, key: LinkKey, link: Link, packet: Packet) -> Action | None:
    """Hand a tagged frame to the VLAN device for its tag; None for a part of another device, which gets it tagged.

    Source: net/8021q/vlan_core.c, vlan_do_receive; net/core/dev.c, __netif_receive_skb_core (Linux 6.18).
    """
    for upper in uppers_of(run.node(ns.key).netns).get(key, ()):
        other = run.link(upper)
        if other is not None and isinstance(other.info, VlanInfo) and other.info.vid == packet.vlan:
            why = f"{link.ifname} receives a frame of VLAN {packet.vlan} for {other.ifname}."
            run.step(ns, "link_rx", link.ifname, packet, "untag", why, vlan=packet.vlan)
            return Rx(upper, packet.scrubbed(upper.netns != ns.key).but(vlan=0))
    if link.master:
        return None
    why = f"{link.ifname} has no device for VLAN {packet.vlan}: the frame is dropped."
    command = f"ip -d link show type vlan link {link.ifname}"
    run.drop(ns, "link_rx", link.ifname, packet, "OTHERHOST", why, command=command)


def _to_bond(run: Run, ns: NetnsState, bond: Link, slave: Link, packet: Packet) -> Action:
    """Hand a frame from a slave to its bond, unless the slave is a backup.

    Source: drivers/net/bonding/bond_main.c, bond_handle_frame (Linux 6.18).
    """
    command = f"ip -d link show master {bond.ifname}"
    info = bond.info if isinstance(bond.info, BondInfo) else None
    if info is not None and info.mode == ACTIVE_BACKUP and slave.ifindex != info.active_slave:
        why = f"{slave.ifname} is a backup slave of {bond.ifname}: what comes in by it is not for the bond."
        run.drop(ns, "link_rx", slave.ifname, packet, "NOT_SPECIFIED", why, command=command)
    why = f"{slave.ifname}, a slave of {bond.ifname}, receives the frame for it."
    run.step(ns, "link_rx", slave.ifname, packet, "to bond", why, bond=bond.ifname, command=command)
    return Rx(LinkKey(ns.key, bond.ifindex), packet)


def _check_ipvlan(run: Run, key: LinkKey, link: Link, packet: Packet) -> None:
    """End the walk where an ipvlan takes the packet from its lower device: it has the destination's address.

    Source: drivers/net/ipvlan/ipvlan_core.c, ipvlan_handle_frame, ipvlan_addr_lookup (Linux 6.18).
    """
    ns = run.netns(key.netns)
    if any(addr.ifindex == key.ifindex for addr in owned_addrs(ns, packet.dst)):
        run.unknown(
            ns,
            "opaque",
            link.ifname,
            packet,
            "ipvlan device",
            f"{link.ifname} takes the packet from its lower device; what ipvlan does is not modelled.",
            command=f"ip -d link show dev {link.ifname}",
        )


def _accepts(link: Link, packet: Packet) -> bool:
    """Tell whether a frame's MAC makes it this host's. Source: net/ethernet/eth.c, eth_type_trans (Linux 6.18)."""
    return not packet.dmac or packet.dmac == link.mac or bool(packet.dmac[0] & 1)


def _check_mac(run: Run, ns: NetnsState, link: Link, packet: Packet) -> None:
    if packet.pkttype != PACKET_OTHERHOST and (packet.pkttype is not None or _accepts(link, packet)):
        return
    run.drop(
        ns,
        "link_rx",
        link.ifname,
        packet,
        "OTHERHOST",
        f"The frame is for {format_mac(packet.dmac)}, but {link.ifname} has {format_mac(link.mac)}: "
        f"it is not for this host and is dropped (it was meant for {format_ip(packet.dst)}).",
        mac=format_mac(link.mac),
        command=f"ip link show dev {link.ifname}",
    )
