"""Predictions laid beside reality where addresses are translated on the way, so that who saw a packet says less."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lab.cluster import Cluster
from lab.reality import Outcome, Probe, send_all
from netviz.core.model.addr import format_ip
from netviz.core.sim.trace import Branch, Disposition
from netviz.core.state.node import ClusterState
from tests.live.prediction import REACHED, Comparison, expected_results, predict, snapshot

PATIENCE_S = 10.0


def hold(
    cluster: Cluster, directory: Path, probes: list[Probe]
) -> tuple[ClusterState, list[Comparison], Counter[str]]:
    """Collect, predict, send, compare: nothing is wrong. Returns what was compared, and what isn't certain."""
    state = snapshot(cluster, directory)
    compared = [compare_translated(state, cluster, outcome) for outcome in send_all(cluster, probes)]
    compared = [_given_time(state, cluster, one) if _may_be_late(one) else one for one in compared]
    wrong = [c.describe() for c in compared if c.verdict == "wrong"]
    assert not wrong, f"{len(wrong)} of {len(compared)} wrong:\n" + "\n".join(wrong[:20])
    unsure = Counter(f"{c.verdict}: {c.why}" for c in compared if c.verdict != "right")
    return state, compared, unsure


def _may_be_late(compared: Comparison) -> bool:
    return compared.verdict == "wrong" and compared.outcome.result == "lost"


def _given_time(state: ClusterState, cluster: Cluster, compared: Comparison) -> Comparison:
    """Send a probe again, alone and with patience: on a busy machine an answer may come too late."""
    (outcome,) = send_all(cluster, [compared.probe], timeout_s=PATIENCE_S)
    return compare_translated(state, cluster, outcome)


def mismatch(branch: Branch, outcome: Outcome) -> str:
    """Say how a branch and an outcome differ, or "". Who saw a translated packet arrive isn't compared."""
    expected = expected_results(branch)
    if outcome.result not in expected:
        return f"expected {' or '.join(sorted(expected))}"
    source = format_ip(branch.forward.hops[-1].steps[-1].packet.src)
    reached = branch.forward.disposition in REACHED and outcome.result == "delivered"
    if reached and outcome.probe.proto != "icmp" and outcome.seen_source not in (None, source):
        return f"expected source {source}"
    return ""


def compare_translated(state: ClusterState, cluster: Cluster, outcome: Outcome) -> Comparison:
    """Predict an outcome's probe and compare; a trace with several branches is right if one of them is."""
    trace = predict(state, cluster, outcome.probe)
    unknown = [branch for branch in trace.branches if branch.forward.disposition is Disposition.UNKNOWN]
    differences = [mismatch(branch, outcome) for branch in trace.branches if branch not in unknown]
    if unknown and len(trace.branches) == 1:
        return Comparison(outcome.probe, outcome, trace, "unknown", trace.reason)
    if not any(differences) and not unknown:
        return Comparison(outcome.probe, outcome, trace, "right")
    if len(trace.branches) > 1 and ("" in differences or unknown):
        return Comparison(outcome.probe, outcome, trace, "one of", trace.reason)
    return Comparison(outcome.probe, outcome, trace, "wrong", differences[0])
