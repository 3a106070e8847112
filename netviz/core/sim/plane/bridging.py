"""A frame's path through a bridge: hooks, the decision, and the port that it leaves by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import Link
from netviz.core.model.netfilter import NFPROTO_IPV6
from netviz.core.sim.actions import Action, Ended, Rx, Tx
from netviz.core.sim.copies import Lost, Onward
from netviz.core.sim.heard import Heard
from netviz.core.sim.hook import br_netfilter
from netviz.core.sim.hook.frame_hooks import bridge_hook, copys_mac
from netviz.core.sim.hook.netfilter import calls_ip_hooks
from netviz.core.sim.link import bridge as br
from netviz.core.sim.link.follow import end, led
from netviz.core.sim.link.mtu import check_frame
from netviz.core.sim.nft.compat.translation import WRITTEN_IN_PLACE
from netviz.core.sim.nft.meta import PACKET_OTHERHOST, received_as
from netviz.core.sim.packet import Packet, is_group
from netviz.core.sim.plane.domain import takers
from netviz.core.sim.route.decision import worth_to
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Bridge, Copy, DropReason, Receive
from netviz.core.sim.trace import BRANCH, Disposition
from netviz.core.state.node import NetnsState


def xmit(run: Run, ns: NetnsState, bridge: Link, packet: Packet, nexthop: bytes) -> Action:
    """Send the host's own frame into its bridge.

    Source: net/bridge/br_device.c, br_dev_xmit (Linux 6.18).
    """
    br.check_modelled(run, ns, bridge, packet)
    vid, packet = _enter(run, ns, bridge, bridge, packet)
    verdict = br.decide(run, ns, bridge, None, packet.dmac, vid)
    return _send(run, ns, bridge, None, packet, vid, nexthop, verdict)


def receive(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> Action:
    """Take a frame in by a bridge port: it goes up to the bridge itself, or out of another port.

    Source: net/bridge/br_input.c, br_handle_frame (Linux 6.18).
    """
    run.record(ns, port, packet, Receive("receive", "bridge port", bridge=bridge.ifname))
    br.check_modelled(run, ns, bridge, packet)
    closed = br.shut(bridge, port)
    if closed is not None:
        end(run, ns, port, packet, closed)
    if packet.pkttype and packet.dmac == bridge.mac:
        packet = packet.but(pkttype=None)
    before = packet
    packet = bridge_hook(run, ns, packet, "pre", port, bridge, part="before IP")
    packet = _as_received(before, packet, bridge, port)
    entered = partial(_finish, run, ns, bridge, port, before)
    return br_netfilter.pre_routing(run, ns, packet, bridge, port, entered)


def _finish(run: Run, ns: NetnsState, bridge: Link, port: Link, before: Packet, packet: Packet) -> Action:
    """Decide where a frame goes that came in by a port as `before`.

    Source: net/bridge/br_input.c, br_handle_frame_finish (Linux 6.18).
    """
    packet = bridge_hook(run, ns, packet, "pre", port, bridge, part="after IP")
    vid, packet = _enter(run, ns, bridge, port, packet)
    br.learn(run, ns, bridge, port, packet.smac, vid)
    verdict = br.decide(run, ns, bridge, port, packet.dmac, vid)
    if not (verdict.up and verdict.how == "local"):
        if packet.pkttype is None and before.dmac:
            packet = packet.but(pkttype=received_as(before.dmac, port, bridge))
        return _send(run, ns, bridge, port, packet, vid, b"", verdict)
    (up,) = br.decided_copies(run, ns, bridge, port, packet, vid, verdict)
    if not isinstance(up, Onward):
        end(run, ns, bridge, packet, up)
    return _pass_up(run, ns, bridge, port, packet, up)


def _pass_up(run: Run, ns: NetnsState, bridge: Link, port: Link | None, packet: Packet, up: Onward) -> Rx:
    """Hand a frame to the bridge's own device. Source: net/bridge/br_input.c, br_pass_frame_up (Linux 6.18)."""
    packet = packet.but(tags=up.tags) if up.tags is not None and up.tags != packet.tags else packet
    run.record(ns, bridge, packet, Bridge("up", mac=packet.dmac))
    packet = bridge_hook(run, ns, packet, "in", port, bridge)
    if packet.pkttype == PACKET_OTHERHOST and packet.dmac != bridge.mac and not is_group(packet.dmac):
        packet = packet.but(pkttype=None)  # a device above may still find its own MAC
    return Rx(up.link, packet)


