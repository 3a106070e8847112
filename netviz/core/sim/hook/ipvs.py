"""IPVS: packets to a virtual service are given to one of its real servers, and answers get its address back.

    LOCAL_IN, LOCAL_OUT   a known connection's server, else the scheduler's choice for a new one
        masq              destination rewritten; sent by LOCAL_OUT, or goes on here when the server is local
        route             sent to the server's MAC as it is
        local             goes on here
    LOCAL_IN, FORWARD, LOCAL_OUT   an answer of a masq connection's server: source rewritten to the service

Schedulers that hash or count depend on what isn't in the state: the run forks over the servers with a
weight, with the odds of round robin and its weighted kind. With net.ipv4.vs.conntrack 0 the packets are
untracked from there on; with 1 (as kube-proxy sets it) their connection's answer is expected from the server,
so that POSTROUTING can still masquerade.

Unmodelled: forwarding by a tunnel, ICMP errors about connections, real ports of port-less services.

Source: net/netfilter/ipvs/ip_vs_core.c, ip_vs_ops4, ip_vs_in_hook, ip_vs_schedule, ip_vs_leave,
ip_vs_out_hook, handle_response; ip_vs_xmit.c, ip_vs_nat_xmit, ip_vs_nat_send_or_cont, ip_vs_dr_xmit,
__ip_vs_get_out_rt; ip_vs_nfct.c, ip_vs_update_conntrack; ip_vs_ctl.c, ip_vs_service_find (Linux 6.18).
"""

from __future__ import annotations

import msgspec

from netviz.core.model.ipvs import IpvsConn, IpvsServer, IpvsService
from netviz.core.model.link import Link
from netviz.core.model.netfilter import NF_FORWARD, NF_LOCAL_IN, NF_LOCAL_OUT
from netviz.core.sim.actions import Diverted, Ended, Send
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP, TH_RST, TH_SYN, Packet, icmp_error
from netviz.core.sim.route.icmp import drop_with_error, error_source
from netviz.core.sim.route.saddr import owned_addrs
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Nat, Ttl
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import BRANCH, CERTAIN, Disposition
from netviz.core.state.node import NetnsState

# Where IPVS looks at packets: hook -> the first of its priorities there.
IPVS_HOOKS = {NF_LOCAL_IN: 98, NF_FORWARD: 100, NF_LOCAL_OUT: -99}
EVEN = ("rr",)
WEIGHTED = ("wrr",)


def pass_ipvs(run: Run, ns: NetnsState, packet: Packet, hook: int, dev: Link | None) -> Packet:
    """Let IPVS see a packet at a hook; it may send it elsewhere (Diverted) or end the walk."""
    if packet.ipvs or packet.proto not in (IPPROTO_TCP, IPPROTO_UDP):
        return packet
    run.check_gap(ns, "ipvs", Nat, dev, packet)
    conn = _answered(run, ns, packet, dev)
    if conn is not None:
        return _answer(run, ns, packet, conn, dev)
    if hook == NF_FORWARD:
        return packet
    known = _known(run, ns, packet)
    if known is not None:
        return _hand_over(run, ns, packet, *known, dev)
    service = find_service(ns, packet)
    if service is None or not _may_start(packet):
        return packet
    return _schedule(run, ns, packet, service, dev)


def _conns(run: Run, ns: NetnsState) -> list[IpvsConn]:
    return [*run.memory.ipvs.get(ns.key, ()), *ns.ipvs_conns.values()]


def _answered(run: Run, ns: NetnsState, packet: Packet, dev: Link | None) -> IpvsConn | None:
    """Find the connection that a packet is a real server's answer of."""
    for conn in _conns(run, ns):
        server, client = (conn.daddr, conn.dport), (conn.caddr, conn.cport)
        answers = (packet.src, packet.sport, packet.dst, packet.dport) == (*server, *client)
        if answers and conn.proto == packet.proto and _server_of(ns, conn).forward == "masq":
            return conn
    if run.missing(ns, "ipvs_conns") and any(
        server.addr == packet.src and (server.port == packet.sport or packet.sport_unsure)
        for service in ns.ipvs.values()
        for server in service.servers
    ):
        run.end_unknown(ns, dev, packet, Nat("unknown", "connections not read"))
    return None


def _server_of(ns: NetnsState, conn: IpvsConn) -> IpvsServer:
    """Find the server of a connection; one whose server was taken away is masqueraded still."""
    for service in ns.ipvs.values():
        if service.fwmark or (service.proto, service.addr) == (conn.proto, conn.vaddr):
            for server in service.servers:
                if server.addr == conn.daddr and server.port in (0, conn.dport):
                    return server
    return IpvsServer(conn.daddr, conn.dport)


def _known(run: Run, ns: NetnsState, packet: Packet) -> tuple[IpvsConn, IpvsServer] | None:
    wanted = (packet.proto, packet.src, packet.sport, packet.dst, packet.dport)
    for conn in _conns(run, ns):
        if conn.key == wanted:
            return conn, _server_of(ns, conn)
    return None


