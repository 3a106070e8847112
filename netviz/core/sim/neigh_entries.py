"""Neighbour entries, the state's and those that a run has made: whether one can be used without asking."""

from __future__ import annotations

from netviz.core.model.l2 import NUD_FAILED, Neigh
from netviz.core.model.link import Link
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState


def is_known(run: Run, ns: NetnsState, link: Link, nexthop: bytes) -> bool:
    """Tell whether a next hop's MAC is known without asking."""
    entry = ns.neighs.get((link.ifindex, nexthop, False))
    return (entry is not None and is_usable(entry)) or (ns.key, link.ifindex, nexthop) in run.memory.neighs


def is_usable(entry: Neigh) -> bool:
    """Tell whether an entry has a MAC, and hasn't failed."""
    return bool(entry.mac) and not entry.state & NUD_FAILED
