"""The network that a plugin built, held to the contract: by what is predicted from its state, and by real packets."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.cluster import Cluster
from lab.cni_verify.added import Added
from lab.echo import PORT
from lab.reality import Outcome, Probe, send_all
from lab.spec import LabError
from netviz.core.check.checker import Checker
from netviz.core.check.facts import FACTS
from netviz.core.check.paths.check import PathsCheck
from netviz.core.model.ids import NetnsKey
from netviz.core.state.node import ClusterState
from netviz.core.wire.nvz import join_captures, load_nvz

ROOT = Path(__file__).resolve().parents[2]
EXCHANGES = (("icmp", 0), ("tcp", PORT), ("udp", PORT))
PATIENCE_S = 4.0
# Links of these kinds lie over the node's own, whose host they don't reach: that is by design.
OVER_ANOTHER = ("macvlan", "ipvlan")
VERDICTS = {"good": True, "denied": False, "broken": False, "breaks-contract": False}


class Predicted:
    """The nodes' states as a collector reads them, judged to the end."""

    def __init__(self, cluster: Cluster) -> None:
        state = read(cluster)
        self._paths = PathsCheck()
        checker = Checker([fact for fact in FACTS if not fact.compares], (self._paths,))
        checker.judge(state)
        while checker.work():
            pass
        self.report = checker.report()
        self._keys = {
            ns.netns.pod.name: ns.key
            for node in state.nodes.values()
            for ns in node.netns.values()
            if ns.netns.pod
        }

    @property
    def wrong(self) -> list[str]:
        """The problems that are found: kind, cause and place."""
        return [f"{one.headline} ({one.kind})" for one in self.report.problems]

    @property
    def undecided(self) -> list[str]:
        """What can't be said."""
        return [f"{one.name}: {one.reason}" for one in self.report.results if one.result == "unknown"]

    def keeps(self, source: str, target: str) -> bool | None:
        """Tell whether the contract is predicted to be kept from one pod to another; None: that isn't known."""
        ends: list[NetnsKey] = [self._keys[name] for name in (source, target) if name in self._keys]
        return VERDICTS.get(self._paths.verdict(*ends)) if len(ends) == 2 else None


def read(cluster: Cluster) -> ClusterState:
    """Read every node with the collector. Raises: LabError."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for name, node in cluster.nodes.items():
            out = Path(folder) / f"{name}.nvz"
            argv = [
                sys.executable,
                "-m",
                "agents",
                "snapshot",
                "--node",
                name,
                *node.collector_args(),
                "--out",
                str(out),
            ]
            done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
            if done.returncode:
                raise LabError(f"the collector can't read {name}: {done.stderr.strip()}")
            files.append(load_nvz(out.read_bytes()))
    return join_captures(files)


class Met:
    """What real packets met: every exchange between pods, and between each pod and its node, in each family."""

    def __init__(self, cluster: Cluster, pods: Mapping[str, Added]) -> None:
        self._cluster, self._pods = cluster, pods
        probes = list(self._probes())
        self.outcomes = _sent(cluster, probes)
        self.lost = [one for one in self.outcomes if not _reached(one)]

    def _probes(self) -> Iterable[Probe]:
        for source, mine in self._pods.items():
            node = self._cluster.pod(source).node
            for family in mine.addresses:
                others = [
                    name for name, one in self._pods.items() if name != source and family in one.addresses
                ]
                for proto, port in EXCHANGES:
                    yield from (Probe(source, other, proto, port, family=family) for other in others)
            if mine.kind not in OVER_ANOTHER:
                for family in mine.addresses:
                    yield Probe(source, node, "icmp", 0, family=family)
                    yield from (Probe(node, source, proto, port, family=family) for proto, port in EXCHANGES)

    @property
    def wrong(self) -> list[str]:
        """What was lost, and where another source was seen than the pod's own: a line for each pair."""
        lost: dict[tuple[str, str, int], list[Outcome]] = {}
        for one in self.lost:
            lost.setdefault((one.probe.src, one.probe.dst, one.probe.family), []).append(one)
        lines = [_lost_words(*ends, outcomes) for ends, outcomes in lost.items()]
        seen = {
            (one.probe.src, one.probe.dst, own, one.seen_source)
            for one in self.outcomes
            if one.seen_source
            and one.probe.src in self._pods
            and one.probe.dst in self._pods
            and one.seen_source != (own := self._pods[one.probe.src].addresses[one.probe.family])
        }
        return [
            *lines,
            *(
                f"{b} sees {a}'s packets come from {now}, not from its own {own}"
                for a, b, own, now in sorted(seen)
            ),
        ]

    def between(self) -> dict[tuple[str, str], bool]:
        """Whether the contract was kept between pods: (source, target) -> all families, answered and unchanged."""
        kept: dict[tuple[str, str], bool] = {}
        for one in self.outcomes:
            probe = one.probe
            if probe.src in self._pods and probe.dst in self._pods:
                own = self._pods[probe.src].addresses[probe.family]
                fine = _reached(one) and one.seen_source in (None, own)
                ends = (probe.src, probe.dst)
                kept[ends] = kept.get(ends, True) and fine
        return kept


