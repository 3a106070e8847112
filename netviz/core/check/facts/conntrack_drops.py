"""Whether connection tracking drops packets: counters that rose since they were read last.

    drop            there was no room for a new connection, or it couldn't be confirmed
    insert_failed   another packet was first with the same addresses and ports: two at once, as a resolver that asks for both
                    families by one socket, or no free port was left to translate to
    early_drop      a connection that waited for an answer was given up for a new one: the table is full

A few are normal: told is what comes at a rate.

Source: net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm, __nf_conntrack_alloc, early_drop (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

READ_AT = "read.at_s"
AT_LEAST, A_MINUTE = 10, 10.0
WHAT = {
    "conntrack.insert_failed": "drops packets whose connections clash with others",
    "conntrack.drop": "drops packets that it cannot track",
    "conntrack.early_drop": "gives up connections to make room for new ones",
}


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None or not root.kernel_stats:
        return
    now = {one.name: one.value for one in root.kernel_stats.values()}
    memory: tuple[dict[str, int], tuple[Problem, ...]] = look.memory or ({}, ())
    before, found = memory
    if now.get(READ_AT) != before.get(READ_AT):
        found = tuple(_rising(look, root, before, now))
    look.memory = (now, found)
    look.judged = sum(name in now for name in WHAT)
    if not before:
        look.lacks_second_reading("kernel_stats")
    yield from found


def _rising(look: Look, root: NetnsState, before: dict[str, int], now: dict[str, int]) -> Iterator[Problem]:
    """What rose between two readings. One packet may count twice: as not inserted and as dropped, which is one problem."""
    minutes = (now.get(READ_AT, 0) - before.get(READ_AT, 0)) / 60
    for name, what in WHAT.items():
        rose = now.get(name, 0) - before.get(name, now.get(name, 0))
        if minutes <= 0 or rose < AT_LEAST or rose / minutes < A_MINUTE:
            continue
        node, counter = root.key.node, name.removeprefix("conntrack.")
        yield Problem(
            kind="conntrack-drops",
            cause=f"{node}:{counter}",
            severity="warning",
            harm="degrades",
            headline=f"{node}'s connection tracking {what}: {counter} rises by {rose / minutes:.0f} a minute",
            consequence="Connections fail now and then, and who tries again gets through: DNS lookups take 5 s."
            if counter != "early_drop"
            else "Connections that wait for their first answer may be cut.",
            where=place(root.netns),
            both=node if counter != "early_drop" else "",
            certainty="likely",
            affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
            check=(command(root.netns, "conntrack -S"),),
            rests_on=look.rests_on(),
        )


FACT = Fact(
    name="conntrack drops",
    demands="Connection tracking drops next to nothing.",
    unit="counters",
    kinds=("conntrack-drops",),
    needs=("kernel_stats",),
    find=_find,
    compares=True,
)
