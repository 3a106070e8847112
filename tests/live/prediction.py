"""Predictions laid beside what the kernel does: a lab cluster's state, probes, and how they compare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from lab.cluster import Cluster
from lab.reality import Outcome, Probe
from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Sysctl
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.trace import Branch, Disposition, Trace
from netviz.core.sim.trace import Path as TracePath
from netviz.core.sim.words.step import why
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz

ROOT = Path(__file__).resolve().parents[2]
# What a sender may see of a drop. The kernel's ICMP errors are limited in rate, so they may be missing.
DROPS = {
    "IP_OUTNOROUTES": {"unreachable", "prohibited"},
    "IP_INNOROUTES": {"unreachable", "lost"},
    "IP_INHDR": {"unreachable", "lost"},
    "NEIGH_FAILED": {"unreachable", "lost"},
    "PKT_TOO_BIG": {"too_big", "lost"},
    "NETFILTER_DROP": {"lost", "prohibited"},
    # A device without carrier takes neighbours' messages along: after three seconds the sender hears of it.
    "QDISC_DROP": {"lost", "unreachable"},
}
NO_PMTU_DISC = "net.ipv4.ip_no_pmtu_disc"
REACHED = (Disposition.DELIVERED, Disposition.NO_LISTENER)


class Comparison(msgspec.Struct):
    """One probe's prediction and outcome. `verdict` is "right", "wrong", "unknown" or "one of"."""

    probe: Probe
    outcome: Outcome
    trace: Trace | None
    verdict: str
    why: str = ""

    def describe(self) -> str:
        """Say what differs, for a failing test."""
        said = "no flow"
        if self.trace is not None:
            reply = self.trace.branches[0].reply
            said = f"{self.trace.disposition.value} {self.trace.reason}"
            said += f" reply {reply.disposition.value} {reply.reason}" if reply is not None else ""
        return f"{self.probe}: predicted {said}; really {self.outcome.result} {self.outcome.error} seen {self.outcome.seen_source} at {self.outcome.arrived_at}: {self.why}"


def snapshot(cluster: Cluster, directory: Path) -> ClusterState:
    """Collect every node with the real collector and join the files."""
    files = []
    for name, node in cluster.nodes.items():
        path = directory / f"{name}.nvz"
        argv = ["-m", "agents", "snapshot", "--node", name, *node.collector_args(), "--out", str(path)]
        done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        files.append(load_nvz(path.read_bytes()))
    return join_captures(files)


def predict(state: ClusterState, cluster: Cluster, probe: Probe) -> Trace:
    """Simulate a probe as the lab sends it. Raises: EndpointError."""
    known = probe.dst in cluster.pods or probe.dst in cluster.nodes or probe.dst in ("router", "internet")
    address = cluster.address_of(probe.dst, probe.family) if known else probe.dst
    icmp = probe.proto == "icmp"
    size = probe.size if probe.size and probe.proto != "tcp" else None
    flow = resolve_flow(
        state,
        probe.src,
        address,
        probe.proto,
        probe.sport or None,
        None if icmp else probe.dport,
        size,
        probe.df,
    )
    state = state if size is None or probe.df else _may_be_cut(state, flow.src_netns)
    return simulate_in_context(state, flow)


def _may_be_cut(state: ClusterState, sender: NetnsKey) -> ClusterState:
    """The state in which a namespace's sockets send without DF: the probes that don't ask for it set that themselves."""
    node = state.nodes[sender.node]
    ns = node.netns[sender]
    sysctls = {**ns.sysctls, NO_PMTU_DISC: Sysctl(NO_PMTU_DISC, 1)}
    ns = msgspec.structs.replace(ns, sysctls=sysctls)
    node = msgspec.structs.replace(node, netns={**node.netns, sender: ns})
    return msgspec.structs.replace(state, nodes={**state.nodes, sender.node: node})


def _last_src(path: TracePath) -> str:
    return format_ip(path.hops[-1].steps[-1].packet.src)


def expected_results(branch: Branch) -> set[str]:
    """List what a sender may see when a branch is what happens."""
    end, reason = branch.forward.disposition, branch.forward.reason
    back = branch.reply.disposition if branch.reply is not None else None
    if end is Disposition.DELIVERED:
        return {"delivered"} if back is Disposition.DELIVERED else {"lost"}
    if end is Disposition.NO_LISTENER:
        return {"refused"} if back is Disposition.DELIVERED else {"lost"}
    if end is Disposition.REJECTED:
        # The kernel limits the rate of its ICMP errors to each peer, so this one may not have been sent.
        limited = set() if reason == "tcp-reset" else {"lost"}
        told = {"refused", "unreachable", "prohibited"} | limited
        return told if back is Disposition.DELIVERED else {"lost"}
    if end is Disposition.DROPPED:
        return DROPS.get(reason, {"lost"})
    if end is Disposition.LOOP:
        return {"lost", "unreachable"}  # the time to live ends: an ICMP error says so, if it isn't limited
    if end is Disposition.LEFT_NETWORK:
        return {"delivered", "refused", "unreachable", "lost"}
    return {"lost"}


def mismatch(branch: Branch, outcome: Outcome, target: str) -> str:
    """Say how a branch and an outcome differ, or ""."""
    expected = expected_results(branch)
    if outcome.result not in expected:
        return f"expected {' or '.join(sorted(expected))}"
    end = branch.forward.disposition
    source = _last_src(branch.forward)
    seen = outcome.seen_source if end in (*REACHED, Disposition.LEFT_NETWORK) else None
    if seen is not None and seen != source:
        return f"expected source {source}"
    # Who sees a TCP probe arrive knows it by its ports: one with a port that nobody knows is not seen.
    seen_by_port = outcome.probe.proto == "tcp" and branch.forward.hops[-1].steps[-1].packet.sport_unsure
    if end in REACHED and outcome.probe.proto != "icmp" and not target[:1].isdigit() and not seen_by_port:
        hop = branch.forward.hops[-1]
        where = hop.place.pod.rpartition("/")[2] or hop.place.name
        if where not in outcome.arrived_at:
            return f"expected it to arrive at {where}"
    last = branch.forward.hops[-1]
    if end is Disposition.DROPPED and target in outcome.arrived_at and last.place.name != target:
        return "expected it not to arrive"
    return ""


def compare(state: ClusterState, cluster: Cluster, outcome: Outcome) -> Comparison:
    """Predict an outcome's probe and compare."""
    probe = outcome.probe
    try:
        trace = predict(state, cluster, probe)
    except EndpointError as err:
        return Comparison(probe, outcome, None, "wrong", str(err))
    branches = trace.branches
    unknown = [branch for branch in branches if branch.forward.disposition is Disposition.UNKNOWN]
    differences = [mismatch(branch, outcome, probe.dst) for branch in branches if branch not in unknown]
    if len(branches) == 1 and unknown:
        return Comparison(probe, outcome, trace, "unknown", trace.reason)
    if not any(differences):
        return Comparison(probe, outcome, trace, "right")
    if len(branches) > 1 and ("" in differences or unknown):
        return Comparison(probe, outcome, trace, "one of", trace.reason)
    return Comparison(probe, outcome, trace, "wrong", differences[0])


def said(trace: Trace) -> str:
    """All that a trace says of its rules."""
    return "\n".join(
        why(step) for branch in trace.branches for hop in branch.forward.hops for step in hop.steps
    )


def answers(trace: Trace) -> str:
    """All that a trace says of the answer's path."""
    replies = [branch.reply for branch in trace.branches if branch.reply is not None]
    return "\n".join(why(step) for reply in replies for hop in reply.hops for step in hop.steps)