def leaving(cluster: Cluster, pods: Mapping[str, Added]) -> list[str]:
    """Say with whose address pods' packets reach the internet: a line for each family."""
    probes = [
        Probe(name, "internet", "udp", PORT, family=family)
        for name, one in pods.items()
        for family in one.addresses
    ]
    said: dict[int, Counter[str]] = {}
    for one in _sent(cluster, probes):
        node = cluster.address_of(cluster.pod(one.probe.src).node, one.probe.family)
        own = pods[one.probe.src].addresses[one.probe.family]
        whose = {node: "their node's address", own: "their own address"}.get(
            one.seen_source or "", one.seen_source
        )
        said.setdefault(one.probe.family, Counter())[
            f"leave with {whose}" if whose else "don't reach the internet"
        ] += 1
    return [
        f"IPv{family}: " + ", ".join(f"{count} pods {what}" for what, count in counted.items())
        for family, counted in said.items()
    ]


def ports(cluster: Cluster, mapped: Mapping[str, int]) -> list[str]:
    """Ask for a mapped port of each pod's node from elsewhere; return what wasn't answered. pod -> host port."""
    probes = []
    for name, port in mapped.items():
        node = cluster.pod(name).node
        others = [other for other in cluster.nodes if other != node] or ["router"]
        probes += [Probe(others[0], cluster.address_of(node), proto, port) for proto in ("tcp", "udp")]
    return [
        f"{one.probe.dst}:{one.probe.dport} over {one.probe.proto} from {one.probe.src}: {one.result} {one.error}".rstrip()
        for one in _sent(cluster, probes)
        if one.result != "delivered"
    ]


def _sent(cluster: Cluster, probes: list[Probe]) -> list[Outcome]:
    """Send probes; what failed is sent once more, when addresses are known to neighbours and the machine is less busy."""
    outcomes = send_all(cluster, probes, timeout_s=PATIENCE_S)
    again = [number for number, one in enumerate(outcomes) if one.result != "delivered"]
    for number, one in zip(
        again, send_all(cluster, [probes[n] for n in again], timeout_s=PATIENCE_S), strict=True
    ):
        outcomes[number] = one
    return outcomes


def _reached(outcome: Outcome) -> bool:
    """Tell whether an exchange went through, and with whom it was meant for: another may have its address."""
    return outcome.result == "delivered" and outcome.probe.dst in outcome.arrived_at


def _lost_words(source: str, target: str, family: int, outcomes: list[Outcome]) -> str:
    what = ", ".join(dict.fromkeys(one.probe.proto for one in outcomes))
    how = ", ".join(dict.fromkeys(map(_how, outcomes)))
    return f"{source} to {target} over IPv{family}: {what}: {how}"


def _how(outcome: Outcome) -> str:
    if outcome.result == "delivered":
        return "answered by another"
    return "lost on the way back" if outcome.result == "lost" and outcome.arrived else outcome.result
