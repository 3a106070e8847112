"""Devices in words."""

from __future__ import annotations

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey
from netviz.core.sim.steps import Bridge, Receive, Stray, Transmit
from netviz.core.sim.trace import Step
from netviz.core.sim.words.show import Templates, copy_text, place, show


def _stray(stray: Stray | None) -> str:
    if stray is None:
        return ""
    owner = place(stray.owner)
    return (
        f" But {format_ip(stray.addr)} is {owner} on {stray.owner.netns.node}: {stray.leaves} has no route "
        "that leads there."
    )


def _leave(step: Step) -> str:
    what = step.what
    assert isinstance(what, Transmit)
    if what.cause == "to next hop":
        whom = f"to whoever has {format_ip(what.target)}; no known node has it."
        return f"The packet goes out of {step.dev} {whom}{_stray(what.stray)}{_edge(step)}"
    return (
        f"The packet goes out of {step.dev}; no known node has the next hop.{_stray(what.stray)}{_edge(step)}"
    )


def _edge(step: Step) -> str:
    """Say what speaks against a packet that leaves."""
    what, packet = step.what, step.packet
    assert isinstance(what, Transmit)
    if what.edge is None:
        return ""
    said = ""
    if what.edge.source == "another link":
        said += (
            f" Its source {format_ip(packet.src)} is the address of {what.edge.source_dev}, not of {step.dev}: answers come "
            "back there, or a router refuses it."
        )
    if what.edge.source == "not translated":
        said += (
            f" Its source {format_ip(packet.src)} is private and nobody has translated it: only who has a route back to it "
            "can answer."
        )
    if what.edge.translator is not None:
        said += f" NAT rules of {place(what.edge.translator)} name {format_ip(packet.dst)}, but none has translated this packet."
    return said


def _wire(step: Step) -> str:
    what = step.what
    assert isinstance(what, Transmit)
    assert what.peer is not None
    sent = (
        f"The packet goes out of {step.dev} to {what.peer.netns.node}, whose link has the frame's MAC and shares "
        "the subnet."
    )
    if what.shared:
        sent += (
            f" But {_shared(what.shared)} have the same MAC {show(step.packet.dmac)}: a switch sends frames for it "
            "where it saw it last. This branch takes it that it was there."
        )
    return sent


def _shared(links: tuple[LinkKey, ...]) -> str:
    """Name the nodes whose links share a MAC."""
    return " and ".join(dict.fromkeys(key.netns.node for key in links))


def _sent_back(step: Step) -> str:
    what = step.what
    assert isinstance(what, Bridge)
    if what.shared:
        return (
            f"{_shared(what.shared)} have the same MAC {show(what.sent_to)}: the switch has it behind {step.dev} itself, "
            "and sends no frame back by the port that it came from."
        )
    return (
        f"{show(what.sent_to)} is a MAC behind {step.dev} itself: a switch sends no frame back by the port that it "
        "came from."
    )


def _slave(step: Step) -> str:
    what = step.what
    assert isinstance(what, Transmit)
    how = f"one of {what.slaves}, by mode {what.mode} and hash policy {what.policy}"
    if what.mode == "active-backup":
        how = "the active slave"
    elif what.mode == "broadcast":
        how = f"as by each of {what.slaves}"
    elif what.mode == "balance-rr":
        how = f"one of {what.slaves}, by turn"
    return f"{step.dev} is a bond; the frame leaves by {what.slave}, {how}."


def _another_mac(step: Step) -> str:
    what = step.what
    assert isinstance(what, Receive)
    return (
        f"The frame goes to {show(what.sent_to)}, but {step.node}, which has the next hop's address, has "
        f"{show(what.expected)}: it doesn't take the frame."
    )


def _master(step: Step) -> str:
    what = step.what
    assert isinstance(what, Receive)
    kind = "missing" if what.master_kind is None else f"a {what.master_kind or 'plain'} device"
    return f"{step.dev} belongs to master {what.master}, which is {kind}: what it does isn't known."


def _upper(step: Step) -> str:
    """Say where a macvlan or ipvlan sends."""
    what = step.what
    assert isinstance(what, Transmit)
    if what.action == "to lower":
        kind = "an ipvlan (l2)" if what.cause == "ipvlan" else "a macvlan"
        return f"{step.dev} is {kind} over {what.lower}."
    if what.cause == "ipvlan":
        addr = format_ip(step.packet.dst)
        return f"{what.peer_ifname} in {show(what.where)} has {addr} and shares the lower device."
    return f"{what.peer_ifname} in {show(what.where)} has this MAC and shares the lower device {what.lower}."


