"""Tunnels in words."""

from __future__ import annotations

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.sim.steps import Decap, Encap
from netviz.core.sim.trace import Step
from netviz.core.sim.words.show import Templates, endpoint


def _encap(step: Step) -> Encap:
    assert isinstance(step.what, Encap)
    return step.what


def fdb_text(what: Encap) -> str:
    """Say how VXLAN's table found the remote; "" for other tunnels."""
    if what.fdb == "learned":
        return f"learned {format_mac(what.fdb_mac)}"
    how = f"entry for {format_mac(what.fdb_mac)}" if what.fdb == "entry" else "default remote"
    if what.fdb_choice == "nexthop group":
        how += ", nexthop group"
    if what.fdb_choice == "copies":
        how += f", one copy of {what.fdb_copies}"
    return how if what.fdb else ""


def _vxlan(step: Step) -> str:
    what = _encap(step)
    return f"{step.dev} wraps the frame for {format_ip(what.remote)} in VNI {what.vni} ({fdb_text(what)})."


def _wireguard(step: Step) -> str:
    what = _encap(step)
    inner = step.packet.payload or step.packet
    return f"{format_ip(inner.dst)} is allowed for the peer at {endpoint(what.remote, what.port)}."


def _not_carried(step: Step) -> str:
    versions = " and IPv".join(str(version) for version in _encap(step).carried)
    return f"{step.dev} carries IPv{versions} alone."


def _remote(step: Step) -> str:
    what = _encap(step)
    return (
        f"{what.device_kind} to a multicast group" if what.remote else f"{what.device_kind} without a remote"
    )


def _copies(step: Step) -> str:
    copies = ", ".join(format_ip(copy.addr) for copy in step.copies)
    return f"{step.dev} sends copies to {copies}, but nobody behind them has {format_mac(step.packet.dmac)}."


def _no_peer(step: Step) -> str:
    peer = "no peer" if step.cause == "no peer" else "a peer without a known endpoint"
    return f"{format_ip(step.packet.dst)} has {peer} on {step.dev}: the sender gets an ICMP error."


def _ip_out(step: Step) -> str:
    what = step.what
    assert isinstance(what, Decap)
    return (
        f"The packet from {format_ip(what.outer_src)} is for {step.dev} ({what.device_kind}): what it carries comes "
        "out there."
    )


def _inner_src(step: Step) -> str:
    inner = step.packet.payload or step.packet
    return f"{format_ip(inner.src)} is not allowed for the peer that sent it: the packet is dropped."


def _settings(step: Step) -> str:
    what = step.what
    assert isinstance(what, (Encap, Decap))
    how = what.what
    if what.device_kind == "vxlan":
        how = how if how and how != "settings" else "its settings are unknown"
    return f"{step.dev} works in a way that is not modelled ({how})."


def _decap_settings(step: Step) -> str:
    what = step.what
    assert isinstance(what, Decap)
    if what.device_kind == "vxlan":
        return f"{step.dev} works in a way that is not modelled (VNI filter or GPE)."
    return f"{step.dev} may take the packet, and works in a way that is not modelled ({what.what})."


def _decap_unknown(step: Step) -> str:
    what = step.what
    assert isinstance(what, Decap)
    return f"{what.device_kind} {what.what or 'settings'}"


def _marked(step: Step) -> str:
    return f"{step.dev} looks for its route with mark {_encap(step).mark:#x}, and policy rules look at marks."


TOO_BIG = "The packet has {length} bytes, the path through {dev} takes {mtu}, and it may not be fragmented"

