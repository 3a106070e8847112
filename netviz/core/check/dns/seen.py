"""What becomes of questions to a DNS server: judged by a trace, and by an echo request beside it.

What ends an echo request between the same two as well is no matter of DNS: the check of pairs tells it, and what stops
TCP at a port that it tries by itself. What no rule
translates is the check of services' to tell.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.socket import IPPROTO_TCP
from netviz.core.sim.endpoints import lowest_port
from netviz.core.sim.kubernetes.policy import denied_by_policy
from netviz.core.sim.link.cluster_index import having_addr
from netviz.core.sim.outcome import BREAKS, BROKEN, GOOD, branch_outcome, failing_path, last_step, outcome_of
from netviz.core.sim.reads import Reads, Recording
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Branch, Disposition, Flow, Step, Trace
from netviz.core.sim.walk import simulate
from netviz.core.sim.words.hook import delete_command, stopped_text
from netviz.core.state.node import ClusterState

ICMP = {4: 1, 16: 58}
ECHO_ID = 4242
MAX_MOVES = 2000


class Seen(NamedTuple):
    """What becomes of a question.

    `silent`: it comes to `at`, where nobody listens at `server`. `refused`: a rule there stops it, which lets an echo
    request pass, and `fix` deletes it where that can be said. `denied`: a policy's rule stops it. `elsewhere`: what ends it is for another check to tell.
    """

    what: Literal["answered", "silent", "refused", "denied", "elsewhere", "unknown"]
    at: NetnsKey | None = None
    server: bytes = b""
    text: str = ""
    fix: str = ""


def see(cluster: ClusterState, flow: Flow, beside: bytes) -> tuple[Seen, Reads]:
    """Find out what becomes of a question, with what was read for that; `beside` is whom the echo request is for."""
    recording = Recording(cluster)
    trace = simulate(recording.cluster, flow, MAX_MOVES)
    seen = _sum(trace)
    if seen.what == "refused" and _is_tried(recording.cluster, flow, seen.server):
        seen = Seen("elsewhere")
    if seen.what == "refused":
        proto = ICMP[len(flow.dst)]
        echo = Flow(flow.src_netns, flow.src, seen.server or beside, proto, ECHO_ID)
        passes = outcome_of(simulate(recording.cluster, echo, MAX_MOVES)) in (GOOD, BREAKS)
        seen = seen if passes else Seen("elsewhere")
    return seen, recording.reads()


def _is_tried(cluster: ClusterState, flow: Flow, server: bytes) -> bool:
    """Tell whether the check of pairs tries this port by itself: it takes the lowest at which a pod listens."""
    if flow.proto != IPPROTO_TCP or not server:
        return False
    return any(lowest_port(ns, IPPROTO_TCP) == flow.dport for ns in having_addr(cluster.nodes, server))


def _sum(trace: Trace) -> Seen:
    outcome = outcome_of(trace)
    if outcome == BROKEN:
        found = [_end(trace, branch) for branch in trace.branches if branch_outcome(trace, branch) == BROKEN]
        order = ("silent", "refused", "denied", "elsewhere")
        return min(found, key=lambda one: order.index(one.what))
    left = any(branch.forward.disposition is Disposition.LEFT_NETWORK for branch in trace.branches)
    if outcome in (GOOD, BREAKS):
        return Seen("elsewhere" if left else "answered")
    return Seen("unknown", text=trace.reason or "something that is not modelled decides")


def _end(trace: Trace, branch: Branch) -> Seen:
    path = failing_path(trace, branch)
    last = last_step(path) if path is not None else None
    if path is None or last is None:
        return Seen("elsewhere")
    if path is branch.forward and path.disposition is Disposition.NO_LISTENER:
        return Seen("silent", _netns(last), last.packet.dst)
    if denied_by_policy(last):
        return Seen("denied")
    what = last.what
    if isinstance(what, HookVerdict) and what.chain is not None and what.action in ("drop", "reject"):
        packet = last.packet
        there = packet.dst if path is branch.forward else packet.src
        # What still has the service's address isn't translated yet, or is translated back.
        server = b"" if there == trace.flow.dst else there
        return Seen("refused", _netns(last), server, stopped_text(what), delete_command(what))
    return Seen("elsewhere")


def _netns(step: Step) -> NetnsKey:
    return step.at.netns if isinstance(step.at, LinkKey) else step.at
