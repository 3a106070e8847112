"""A frame's path through a bridge: hooks, the decision, and the port that it leaves by."""

from __future__ import annotations

from functools import partial
from typing import Literal

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.sim.actions import Action, Ended, Rx, Tx
from netviz.core.sim.heard import Heard
from netviz.core.sim.hook import br_netfilter
from netviz.core.sim.hook.frame_hooks import bridge_hook, copys_mac
from netviz.core.sim.hook.netfilter import calls_ip_hooks
from netviz.core.sim.link import bridge as br
from netviz.core.sim.link import bridge_vlan
from netviz.core.sim.link.domain import takers
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.nft.meta import PACKET_OTHERHOST, received_as
from netviz.core.sim.packet import BROADCAST_MAC, Packet
from netviz.core.sim.route.decision import worth_to
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, Receive
from netviz.core.sim.trace import BRANCH, CERTAIN, Disposition
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, bridge: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send the host's own frame into its bridge.

    Source: net/bridge/br_device.c, br_dev_xmit (Linux 6.18).
    """
    br.check_modelled(run, ns, bridge, packet)
    vid, packet = _enter(run, ns, bridge, bridge, packet)
    return _send(run, ns, bridge, None, packet, vid, nexthop)


def receive(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> Action:
    """Take a frame in by a bridge port: it goes up to the bridge itself, or out of another port.

    Source: net/bridge/br_input.c, br_handle_frame (Linux 6.18).
    """
    run.record(ns, port, packet, Receive("receive", "bridge port", bridge=bridge.ifname))
    br.check_modelled(run, ns, bridge, packet)
    if not br.may_enter(port):
        br.state_name(port)
        run.end_dropped(
            ns,
            port,
            packet,
            "BRIDGE_INGRESS_STP_STATE",
            Bridge("drop", "port state", bridge=bridge.ifname, state=br.state_name(port)),
        )
    br.check_tunnels(run, ns, port, packet)
    if packet.pkttype and packet.dmac == bridge.mac:
        packet = packet.but(pkttype=None)
    before = packet
    packet = bridge_hook(run, ns, packet, "pre", port, bridge, part="before IP")
    packet = _as_received(before, packet, bridge, port)
    entered = partial(_finish, run, ns, bridge, port, before)
    return br_netfilter.pre_routing(run, ns, packet, bridge, port, entered)


def _finish(run: Run, ns: NetnsState, bridge: Link, port: Link, before: Packet, packet: Packet) -> Action:
    """Decide where a frame goes that came in by a port as `before`.

    Source: net/bridge/br_input.c, br_handle_frame_finish, br_pass_frame_up (Linux 6.18).
    """
    packet = bridge_hook(run, ns, packet, "pre", port, bridge, part="after IP")
    vid, packet = _enter(run, ns, bridge, port, packet)
    br.check_locked(run, ns, bridge, port, packet, vid)
    br.learn(run, ns, bridge, port, packet.smac, vid)
    verdict = br.decide(run, ns, bridge, port, packet.dmac, vid)
    if not (verdict.up and verdict.how == "local"):
        if packet.pkttype is None and before.dmac:
            packet = packet.but(pkttype=received_as(before.dmac, port, bridge))
        return _send(run, ns, bridge, port, packet, vid, b"")
    tags = bridge_vlan.egress(ns, bridge, bridge.ifindex, vid, packet.tags)
    if tags is None:
        run.end_dropped(
            ns,
            bridge,
            packet,
            "NOT_SPECIFIED",
            Bridge("drop", "not in VLAN", mac=packet.dmac, vlan=vid),
        )
    packet = packet.but(tags=tags) if tags != packet.tags else packet
    run.record(ns, bridge, packet, Bridge("up", mac=packet.dmac))
    packet = bridge_hook(run, ns, packet, "in", port, bridge)
    if packet.pkttype == PACKET_OTHERHOST and packet.dmac != bridge.mac:
        packet = packet.but(pkttype=None)  # a device above may still find its own MAC
    return Rx(LinkKey(ns.key, bridge.ifindex), packet)


def _as_received(before: Packet, packet: Packet, bridge: Link, port: Link) -> Packet:
    """Keep whom a frame is for, which was found out before a chain, or a translation, changed its MAC.

    Source: net/bridge/br_input.c, br_handle_frame; br_netfilter_hooks.c, br_nf_pre_routing_finish;
    net/ethernet/eth.c, eth_type_trans (Linux 6.18).
    """
    if packet.pkttype is not None or not before.dmac or br.is_group(before.dmac):
        return packet
    return packet.but(pkttype=received_as(before.dmac, port, bridge))


def _enter(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> tuple[int, Packet]:
    """Find the VLAN of a frame that enters by a port or from the bridge itself; drop it where it may not."""
    entered = bridge_vlan.ingress(ns, bridge, port.ifindex, packet.tags)
    if entered is None:
        run.end_dropped(
            ns,
            port,
            packet,
            "NOT_SPECIFIED",
            Bridge("drop", "VLAN filter", bridge=bridge.ifname, vlan=packet.vlan),
        )
    vid, tags = entered
    return vid, packet.but(tags=tags) if tags != packet.tags else packet


def _send(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, vid: int, nexthop: bytes
) -> Action:
    """Send a frame out of the port that the bridge's table names, or that a flood reaches its taker by."""
    verdict = br.decide(run, ns, bridge, source, packet.dmac, vid)
    if verdict.how == "learned" and _aged_out(run, ns, bridge, packet, verdict.ports[0], vid):
        verdict = br.PortVerdict(ports=br.flood_ports(ns, bridge, source, packet.dmac, vid), how="flood")
    found = br.found(bridge, packet.dmac, verdict, vid)
    if verdict.how == "dangling" or (verdict.how == "local" and not verdict.up):
        run.end_dropped(
            ns,
            bridge,
            packet,
            "NOT_SPECIFIED",
            found("drop", "dangling" if verdict.how == "dangling" else "own MAC"),
        )
    if verdict.how in ("static", "learned"):
        port = verdict.ports[0]
        if not br.should_deliver(ns, bridge, source, port, vid):
            run.end_dropped(
                ns,
                bridge,
                packet,
                "NOT_SPECIFIED",
                found(
                    "drop",
                    "may not send",
                    port=port.ifname,
                    state=br.state_name(port),
                    limit=_port_limit(ns, bridge, source, port, vid),
                ),
            )
        run.record(ns, bridge, packet, found("forward", port=port.ifname))
    else:
        port = _flood_port(run, ns, bridge, source, packet, vid, verdict)
    br.check_tunnels(run, ns, port, packet)
    tags = bridge_vlan.egress(ns, bridge, port.ifindex, vid, packet.tags)
    if tags is not None and tags != packet.tags:
        packet = packet.but(tags=tags)
    packet = _pass_on(run, ns, packet, bridge, source, port)
    packet = bridge_hook(run, ns, packet, "post", None, bridge, port)
    packet = br_netfilter.post_routing(run, ns, packet, bridge)
    if source is not None and not packet.tags and calls_ip_hooks(ns, bridge, packet.ipv6):
        packet = br_netfilter.fragmented(run, ns, packet, bridge, port)
    check_frame(run, ns, port, packet, LinkKey(ns.key, port.ifindex), "bridge")
    return Tx(LinkKey(ns.key, port.ifindex), packet, nexthop)