WHY: Templates = {
    (Encap, "ip"): "{dev} wraps the packet for {remote} ({device_kind}).",
    (Encap, "geneve"): "{dev} wraps the frame for {remote} in VNI {vni} (geneve).",
    (Encap, "vxlan"): _vxlan,
    (Encap, "wireguard"): _wireguard,
    (
        Encap,
        "short cut",
    ): "The remote {remote} is this host's own: the frame takes a short cut to {to} here.",
    (Encap, "no peer"): _no_peer,
    (Encap, "no endpoint"): _no_peer,
    (Encap, "not carried"): _not_carried,
    (Encap, "through itself"): "The route to {remote} leads through {dev} itself.",
    (Encap, "too big"): TOO_BIG + "; the sender is copies by ICMP.",
    (
        Encap,
        "too big for the bridge",
    ): TOO_BIG + ": {dev} gives the bridge an ICMP error back, as if {dst} had sent it.",
    (
        Encap,
        "recursion",
    ): "The route to the tunnel's other end leads into tunnels again ({dev}): the kernel gives up.",
    (Encap, "no route"): "There is no route to the tunnel's other end {remote}.",
    (
        Encap,
        "external",
    ): "{dev} is external: without a route's or a program's word where to, it drops the packet.",
    (
        Encap,
        "no device",
    ): "The remote {remote} is this host's own, but no VXLAN device here has VNI {vni} and port {port}.",
    (Encap, "no entry"): "{dev} has no entry for {dmac} and no default remote.",
    (Encap, "no address"): "The remote of {dev} is no address: the frame is dropped.",
    (Encap, "nobody"): _copies,
    (Encap, "settings"): _settings,
    (Encap, "remote"): lambda step: (
        f"Where {step.dev} sends this packet to is not modelled ({_remote(step)})."
    ),
    (
        Encap,
        "namespace",
    ): "{dev} was made in another namespace, which isn't known: its outer packets travel there.",
    (Encap, "socket namespace"): "No namespace is known to have {dev}'s socket.",
    (Encap, "marked routing"): _marked,
    (
        Encap,
        "multicast group",
    ): "{dev} sends the frame to a multicast group, which is not modelled.",
    (
        Encap,
        "nexthop group",
    ): "{dev}'s entry leads to nexthop group {nhid}, which has no known member.",
    (
        Encap,
        "own host",
    ): "A copy of the frame is for {remote}, which is this host's own: it comes back.",
    (Encap, "peers"): "The peers of {dev} are not in the state.",
    (Encap, "route encapsulation"): "The route encapsulates ({what}), which is not modelled.",
    (Decap, "ip"): _ip_out,
    (Decap, "vxlan"): lambda step: (
        f"{step.dev} has VNI {step.what.vni}: the inner frame comes out of it."  # type: ignore[union-attr]
    ),
    (
        Decap,
        "wireguard",
    ): "{dev} takes the packet from its peer: {src} is allowed for it.",
    (
        Decap,
        "program's socket",
    ): "A program's socket has port {dport} and takes the packet: no tunnel device gets it.",
    (
        Decap,
        "no tunnel port",
    ): "No tunnel device here listens on UDP port {dport}: the packet is refused.",
    (
        Decap,
        "checksum",
    ): "Rules have translated the tunnel packet while the inner packet's checksum was left to the device: that spoils "
    "the outer UDP checksum, which the loopback lets show.",
    (Decap, "own MAC"): "The inner frame's source is {dev}'s own MAC.",
    (
        Decap,
        "no geneve device",
    ): lambda step: (
        f"No Geneve device here has VNI {step.packet.vni} and the remote {format_ip(step.packet.src)}."
    ),
    (
        Decap,
        "no ip device",
    ): "No tunnel device here takes protocol {proto} from {src}: the packet is refused.",
    (
        Decap,
        "congestion",
    ): "The outer packet is marked as having met congestion, and what it carries can't be: it is dropped.",
    (
        Decap,
        "static entry elsewhere",
    ): "{dev} has the inner frame's source at another remote, in a static entry.",
    (
        Decap,
        "no vxlan device",
    ): lambda step: f"No VXLAN device here has VNI {step.packet.vni} and port {step.packet.dport}.",
    (
        Decap,
        "no session",
    ): "{dev} knows no peer with the sender's key: there is no session, and nothing comes through.",
    (Decap, "not allowed"): _inner_src,
    (
        Decap,
        "another tunnel's port",
    ): "A {what} packet comes to the port of a {device_kind} device, which reads it otherwise.",
    (Decap, "settings"): _decap_settings,
}

UNKNOWN: Templates = {
    (Encap, "settings"): "{device_kind} {what}",
    (Encap, "remote"): _remote,
    (Encap, "namespace"): "namespace of a tunnel",
    (Encap, "socket namespace"): "namespace of a tunnel",
    (Encap, "marked routing"): "routing of a marked tunnel packet",
    (Encap, "multicast group"): "vxlan multicast group",
    (Encap, "nexthop group"): "vxlan nexthop group",
    (Encap, "own host"): "vxlan remote of its own host",
    (Encap, "peers"): "wireguard peers",
    (Encap, "route encapsulation"): "{what} encapsulation",
    (Decap, "another tunnel's port"): "{what} packet at a {device_kind} device",
    (Decap, "settings"): _decap_unknown,
}

COMMANDS: Templates = {
    (Encap, "vxlan"): "bridge fdb show dev {dev}",
    (Encap, "wireguard"): "wg show {dev}",
    (Encap, "peers"): "wg show {dev}",
    (Encap, "no peer"): "wg show {dev}",
    (Encap, "no endpoint"): "wg show {dev}",
    (Encap, "socket namespace"): "wg show {dev}",
    (Encap, "short cut"): "ip route get {remote}",
    (Encap, "no device"): "ip -d link show type vxlan",
    (Encap, "through itself"): "ip route get {remote}",
    (Encap, "no route"): "ip route get {remote}",
    (Encap, "own host"): "ip route get {remote}",
    (Encap, "recursion"): "ip -d link show dev {dev}",
    (Encap, "marked routing"): "ip rule",
    (Encap, "no entry"): "bridge fdb show dev {dev}",
    (Encap, "no address"): "bridge fdb show dev {dev}",
    (Encap, "nobody"): "bridge fdb show dev {dev}",
    (Encap, "multicast group"): "bridge fdb show dev {dev}",
    (Encap, "nexthop group"): "ip nexthop show id {nhid}",
    (Encap, ""): "ip -d link show dev {dev}",
    (Decap, "wireguard"): "wg show {dev}",
    (Decap, "no session"): "wg show {dev}",
    (Decap, "not allowed"): "wg show {dev}",
    (Decap, "program's socket"): "ss -uanp",
    (Decap, "no tunnel port"): "ss -uanp",
    (Decap, "checksum"): "nstat -az UdpInCsumErrors",
    (Decap, "no geneve device"): "ip -d link show type geneve",
    (Decap, "no ip device"): "ip -d link",
    (Decap, "no vxlan device"): "ip -d link show type vxlan",
    (Decap, "congestion"): "ip -s -s link show dev {dev}",
    (Decap, "static entry elsewhere"): "bridge fdb show dev {dev}",
    (Decap, ""): "ip -d link show dev {dev}",
}