LIMITS = {
    "": "",
    "vlan": ", not in VLAN {}",
    "hairpin": ", hairpin off",
    "isolated": ", both ports isolated",
}


def _may_not_send(step: Step) -> str:
    what = step.what
    assert isinstance(what, Bridge)
    limit = LIMITS[what.limit].format(what.vlan or 0)
    return (
        f"{show(what.mac)} is behind {what.port}, which may not send this frame: state {what.state}{limit}."
    )


def _vlan_filter(step: Step) -> str:
    what = step.what
    assert isinstance(what, Bridge)
    frames = f"VLAN {what.vlan}" if what.vlan else "untagged frames"
    return f"{step.dev} takes no {frames}: {what.bridge} filters VLANs and drops the frame."


def _vxlan_flood(step: Step) -> str:
    what = step.what
    assert isinstance(what, Bridge)
    copies = ", ".join(copy_text(copy) for copy in step.copies)
    does = "rejects it" if what.cause == "vxlan rejected" else "leads to who takes it"
    return f"{step.dev} sends a copy to each of {copies}; {format_ip(what.remote)} {does}."


def _takers(step: Step) -> str:
    what = step.what
    assert isinstance(what, Bridge)
    return f"Macvlans in source mode over {step.dev} get a copy: {', '.join(what.takers)}."


