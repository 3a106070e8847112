"""Connection tracking: the entry that a packet belongs to, or makes.

Entries of the state are read, never changed; what the traced packets make is kept in the run. As in
the kernel, a new entry can be found by others only once it is confirmed, at the end of the packet's
way through the namespace.

Source: net/netfilter/nf_conntrack_core.c, nf_conntrack_in, resolve_normal_ct, init_conntrack,
__nf_conntrack_confirm; nf_conntrack_proto_tcp.c, tcp_new; nf_conntrack_proto_icmp.c,
nf_conntrack_icmp_packet, nf_conntrack_inet_error (Linux 6.18).

Unmodelled: expectations (what helpers announce), who is evicted from a full table, zones of one
direction. Where one of them may decide, or entries are missing from the state, the walk ends as UNKNOWN.
"""

from __future__ import annotations

from typing import Literal

from netviz.core.model.addr import format_ip
from netviz.core.model.conntrack import (
    CtEntry,
    CtTuple,
)
from netviz.core.model.ids import NetnsKey
from netviz.core.model.link import Link
from netviz.core.sim.conn import Conn, ct_state
from netviz.core.sim.conntrack.ct_index import entry_key, is_plain, others, portless
from netviz.core.sim.known import left_out
from netviz.core.sim.one_read import one_read
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    PROTO_NAMES,
    TH_ACK,
    TH_RST,
    TH_SYN,
    Packet,
    invert,
)
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Assumption, Conntrack
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import BRANCH, UNCERTAIN
from netviz.core.state.node import NetnsState

# TCP's states (enum tcp_conntrack) in which a new SYN may reopen the connection, and those in which a
# SYN in the reply's direction is no news (a simultaneous open).
TIME_WAIT, CLOSE = 7, 8
SYN_SENT, SYN_SENT2 = 1, 9
# How a packet fits a connection that its tuple names.
KNOWN, NEW, INVALID = "known", "new", "invalid"


def find(run: Run, ns: NetnsState, wanted: CtTuple, zone: int = 0) -> tuple[int, bool] | None:
    """Find the number of a confirmed connection by either direction's tuple; the flag says that it is the reply's."""
    made = run.memory.conn_tuples.get((ns.key, zone, wanted))
    if made is not None:
        return made
    entry = _in_state(ns, wanted, zone)
    if entry is None or (ns.key, entry.key) in run.memory.deleted_conns:
        return None
    number = run.add_conn(Conn.from_entry(entry))
    _register(run, ns.key, number)
    return number, wanted != entry.orig


def _in_state(ns: NetnsState, wanted: CtTuple, zone: int) -> CtEntry | None:
    entry = ns.conntrack.get(entry_key(wanted, zone))
    if entry is not None:
        return entry
    entry = ns.conntrack.get(entry_key(invert(wanted), zone))
    if entry is not None and entry.reply == wanted:
        return entry
    return others(ns.conntrack).replies.get((zone, wanted))


def _register(run: Run, key: NetnsKey, number: int) -> None:
    memory, conn = run.memory, run.memory.conns[number]
    own = {(key, conn.zone, conn.reply): (number, True), (key, conn.zone, conn.orig): (number, False)}
    run.memory = memory.but(conn_tuples={**memory.conn_tuples, **own})


def taken(run: Run, ns: NetnsState, reply: CtTuple, own: int) -> bool:
    """Tell whether another connection already uses a tuple.

    Source: net/netfilter/nf_conntrack_core.c, nf_conntrack_tuple_taken (Linux 6.18).
    """
    found = find(run, ns, reply, run.memory.conns[own].zone)
    return found is not None and found[0] != own


def mapped_sources(run: Run, ns: NetnsState, number: int) -> list[CtTuple]:
    """List how the connection's own source is translated by other connections: as inverted reply tuples.

    Source: net/netfilter/nf_nat_core.c, find_appropriate_src (Linux 6.18).
    """
    conns = run.memory.conns
    conn = conns[number]
    key = (conn.zone, conn.orig.proto, conn.orig.src, conn.orig.sport)
    found = [invert(entry.reply) for entry in others(ns.conntrack).sources.get(key, ())]
    for (where, zone, _tuple), (other, reply) in run.memory.conn_tuples.items():
        orig = conns[other].orig
        same = (zone, orig.proto, orig.src, orig.sport) == key
        if where == ns.key and not reply and same and other != number:
            found.append(invert(conns[other].reply))
    return found


