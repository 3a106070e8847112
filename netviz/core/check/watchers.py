"""Whether the program that watches each cluster's Kubernetes API is connected, and knows all that the API has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netviz.core.check.fact import NO_API, Api
from netviz.core.check.problem import CheckResult, NodeHealth, Problem, Where, result_of
from netviz.core.check.standing import reasons_text
from netviz.core.check.text import joined, not_watched
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import cluster_of, cluster_source

# One that is back after a moment is no news.
LOST_GRACE_S = 5.0
# A list is read anew within seconds after a connection was cut.
INCOMPLETE_GRACE_S = 10.0
NAME = "kubernetes-api"
KINDS = ("watcher-lost", "watcher-incomplete")
_HEALTHY = NodeHealth()


class Watchers:
    """The clusters' sources, as they are now."""

    def __init__(self) -> None:
        self._cluster = ClusterState()
        self._health: dict[str, NodeHealth] = {}
        self.api = NO_API

    def follow(self, cluster: ClusterState, health: Mapping[str, NodeHealth]) -> bool:
        """Follow the cluster; tell whether `api` is another one: how what the API says of pods is known."""
        self._cluster = cluster
        known = {cluster_source(name): _HEALTHY for name in cluster.clusters}
        self._health = {**known, **{name: one for name, one in health.items() if cluster_of(name)}}
        before, self.api = self.api, Api(tuple(sorted(self._health)), self._doubt())
        return before != self.api

    def _doubt(self) -> str:
        for source, health in sorted(self._health.items()):
            state = self._cluster.clusters.get(cluster_of(source) or "")
            if not health.connected:
                return not_watched(cluster_of(source) or "")
            status = state.status.get("kube_pods") if state is not None else None
            if status is None or not status.complete:
                return f"the list of pods of cluster {cluster_of(source)} isn't whole"
        return ""

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the sources."""
        for source, health in sorted(self._health.items()):
            name = cluster_of(source) or ""
            state = self._cluster.clusters.get(name)
            gaps = state.gaps if state is not None else {}
            if not health.connected:
                yield Problem(
                    kind="watcher-lost",
                    cause=source,
                    severity="warning",
                    harm="not known",
                    headline=f"The Kubernetes API of cluster {name} isn't watched: its watcher is not connected",
                    consequence="Services, workloads and labels are those of its last message: nothing about them is certain.",
                    where=Where(),
                    grace_s=LOST_GRACE_S,
                )
            elif gaps:
                section, reason = next(iter(gaps.items()))
                yield Problem(
                    kind="watcher-incomplete",
                    cause=source,
                    severity="warning",
                    harm="not known",
                    headline=f"The watcher of cluster {name} doesn't know all of its {joined(map(words, gaps))}",
                    consequence=f"What is held of them stays, and may be old; {words(section)}: {reason}",
                    where=Where(),
                    rests_on=((source, section),),
                    grace_s=INCOMPLETE_GRACE_S,
                )

    def result(self, failed: bool) -> CheckResult | None:
        """How the check ended; None where no API is watched at all."""
        if not self._health:
            return None
        silent = [
            f"nothing is known of cluster {cluster_of(one)} yet" for one in self._health if self._mute(one)
        ]
        return CheckResult(
            NAME,
            result_of(failed, bool(silent), len(self._health)),
            len(self._health),
            "clusters",
            reasons_text(silent),
            "Each cluster's Kubernetes API is watched, and known whole.",
        )

    def _mute(self, source: str) -> bool:
        state = self._cluster.clusters.get(cluster_of(source) or "")
        return state is None or not state.status


def words(section: str) -> str:
    """Name a section of objects as people do: "endpoint slices"."""
    return section.removeprefix("kube_").replace("_", " ")
