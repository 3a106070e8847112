"""Predicted drop reasons beside the kernel's.

The kernel names its reason in skb:kfree_skb while the packet is being sent. A packet that waits for a
neighbour is dropped later, by a timer: there the neighbour's entry, read afterwards, tells.
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.l2 import NUD_FAILED, NUD_INCOMPLETE
from netviz.core.observe.match import predicted_reason
from netviz.core.sim.steps import Bridge, Neighbour
from netviz.core.sim.trace import Disposition, Hop, Trace
from netviz.core.state.node import ClusterState
from tests.live.oracle.compare import RIGHT, WRONG, Comparison

AGREES, NOT_SEEN = "agrees", "the kernel's reason was not seen"
MANY_COPIES = "a flood's copies, each dropped for a reason of its own"


def _dropped(comparison: Comparison) -> Trace | None:
    """Return the trace of a packet that is rightly and certainly predicted to be dropped."""
    trace = comparison.trace
    if comparison.verdict != RIGHT or trace is None or trace.disposition is not Disposition.DROPPED:
        return None
    return trace


def waits_for_neighbour(comparison: Comparison) -> bool:
    """Tell whether the packet is predicted to be dropped because a neighbour doesn't answer."""
    trace = _dropped(comparison)
    return trace is not None and trace.reason == "NEIGH_FAILED"


def judge(comparison: Comparison, after: ClusterState | None) -> None:
    """Compare the reasons; another one than predicted makes the prediction wrong. `after` is the state afterwards."""
    trace = _dropped(comparison)
    if trace is None:
        return
    last = trace.branches[0].forward.hops[-1]
    what = last.steps[-1].what
    predicted = predicted_reason(trace.branches[0])
    seen = sorted(set(comparison.result.drops))
    if predicted in seen:
        comparison.drop_reason = AGREES
    elif predicted == "NEIGH_FAILED" and after is not None:
        comparison.drop_reason = AGREES if _unresolved(after, last) else "predicted NEIGH_FAILED, resolved"
    elif not seen:
        comparison.drop_reason = NOT_SEEN
    elif isinstance(what, Bridge) and what.lookup == "flood":
        comparison.drop_reason = MANY_COPIES
    else:
        comparison.drop_reason = f"predicted {predicted}, the kernel said {', '.join(seen)}"
    if comparison.drop_reason not in (AGREES, NOT_SEEN, MANY_COPIES):
        comparison.verdict, comparison.why = WRONG, comparison.drop_reason


def _unresolved(after: ClusterState, hop: Hop) -> bool:
    step = hop.steps[-1]
    node = after.nodes.get(hop.netns.node)
    ns = node.netns.get(hop.netns) if node is not None else None
    if ns is None:
        return False
    assert isinstance(step.what, Neighbour)
    link = ns.links.get(step.at.ifindex) if isinstance(step.at, LinkKey) else None
    entry = ns.neighs.get((link.ifindex, step.what.nexthop, False)) if link is not None else None
    return entry is None or bool(entry.state & (NUD_FAILED | NUD_INCOMPLETE))
