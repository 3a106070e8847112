"""The network layer in words: arrival, forwarding, sizes, delivery."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.model.addr import format_ip
from netviz.core.plain import quoted
from netviz.core.sim.packet import IPPROTO_TCP
from netviz.core.sim.steps import (
    Forward,
    LocalDelivery,
    Mtu,
    Origin,
    Place,
    RpFilter,
    SocketLookup,
    SourceRefusal,
    Ttl,
)
from netviz.core.sim.trace import Step
from netviz.core.sim.words.show import Templates, endpoint, place

RP_MODES = {1: "strict", 2: "loose"}


def refusal_text(refusal: SourceRefusal) -> str:
    """Say why a source isn't accepted."""
    if refusal.cause == "reverse path":
        mode = RP_MODES.get(refusal.level, str(refusal.level))
        return f"rp_filter on {refusal.ifname} is {mode}, and the return path to the source doesn't use it"
    if refusal.cause == "own address":
        return "its source is this namespace's own address"
    if refusal.cause == "special address":
        return "its source is a broadcast or other special address"
    return refusal.unknown


def _origin(step: Step) -> str:
    what, packet = step.what, step.packet
    why = f"The {'answer' if what.cause == 'answer' else 'packet'} is sent: {packet.describe()}."
    if packet.inner is not None:
        why += " The kernel limits how many ICMP errors it sends: one may be left out (icmp_ratelimit)."
    return why


def _rp_filter(step: Step) -> str:
    what = step.what
    assert isinstance(what, RpFilter)
    assert what.refusal is not None
    return f"The packet from {format_ip(step.packet.src)} is refused on {step.dev}: {refusal_text(what.refusal)}."


def _rp_unknown(step: Step) -> str:
    what = step.what
    assert isinstance(what, RpFilter)
    return what.refusal.unknown if what.refusal is not None else ""


def _ttl(step: Step) -> str:
    if step.what.cause == "IPVS":
        return (
            "The TTL is used up where IPVS sends the packet on; the sender is learns by ICMP (time exceeded)."
        )
    name = "hop limit" if step.packet.ipv6 else "TTL"
    return f"The {name} is used up; the sender is learns by ICMP (time exceeded)."


def _mtu(step: Step) -> str:
    what = step.what
    assert isinstance(what, Mtu)
    has, takes = f"The packet has {what.length} bytes", f"{what.taker} takes {what.mtu}"
    bridged = f"{has} and {what.taker} takes {what.taker_mtu}"
    article = "an" if what.by[:1] in "aeiou" else "a"
    if what.action == "segment":
        return f"{takes[0].upper()}{takes[1:]} bytes: TCP sends segments that are no larger, not {what.length} bytes."
    return {
        "": f"{has} and {takes}: it goes on in fragments.",
        "bridged": f"{bridged}: after the IP hooks (br_netfilter) it goes on in fragments.",
        "bridged DF": f"{bridged}, and DF is set: {what.bridge} drops it silently.",
        "bridged IPv6": f"{bridged}; it may not be fragmented, and the sender is learns by ICMP.",
        "frame": f"{has} and {what.taker} on {what.taker_node or step.node} takes at most {what.mtu}; {article} {what.by} drops it silently.",
        "sending fails": f"{has}, its route by {takes}, and DF is set: sending fails with EMSGSIZE.",
        "DF": f"{has}, {takes}, and DF is set.",
        "device": f"{has}, {takes}, and it may not be fragmented; the sender is learns by ICMP.",
        "route": f"{has}, its route by {takes}, and it may not be fragmented; the sender is learns by ICMP.",
    }[what.cause]


def _socket(step: Step) -> SocketLookup:
    assert isinstance(step.what, SocketLookup)
    return step.what


def proto_name(step: Step) -> str:
    """Name the transport protocol that sockets are looked for by."""
    return "tcp" if step.packet.proto == IPPROTO_TCP else "udp"


def bound_text(what: SocketLookup) -> str:
    """Write what a socket is bound to; "" where no socket was found."""
    return f"{format_ip(what.addr) or '*'}:{what.port}" if what.addr is not None else ""


