"""How far a section of the state is known, as the walk asks for it."""

from __future__ import annotations

from netviz.core.model.ids import NetnsKey
from netviz.core.sim.one_read import one_read
from netviz.core.state.node import NodeState, SectionStatus

NO_REASON = "the collector gives no reason"


@one_read(sections=("refused",))
def why_missing(node: NodeState, key: NetnsKey, section: str) -> str:
    """Say why a namespace's section isn't known whole, or "". Raises: KeyError when there is no such namespace."""
    for gap in node.netns[key].gaps:
        if gap.section == section:
            return gap.reason or NO_REASON
    status = node.status.get(section)
    if status is None:
        return "the collector does not collect it" if node.status else ""
    if status.whole or any(gap.section == section for ns in node.netns.values() for gap in ns.gaps):
        return ""
    return status.reason or NO_REASON


@one_read()
def is_past(node: NodeState, section: str) -> bool:
    """Tell whether a section is of an earlier time, with no more of it than a new flow meets."""
    return node.status.get(section, SectionStatus()).past


@one_read()
def left_out(node: NodeState, section: str) -> int:
    """Return how many changes of a section were left out under load, with no whole read since."""
    return node.status.get(section, SectionStatus()).shed