def find_service(ns: NetnsState, packet: Packet) -> IpvsService | None:
    """Find the service that a packet is for: by mark first, then by address and port, then by address alone."""
    services = list(ns.ipvs.values())
    marked = [service for service in services if service.fwmark and service.fwmark == packet.mark]
    if marked:
        return marked[0]
    mine = [s for s in services if not s.fwmark and (s.proto, s.addr) == (packet.proto, packet.dst)]
    exact = [service for service in mine if service.port == packet.dport and not packet.dport_unsure]
    anywhere = [service for service in mine if not service.port]
    return next(iter(exact or anywhere), None)


def _may_start(packet: Packet) -> bool:
    """Source: net/netfilter/ipvs/ip_vs_proto_tcp.c, tcp_conn_schedule (Linux 6.18)."""
    return packet.proto != IPPROTO_TCP or (bool(packet.tcp_flags & TH_SYN) and not packet.tcp_flags & TH_RST)


def _schedule(run: Run, ns: NetnsState, packet: Packet, service: IpvsService, dev: Link | None) -> Packet:
    """Choose a real server for a new connection; without one the client is told that the port is unreachable."""
    servers = [server for server in service.servers if server.weight > 0]
    if not servers:
        name = "icmpv6-port-unreachable" if packet.ipv6 else "icmp-port-unreachable"
        run.record(ns, dev, packet, Nat("reject", "no server", service=service, icmp=name), reason=name)
        source, sourceless = error_source(ns, None, packet)
        raise Ended(Disposition.REJECTED, name, icmp_error(packet, "port", source), ns.key, sourceless)
    total = sum(server.weight for server in servers)
    odds: tuple[float, ...] | None = None
    if service.scheduler in EVEN and not service.persistent:
        odds = (1 / len(servers),) * len(servers)
    elif service.scheduler in WEIGHTED and not service.persistent:
        odds = tuple(server.weight / total for server in servers)
    picked = 0
    if len(servers) > 1:
        picked = run.choose(("ipvs", ns.key, service.key, packet.tuple()), len(servers), odds)
    server = servers[picked]
    run.record(
        ns,
        dev,
        packet,
        Nat("schedule", "IPVS", service=service, server=server, servers=tuple(servers)),
        certainty=CERTAIN if len(servers) == 1 else BRANCH,
    )
    port = server.port or packet.dport
    conn = IpvsConn(packet.proto, packet.src, packet.sport, packet.dst, packet.dport, server.addr, port)
    ipvs = run.memory.ipvs
    run.memory = run.memory.but(ipvs={**ipvs, ns.key: (*ipvs.get(ns.key, ()), conn)})
    return _hand_over(run, ns, packet, conn, server, dev)


def _hand_over(
    run: Run, ns: NetnsState, packet: Packet, conn: IpvsConn, server: IpvsServer, dev: Link | None
) -> Packet:
    """Send a packet on to its real server as the server's forwarding method says."""
    if server.forward not in ("masq", "route", "local"):
        run.end_unknown(
            ns, dev, packet, Nat("unknown", "forwarding method", now=conn.daddr, forward=server.forward)
        )
    tracked = bool(value(ns, "net.ipv4.vs.conntrack"))
    packet = packet.but(ipvs=True)
    if server.forward == "masq":
        _expect_from_server(run, packet, conn, tracked)
        packet = packet.but(dst=conn.daddr, dport=conn.dport)
        run.record(ns, dev, packet, Nat("dnat", "IPVS", now=conn.daddr, port=conn.dport))
    if not tracked:
        packet = packet.but(ct=None, ct_reply=False, ct_related=False, untracked=True)
    if server.forward == "local" or owned_addrs(ns, conn.daddr):
        return packet
    if packet.ttl <= 1:
        drop_with_error(run, ns, dev, packet, "IP_INHDR", Ttl("drop", "IPVS"), error="ttl", iif=None)
    packet = packet.but(ttl=packet.ttl - 1)
    raise Diverted(Send(ns.key, packet, via=b"" if server.forward == "masq" else conn.daddr))


def _expect_from_server(run: Run, packet: Packet, conn: IpvsConn, tracked: bool) -> None:
    """Make the packet's new connection expect its answers from the real server (ip_vs_update_conntrack)."""
    ct = run.conn(packet.ct)
    if ct is None or not tracked or ct.confirmed or packet.ct_reply:
        return
    reply = msgspec.structs.replace(ct.reply, src=conn.daddr, sport=conn.dport)
    run.change_conn(packet.ct, reply=reply)


def _answer(run: Run, ns: NetnsState, packet: Packet, conn: IpvsConn, dev: Link | None) -> Packet:
    """Give an answer the service's address as its source."""
    packet = packet.but(src=conn.vaddr, sport=conn.vport, ipvs=True)
    if not value(ns, "net.ipv4.vs.conntrack"):
        packet = packet.but(ct=None, ct_reply=False, ct_related=False, untracked=True)
    run.record(ns, dev, packet, Nat("snat", "IPVS", now=conn.vaddr, port=conn.vport))
    return packet