def _deliver(step: Step) -> str:
    return f"A {proto_name(step)} socket is bound to {bound_text(_socket(step))} and takes the packet."


def _sender(step: Step) -> str:
    learns = "learns of the error" if _socket(step).error else "gets its answer"
    return f"The packet belongs to the socket that sent the flow: the sender {learns}."


def _no_socket(step: Step) -> str:
    answer = _socket(step).answer
    sends = "" if answer is None else f"; the kernel answers with {answer.describe()}"
    return f"No {proto_name(step)} socket takes packets to port {step.packet.dport}{sends}."


def _untranslated(step: Step) -> str:
    """Say that an answer comes from who was never asked, where it was to be translated back, and why it wasn't."""
    what = _socket(step)
    missed = what.missed
    assert missed is not None
    packet, where = step.packet, place(missed.place)
    asked = endpoint(missed.orig.dst, missed.orig.dport)
    why = {
        "other path": f"The answer's path misses {where}",
        "bridged": f"{where} bridges the answer without translating it ({missed.setting} is 0)",
        "": f"The answer's packet belongs to no connection of {where}",
    }[missed.cause]
    return (
        f"The answer comes from {endpoint(packet.src, packet.sport)}, but the client asked {asked}: {where} translated "
        f"that, and the answer was not translated back. {why[0].upper()}{why[1:]}."
    )


def _untranslated_command(step: Step) -> str:
    missed = _socket(step).missed
    assert missed is not None
    return f"ss -anp dst {format_ip(missed.orig.dst)}"


def elsewhere(what: SocketLookup) -> Iterator[tuple[Place, str]]:
    """List what to look at on other machines: the translation that an answer misses."""
    missed = what.missed
    if missed is not None:
        yield (
            missed.place,
            f"sysctl {missed.setting}" if missed.setting else f"conntrack -L -d {format_ip(missed.orig.dst)}",
        )


def _source(step: Step) -> str:
    what = _socket(step)
    finds = f"chooses {format_ip(what.source)} as the answer's source"
    if what.route_error:
        finds = f"is looked up before the answer has a source, and that fails ({what.route_error})"
    does = "does not" if what.action == "plain source" else "does"
    return (
        f"The socket is bound to no address: the route {finds}, unless the program asks for "
        f"{format_ip(step.packet.dst)} (IP_PKTINFO). This branch takes it that the program {does}."
    )


def _socket_command(step: Step) -> str:
    name = proto_name(step)
    return f"ss -{name[0]}{'l' if name == 'tcp' else 'a'}np sport = :{step.packet.dport}"


def _forwarding(step: Step) -> str:
    of_device = f"net.ipv4.conf.{quoted(step.dev)}.forwarding"
    return f"sysctl {'net.ipv6.conf.all.forwarding' if step.packet.ipv6 else of_device}"


