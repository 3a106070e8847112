"""Whether the kernel has room for neighbours: for all its namespaces together there are gc_thresh3 in each family.

What is permanent counts in `entries`, but not against the limit, so a table is called nearly full with less than
certainty; that there was no room is counted by the kernel, and certain.

Source: net/core/neighbour.c, neigh_alloc (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

NEARLY_FULL = 0.9
TABLES = (("arp_cache", "ARP", "net.ipv4"), ("ndisc_cache", "IPv6 neighbour", "net.ipv6"))


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None or not root.kernel_stats:
        return
    now = {one.name: one.value for one in root.kernel_stats.values()}
    before: dict[str, int] = look.memory or {}
    look.memory = now
    for table, what, tree in TABLES:
        limit, entries = now.get(f"neigh.{table}.gc_thresh3", 0), now.get(f"neigh.{table}.entries", 0)
        if not limit:
            continue
        look.judged += 1
        fulls = f"neigh.{table}.table_fulls"
        over = now.get(fulls, 0) - before.get(fulls, now.get(fulls, 0))
        if over > 0 or entries >= NEARLY_FULL * limit:
            yield _problem(look, root, what, f"{tree}.neigh.default.gc_thresh", limit, entries, over)


def _problem(
    look: Look, root: NetnsState, what: str, setting: str, limit: int, entries: int, over: int
) -> Problem:
    node, full = root.key.node, over > 0
    state = "has no room for more" if full else f"is nearly full with {entries} entries"
    raised = command(root.netns, f"sysctl -w {setting}3={limit * 4} {setting}2={limit * 2}")
    return Problem(
        kind="neighbours-full",
        cause=f"{node}:{what}",
        severity="error" if full else "warning",
        harm="breaks traffic" if full else "at risk",
        headline=f"{node}'s {what} table {state}: gc_thresh3 is {limit}",
        consequence="Packets to pods and nodes that aren't in it are dropped.",
        where=place(root.netns),
        both=f"{node}:{'full' if full else 'nearly full'}",
        certainty="certain" if full else "likely",
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods) if full else affects(()),
        check=(command(root.netns, "ip ntable show"),),
        fix=(raised,),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="neighbour tables",
    demands="The kernel has room for all neighbours that its namespaces need.",
    unit="tables",
    kinds=("neighbours-full",),
    needs=("kernel_stats",),
    find=_find,
    compares=True,
)
