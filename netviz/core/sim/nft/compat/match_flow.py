"""Matches that look at the packet's connection.

Source: net/netfilter/xt_conntrack.c, xt_connmark.c, xt_helper.c, xt_connbytes.c, xt_connlimit.c,
xt_connlabel.c, xt_cluster.c; each function names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.sim.conn import Conn, ct_state, seen_conn
from netviz.core.sim.nft.compat.answers import inverted, tri
from netviz.core.sim.nft.context import Context, Tri
from netviz.core.sim.nft.jhash import jhash2, reciprocal_scale
from netviz.core.sim.xtables import payloads

STATE_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 0x100}
STATE_SNAT, STATE_DNAT = 0x40, 0x80
IPS_SRC_NAT, IPS_DST_NAT, IPS_EXPECTED = 0x10, 0x20, 0x1


def _under_mask(addr: bytes, pair: tuple[bytes, bytes]) -> bool:
    want, mask = pair
    return all((a ^ w) & m == 0 for a, w, m in zip(addr, want, mask, strict=False))


def conntrack(ctx: Context, a: payloads.Conntrack) -> Tri:
    """Source: net/netfilter/xt_conntrack.c, conntrack_mt."""
    packet, conn = ctx.packet, seen_conn(ctx.packet, ctx.conn)
    state = STATE_BITS[ct_state(packet, ctx.conn)]
    if a.flags & 1:
        if conn is not None:
            state |= STATE_SNAT if conn.status & IPS_SRC_NAT else 0
            state |= STATE_DNAT if conn.status & IPS_DST_NAT else 0
        if bool(a.state & state) == bool(a.invert & 1):
            return Tri.FALSE
    if conn is None:
        return tri(bool(a.flags & 1))
    if a.flags & 1 << 12 and packet.ct_reply != bool(a.invert & 1 << 12):
        return Tri.FALSE
    if a.flags & 2 and (conn.orig.proto == a.proto) == bool(a.invert & 2):
        return Tri.FALSE
    orig, reply = conn.orig, conn.reply
    for number, addr in enumerate((orig.src, orig.dst, reply.src, reply.dst)):
        bit = 4 << number
        if a.flags & bit and _under_mask(addr, a.addrs[number]) == bool(a.invert & bit):
            return Tri.FALSE
    ports = _conn_ports(conn, a)
    if ports is Tri.FALSE:
        return Tri.FALSE
    if a.flags & 1 << 6:
        status = conn.status | (2 if conn.seen_reply else 0)
        status |= 8 if conn.confirmed else 0
        if bool(status & a.status) == bool(a.invert & 1 << 6):
            return Tri.FALSE
    return Tri.UNKNOWN if a.flags & 1 << 7 else ports


def _conn_ports(conn: Conn, a: payloads.Conntrack) -> Tri:
    """Compare the connection's ports; one that translation chose at random isn't known."""
    orig, reply = conn.orig, conn.reply
    unsure = {"source": 3, "destination": 2}.get(conn.unsure)
    result = Tri.TRUE
    for number, port in enumerate((orig.sport, orig.dport, reply.sport, reply.dport)):
        bit = 1 << 8 + number
        low, high = a.ports[number]
        if not a.flags & bit:
            continue
        if number == unsure:
            result = Tri.UNKNOWN
        elif (low <= port <= high) == bool(a.invert & bit):
            return Tri.FALSE
    return result


def connmark(ctx: Context, a: payloads.Mark) -> Tri:
    """Source: net/netfilter/xt_connmark.c, connmark_mt."""
    conn = seen_conn(ctx.packet, ctx.conn)
    return Tri.FALSE if conn is None else inverted(conn.mark & a.mask == a.value, a.invert)


def helper(ctx: Context, a: payloads.Named) -> Tri:
    """Ask which helper watches the connection that expected this one.

    Source: net/netfilter/xt_helper.c, helper_mt.
    """
    conn = ctx.conn
    if conn is None or not conn.status & IPS_EXPECTED:
        return tri(a.invert)
    return Tri.UNKNOWN


def connbytes(ctx: Context, a: payloads.ConnBytes) -> Tri:
    """Count a connection's packets and bytes: known as long as it has had no packet but this one.

    Source: net/netfilter/xt_connbytes.c, connbytes_mt.
    """
    conn = ctx.conn
    if conn is None:
        return Tri.FALSE
    if conn.confirmed or ctx.packet.ct_reply or ctx.packet.ct_related:
        return Tri.UNKNOWN
    own = 0 if a.direction == 1 else 1
    have = own if a.what == 0 else own * ctx.packet.length
    return tri(a.low <= have <= a.high if a.low <= a.high else not a.high <= have <= a.low)


def connlimit(ctx: Context, a: payloads.ConnLimit) -> Tri:
    """Count the connections from or to a network: known where there are fewer altogether, or none is allowed.

    Source: net/netfilter/xt_connlimit.c, connlimit_mt.
    """
    if a.limit == 0:
        return tri(not a.flags & 1)
    most = len(ctx.ns.conntrack) + len(ctx.run.memory.conn_tuples) + 1
    whole = not ctx.run.is_past(ctx.ns, "conntrack")
    return tri(bool(a.flags & 1)) if most <= a.limit and whole else Tri.UNKNOWN


def connlabel(ctx: Context, a: payloads.ConnLabel) -> Tri:
    """Ask for a label, or set it: a new connection has none but those that were set on its path.

    Source: net/netfilter/xt_connlabel.c, connlabel_mt.
    """
    conn = ctx.conn
    invert = bool(a.options & 1)
    if conn is None:
        return tri(invert)
    label = ("label", ctx.packet.ct, a.bit)
    if a.options & 2:
        ctx.run.memory = ctx.run.memory.with_scratch(label, 1)
    if label in ctx.run.memory.rule_scratch:
        return tri(not invert)
    return Tri.UNKNOWN if conn.confirmed else tri(invert)


def cluster(ctx: Context, a: payloads.Cluster) -> Tri:
    """Hash the connection's original source: of an IPv6 address only the first word (jhash2 of L3SIZE / 4 words).

    Source: net/netfilter/xt_cluster.c, xt_cluster_mt, xt_cluster_hash_ipv4, xt_cluster_hash_ipv6.
    """
    conn = ctx.conn
    if conn is None:
        return Tri.FALSE
    if conn.status & IPS_EXPECTED:
        return Tri.UNKNOWN
    value = jhash2([int.from_bytes(conn.orig.src[:4], "little")], a.seed)
    return inverted(bool(1 << reciprocal_scale(value, a.total) & a.mask), a.invert)


MATCHES: dict[str, Callable[[Context, Any], Tri]] = {
    "conntrack": conntrack,
    "state": conntrack,
    "connmark": connmark,
    "helper": helper,
    "connbytes": connbytes,
    "connlimit": connlimit,
    "connlabel": connlabel,
    "cluster": cluster,
}
