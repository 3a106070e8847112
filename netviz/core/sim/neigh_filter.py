"""Whether netfilter lets address resolution through: ARP and bridge chains, and IPv6's own input and output hooks.

Unmodelled: what ARP chains, and bridge chains that look at ARP, decide: resolution is then unknown.

Source: net/ipv4/arp.c, arp_rcv (NFPROTO_ARP); net/ipv6/ndisc.c, ndisc_send_skb, ndisc_rcv;
net/netfilter/nf_conntrack_proto_icmpv6.c, noct_valid_new (discovery is untracked) (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.netfilter import (
    NF_DROP,
    NF_LOCAL_IN,
    NF_LOCAL_OUT,
    NF_POST_ROUTING,
    NF_PRE_ROUTING,
    NFPROTO_ARP,
    NFPROTO_BRIDGE,
    ChainBody,
)
from netviz.core.sim.domain import Heard
from netviz.core.sim.netfilter import inet_hook
from netviz.core.sim.nft_context import Tri, data_of
from netviz.core.sim.packet import IPPROTO_ICMPV6, Packet
from netviz.core.sim.run import Ended, Run
from netviz.core.sim.trace import Disposition, Recorder
from netviz.core.state.node import NetnsState

ETH_P_ARP = b"\x08\x06"
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
MESSAGE_LENGTH = 72


def arp_passes(run: Run, asker: NetnsState, heard: Heard) -> Tri:
    """Tell whether an ARP exchange between two links gets through: TRUE, or UNKNOWN."""
    touched = {asker.key, heard.link.netns, *(crossing.bridge.netns for crossing in heard.path)}
    return Tri.UNKNOWN if any(_filters_arp(run, run.netns(key)) for key in touched) else Tri.TRUE


def _filters_arp(run: Run, ns: NetnsState) -> bool:
    if any(table.family == NFPROTO_ARP for table in ns.xt_tables.values()):
        return True
    for chain in ns.nft_chains.values():
        if chain.family == NFPROTO_ARP and chain.hook is not None:
            return True
        if chain.family == NFPROTO_BRIDGE:
            if chain.hook is not None and chain.policy == NF_DROP:
                return True
            body = run.cluster.bodies.get(chain.body) if chain.body else None
            if isinstance(body, ChainBody) and _looks_at_arp(body):
                return True
    return False


def _looks_at_arp(body: ChainBody) -> bool:
    return any(
        expr.name == "cmp" and data_of(expr.attrs.get("data")) == ETH_P_ARP
        for rule in body.rules
        for expr in rule.exprs
    )


def ndp_passes(run: Run, asker: LinkKey, sender: bytes, heard: Heard, target: bytes) -> Tri:
    """Tell whether a solicitation reaches a link and its answer comes back, through both ends' IPv6 hooks."""
    group = SOLICITED_NODE + target[13:]
    ask = Packet(sender or bytes(16), group, IPPROTO_ICMPV6, ttl=255, length=MESSAGE_LENGTH, untracked=True)
    ask = ask.but(icmp_type=NEIGHBOUR_SOLICITATION)
    answer = ask.but(src=target, dst=ask.src, icmp_type=NEIGHBOUR_ADVERTISEMENT)
    passed = (
        _passes(run, asker, ask, sending=True),
        _passes(run, heard.link, ask, sending=False),
        _passes(run, heard.link, answer, sending=True),
        _passes(run, asker, answer, sending=False),
    )
    if Tri.FALSE in passed:
        return Tri.FALSE
    return Tri.UNKNOWN if Tri.UNKNOWN in passed else Tri.TRUE


def _passes(run: Run, at: LinkKey, packet: Packet, sending: bool) -> Tri:
    """Pass a message through one end's hooks, without recording steps: it is not the traced packet."""
    ns = run.netns(at.netns)
    link = ns.links[at.ifindex]
    recorder, run.rec = run.rec, Recorder()
    try:
        for hook in (NF_LOCAL_OUT, NF_POST_ROUTING) if sending else (NF_PRE_ROUTING, NF_LOCAL_IN):
            packet = inet_hook(run, ns, packet, hook, None if sending else link, link if sending else None)
    except Ended as ended:
        return Tri.UNKNOWN if ended.disposition is Disposition.UNKNOWN else Tri.FALSE
    finally:
        run.rec = recorder
    return Tri.TRUE