WHY: Templates = {
    (Transmit, "cross veth"): "{dev} is a veth; its other end is {peer_ifname} in {where}.",
    (Transmit, "cross netkit"): "{dev} is one end of a netkit pair; the other is {peer_ifname} in {where}.",
    (Transmit, "cross wire"): _wire,
    (Transmit, "leave"): _leave,
    (Transmit, "to next hop"): _leave,
    (Transmit, "loop back"): "The destination is this namespace itself.",
    (Transmit, "vrf"): "The destination is {dev}'s own: the packet comes in there.",
    (Transmit, "macvlan"): _upper,
    (Transmit, "ipvlan"): _upper,
    (Transmit, "to master"): "The frame is for the MAC that {dev} shares with {lower}: that gets it.",
    (
        Transmit,
        "to the master's routing",
    ): "{dev} is an ipvlan over {lower}: {where} routes the packet, by that device alone.",
    (Transmit, "to slave"): _slave,
    (Transmit, "to vrf"): "{dev} is a VRF: the packet is routed in its table.",
    (Transmit, "tag"): "{dev} tags the frame with VLAN {vlan} and sends it by {lower}.",
    (Transmit, "to nobody"): "The packet goes out of {dev} to {dmac}, which no known link has.",
    (Transmit, "to shared MAC"): "The packet goes out of {dev} to {dmac}, which several known links have.",
    (Transmit, "link down"): "{dev} is down.",
    (
        Transmit,
        "no carrier",
    ): "{dev} has no carrier: its other end is down or gone, so its queue takes nothing.",
    (Transmit, "peer down"): "The other end, {peer_ifname}, is down.",
    (
        Transmit,
        "too many turns",
    ): "Rules of devices send the frame from one to the next too often: it is dropped.",
    (
        Transmit,
        "no usable slave",
    ): "{dev} has no slave that may send: none is active, up and with carrier.",
    (
        Transmit,
        "private ipvlans",
    ): "{peer_ifname} has {dst}, but the ipvlans are private: they don't reach each other.",
    (Transmit, "dummy"): "{dev} is a dummy device: it swallows what is sent by it.",
    (
        Transmit,
        "blackhole",
    ): "{dev} is a netkit device without BPF programs whose policy is to drop (blackhole).",
    (Transmit, "netkit peer"): "The other end of {dev} isn't known: {unresolved}.",
    (Transmit, "veth peer"): "The other end of {dev} isn't known: {unresolved}.",
    (Transmit, "far end"): "The other end isn't known.",
    (Transmit, "lower device"): "{dev}'s lower device isn't known.",
    (Transmit, "ipvlan lower device"): "{dev}'s lower device or mode isn't known.",
    (Transmit, "vlan device"): "{dev}'s lower device isn't known.",
    (Receive, "receive"): "{dev} receives the packet.",
    (Receive, "frame"): "{dev} receives the frame.",
    (Receive, "bridge port"): "{dev}, a port of {bridge}, receives the frame.",
    (Receive, "ipvlan l3s"): "{dev} is an ipvlan (l3s) over {lower} and has {dst}: it gets the packet.",
    (Receive, "to bond"): "{dev}, a slave of {bond}, receives the frame for it.",
    (Receive, "to macvlan"): "{dev} receives the frame, which {upper} over it takes.",
    (Receive, "to ipvlan"): "{dev} receives the packet, whose destination {upper} over it has.",
    (Receive, "untag"): "{dev} receives a frame of VLAN {vlan} for {upper}.",
    (Receive, "loop"): "The packet is back at {dev}, as it was when it was here before: it goes round.",
    (Receive, "link down"): "{dev} is down.",
    (
        Receive,
        "for another host",
    ): "The frame is for {dmac}, but {dev} has {mac}: it is not for this host and is dropped (it was meant for {dst}).",
    (Receive, "another MAC"): _another_mac,
    (
        Receive,
        "macvlan keeps",
    ): "A macvlan over {dev} takes all frames from this source for itself (nodst).",
    (Receive, "passthru down"): "{upper}, which takes all frames of {dev}, is down.",
    (
        Receive,
        "backup slave",
    ): "{dev} is a backup slave of {bond}: what comes in by it is not for the bond.",
    (Receive, "no VLAN device"): "{dev} has no device for VLAN {vlan}: the frame is dropped.",
    (Receive, "IPv6 disabled"): "IPv6 is disabled on {dev}.",
    (Receive, "loopback address"): "::1 may not come in by {dev}: it is the loopback's alone.",
    (Receive, "missing device"): "Device {ifindex} is not in the state.",
    (Receive, "master"): _master,
    (Receive, "priority tag"): "The frame has a priority tag, which is not modelled.",
    (Bridge, "forward"): "{dev}'s table says that {mac} is behind {port} ({lookup}).",
    (
        Bridge,
        "flood",
    ): "{dev} has no entry for {mac} and floods the frame; {port} leads to who takes it.",
    (
        Bridge,
        "rejected",
    ): "{dev} has no entry for {mac} and floods the frame; nobody takes it, but a rule rejects the copy for {port}.",
    (Bridge, "vxlan"): _vxlan_flood,
    (Bridge, "vxlan rejected"): _vxlan_flood,
    (Bridge, "up"): "{mac} is {dev}'s own: the frame goes up to it.",
    (Bridge, "copy"): _takers,
    (
        Bridge,
        "to itself",
    ): "The new destination is not to be reached behind {dev}: the frame is addressed to the bridge itself, so that "
    "the packet is routed, or refused, there.",
    (
        Bridge,
        "stay bridged",
    ): "The new destination is behind {dev} itself: the frame stays bridged, to the MAC of {gateway}.",
    (
        Bridge,
        "assume aged out",
    ): "{dev} has learned {mac} behind {port}, where nobody has it now. Learned entries age; this branch takes it to "
    "be gone.",
    (
        Bridge,
        "assume entry",
    ): "{dev} has learned {mac} behind {port}, where nobody has it now. Learned entries age; this branch takes it to "
    "be there still.",
    (Bridge, "port state"): "{dev} is a port of {bridge} in state {state}: it takes no frames.",
    (
        Bridge,
        "not in VLAN",
    ): "{mac} is {dev}'s own, but the bridge itself is not in VLAN {vlan}: the frame is dropped.",
    (Bridge, "VLAN filter"): _vlan_filter,
    (Bridge, "dangling"): "The bridge's entry for {mac} names no port that it has.",
    (Bridge, "own MAC"): "{mac} is the bridge's own; a frame from itself to itself goes nowhere.",
    (Bridge, "may not send"): _may_not_send,
    (Bridge, "no port"): "{dev} has no entry for {mac}, and no other port takes a flooded frame.",
    (
        Bridge,
        "nobody",
    ): "{dev} has no entry for {mac} and floods the frame, but nobody behind its ports has that MAC.",
    (
        Bridge,
        "locked port",
    ): "{dev} is locked, and the bridge has no entry that puts {smac} behind it.",
    (Bridge, "sent back"): _sent_back,
    (
        Bridge,
        "broadcast",
    ): "The frame is flooded to every port of {dev}; broadcast and multicast are not followed.",
    (Bridge, "locked entry"): "{dev} is locked; whether the entry for {smac} may pass isn't known.",
    (Bridge, "VLAN tunnel"): "{dev} maps VLANs to tunnels, which is not modelled.",
    (Bridge, "MST"): "{dev} has a spanning tree of each VLAN (mst), which is not modelled.",
    (
        Bridge,
        "tagged frames in the IP hooks",
    ): "Tagged frames go through the IP hooks too (net.bridge.bridge-nf-filter-vlan-tagged), which is not modelled.",
}