def tuple_text(t: CtTuple) -> str:
    """Write a tuple for people."""
    proto = PROTO_NAMES.get(t.proto, str(t.proto))
    if t.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        return f"{proto} {format_ip(t.src)} > {format_ip(t.dst)} id {t.sport} type {t.dport >> 8}"
    return f"{proto} {format_ip(t.src)}:{t.sport} > {format_ip(t.dst)}:{t.dport}"


def may_start(packet: Packet) -> bool:
    """Tell whether a packet can start a connection."""
    if packet.proto == IPPROTO_TCP:
        # SYN+ACK and RST are invalid without a connection; a bare ACK is picked up (tcp_loose).
        return not packet.tcp_flags & TH_RST and packet.tcp_flags & 0x12 != 0x12
    if packet.proto == IPPROTO_ICMP:
        return packet.icmp_type in (ICMP_ECHO, 13, 15, 17)
    if packet.proto == IPPROTO_ICMPV6:
        return packet.icmp_type == ICMPV6_ECHO_REQUEST
    return True


# Address resolution has no connections. Source: net/netfilter/nf_conntrack_proto_icmpv6.c, noct_valid_new (Linux 6.18).
UNTRACKED6 = (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT)


def track(run: Run, ns: NetnsState, packet: Packet, dev: Link | None) -> Packet:
    """Attach a packet to its connection, making a new one where it may start one."""
    if packet.ct is not None or packet.untracked:
        return packet
    packet = packet.but(template=False) if packet.template else packet
    if packet.proto == IPPROTO_ICMPV6 and packet.icmp_type in UNTRACKED6:
        return packet.but(untracked=True)
    if packet.inner is not None:
        return _track_error(run, ns, packet, dev)
    wanted = packet.tuple()
    found = _find_for(run, ns, packet, dev, wanted)
    fits = _fits(run, ns, packet, dev, *found) if found is not None else NEW
    if fits == INVALID:
        return _invalid(run, ns, packet, dev, "SYN in reply direction")
    if fits == NEW:
        found = None
    if found is not None:
        number, reply = found
        packet = packet.but(ct=number, ct_reply=reply)
        conn = run.memory.conns[number].with_packet(packet, reply)
        run.memory = run.memory.with_conn(number, conn)
        run.record(
            ns,
            dev,
            packet,
            Conntrack(ct_state(packet, conn), "known", orig=conn.orig, reply=conn.reply, is_reply=reply),
        )
        return packet
    _check_doubts(run, ns, packet, dev)
    if not may_start(packet):
        return _invalid(run, ns, packet, dev, "cannot start one")
    conn = Conn(wanted, invert(wanted), zone=packet.zone, drawn=packet.sport_unsure)
    packet = packet.but(ct=run.add_conn(conn.with_packet(packet, False)), ct_reply=False)
    run.record(ns, dev, packet, Conntrack("new", orig=wanted))
    return packet


def _invalid(
    run: Run,
    ns: NetnsState,
    packet: Packet,
    dev: Link | None,
    cause: Literal["SYN in reply direction", "cannot start one", "error about none"],
) -> Packet:
    packet = packet.but(zone=0) if packet.zone else packet
    run.record(ns, dev, packet, Conntrack("invalid", cause))
    return packet


def _find_for(
    run: Run, ns: NetnsState, packet: Packet, dev: Link | None, wanted: CtTuple
) -> tuple[int, bool] | None:
    """Find a packet's connection; where its port isn't known, among those that this run has made.

    A port that translation drew is one that no connection of its own uses, so it is new elsewhere too. A
    tunnel's port is a hash of the inner flow: the run forks over the tunnel's known connections.
    """
    if not (packet.sport_unsure or packet.dport_unsure):
        return find(run, ns, wanted, packet.zone)
    made = run.memory.conn_tuples.get((ns.key, packet.zone, wanted))
    if made is not None or packet.payload is None:
        return made
    key = (packet.proto, packet.src, packet.dst, packet.dport)
    known = [one for one in portless(ns.conntrack).get(key, {}).values() if not is_plain(*one)]
    picked = choose_tunnels(run, ns, packet, dev, len(known) + 1) if known else 0
    if not picked:
        return None
    entry, reply = known[picked - 1]
    return run.add_conn(Conn.from_entry(entry)), reply


def choose_tunnels(run: Run, ns: NetnsState, packet: Packet, dev: Link | None, count: int) -> int:
    """Choose to which of a tunnel's known connections its packet belongs, as its source port might: 0 is to none."""
    picked = run.choose(("tunnel connection", ns.key, *packet.tuples()), count, None)
    run.record(
        ns,
        dev,
        packet,
        Conntrack("assume known connection" if picked else "assume new connection"),
        certainty=BRANCH,
    )
    return picked