WHY: Templates = {
    (Origin, "send"): _origin,
    (Origin, "answer"): _origin,
    (RpFilter, "refused"): _rp_filter,
    (RpFilter, "lookup"): _rp_filter,
    (Forward, "forward"): "Forwarding is on for {dev}; the packet goes on to {oif}.",
    (Forward, "by a rule"): "The frame goes out of {oif} instead.",
    (
        Forward,
        "forwarding off",
    ): "{dst} is not an address of this namespace, and forwarding is off on {dev}.",
    (
        Forward,
        "given to a socket",
    ): "A rule has given the packet to a socket, or made it one for others: it is not forwarded.",
    (
        Forward,
        "link-local source",
    ): "A packet from a link-local address stays on its link; the sender is learns by ICMP (not a neighbour).",
    (
        Forward,
        "setting not read",
    ): "Whether {dev} may forward isn't known: {sysctl} is not in the state.",
    (
        Forward,
        "link-local destination",
    ): "How a packet to a link-local address of somebody else goes on is not modelled.",
    (
        Forward,
        "redirect sent",
    ): "The packet leaves by the link that it came in by, so {src} has just been sent a redirect; that uses up what it may "
    "be learns by ICMP (icmp_ratelimit): {icmp} is not sent, and the packet is dropped silently.",
    (Ttl, "forwarding"): _ttl,
    (Ttl, "IPVS"): _ttl,
    **{
        (Mtu, name): _mtu
        for name in (
            "fragment",
            "segment",
            "bridged",
            "bridged DF",
            "bridged IPv6",
            "frame",
            "sending fails",
            "DF",
            "device",
            "route",
        )
    },
    (LocalDelivery, "deliver"): "{dst} is this namespace's own: the packet is delivered here.",
    (SocketLookup, "deliver"): _deliver,
    (SocketLookup, "sender"): _sender,
    (SocketLookup, "echo"): "The kernel itself answers the echo request.",
    (SocketLookup, "ignore"): "{sysctl} is on: echo requests are not answered.",
    (SocketLookup, "no socket"): _no_socket,
    (SocketLookup, "untranslated"): _untranslated,
    (
        SocketLookup,
        "no answer",
    ): "{source} is not a local address: nothing that isn't transparent can answer from it.",
    (SocketLookup, "plain source"): _source,
    (SocketLookup, "same source"): _source,
    (
        SocketLookup,
        "marked for others",
    ): "A rule has made it a packet for others: TCP does not take it.",
    (
        SocketLookup,
        "another device",
    ): "The sender's socket is bound to another device: what comes by {dev} is not for it.",
    (SocketLookup, "nobody waits"): "No socket here is waiting for this ICMP message: it is ignored.",
    (SocketLookup, "protocol"): "Who takes protocol {proto} isn't modelled.",
    (
        SocketLookup,
        "sender's address",
    ): "An echo's answer has come to another address than the one it was sent from; whether the sender's socket is "
    "bound to that one isn't known.",
    (
        SocketLookup,
        "random port",
    ): "The destination port was chosen at random: who takes the packet isn't known.",
}

UNKNOWN: Templates = {
    (RpFilter, "lookup"): _rp_unknown,
    (Forward, "setting not read"): "forwarding setting not read",
    (Forward, "link-local destination"): "link-local destination",
    (SocketLookup, "protocol"): "protocol {proto}",
    (SocketLookup, "sender's address"): "address of the sender's socket",
    (SocketLookup, "random port"): "random destination port",
}

COMMANDS: Templates = {
    (RpFilter, ""): "ip route get {src}",
    (Forward, "forward"): _forwarding,
    (Forward, "forwarding off"): "sysctl {sysctl}",
    (Forward, "setting not read"): "sysctl {sysctl}",
    (Forward, "redirect sent"): "sysctl net.ipv4.icmp_ratelimit net.ipv4.conf.{dev}.send_redirects",
    (Forward, "by a rule"): "nft list ruleset netdev",
    (Forward, "given to a socket"): "nft list ruleset",
    (Forward, ""): "ip -6 addr show dev {dev}",
    (Mtu, "bridged"): "ip link show dev {taker}",
    (Mtu, "sending fails"): "ip route get {dst}",
    (Mtu, "route"): "ip route get {dst}",
    (Mtu, ""): "ip link show dev {taker}",
    (LocalDelivery, "deliver"): "ip addr show",
    (SocketLookup, "marked for others"): "nft list ruleset",
    (SocketLookup, ""): "ss -tuanp",
    (SocketLookup, "sender"): "ss -tuanp",
    (SocketLookup, "another device"): "ss -tuanp",
    (SocketLookup, "sender's address"): "ss -anp",
    (SocketLookup, "nobody waits"): "ss -anp",
    (SocketLookup, "echo"): "sysctl {sysctl}",
    (SocketLookup, "ignore"): "sysctl {sysctl}",
    (SocketLookup, "deliver"): _socket_command,
    (SocketLookup, "no socket"): _socket_command,
    (SocketLookup, "untranslated"): _untranslated_command,
    (SocketLookup, "no answer"): "ip addr show to {source}",
    (SocketLookup, "plain source"): "ip route get {src}",
    (SocketLookup, "same source"): "ip route get {src}",
}