def _pass_on(
    run: Run, ns: NetnsState, packet: Packet, bridge: Link, source: Link | None, port: Link
) -> Packet:
    """Pass a frame through the hook of what goes from port to port, or of the bridge's own frames."""
    if source is None:
        return bridge_hook(run, ns, packet, "out", None, bridge, port)
    packet = bridge_hook(run, ns, packet, "forward", source, bridge, port, "before IP")
    packet = br_netfilter.forward(run, ns, packet, bridge, port)
    return bridge_hook(run, ns, packet, "forward", source, bridge, port, "after IP")


def _aged_out(run: Run, ns: NetnsState, bridge: Link, packet: Packet, port: Link, vid: int) -> bool:
    """Ask whether a learned entry that leads to nobody is still there: it ages, and its fate decides here.

    Source: net/bridge/br_fdb.c, br_fdb_cleanup (Linux 6.18).
    """
    found, unknown = takers(
        run, LinkKey(ns.key, port.ifindex), packet.dmac, _out_tags(ns, bridge, port, packet, vid)
    )
    if found or unknown or (ns.key, bridge.ifindex, packet.dmac, vid) in run.memory.fdb:
        return False
    gone = run.choose(("aged", ns.key, bridge.ifindex, packet.dmac), 2, None) == 1
    run.record(
        ns,
        bridge,
        packet,
        Bridge("assume aged out" if gone else "assume entry", mac=packet.dmac, port=port.ifname),
        certainty=BRANCH,
    )
    return gone