UNKNOWN: Templates = {
    (Transmit, "veth peer"): "veth peer {state}",
    (Transmit, "netkit peer"): "netkit peer {state}",
    (Transmit, "far end"): "veth peer unresolved",
    (Transmit, "lower device"): "lower device",
    (Transmit, "ipvlan lower device"): "lower device",
    (Transmit, "vlan device"): "VLAN device",
    (Receive, "missing device"): "missing device",
    (Receive, "master"): "master of {dev}",
    (Receive, "priority tag"): "priority tag",
    (Bridge, "broadcast"): "broadcast or multicast",
    (Bridge, "locked entry"): "locked bridge port",
    (Bridge, "VLAN tunnel"): "bridge VLAN tunnel",
    (Bridge, "MST"): "bridge MST",
    (Bridge, "tagged frames in the IP hooks"): "tagged frame in the IP hooks",
}

COMMANDS: Templates = {
    (Transmit, "cross netkit"): "ip -d link show dev {dev}",
    (Transmit, "cross veth"): "ip -d link show dev {dev}",
    (Transmit, "cross wire"): "ip neigh show dev {dev}",
    (Transmit, "to nobody"): "ip neigh show dev {dev}",
    (Transmit, "to shared MAC"): "ip link show dev {dev}",
    (Transmit, "leave"): "ip -s link show dev {dev}",
    (Transmit, "to next hop"): "ip -s link show dev {dev}",
    (Transmit, "to vrf"): "ip route show vrf {dev}",
    (Transmit, "link down"): "ip link show dev {dev}",
    (Transmit, "no carrier"): "ip link show dev {dev}",
    (Transmit, "to slave"): "ip -d link show master {dev}",
    (Transmit, "no usable slave"): "ip -d link show master {dev}",
    (Transmit, "dummy"): "ip -s -d link show dev {dev}",
    (Transmit, ""): "ip -d link show dev {dev}",
    (Receive, "receive"): "ip -s link show dev {dev}",
    (Receive, "frame"): "ip -s link show dev {dev}",
    (Receive, "bridge port"): "bridge link show dev {dev}",
    (Receive, "to bond"): "ip -d link show master {bond}",
    (Receive, "backup slave"): "ip -d link show master {bond}",
    (Receive, "no VLAN device"): "ip -d link show type vlan link {dev}",
    (Receive, "IPv6 disabled"): "sysctl net.ipv6.conf.{dev}.disable_ipv6",
    (Receive, "loopback address"): "ip -6 addr show dev lo",
    (Receive, "for another host"): "ip link show dev {dev}",
    (Receive, "link down"): "ip link show dev {dev}",
    (Receive, "another MAC"): "ip link show dev {dev}",
    (Receive, "passthru down"): "ip link show dev {upper}",
    (Receive, "missing device"): "ip -d link",
    (Receive, ""): "ip -d link show dev {dev}",
    (Bridge, "up"): "bridge fdb get {mac} br {dev}",
    (Bridge, "copy"): "ip -d link show type macvlan",
    (Bridge, "to itself"): "ip route get {dst} from {src} iif {dev}",
    (Bridge, "stay bridged"): "ip neigh get {gateway} dev {dev}",
    (Bridge, "vxlan"): "bridge fdb show dev {dev}",
    (Bridge, "vxlan rejected"): "bridge fdb show dev {dev}",
    (Bridge, "assume aged out"): "bridge -s fdb show br {dev}",
    (Bridge, "assume entry"): "bridge -s fdb show br {dev}",
    (Bridge, "port state"): "bridge link show dev {dev}",
    (Bridge, "not in VLAN"): "bridge vlan show dev {dev}",
    (Bridge, "VLAN filter"): "bridge vlan show dev {dev}",
    (Bridge, "may not send"): "bridge link show dev {port}",
    (Bridge, "no port"): "bridge -d link show master {dev}",
    (Bridge, "locked port"): "bridge -d link show dev {dev}",
    (Bridge, "locked entry"): "bridge -d link show dev {dev}",
    (Bridge, "sent back"): "ip neigh show dev {dev}",
    (Bridge, "VLAN tunnel"): "bridge vlan tunnelshow dev {dev}",
    (Bridge, "MST"): "bridge mst show dev {dev}",
    (Bridge, "tagged frames in the IP hooks"): "sysctl net.bridge.bridge-nf-filter-vlan-tagged",
    (Bridge, ""): "bridge fdb show br {dev}",
}
