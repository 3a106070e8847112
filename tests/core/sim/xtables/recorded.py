"""Rules recorded from a real kernel: what iptables-save says of each, and its expressions."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.model.link import Link
from netviz.core.model.netfilter import Body, IpSet, IpSetBody, IpSetElem, NftRuleBody, body_digest
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.conn import Conn
from netviz.core.sim.nft.context import Context, Result, Statement, Stop, Tri
from netviz.core.sim.nft.eval import evaluate
from netviz.core.sim.packet import Packet, invert
from netviz.core.sim.run import Run
from netviz.core.sim.trace import Flow
from netviz.core.state.delta import section_of
from netviz.core.state.node import ClusterState, NodeState
from tests.core.sim.build import Net

FILE = Path(__file__).resolve().parents[3] / "data" / "xtables_rules.json"
_decoder = msgspec.msgpack.Decoder(NftRuleBody)
RULES: list[tuple[str, str, NftRuleBody]] = [
    (entry["program"], entry["text"], _decoder.decode(base64.b64decode(entry["rule"])))
    for entry in json.loads(FILE.read_text())
]


def rule(text: str, program: str = "") -> NftRuleBody:
    """Find a recorded rule by its text, of any program or of one."""
    return next(found for name, line, found in RULES if line == text and program in ("", name))


class Tracked(msgspec.Struct, frozen=True):
    """A packet and its connection."""

    packet: Packet
    conn: Conn
    reply: bool


def context(
    sent: Packet | Tracked, *, hook: int = 0, iif: str = "eth0", oif: str = "", **more: Any
) -> Context:
    """Stand a packet in a namespace with eth0 (10.0.0.9/24), br0 and its port veth1, and lo."""
    packet = sent.packet if isinstance(sent, Tracked) else sent
    net = Net()
    node = net.node("node-1")
    node.nic("eth0", "10.0.0.9/24", "fd00::9/64")
    bridge = node.bridge("br0", "10.1.0.1/24")
    node.link("veth1", "veth", master=bridge.ifindex)
    ns = node.build()
    bodies: dict[bytes, Body] = {}
    sets: dict[str, IpSet] = {}
    for record, elems in more.pop("sets", ()):
        body = IpSetBody(tuple(elems))
        bodies[body_digest(body)] = body
        sets[record.name] = msgspec.structs.replace(record, body=body_digest(body))
    ns = msgspec.structs.replace(ns, ipsets=section_of(sets.values()), nfaccts=more.pop("nfaccts", {}))
    ns = msgspec.structs.replace(ns, sockets=section_of(more.pop("sockets", ())))
    flow = Flow(ns.key, packet.src, packet.dst, packet.proto)
    state = ClusterState({ns.key.node: NodeState(ns.key.node, netns={ns.key: ns})}, bodies)
    run = Run(state, flow, more.pop("script", ()))
    if isinstance(sent, Tracked):
        packet = packet.but(ct=run.add_conn(sent.conn), ct_reply=sent.reply)
    links: dict[str, Link] = {link.ifname: link for link in ns.links.values()}
    if "physin" in more:
        packet = packet.but(physin=links[more.pop("physin")].ifindex)
    if "physout" in more:
        packet = packet.but(physout=links[more.pop("physout")].ifindex)
    assert not more
    family = 10 if packet.ipv6 else 2
    ctx = Context(run, ns, packet, family, hook, links.get(iif), links.get(oif))
    ctx.table_family = family
    return ctx


def tcp(
    src: str = "10.0.0.1", dst: str = "10.1.2.3", sport: int = 40000, dport: int = 80, **fields: Any
) -> Packet:
    """Make a SYN."""
    fields.setdefault("tcp_flags", 2)
    return Packet(pack_ip(src), pack_ip(dst), fields.pop("proto", 6), sport=sport, dport=dport, **fields)


def udp(
    src: str = "10.0.0.1", dst: str = "10.1.2.3", sport: int = 40000, dport: int = 53, **fields: Any
) -> Packet:
    """Make a datagram."""
    return tcp(src, dst, sport, dport, proto=17, tcp_flags=0, **fields)


def echo(src: str = "10.0.0.1", dst: str = "10.1.2.3", **fields: Any) -> Packet:
    """Make an echo request."""
    return Packet(pack_ip(src), pack_ip(dst), 1, sport=7, icmp_type=fields.pop("icmp_type", 8), **fields)


def tracked(packet: Packet, *, reply: bool = False, **fields: Any) -> Tracked:
    """Attach a connection."""
    return Tracked(packet, Conn(packet.tuple(), invert(packet.tuple()), **fields), reply)


def apply_rule(ctx: Context, found: NftRuleBody) -> Result:
    """Evaluate a rule's expressions up to the first that isn't plainly true."""
    ctx.reset()
    result: Result = Tri.TRUE
    for expr in found.exprs:
        result = evaluate(ctx, expr)
        if result is not Tri.TRUE:
            break
    return result


def matches(ctx: Context, text: str, program: str = "") -> Tri:
    """Tell whether a recorded rule that ends in a verdict or target matches."""
    result = apply_rule(ctx, rule(text, program))
    if isinstance(result, Tri):
        return result
    assert isinstance(result, Verdict | Statement | Stop)
    return Tri.TRUE


def elem(**fields: Any) -> IpSetElem:
    """Make a set element with addresses as text."""
    for name in ("ip", "ip2"):
        if name in fields:
            fields[name] = pack_ip(fields[name])
    return IpSetElem(**fields)
