"""What checks ask of other nodes besides addresses (claims.py): which pods they have, and whether they are known whole."""

from __future__ import annotations

from netviz.core.check.fact import Table
from netviz.core.check.wiring import Wiring
from netviz.core.sim.trace import pod_name


def _pods(wiring: Wiring) -> dict[str, tuple[str, ...]]:
    return {wiring.name: tuple(pod_name(pod.netns) for pod in wiring.pods)}


def _known(wiring: Wiring) -> dict[str, bool]:
    needed = {"links", "addrs"}
    gap = any(gap.section in needed for ns in wiring.gappy for gap in ns.gaps)
    return {} if gap or needed & wiring.missing.keys() or wiring.root is None else {wiring.name: True}


# A node's name -> its pods, as `namespace/name`.
PODS: Table[tuple[str, ...]] = Table("pods", ("netns",), _pods)
# A node's name, if all of its namespaces' links and addresses are known: who isn't found there isn't there.
KNOWN: Table[bool] = Table("known", ("links", "addrs"), _known)
