"""What a packet's connection says, and what rules do to it.

Source: net/netfilter/nft_ct.c, nft_ct_get_eval, nft_ct_set_eval, nft_ct_set_zone_eval;
nf_conntrack_labels.c, nf_connlabels_replace (Linux 6.18).

Unmodelled: time-outs, identifiers, and the counters, labels and masters of connections that are in the
state: each may match or not. Zones of one direction end the walk.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from netviz.core.model.conntrack import IPS_CONFIRMED, IPS_EXPECTED, IPS_SEEN_REPLY
from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6
from netviz.core.sim.conn import Conn, ct_state
from netviz.core.sim.nft.context import Context, Result, Stop, Tri
from netviz.core.sim.nft.meta import u32

CT_STATE_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
IPS_SRC_NAT_DONE, IPS_DST_NAT_DONE = 0x80, 0x100
LABELS_BYTES = 16


class Key(IntEnum):
    """NFT_CT_*."""

    STATE = 0
    DIRECTION = 1
    STATUS = 2
    MARK = 3
    SECMARK = 4
    EXPIRATION = 5
    HELPER = 6
    L3PROTOCOL = 7
    SRC = 8
    DST = 9
    PROTOCOL = 10
    PROTO_SRC = 11
    PROTO_DST = 12
    LABELS = 13
    PKTS = 14
    BYTES = 15
    AVGPKT = 16
    ZONE = 17
    EVENTMASK = 18
    SRC_IP = 19
    DST_IP = 20
    SRC_IP6 = 21
    DST_IP6 = 22
    ID = 23


ADDRESSES = {Key.SRC: 0, Key.SRC_IP: 4, Key.SRC_IP6: 16, Key.DST: 0, Key.DST_IP: 4, Key.DST_IP6: 16}


def eval_ct(ctx: Context, a: dict[str, Any]) -> Result:
    """Load or set what belongs to the connection."""
    key = a.get("key", 0)
    if "sreg" in a and "dreg" not in a:
        return _set(ctx, key, a)
    value = _value(ctx, key, a.get("direction"))
    if isinstance(value, Tri):
        return value
    ctx.store(a["dreg"], value, 16)
    return Tri.TRUE


def _value(ctx: Context, key: int, direction: int | None) -> bytes | Tri | None:
    packet, conn = ctx.packet, ctx.conn
    if key == Key.STATE:
        return u32(CT_STATE_BITS[ct_state(packet, conn)])
    if conn is None:  # or no more than a template, of which nothing is read but that it is new
        return Tri.FALSE
    if key in (Key.PKTS, Key.BYTES, Key.AVGPKT):
        return _counter(conn, key, direction)
    if key == Key.HELPER:
        return None if conn.status & IPS_EXPECTED else Tri.FALSE
    if key == Key.DIRECTION:
        return bytes([int(packet.ct_reply)])
    if key == Key.STATUS:
        return u32(_status(conn))
    if key == Key.MARK:
        return u32(conn.mark)
    if key == Key.ZONE:
        return conn.zone.to_bytes(2, "little")
    if key == Key.LABELS:
        return None if conn.labels is None else conn.labels.to_bytes(LABELS_BYTES, "little")
    way = conn.tuple_of(bool(direction))
    if key == Key.L3PROTOCOL:
        return bytes([NFPROTO_IPV6 if len(way.src) == 16 else NFPROTO_IPV4])
    if key == Key.PROTOCOL:
        return bytes([way.proto])
    if key in (Key.PROTO_SRC, Key.PROTO_DST):
        if conn.unsure:
            return None
        return (way.sport if key == Key.PROTO_SRC else way.dport).to_bytes(2, "big")
    width = ADDRESSES.get(Key(key)) if key in set(Key) else None
    if width is None:
        return None
    addr = way.src if key in (Key.SRC, Key.SRC_IP, Key.SRC_IP6) else way.dst
    return addr if width in (0, len(addr)) else Tri.FALSE


def _status(conn: Conn) -> int:
    status = conn.status
    status |= IPS_SEEN_REPLY if conn.seen_reply else 0
    status |= IPS_CONFIRMED if conn.confirmed else 0
    return status | (IPS_SRC_NAT_DONE if conn.src_done else 0) | (IPS_DST_NAT_DONE if conn.dst_done else 0)


def _counter(conn: Conn, key: int, direction: int | None) -> bytes | None:
    """Read the counters of a connection that this run made; a rule that asks for them has turned them on."""
    if conn.counted is None:
        return None
    chosen = conn.counted if direction is None else [conn.counted[direction]]
    packets, octets = sum(one[0] for one in chosen), sum(one[1] for one in chosen)
    number = {Key.PKTS: packets, Key.BYTES: octets, Key.AVGPKT: octets // packets if packets else 0}[Key(key)]
    return number.to_bytes(8, "little")


def _set(ctx: Context, key: int, a: dict[str, Any]) -> Result:
    conn = ctx.conn
    if key == Key.ZONE:
        have = ctx.load(a["sreg"], 2)
        if "direction" in a or have is None:
            return Stop("ct zone of one direction" if "direction" in a else "ct zone set")
        if conn is None and not ctx.packet.template:
            zone = int.from_bytes(have, "little")
            ctx.packet = ctx.packet.but(zone=zone, template=True, untracked=False)
        return Tri.TRUE
    if conn is None or key in (Key.SECMARK, Key.EVENTMASK):
        return Tri.TRUE
    if key == Key.MARK:
        have = ctx.load(a["sreg"], 4)
        if have is None:
            return Stop("ct mark set to a value that isn't known")
        ctx.run.change_conn(ctx.packet.ct, mark=int.from_bytes(have, "little"))
        return Tri.TRUE
    if key == Key.LABELS:
        have = ctx.load(a["sreg"], LABELS_BYTES)
        known = have is not None and conn.labels is not None
        labels = (conn.labels or 0) | int.from_bytes(have or b"", "little") if known else None
        ctx.run.change_conn(ctx.packet.ct, labels=labels)
        return Tri.TRUE
    return Stop("ct set")