def _reopens(packet: Packet) -> bool:
    return packet.tcp_flags & (TH_SYN | TH_ACK) == TH_SYN


def _fits(run: Run, ns: NetnsState, packet: Packet, dev: Link | None, number: int, reply: bool) -> str:
    """Tell whether a TCP packet fits the connection that its tuple names, as the collected state has it.

    A SYN on a connection that is in TIME_WAIT or CLOSE begins a new one if the old one was closed or
    reset in the ordinary way, which the state doesn't tell; a SYN that comes in the reply's direction
    of a connection under way is invalid.

    Source: net/netfilter/nf_conntrack_proto_tcp.c, tcp_conntracks, nf_conntrack_tcp_packet (Linux 6.18).
    """
    conn = run.memory.conns[number]
    if packet.proto != IPPROTO_TCP or not conn.tcp_state or not _reopens(packet):
        return KNOWN
    if reply and conn.tcp_state != TIME_WAIT:
        return KNOWN if conn.tcp_state in (SYN_SENT, SYN_SENT2) else INVALID
    if conn.tcp_state in (TIME_WAIT, CLOSE):
        reopened = run.choose(("reopen", ns.key, conn.orig), 2, None) == 0
        run.record(
            ns,
            dev,
            packet,
            Conntrack("assume new" if reopened else "assume known", orig=conn.orig),
            certainty=UNCERTAIN,
        )
        if reopened:
            _forget(run, ns, conn)
        return NEW if reopened else KNOWN
    return KNOWN


def _forget(run: Run, ns: NetnsState, conn: Conn) -> None:
    memory, own = run.memory, [(ns.key, conn.zone, t) for t in (conn.orig, conn.reply)]
    run.memory = memory.but(
        deleted_conns=memory.deleted_conns | {(ns.key, entry_key(conn.orig, conn.zone))},
        conn_tuples={key: found for key, found in memory.conn_tuples.items() if key not in own},
    )


def _check_doubts(run: Run, ns: NetnsState, packet: Packet, dev: Link | None) -> None:
    """End the walk where a packet without a known connection may have one, or may not get one.

    Source: net/netfilter/nf_conntrack_core.c, init_conntrack, __nf_conntrack_alloc, early_drop
    (Linux 6.18).
    """
    missing = run.missing(ns, "conntrack")
    if not missing and run.is_past(ns, "conntrack"):
        if run.flow.own_sport:
            missing = "the journal keeps no connections, and this flow's own ports were asked for"
        else:
            run.assumed[Assumption(ns.key.node)] = None
    if not missing and (shed := left_out(run.node(ns.key), "conntrack")):
        missing = f"{shed} changes were left out under load"
    if missing:
        run.end_unknown(
            ns,
            dev,
            packet,
            Conntrack("unknown", "connections not read", section="conntrack", missing=missing),
        )
    limit = value(ns, "net.netfilter.nf_conntrack_max")
    if entries := full_table(ns, limit):
        run.end_unknown(ns, dev, packet, Conntrack("unknown", "full table", entries=entries, limit=limit))
    helped = others(ns.conntrack).helped.get(packet.dst)
    if helped is not None and may_start(packet):
        run.end_unknown(ns, dev, packet, Conntrack("unknown", "helper", helper=helped.helper))


@one_read(sections=("conntrack",))
def full_table(ns: NetnsState, limit: int) -> int:
    """Return how many entries a full table has; 0 for one that isn't full, or that has no limit."""
    return len(ns.conntrack) if limit and len(ns.conntrack) >= limit else 0


def _track_error(run: Run, ns: NetnsState, packet: Packet, dev: Link | None) -> Packet:
    """Attach an ICMP error to the connection that it is about.

    Source: net/netfilter/nf_conntrack_proto_icmp.c, nf_conntrack_inet_error (Linux 6.18).
    """
    assert packet.inner is not None
    found = find(run, ns, invert(packet.inner), packet.zone)
    if found is None:
        _check_doubts(run, ns, packet, dev)
        return _invalid(run, ns, packet, dev, "error about none")
    number, reply = found
    conn = run.memory.conns[number]
    packet = packet.but(ct=number, ct_reply=reply, ct_related=True)
    run.record(ns, dev, packet, Conntrack("related", orig=conn.orig, reply=conn.reply, is_reply=reply))
    return packet


def confirm(run: Run, ns: NetnsState, packet: Packet) -> None:
    """Make the packet's new connection known.

    Source: net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm (Linux 6.18).
    """
    number, conn = packet.ct, run.conn(packet.ct)
    if number is None or conn is None or conn.confirmed:
        return
    run.change_conn(number, confirmed=True)
    _register(run, ns.key, number)