def _out_tags(ns: NetnsState, bridge: Link, port: Link, packet: Packet, vid: int) -> bridge_vlan.Tags:
    return bridge_vlan.egress(ns, bridge, port.ifindex, vid, packet.tags) or ()


def _port_limit(
    ns: NetnsState, bridge: Link, source: Link | None, port: Link, vid: int
) -> Literal["", "vlan", "hairpin", "isolated"]:
    if not bridge_vlan.carries(ns, bridge, port.ifindex, vid):
        return "vlan"
    if source is None:
        return ""
    if source.ifindex == port.ifindex:
        return "hairpin"
    both = source.port is not None and port.port is not None and source.port.isolated and port.port.isolated
    return "isolated" if both else ""


def _ask_copies(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, ports: tuple[Link, ...]
) -> tuple[bool, Link | None]:
    """Tell whether rules stop a flooded frame at every port, and which first one leads to who rejects it.

    Copies of copies are not followed beyond the bridge.
    """
    follow = not run.speculation_depth

    def copies() -> tuple[bool, Link | None]:
        stopped, refused = 0, None
        for port in ports:
            try:
                copy = _pass_on(run, ns, packet, bridge, source, port)
                ended = run.fate(Tx(LinkKey(ns.key, port.ifindex), copy, b"")) if follow else None
            except Ended as end:
                stopped += end.disposition in (Disposition.DROPPED, Disposition.REJECTED)
                ended = end
            if refused is None and ended is not None and ended.answer is not None:
                refused = port
        return stopped == len(ports), refused

    return run.suppose(copies)


def _flood_port(
    run: Run,
    ns: NetnsState,
    bridge: Link,
    source: Link | None,
    packet: Packet,
    vid: int,
    verdict: br.PortVerdict,
) -> Link:
    """Follow a flooded frame out of the port behind which somebody takes it.

    Of several, which a rule's new MAC can make, those are followed whose host has the packet's destination, else
    those whose host forwards.
    """
    found = br.found(bridge, packet.dmac, verdict, vid)
    if packet.dmac == BROADCAST_MAC or br.is_group(packet.dmac):
        run.end_unknown(ns, bridge, packet, found("unknown", "broadcast"))
    good: list[Link] = []
    worth: dict[int, int] = {}
    takers_by: dict[int, list[Heard]] = {}
    maybe: list[Link] = []
    hook = "forward" if source is not None else "out"
    for port in verdict.ports:
        own_mac = copys_mac(run, ns, packet, hook, source, bridge, port)
        taken, unknown = takers(
            run, LinkKey(ns.key, port.ifindex), own_mac, _out_tags(ns, bridge, port, packet, vid)
        )
        if taken:
            good.append(port)
            worth[port.ifindex] = max(worth_to(run, one.link, packet) for one in taken)
            takers_by[port.ifindex] = taken
        elif unknown:
            maybe.append(port)
    choices = [port for port in good if worth[port.ifindex] == max(worth.values())] or maybe
    if not verdict.ports:
        run.end_dropped(ns, bridge, packet, "NO_TX_TARGET", found("drop", "no port"))
    if not choices:
        stopped, refused = _ask_copies(run, ns, bridge, source, packet, verdict.ports)
        if refused is not None:
            run.record(ns, bridge, packet, found("flood", "rejected", port=refused.ifname))
            return refused
        run.end_dropped(
            ns,
            bridge,
            packet,
            "NETFILTER_DROP" if stopped else "OTHERHOST",
            found("drop", "nobody"),
        )
    picked = 0
    if len(choices) > 1:
        picked = run.choose(("flood", ns.key, bridge.ifindex, packet.dmac), len(choices), None)
    port = choices[picked]
    run.record(
        ns,
        bridge,
        packet,
        found("flood", port=port.ifname),
        certainty=CERTAIN if len(choices) == 1 else BRANCH,
        copies=tuple(
            Copy(one.link) for at, heard in takers_by.items() if at != port.ifindex for one in heard
        ),
    )
    return port
