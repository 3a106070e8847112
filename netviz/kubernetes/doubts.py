"""What speaks against taking an answer about policies for what is so: lists of the API that aren't known, or aren't followed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netviz.core.check.netpol.check import NEEDS, is_unlisted
from netviz.core.check.problem import NodeHealth
from netviz.core.check.sliced import doubt
from netviz.core.state.node import NodeState
from netviz.tracing.states import View

UNLISTED = "policies for the whole cluster are taken to be none: there is no list of them"


class Api(NamedTuple):
    """A cluster's objects, and whether somebody watches its API; lists in files are of their moment, as if watched."""

    name: str
    state: NodeState
    connected: bool


def apis_in(view: View, watched: Iterable[str] | None = None) -> list[Api]:
    """The clusters of a view. `watched` are those whose API somebody watches; None of files."""
    return [
        Api(name, state, watched is None or name in watched) for name, state in view.cluster.clusters.items()
    ]


def doubts(api: Api, of_pods: bool) -> list[str]:
    """Say in sentences why what policies are said to do may be otherwise; none where all lists are whole and followed.

    `of_pods`: the answer is about pods, whom alone policies for the whole cluster select.
    """
    why = doubt(api.name, api.state.gaps, NodeHealth(connected=api.connected), NEEDS)
    return [one for one in (why, UNLISTED if of_pods and is_unlisted(api.state) else "") if one]