def _as_received(before: Packet, packet: Packet, bridge: Link, port: Link) -> Packet:
    """Keep whom a frame is for, which was found out before a chain, or a translation, changed its MAC.

    Source: net/bridge/br_input.c, br_handle_frame; br_netfilter_hooks.c, br_nf_pre_routing_finish;
    net/ethernet/eth.c, eth_type_trans (Linux 6.18).
    """
    if packet.pkttype is not None or not before.dmac or is_group(before.dmac):
        return packet
    return packet.but(pkttype=received_as(before.dmac, port, bridge))


def _enter(run: Run, ns: NetnsState, bridge: Link, port: Link, packet: Packet) -> tuple[int, Packet]:
    """Find the VLAN of a frame that enters by a port or from the bridge itself; drop it where it may not."""
    entered = br.admit(run, ns, bridge, port, packet)
    if not isinstance(entered, tuple):
        end(run, ns, port, packet, entered)
    vid, tags = entered
    return vid, packet.but(tags=tags) if tags != packet.tags else packet


def _send(
    run: Run,
    ns: NetnsState,
    bridge: Link,
    source: Link | None,
    packet: Packet,
    vid: int,
    nexthop: bytes,
    verdict: br.PortVerdict,
) -> Action:
    """Send a frame out of the port that the bridge's table names, or that a flood reaches its taker by."""
    gone = br.decided_copies(run, ns, bridge, source, packet, vid, verdict)
    one = gone[0] if gone else None
    if isinstance(one, Onward) and verdict.how == "learned" and _aged_out(run, ns, bridge, packet, one, vid):
        verdict = br.PortVerdict(ports=br.flood_ports(ns, bridge, source, packet.dmac, vid), how="flood")
        gone = br.decided_copies(run, ns, bridge, source, packet, vid, verdict)
    if verdict.how in ("flood", "broadcast"):
        copies = [copy for copy in gone if isinstance(copy, Onward)]
        one = led(run, packet, gone)
        if one is not None and one.received:
            packet = _beside_its_copies(run, ns, bridge, source, packet, copies)
            return _pass_up(run, ns, bridge, source, packet, one)
        if one is None:
            found = br.found(bridge, packet.dmac, verdict, vid)
            one = _flood_port(run, ns, bridge, source, packet, found, copies)
    elif isinstance(one, Onward) and one.what is not None:
        run.record(ns, bridge, packet, one.what())
    assert one is not None
    if isinstance(one, Lost) or one.lost is not None:
        end(run, ns, bridge, packet, one)
    port = ns.links[one.link.ifindex]
    packet = packet.but(tags=one.tags) if one.tags is not None and one.tags != packet.tags else packet
    packet = _pass_out(run, ns, packet, bridge, source, port)
    if source is not None and not packet.tags and not packet.arp and calls_ip_hooks(ns, bridge, packet.ipv6):
        packet = br_netfilter.fragmented(run, ns, packet, bridge, port)
    check_frame(run, ns, port, packet, one.link, "bridge")
    return Tx(one.link, packet, nexthop)


def _pass_out(
    run: Run, ns: NetnsState, packet: Packet, bridge: Link, source: Link | None, port: Link
) -> Packet:
    """Pass a frame through all hooks on its way out of a port."""
    packet = _pass_on(run, ns, packet, bridge, source, port)
    packet = bridge_hook(run, ns, packet, "post", None, bridge, port)
    return br_netfilter.post_routing(run, ns, packet, bridge)


def _beside_its_copies(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, copies: list[Onward]
) -> Packet:
    """Give a flooded frame that goes up the addresses that rules have written into its copies for other ports.

    Those go first, and share its data: NPT writes into that, which other targets copy before.

    Source: net/bridge/br_input.c, br_handle_frame_finish; net/ipv6/netfilter/ip6t_NPT.c (Linux 6.18).
    """
    if not packet.ipv6 or not calls_ip_hooks(ns, bridge, True):
        return packet
    # Of the hooks that copies pass, NPT may stand in POST_ROUTING of the mangle table alone.
    key = (NFPROTO_IPV6, "mangle", "POSTROUTING")
    if not any(chain is not None and chain.body for chain in (ns.nft_chains.get(key), ns.xt_chains.get(key))):
        return packet
    for one in copies:
        if one.received:
            continue
        port = ns.links[one.link.ifindex]
        written = run.suppose(partial(_written_in_copy, run, ns, bridge, source, packet, port))
        if written is not None:
            packet = packet.but(src=written[0], dst=written[1])
    return packet


def _written_in_copy(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, port: Link
) -> tuple[bytes, bytes] | None:
    """Return the addresses that NPT writes into the data of a copy for a port; None where it doesn't."""
    scratch = {key: noted for key, noted in run.memory.rule_scratch.items() if key != WRITTEN_IN_PLACE}
    run.memory = run.memory.but(rule_scratch=scratch)
    try:
        copy = _pass_out(run, ns, packet, bridge, source, port)
    except Ended:
        return None
    return (copy.src, copy.dst) if WRITTEN_IN_PLACE in run.memory.rule_scratch else None


