"""What speaks against taking what a cluster's API says for what is so now: lists that aren't known, or aren't followed.

Here it is decided for all that tells of policies and services: traces, pages, previews and commands; the checks decide by
the same `doubt` of the same `NodeHealth`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from netviz.core.check.netpol.check import NEEDS, UNLISTED, is_unlisted
from netviz.core.check.problem import NodeHealth
from netviz.core.check.sliced import doubt
from netviz.core.state.freshness import Contact, stale
from netviz.core.state.node import NodeState
from netviz.tracing.states import View


class Api(NamedTuple):
    """A cluster's objects, and what is known of who watches its API; lists in files are of their moment, as if watched."""

    name: str
    state: NodeState
    health: NodeHealth

    def doubt(self, needs: Sequence[str]) -> str:
        """Say why what some sections say may not be so now; "" where they are whole and followed."""
        return doubt(self.name, self.state.gaps, self.health, needs)


def apis_in(view: View) -> list[Api]:
    """The clusters of a view."""
    return [
        Api(name, state, watcher_health(state, view.watchers.get(name)))
        for name, state in view.cluster.clusters.items()
    ]


def watcher_health(state: NodeState | None, contact: Contact | None) -> NodeHealth:
    """What is known of a cluster's watcher: which of its sections are older than they promise to be."""
    if contact is None:
        return NodeHealth()
    old = stale(state, state.status, contact, time.time()) if state is not None else None
    return NodeHealth(contact.connected, late=old.sections if old is not None and contact.connected else ())


def doubts(api: Api, of_pods: bool = True) -> list[str]:
    """Say in sentences why what policies are said to do may be otherwise; none where all lists are whole and followed.

    `of_pods`: the answer is about pods, whom alone policies for the whole cluster select.
    """
    unlisted = UNLISTED.format(api.name) if of_pods and is_unlisted(api.state) else ""
    return [sentence for sentence in (api.doubt(NEEDS), unlisted) if sentence]


def policy_doubts(view: View) -> dict[str, list[str]]:
    """The doubts of each cluster of a view, by its name."""
    return {api.name: doubts(api) for api in apis_in(view)}
