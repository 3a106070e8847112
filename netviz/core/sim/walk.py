"""The walk: a packet's course through the cluster, and the driver that explores every course.

`simulate` runs the walk once with no choices made; a run that chose (a multipath route, an
unknown match) goes back and takes the next choice until all courses are known. Each course goes forward,
then sends the answer back through the conntrack entries that the forward packet made.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.netns import Netns
from netviz.core.sim.actions import (
    Action,
    Diverted,
    Ended,
    Resolve,
    Rx,
    Send,
    Spread,
    Tx,
    Unwrap,
    Up,
)
from netviz.core.sim.damage import BAD_STATE
from netviz.core.sim.encap import decap
from netviz.core.sim.inet import ip_input, ip_output
from netviz.core.sim.largest import largest_of
from netviz.core.sim.neighbour.resolve import resolve
from netviz.core.sim.packet import (
    ICMP_ECHO,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    TH_SYN,
    Packet,
)
from netviz.core.sim.plane.l2 import receive, xmit
from netviz.core.sim.plane.remotes import follow_remote
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.route.icmp import errors_from_inbound
from netviz.core.sim.route.rules import lookup_route
from netviz.core.sim.run import Run, Work, next_script
from netviz.core.sim.steps import Assumption, Opaque
from netviz.core.sim.steps import Origin as Sent
from netviz.core.sim.sysctl import value
from netviz.core.sim.trace import (
    BRANCH,
    CERTAIN,
    UNCERTAIN,
    Branch,
    Disposition,
    Flow,
    Origin,
    Path,
    Trace,
    display_name,
    pod_name,
)
from netviz.core.sim.words.step import end_reason
from netviz.core.state.node import ClusterState

MAX_BRANCHES = 64
TOO_LONG = "not all possible courses were followed: there are too many"
DEFAULT_TTL = 64
COUNTED = ("counters", "kernel_stats", "rule_counters")  # which decide nothing


def first_packet(flow: Flow) -> Packet:
    """Make the packet that a flow starts with: a SYN, a datagram, or an echo request."""
    icmp = flow.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6)
    echo = ICMPV6_ECHO_REQUEST if flow.proto == IPPROTO_ICMPV6 else ICMP_ECHO
    return Packet(
        flow.src,
        flow.dst,
        flow.proto,
        sport=flow.sport or 0,
        dport=0 if icmp else flow.dport or 0,
        ttl=flow.ttl,
        mark=flow.mark,
        length=flow.length,
        df=flow.df,
        tos=flow.tos,
        tcp_flags=TH_SYN if flow.proto == IPPROTO_TCP else 0,
        icmp_type=echo if icmp else 0,
    )


def simulate(cluster: ClusterState, flow: Flow, most: int | None = None) -> Trace:
    """Predict what happens to a flow's first packet and to the answer. Never raises for bad state.

    What people read a trace with is laid over it by `context.with_context`.

    `most` bounds the work, in moves from one layer to the next, what is asked and sent on the way included: courses that
    would begin after that many are left out, and the last branch says TOO_LONG.
    """
    work = Work(most)
    branches, assumed = _explore(cluster, flow, work)
    origin = Origin(flow.src_netns.node, str(flow.src_netns), "")
    node = cluster.nodes.get(flow.src_netns.node)
    ns = node.netns.get(flow.src_netns) if node is not None else None
    if ns is not None:
        origin = Origin(flow.src_netns.node, str(ns.key), pod_name(ns.netns), display_name(ns.netns))
    if flow.by is not None:
        origin = Origin(flow.src_netns.node, str(flow.src_netns), "", format_ip(flow.src), outside=True)
    return msgspec.structs.replace(
        _doubt(cluster, _conclude(flow, origin, branches)),
        assumed=tuple(assumed),
        largest=largest_of(flow, branches, lambda smaller: _explore(cluster, smaller, work)[0]),
    )


def courses(cluster: ClusterState, flow: Flow, work: Work) -> Iterator[Run]:
    """Yield the run anew for each course, in a fixed order. It is to be walked before the next one is asked for."""
    run = Run(cluster, flow, (), work)
    run.move = partial(_move, run)
    yield run
    while script := next_script(run.choices):
        run.go_back(script)
        yield run


def _explore(cluster: ClusterState, flow: Flow, work: Work) -> tuple[list[Branch], dict[Assumption, None]]:
    """Walk every course, in a fixed order; also returns what the walks rest on."""
    branches: list[Branch] = []
    assumed: dict[Assumption, None] = {}
    for run in courses(cluster, flow, work):
        if branches and work.is_done:
            branches.append(Branch(None, Path(Disposition.UNKNOWN, TOO_LONG, ())))
            break
        if len(branches) >= MAX_BRANCHES:
            rest = Path(Disposition.UNKNOWN, f"more than {MAX_BRANCHES} possible courses", ())
            branches.append(Branch(None, rest))
            break
        branches.append(_course(run))
        assumed |= run.assumed
    return branches, assumed


def _conclude(flow: Flow, origin: Origin, branches: list[Branch]) -> Trace:
    ends = {branch.forward.disposition for branch in branches}
    reasons = {branch.forward.reason for branch in branches}
    reason = branches[0].forward.reason if len(reasons) == 1 else ""
    if len(ends) > 1:
        names = ", ".join(sorted(end.value for end in ends))
        return Trace(flow, origin, Disposition.UNKNOWN, f"branches differ: {names}", BRANCH, tuple(branches))
    end = ends.pop()
    certainty = CERTAIN if len(branches) == 1 else BRANCH
    if end is Disposition.UNKNOWN:
        certainty = UNCERTAIN
    return Trace(flow, origin, end, reason, certainty, tuple(branches))


def _doubt(cluster: ClusterState, trace: Trace) -> Trace:
    """Take the certainty off a trace through a namespace of which a record could not be understood.

    Where the walk reads a section that isn't whole, it ends as UNKNOWN by itself. This is for what no
    gap can say: a link or an address that isn't there may be one that was refused.
    """
    for branch in trace.branches:
        for hop in (*branch.forward.hops, *(branch.reply.hops if branch.reply is not None else ())):
            node = cluster.nodes.get(hop.netns.node)
            ns = node.netns.get(hop.netns) if node is not None else None
            refused = ns.refused.values() if ns is not None else ()
            if (one := next((one for one in refused if one.section not in COUNTED), None)) is not None:
                why = f"{one.section} of {hop.place.name or hop.netns}: {one.words}"
                return msgspec.structs.replace(trace, certainty=UNCERTAIN, reason=trace.reason or why)
    return trace


def _course(run: Run) -> Branch:
    flow = run.flow
    packet = first_packet(flow)
    if flow.by is None:
        run.client = (flow.src_netns, packet.tuple())
    if run.forward is not None:
        back = _finish(run, _go_on(run, packet))
        return Branch(run.probability, run.forward, back)
    if run.start is not None:
        ended = _go_on(run, packet)
    elif flow.by is None:
        sourceless = asks_without_source(run, packet)
        ended = _travel(run, flow.src_netns, packet, "origin", sourceless, flow.oif)
    else:
        ended = _come_in(run, flow.by, packet)
    run.forward = _finish(run, ended)
    reply = None
    if ended.answer is not None and ended.at is not None:
        run.start_path()
        answer = ended.answer
        if not isinstance(ended.back, Rx):  # which a tunnel's device has made of the packet, with its TTL
            answer = _with_default_ttl(run, ended.at, answer)
        ended = _travel(run, ended.at, answer, "answer", ended.sourceless, ended.oif, ended.back)
        reply = _finish(run, ended)
    return Branch(run.probability, run.forward, reply)


def _go_on(run: Run, packet: Packet) -> Ended:
    """Follow a course whose start it shares with the one before."""
    assert run.start is not None
    try:
        return _end_of(run, run.start.action)
    except BAD_STATE as err:
        return _bad_state(run, run.flow.src_netns, packet, err)


def _end_of(run: Run, action: Action) -> Ended:
    ended = run.course(action)
    assert isinstance(ended, Ended)
    return ended


def _come_in(run: Run, by: LinkKey, packet: Packet) -> Ended:
    """Follow a packet from outside, from where it comes in to its end."""
    try:
        link = run.netns(by.netns).links[by.ifindex]
        run.assumed[Assumption(by.netns.node, "comes in here", link.ifname)] = None
        return _end_of(run, Rx(by, packet, host=True))
    except BAD_STATE as err:
        return _bad_state(run, by.netns, packet, err)


def _finish(run: Run, ended: Ended) -> Path:
    """Close the path; what is unknown, or goes round, is named by the last step."""
    return run.rec.path(ended.disposition, ended.reason or end_reason(ended.disposition, run.rec.last_step))


def asks_without_source(run: Run, packet: Packet) -> bool:
    """Tell whether the sender's route is looked up before the packet has a source.

    A socket that was given no address asks so first, and IPv6 leaves it at that. If IPv4 finds a route, TCP asks again
    with the source; ping does not, and for a datagram it depends on the program (connect), so where that matters
    there are two courses.

    Source: include/net/route.h, ip_route_connect; net/ipv4/udp.c, udp_sendmsg; net/ipv4/ping.c,
    ping_v4_sendmsg; net/ipv6/ip6_output.c, ip6_dst_lookup_tail (Linux 6.18).
    """
    flow = run.flow
    node = run.cluster.nodes.get(flow.src_netns.node)
    ns = node.netns.get(flow.src_netns) if node is not None else None
    if flow.bound or ns is None:
        return False
    first = lookup_route(ns, route_flow(packet, oif=flow.oif, sourceless=True))
    if first.error or packet.is_icmp or packet.ipv6:
        return True
    if packet.proto == IPPROTO_TCP or first == lookup_route(ns, route_flow(packet, oif=flow.oif)):
        return False
    return run.choose(("connected", flow.src_netns), 2, None) == 1


def _with_default_ttl(run: Run, at: NetnsKey, answer: Packet) -> Packet:
    """Give an answer the TTL that its host starts with."""
    if answer.ipv6 or at.node not in run.cluster.nodes or at not in run.node(at).netns:
        return answer
    return answer.but(ttl=value(run.netns(at), "net.ipv4.ip_default_ttl", answer.ttl))


def _travel(
    run: Run,
    start: NetnsKey,
    packet: Packet,
    how: str,
    sourceless: bool = False,
    oif: int = 0,
    back: Action | None = None,
) -> Ended:
    """Follow a packet from where it is sent to its end. `back` is how it begins where no socket sends it."""
    try:
        ns = run.netns(start)
        inner = packet.inner
        own_default = how == "answer" and not isinstance(back, Rx)
        own_default = own_default and not packet.ipv6 and packet.ttl != DEFAULT_TTL
        run.record(
            ns,
            None,
            packet,
            Sent(
                "send",
                "answer" if how == "answer" else "",
                default_ttl=packet.ttl if own_default else 0,
                inbound=inner is not None and packet.src != inner.dst and errors_from_inbound(ns, packet),
            ),
        )
        action: Action = Send(start, packet, oif, sourceless=sourceless)
        if back is not None:
            action = msgspec.structs.replace(back, packet=packet)
        return _end_of(run, action)
    except BAD_STATE as err:
        return _bad_state(run, start, packet, err)


def _move(run: Run, action: Action) -> Action:
    run.work.spent += 1
    try:
        match action:
            case Rx():
                return receive(run, action)
            case Tx():
                return xmit(run, action)
            case Send():
                return ip_output.local_out(run, run.netns(action.netns), action)
            case Up():
                ns = run.netns(action.link.netns)
                return ip_input.rcv(run, ns, ns.links[action.link.ifindex], action.packet, action.routed)
            case Resolve():
                packet = resolve(run, action)
                then = action.then
                return Tx(action.link, packet, action.nexthop) if then is None else then(packet)
            case Spread():
                return follow_remote(run, action)
            case Unwrap():
                ns = run.netns(action.link.netns)
                return decap.take(run, ns, ns.links[action.link.ifindex], action.packet)
    except Diverted as diverted:
        return diverted.action


def _bad_state(run: Run, start: NetnsKey, packet: Packet, err: Exception) -> Ended:
    run.rec.step(
        run.rec.netns or Netns(start),
        None,
        run.rec.last or packet,
        Opaque("unknown", "state", error=f"{type(err).__name__}: {err}"),
        certainty=UNCERTAIN,
    )
    return Ended(Disposition.UNKNOWN)