def _pass_on(
    run: Run, ns: NetnsState, packet: Packet, bridge: Link, source: Link | None, port: Link
) -> Packet:
    """Pass a frame through the hook of what goes from port to port, or of the bridge's own frames."""
    if source is None:
        return bridge_hook(run, ns, packet, "out", None, bridge, port)
    packet = bridge_hook(run, ns, packet, "forward", source, bridge, port, "before IP")
    packet = br_netfilter.forward(run, ns, packet, bridge, source, port)
    return bridge_hook(run, ns, packet, "forward", source, bridge, port, "after IP")


def _aged_out(run: Run, ns: NetnsState, bridge: Link, packet: Packet, one: Onward, vid: int) -> bool:
    """Ask whether a learned entry that leads to nobody is still there: it ages, and its fate decides here.

    Source: net/bridge/br_fdb.c, br_fdb_cleanup (Linux 6.18).
    """
    found, unknown = takers(run, one.link, packet.dmac, one.tags or ())
    if found or unknown or (ns.key, bridge.ifindex, packet.dmac, vid) in run.memory.fdb:
        return False
    gone = run.choose(("aged", ns.key, bridge.ifindex, packet.dmac), 2, None) == 1
    run.record(
        ns,
        bridge,
        packet,
        Bridge(
            "assume aged out" if gone else "assume entry",
            mac=packet.dmac,
            port=ns.links[one.link.ifindex].ifname,
        ),
        certainty=BRANCH,
    )
    return gone


def _fate_of_copies(
    run: Run, ns: NetnsState, bridge: Link, source: Link | None, packet: Packet, copies: list[Onward]
) -> tuple[bool, Onward | None]:
    """Tell whether rules stop a flooded frame at every port, and which first copy leads to who rejects it.

    Copies of copies are not followed beyond the bridge.
    """
    follow = not run.speculation_depth

    def fates() -> tuple[bool, Onward | None]:
        stopped, refused = 0, None
        for one in copies:
            try:
                copy = _pass_on(run, ns, packet, bridge, source, ns.links[one.link.ifindex])
                ended = run.fate(Tx(one.link, copy, b"")) if follow else None
            except Ended as end:
                stopped += end.disposition in (Disposition.DROPPED, Disposition.REJECTED)
                ended = end
            if refused is None and ended is not None and ended.answer is not None:
                refused = one
        return stopped == len(copies), refused

    return run.suppose(fates)


def _flood_port(
    run: Run,
    ns: NetnsState,
    bridge: Link,
    source: Link | None,
    packet: Packet,
    found: Callable[..., Bridge],
    copies: list[Onward],
) -> Onward:
    """Follow a flooded frame out of the port behind which somebody takes it.

    Of several, which a rule's new MAC can make, those are followed whose host has the packet's destination, else
    those whose host forwards.
    """
    if is_group(packet.dmac):
        run.end_unknown(ns, bridge, packet, found("unknown", "broadcast"))
    if not copies:
        run.end_dropped(ns, bridge, packet, "NO_TX_TARGET", found("drop", "no port"))
    good: dict[LinkKey, tuple[int, list[Heard]]] = {}
    maybe: list[Onward] = []
    hook = "forward" if source is not None else "out"
    for one in copies:
        own_mac = copys_mac(run, ns, packet, hook, source, bridge, ns.links[one.link.ifindex])
        taken, unknown = takers(run, one.link, own_mac, one.tags or ())
        if taken:
            good[one.link] = max(worth_to(run, taker.link, packet) for taker in taken), taken
        elif unknown:
            maybe.append(one)
    most = max((worth for worth, _ in good.values()), default=0)
    choices = [one for one in copies if one.link in good and good[one.link][0] == most] or maybe
    if not choices:
        stopped, refused = _fate_of_copies(run, ns, bridge, source, packet, copies)
        if refused is not None:
            port = ns.links[refused.link.ifindex]
            run.record(ns, bridge, packet, found("flood", "rejected", port=port.ifname))
            return refused
        reason: DropReason = "NETFILTER_DROP" if stopped else "OTHERHOST"
        run.end_dropped(ns, bridge, packet, reason, found("drop", "nobody"))
    chosen, certainty = run.pick(("flood", ns.key, bridge.ifindex, packet.dmac), choices)
    run.record(
        ns,
        bridge,
        packet,
        found("flood", port=ns.links[chosen.link.ifindex].ifname),
        certainty=certainty,
        copies=tuple(
            Copy(taker.link) for at, (_, taken) in good.items() if at != chosen.link for taker in taken
        ),
    )
    return chosen
